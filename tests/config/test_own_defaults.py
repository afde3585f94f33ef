"""A default that does not fit its own field is told as the class's mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, field_validator

from tidemill.config.loading import load_config
from tidemill.config.model import Config
from tidemill.config.report.values import check_value
from tidemill.errors import ConfigError, Problem


class Optim(Config):
    lr: float
    kind: Literal["adam", "sgd"] = "adamw"  # type: ignore[assignment]


class Train(Config):
    steps: int = "many"  # type: ignore[assignment]
    optim: Optim = Field({"lr": "x", "kind": "adam"})  # type: ignore[assignment]
    bare: Optim = Field({})  # type: ignore[assignment]
    made: Optim = Field(default_factory=lambda: {"lr": 1})  # type: ignore[assignment]
    sizes: list[int] = Field([1, "two"])  # type: ignore[list-item]
    api_key: int = "canary-name"  # type: ignore[assignment]
    login: SecretStr = 12345  # type: ignore[assignment]


class Checked(Config):
    model_config = ConfigDict(populate_by_name=True)

    warmup: int = 0
    steps: int = 10
    rate: int = Field(3, alias="lr")

    @field_validator("steps")
    @classmethod
    def _check(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data["warmup"]:
            raise ValueError("fewer steps than `warmup`")
        return value


def find_problems(model: type[Config], *sources: Any) -> list[Problem]:
    with pytest.raises(ConfigError, match=r"\d+ errors?$") as caught:
        load_config(model, *sources)
    return list(caught.value.problems)


def test_a_wrong_default_is_told_with_its_key_and_class() -> None:
    problems = find_problems(Train)
    assert [(each.path, each.message) for each in problems] == [
        (("steps",), '`steps`: the default in class `Train` is wrong: expected an integer, got "many"'),
        (("optim", "lr"), '`optim.lr`: the default in class `Train` is wrong: expected a number, got "x"'),
        (("bare", "lr"), "`bare.lr`: the default in class `Train` is wrong: missing key `lr` (a number)"),
        (("bare", "kind"), '`bare.kind`: the default in class `Optim` is wrong: expected `adam` or `sgd`, got "adamw"'),
        (("made", "kind"), '`made.kind`: the default in class `Optim` is wrong: expected `adam` or `sgd`, got "adamw"'),
        (("sizes", 1), '`sizes.1`: the default in class `Train` is wrong: expected an integer, got "two"'),
        (("api_key",), "`api_key`: the default in class `Train` is wrong: expected an integer, got ***"),
        (("login",), "`login`: the default in class `Train` is wrong: expected text, got ***"),
    ]


def test_it_stands_in_no_file(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("bare: {lr: x}\n")
    places = {
        each.path: Path(each.place.file).name for each in find_problems(Train, tmp_path / "train.yaml") if each.place
    }
    assert places["bare", "lr"] == "train.yaml"
    assert places["bare", "kind"] == places["steps",] == Path(__file__).name


def test_what_was_given_is_told_as_ever() -> None:
    assert [each.message for each in find_problems(Checked, {"steps": "many", "rate": "x"})] == [
        '`steps`: expected an integer, got "many"',
        '`rate`: expected a valid integer, got "x"',
    ]


def test_a_default_that_does_not_go_with_another_field_is_not_called_wrong() -> None:
    (problem,) = find_problems(Checked, {"warmup": 20})
    assert (problem.path, problem.message) == (
        ("steps",),
        "`steps`: not given, and its default fails: fewer steps than `warmup`",
    )


def test_a_json_path_says_it_once() -> None:
    rendered = check_value(Train, {}).render().splitlines()
    assert rendered[0] == '$.steps: the default in class `Train` is wrong: expected an integer, got "many"'
