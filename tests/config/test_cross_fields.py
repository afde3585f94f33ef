"""A validator of several fields points at the one it names."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, model_validator
from pydantic.dataclasses import dataclass
from pydantic_core import PydanticCustomError

from tidemill.config.layers.document import Document
from tidemill.config.loading import validate_document
from tidemill.config.model import Config


class Optim(Config):
    lr: float = 0.1


class Train(Config):
    low: int = 0
    high: int = Field(9, alias="top")
    optim: Optim = Optim()
    stages: list[Optim] = Field([])
    said: str = ""
    custom: bool = False

    @model_validator(mode="after")
    def _speak(self) -> Train:
        if self.said and self.custom:
            raise PydanticCustomError("spoken", "{said}", {"said": self.said, "path": ("optim", "lr")})
        if self.said:
            raise ValueError(self.said)
        return self


TEXT = """\
low: 5
top: 3
optim: {lr: 0.5}
stages:
- {lr: 1}
- {lr: 2}
"""


@pytest.mark.parametrize(
    ("said", "place", "path"),
    [
        ("`low` must be below the top", "f:1:6", ("low",)),
        ("'low' must be below the top", "f:1:6", ("low",)),
        ('"low" must be below the top', "f:1:6", ("low",)),
        ("`high` must be above", "f:2:6", ("top",)),
        ("`top` must be above", "f:2:6", ("top",)),
        ("`custom` does not go with `low`", "f:1:6", ("low",)),
        ("`low` must be below `high`", "f:1:6", ("low",)),
        ("too fast: `optim.lr`", "f:3:13", ("optim", "lr")),
        ("too fast: `stages.1.lr`", "f:6:8", ("stages", 1, "lr")),
        ("too many `stages`", "f:5:1", ("stages",)),
        ("low must be below the top", "f:1:1", ()),
        ("no `lwo` here, nor `optim.x`, nor `low.x`", "f:1:1", ()),
        ("a `low' in a quote of another kind", "f:1:1", ()),
    ],
)
def test_the_field_that_a_message_names_is_pointed_at(said: str, place: str, path: Any) -> None:
    _, (problem,) = validate_document(Train, Document.parse(f"{TEXT}said: >-\n  {said}\n", "f"))
    assert (str(problem.place), problem.path) == (place, path)
    assert problem.message.endswith(said)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("`low` is below 9", "`low` is below 9"),
        ("`optim.lr` is too high", "`optim.lr` is too high"),
        ("too high: `optim.lr`", "`optim.lr`: too high: `optim.lr`"),
        ("`low`: below 9", "`low`: below 9"),
        ("`high` is above 2", "`top`: `high` is above 2"),
    ],
)
def test_a_message_that_begins_with_its_field_says_it_once(said: str, told: str) -> None:
    _, (problem,) = validate_document(Train, Document.parse(f"{TEXT}said: '{said}'\n", "f"))
    assert problem.message == told


def test_a_message_that_begins_with_its_field_says_the_whole_path() -> None:
    """A section knows its own keys alone."""

    class Outer(Config):
        train: Train

    text = "train:\n  low: 5\n  said: '`low` is below 9'\n"
    _, (problem,) = validate_document(Outer, Document.parse(text, "f"))
    assert problem.message == "`train.low` is below 9"


def test_an_error_that_says_its_path_is_taken_at_its_word() -> None:
    _, (problem,) = validate_document(Train, Document.parse(f"{TEXT}custom: true\nsaid: '`low`'\n", "f"))
    assert (str(problem.place), problem.path) == ("f:3:13", ("optim", "lr"))


def test_a_named_field_that_was_not_given_is_told_at_what_holds_it() -> None:
    _, (problem,) = validate_document(Train, Document.parse("low: 1\nsaid: set `optim.lr`\n", "f"))
    assert (str(problem.place), problem.path, problem.message) == ("f:1:1", ("optim", "lr"), "set `optim.lr`")


@dataclass
class Checked:
    low: int
    high: int

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("`low` is above `high`")


class Foreign(BaseModel):
    low: int
    high: int

    @model_validator(mode="after")
    def _check(self) -> Foreign:
        if self.low > self.high:
            raise ValueError("`low` is above `high`")
        return self


class One(Foreign):
    kind: Literal["one"]


class Two(Config):
    kind: Literal["two"]


@dataclasses.dataclass
class Holder:
    at: Annotated[One | Two, Field(discriminator="kind")]


@pytest.mark.parametrize(
    ("model", "values", "path"),
    [
        (Checked, {"low": 2, "high": 1}, ("low",)),
        (Foreign, {"low": 2, "high": 1}, ("low",)),
        (Holder, {"at": {"kind": "one", "low": 2, "high": 1}}, ("at", "low")),
    ],
)
def test_so_does_a_validator_of_any_type(model: Any, values: Any, path: Any) -> None:
    _, (problem,) = validate_document(model, Document.from_value(values))
    assert problem.path == path


class Bounds(Config):
    low: int = 0
    high: int = 9

    @model_validator(mode="before")
    @classmethod
    def _from_range(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "range" not in value:
            return value
        low, high = value["range"]
        return {"low": low, "high": high}


class Scale(Config):
    bounds: Bounds


@pytest.mark.parametrize(
    ("text", "place", "told"),
    [
        ("bounds: {range: [x, 1], low: 3}", "t.yaml:1:18", '`bounds.low`: expected an integer, got "x"'),
        ("bounds: {range: [0, x]}", "t.yaml:1:21", '`bounds`: expected an integer, got "x"'),
        ("bounds: {low: y}", "t.yaml:1:15", '`bounds.low`: expected an integer, got "y"'),
    ],
)
def test_a_value_that_a_validator_took_from_another_key_is_told_where_it_stands(
    text: str, place: str, told: str
) -> None:
    _, (problem,) = validate_document(Scale, Document.parse(text, "t.yaml"))
    assert (str(problem.place), problem.message) == (place, told)
