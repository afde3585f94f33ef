"""Keys that are no plain words: null, booleans, and with dots."""

from __future__ import annotations

import pytest

from tidemill import Config, cli, load_config
from tidemill.config import check_value
from tidemill.config.text.nodes import Text
from tidemill.errors import ConfigError


class Optim(Config):
    lr: float = 1.0


class Train(Config):
    optim: Optim = Optim()
    note: str = ""
    flags: dict[bool, int] = {}  # noqa: RUF012 - a field's default, which is copied
    tags: dict[str, str] = {}  # noqa: RUF012


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("null: 3", "t.yaml:1:1  unknown key `null`; known: `optim`, `note`, `flags`, `tags`"),
        ("tags: {null: z}", "t.yaml:1:8  `tags`: expected the key to be text, got null"),
        ("optim.lr: 3", "t.yaml:1:1  unknown key `optim.lr`; write `lr` within `optim`"),
        (
            "flags: {yes: 1, true: 2}",
            "t.yaml:1:17  `flags.True`: expected different keys, got true again; `yes` is the same key",
        ),
    ],
)
def test_an_odd_key_is_told_as_it_is_written(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match="1 error") as caught:
        load_config(Train, Text("t.yaml", text))
    assert str(caught.value).splitlines()[0] == told


def test_a_fence_around_a_reply_is_the_one_thing_that_is_told() -> None:
    assert check_value(Train, '```json\n{"note": "x"}\n```').render() == (
        "$:1:1: the JSON stands between lines of ```; leave them out"
    )


def test_an_error_of_a_command_line_has_no_other_behind_it() -> None:
    with pytest.raises(ConfigError, match="expected a number") as caught:
        cli(Train, arguments=["--optim.lr", "x"])
    assert caught.value.__context__ is None
