"""`--help`: every option with its type, bounds, default, description and variable; plain where there is no terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, Union

import pytest
from pydantic import BaseModel, Field, SecretStr, create_model
from typing_extensions import TypedDict

from tidemill.config.cli.options import list_sections
from tidemill.config.cli.script import cli
from tidemill.config.coercion.adapters import shape_of
from tidemill.config.model import Config


class Adam(Config):
    """Adaptive moments."""

    type: Literal["adam"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)


class Sgd(Config):
    type: Literal["sgd"] = "sgd"
    nesterov: bool = False


class Stage(Config):
    lr: float = 1.0
    steps: int = Field(ge=1)


class Precision(Enum):
    FULL = "fp32"
    HALF = "bf16"


class Train(Config):
    """Trains one model.

    Attributes:
        learning_rate: Step size, before the schedule.
    """

    learning_rate: float = Field(1e-4, gt=0)
    precision: Precision = Precision.HALF
    data: Path
    names: dict[str, int] = Field({"a": 1})
    api_key: SecretStr = SecretStr("12345678")
    optim: Annotated[Adam | Sgd, Field(discriminator="type")] = Adam()
    warmup: Stage | None = None
    last: Stage = Stage(steps=5, lr=2.0)
    models: dict[str, Stage] = Field({})
    resume: bool = False


EXPECTED = """\
usage: train.py [FILE ...] [--KEY VALUE ...]

Trains one model.

  --learning_rate        number > 0, default 0.0001  [TRAIN__LEARNING_RATE]
                         Step size, before the schedule.
  --precision            `fp32` or `bf16`, or by name `FULL` or `HALF`, default "bf16"  [TRAIN__PRECISION]
  --data                 path, required  [TRAIN__DATA]
  --names                mapping, each an integer, default {a: 1}  [TRAIN__NAMES]
  --api_key              text, default ***  [TRAIN__API_KEY]
  --warmup               mapping, default null  [TRAIN__WARMUP]
  --models               mapping, each a mapping, default {}  [TRAIN__MODELS]
  --resume, --no-resume  true or false, default false  [TRAIN__RESUME]

optim, type adam: Adaptive moments.
  --optim.type   `adam`, default "adam"  [TRAIN__OPTIM__TYPE]
  --optim.betas  list of 2 items, each a number, default [0.9, 0.999]  [TRAIN__OPTIM__BETAS]

optim, type sgd
  --optim.type                           `sgd`, default "sgd"  [TRAIN__OPTIM__TYPE]
  --optim.nesterov, --no-optim.nesterov  true or false, default false  [TRAIN__OPTIM__NESTEROV]

warmup
  --warmup.lr     number, default 1.0  [TRAIN__WARMUP__LR]
  --warmup.steps  integer >= 1, required  [TRAIN__WARMUP__STEPS]

last
  --last.lr     number, default 2.0  [TRAIN__LAST__LR]
  --last.steps  integer >= 1, default 5  [TRAIN__LAST__STEPS]

models.KEY
  --models.KEY.lr     number, default 1.0  [TRAIN__MODELS__KEY__LR]
  --models.KEY.steps  integer >= 1, required  [TRAIN__MODELS__KEY__STEPS]

files, values and help
"""


def show_help(
    model: type[Any], capsys: pytest.CaptureFixture[str], *arguments: str, environment: str | None = None
) -> str:
    with pytest.raises(SystemExit, match="0"):
        cli(model, arguments=[*arguments, "--help"], prog="train.py", environment=environment)
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def test_every_option_is_shown_as_it_is_set(capsys: pytest.CaptureFixture[str]) -> None:
    shown = show_help(Train, capsys, environment="TRAIN")
    assert shown.partition("  FILE ")[0] == EXPECTED


def test_help_is_shown_whatever_else_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert show_help(Train, capsys, "none.yaml", "--lr", "--completion", "x").startswith("usage: train.py")


def test_help_is_as_wide_as_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    assert max(map(len, show_help(Train, capsys, environment="TRAIN").splitlines())) <= 50


def test_help_has_colours_on_a_terminal_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "\x1b" not in show_help(Train, capsys)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" in show_help(Train, capsys)


@dataclass
class Plain:
    """A dataclass."""

    size: int
    tags: list[str] = field(default_factory=lambda: ["a"])


class Typed(TypedDict):
    size: int
    rate: NotRequired[float]


class Aliased(BaseModel):
    size: int = Field(3, alias="batch", description="How many.")


@pytest.mark.parametrize(
    ("model", "lines"),
    [
        (Plain, ["A dataclass.", "--size  integer, required", '--tags  list, each text, default ["a"]']),
        (Typed, ["--size  integer, required", "--rate  number"]),
        (Aliased, ["--batch  integer, default 3", "How many."]),
    ],
)
def test_any_type_has_help(model: type[Any], lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    shown = [line.strip() for line in show_help(model, capsys).splitlines()]
    assert [line for line in shown if line in lines] == lines


def test_types_that_hold_each_other_come_to_an_end() -> None:
    """Eight types that each hold any of them twice would have 8! * 2^8 sections."""
    space: dict[str, Any] = {}
    for number in range(8):
        fields: dict[str, Any] = {"inner": ("list[Step]", []), "other": ("Step | None", None)}
        space[f"Step{number}"] = create_model(f"Step{number}", **fields)
    steps = list(space.values())
    space["Step"] = Union[tuple(steps)]  # noqa: UP007 - of as many as there are
    for step in steps:
        step.model_rebuild(_types_namespace=space)
    titles = [section.title for section in list_sections(shape_of(steps[0]))]
    assert len(titles) < 150
    assert {f"inner.N, Step{number}" for number in range(1, 8)} <= set(titles)
