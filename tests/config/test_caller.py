"""What is wrong with values given in Python is told at the line, keyword or key that gives it."""

from __future__ import annotations

import linecache
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

import tidemill as tm
from tidemill.config.model import Config
from tidemill.errors import ConfigError, Place


class Optim(Config):
    lr: float = Field(1e-4, gt=0)


class Train(Config):
    optim: Optim = Optim()
    batch_size: int = Field(32, ge=1)
    stages: list[Optim] = Field(default_factory=list)
    pin: SecretStr | None = Field(None, min_length=6)


class Tuned(Train):
    def __init__(self, **values: Any) -> None:
        super().__init__(**values)


class Holder(BaseModel):
    train: Train


def marked(give: Callable[..., Any]) -> list[str]:
    """What the carets stand under, in the order of the source."""
    with pytest.raises(ConfigError, match=r"\d errors?$") as caught:
        give()
    places = [each.place for each in caught.value.problems]
    assert all(place is not None and place.file == str(Path(__file__).relative_to(Path.cwd())) for place in places)
    return [marked_in(place) for place in places if place]


def marked_in(place: Place) -> str:
    assert linecache.getline(__file__, place.line).rstrip("\n") == place.source_line
    return place.source_line[place.column - 1 :][: place.length]


def test_a_keyword_is_pointed_at() -> None:
    assert marked(lambda: Train(batch_size=0, learningrate=1)) == ["batch_size", "learningrate"]  # type: ignore[call-arg]


def test_a_key_within_a_keyword_is_pointed_at() -> None:
    assert marked(
        lambda: Train(
            optim={"lr": -1},
            stages=[{"lr": 1}, dict(lr=0), 7],  # noqa: C408 - the form under test
        )
    ) == ['"lr"', "lr", "7"]


def test_the_keys_of_a_mapping_in_place_are_pointed_at() -> None:
    assert marked(lambda: Train(**{"optim": {"lr": -1}, "batch_sise": 3})) == ['"lr"', '"batch_sise"']  # noqa: PIE804 - the form under test


def test_a_mapping_under_a_name_is_found_where_one_statement_sets_it() -> None:
    raw = {"optim": {"lr": -1}, "batch_size": 0}
    assert marked(lambda: Train(**raw)) == ['"lr"', '"batch_size"']
    assert marked(lambda: tm.load_config(Train, raw)) == ['"lr"', '"batch_size"']


def test_one_that_is_changed_is_not_looked_into() -> None:
    raw: dict[str, Any] = {"batch_size": 8}
    raw["batch_size"] = 0
    assert marked(lambda: Train(**raw)) == ["Train(**raw)"]
    other: dict[str, Any] = {"batch_size": 8}
    other.update(batch_size=0)
    assert marked(lambda: tm.load_config(Train, other)) == ["tm.load_config(Train, other)"]


def test_a_parameter_that_is_filled_up_is_not_looked_into() -> None:
    """`fields = {"…": …, **fields}` sets what its caller gave as well: what is wrong may stand there."""

    def make(**fields: Any) -> Train:
        fields = {"batch_size": 8, **fields}
        return Train(**fields)

    assert marked(lambda: make(batch_size=0)) == ["Train(**fields)"]
    assert marked(lambda: make(optim={"lr": -1})) == ["Train(**fields)"]


def test_of_several_mappings_the_last_decides() -> None:
    assert marked(lambda: Train(**{**{"batch_size": 8}, "batch_size": 0})) == ['"batch_size"']  # noqa: PIE800 - the form under test
    assert marked(lambda: Train(**{"batch_size": 8, **make_raw()})) == ['Train(**{"batch_size": 8, **make_raw()})']


def make_raw() -> dict[str, Any]:
    return {"batch_size": 0}


def test_what_the_source_does_not_show_is_told_at_the_call() -> None:
    assert marked(lambda: tm.load_config(Train, make_raw())) == ["tm.load_config(Train, make_raw())"]
    assert marked(lambda: Optim(**{"l" + "r": 0})) == ['Optim(**{"l" + "r": 0})']


def test_a_face_is_told_at_its_keyword_in_a_chain() -> None:
    def chain() -> Any:
        return (
            tm.from_iterable([{}])
            .map(str)
            .map(str, concurrency=0)
        )  # fmt: skip

    assert marked(chain) == ["concurrency"]
    assert marked(lambda: tm.model("openai/x", base_url="nowhere")) == ["base_url"]


def test_columns_count_characters() -> None:
    assert marked(lambda: (Optim(lr="é☃"), Optim(lr=0))) == ["lr"]


def test_the_init_of_its_own_class_is_no_caller() -> None:
    assert marked(lambda: Tuned(batch_size=0)) == ["batch_size"]


def test_no_secret_of_the_line_is_shown() -> None:
    with pytest.raises(ConfigError, match=r"`pin`: expected text .*, got \*\*\*") as caught:
        Train(pin="1234", batch_size=len("1234"), optim={"lr": 0, "token": "5678"})
    for text in (str(caught.value), str(caught.value.problems)):
        assert "pin=******, batch_size=len(" in text
        assert "5678" not in text


def test_within_another_model_it_is_that_models_error() -> None:
    with pytest.raises(ValidationError, match=r"train\.batch_size\n"):
        Holder(train={"batch_size": 0})


def test_values_in_a_file_keep_their_own_place(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("batch_size: 0\n")
    with pytest.raises(ConfigError, match=r"train\.yaml:1:13 "):
        tm.load_config(Train, tmp_path / "train.yaml")


def test_without_source_there_is_a_line() -> None:
    code = compile("\n\nTrain(batch_size=0)", "<a cell>", "exec")
    with pytest.raises(ConfigError, match=r"^<a cell>:3  `batch_size`: expected"):
        exec(code, {"Train": Train})  # noqa: S102


def test_a_file_that_changed_gives_the_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text("pass\n")
    code = compile("\n\n\nTrain(batch_size=0)", str(path), "exec")
    with pytest.raises(ConfigError, match=r"script\.py:4  `batch_size`: expected") as caught:
        exec(code, {"Train": Train})  # noqa: S102
    assert "|" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "text", "place"),
    [
        (["-c", "import tidemill as tm\ntm.Limits(concurrency=0)"], "", "<string>:2  `concurrency`"),
        (["-"], "import tidemill as tm\n\ntm.Limits(concurrency=0)", "<stdin>:3  `concurrency`"),
    ],
    ids=["-c", "stdin"],
)
def test_code_that_stands_in_no_file(arguments: list[str], text: str, place: str) -> None:
    done = subprocess.run([sys.executable, *arguments], input=text, capture_output=True, text=True, check=False)
    assert f"ConfigError: {place}: expected" in done.stderr


def test_a_notebook_is_named_by_its_cell(tmp_path: Path) -> None:
    code = "import tidemill as tm\ntm.Limits(concurrency=0)"
    command = [sys.executable, "-m", "IPython", "--colors=NoColor", f"--ipython-dir={tmp_path}", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ConfigError: Cell In[1]:2:11  `concurrency`: expected" in done.stdout


def test_a_thread_that_makes_nothing_but_it_has_no_place() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(ConfigError, match=r"^`batch_size`: expected") as caught:
        pool.submit(Train, batch_size=0).result()
    assert caught.value.problems[0].place is None


def test_within_the_command_there_is_no_caller() -> None:
    code = compile("Train(batch_size=0)", str(Path(tm.__file__).parent / "commands.py"), "exec")
    with pytest.raises(ConfigError, match=r"^`batch_size`: expected"):
        exec(code, {"Train": Train, "__name__": "tidemill.commands"})  # noqa: S102
