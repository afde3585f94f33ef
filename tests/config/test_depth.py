"""The rules of `Config` at every depth, in Pydantic models too, where what a model wrote is checked."""

from __future__ import annotations

import dataclasses
import enum
from datetime import timedelta
from typing import Annotated, Any, Generic, Literal, TypeVar

import pydantic.dataclasses
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, field_validator
from typing_extensions import TypedDict

from tidemill.config.coercion.adapters import adapt
from tidemill.config.coercion.depth import deepen
from tidemill.config.model import Config
from tidemill.config.report.values import check_value
from tidemill.config.schemas.json_schema import json_schema
from tidemill.errors import ConfigError

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    """Lax by itself."""

    count: int = 0
    ratio: float = 0.0
    on: bool = False
    one: Literal[1] = 1
    span: timedelta = timedelta(0)
    colour: Colour = Colour.RED
    tags: set[int] = set()
    more: dict[int, str] = {}
    leaf: Leaf | None = None


@dataclasses.dataclass
class Plain:
    leaf: Leaf


@pydantic.dataclasses.dataclass
class Made:
    leaf: Leaf


class Typed(TypedDict):
    leaf: Leaf


class Box(BaseModel, Generic[T]):
    leaf: T


class Outer(BaseModel):
    leaf: Leaf


class Inherited(Outer):
    pass


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    leaf: Leaf


class Ours(Config):
    leaf: Leaf


class Listed(BaseModel):
    leaf: dict[str, list[Leaf]]


class Rooted(RootModel[list[Leaf]]):
    pass


SILENT: list[tuple[str, Any, str]] = [
    ("count", True, "expected an integer, got true"),
    ("ratio", True, "expected a number, got true"),
    ("ratio", "nan", 'expected a finite number, got "nan"'),
    ("on", 1.0, "expected true or false, got 1.0"),
    ("on", "y", 'expected true or false, got "y"'),
    ("one", True, "expected 1, got true"),
    ("span", 90, "expected a duration (45m, 1h30m, HH:MM:SS), got 90; say its unit: `90s`"),
    ("tags", [1, 1], "expected different items, got 1 again; item 0 is the same"),
    ("unknown", 1, "unknown key"),
]
"""What Pydantic takes in silence."""


@pytest.mark.parametrize(("name", "value", "told"), SILENT, ids=[f"{name}-{value}" for name, value, _ in SILENT])
def test_what_pydantic_takes_in_silence_is_told_at_every_depth(name: str, value: Any, told: str) -> None:
    wrong = {name: value}
    Leaf.model_validate(wrong)
    cases: list[tuple[Any, Any, str]] = [
        (Leaf, wrong, "$"),
        (Leaf, {"leaf": {"leaf": wrong}}, "$.leaf.leaf"),
        (list[Leaf], [{}, wrong], "$[1]"),
        (Listed, {"leaf": {"a": [wrong]}}, "$.leaf.a[0]"),
        (Rooted, [wrong], "$[0]"),
        *((kind, {"leaf": wrong}, "$.leaf") for kind in (Plain, Made, Typed, Box[Leaf], Outer, Inherited, Ours)),
    ]
    for target, given, place in cases:
        found = check_value(deepen(target), given)
        assert found.value is None, target
        assert [each for each in found.render().splitlines() if told in each and each.startswith(place)], target


def test_a_value_is_of_its_class_and_coerced_by_the_table() -> None:
    made = check_value(deepen(Plain), {"leaf": {"count": "64", "ratio": 2, "on": "yes", "colour": "BLUE"}}).value
    assert isinstance(made, Plain)
    assert made.leaf == Leaf(count=64, ratio=2.0, on=True, colour=Colour.BLUE)


def test_the_models_themselves_do_not_change() -> None:
    adapt(deepen(Outer)).validate_python({"leaf": {"count": "1"}})
    assert Outer.model_validate({"leaf": {"count": True, "unknown": 1}}).leaf.count == 1
    assert TypeAdapter(list[Leaf]).validate_python([{"count": True}])[0].count == 1


def test_what_a_model_says_itself_stays() -> None:
    """`strict`, `extra="allow"`, and its own validators, before ours and behind them."""

    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        size: int

        @field_validator("size", mode="before")
        @classmethod
        def _read(cls, value: Any) -> Any:
            return len(value) if isinstance(value, list) else value

    made: Any = check_value(deepen(Open), {"size": [1, 2], "more": True}).value
    assert made.size == 2
    assert made.more is True
    assert check_value(deepen(Open), {"size": True}).render() == "$.size: expected an integer, got true"
    assert adapt(deepen(Strict)).validator.validate_json('{"leaf": {"count": "5"}}').leaf.count == 5
    assert json_schema(deepen(Open))["additionalProperties"] is True


def test_a_part_of_a_default_is_not_filled_up() -> None:
    """A file's section is; a model that leaves out what is required is told."""

    class Limits(BaseModel):
        low: int
        high: int

    class Holder(BaseModel):
        limits: Limits = Limits(low=1, high=2)

    assert check_value(deepen(Holder), {}).value == Holder()
    assert check_value(deepen(Holder), {"limits": {"low": 5}}).render() == "$.limits.high: missing key (an integer)"


def test_tagged_unions_and_recursion_are_entered() -> None:
    class Cat(BaseModel):
        kind: Literal["cat"]
        lives: int

    class Dog(BaseModel):
        kind: Literal["dog"]
        friends: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []

    Dog.model_rebuild(_types_namespace={"Cat": Cat, "Dog": Dog})
    target = deepen(Dog)
    right = {"kind": "dog", "friends": [{"kind": "dog", "friends": [{"kind": "cat", "lives": "9"}]}]}
    made: Any = check_value(target, right).value
    assert made.friends[0].friends[0].lives == 9
    wrong = {"kind": "dog", "friends": [{"kind": "dog", "friends": [{"kind": "cat", "lives": True}]}]}
    assert check_value(target, wrong).render() == "$.friends[0].friends[0].lives: expected an integer, got true"


def test_the_schema_closes_all_objects_and_offers_an_enum_s_values_alone() -> None:
    schema = json_schema(deepen(Outer))
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Leaf"]["additionalProperties"] is False
    assert schema["$defs"]["Leaf"]["description"] == "Lax by itself."
    assert schema["$defs"]["Colour"] == {"type": "string", "enum": ["red", "blue"]}
    assert {**schema["$defs"]["Leaf"]["properties"]["colour"]} == {"$ref": "#/$defs/Colour", "default": "red"}


def test_a_model_with_an_init_of_its_own_is_refused() -> None:
    """It would be called with what was not checked, and check it by its own rules."""

    class Own(BaseModel):
        size: int

        def __init__(self, **values: Any) -> None:
            super().__init__(**values)

    with pytest.raises(
        ConfigError, match=r"`.*Own` has an `__init__` of its own, which would be given values"
    ) as caught:
        deepen(list[Own])
    assert caught.value.hint == "make it a validator: `@model_validator(mode='before')`"


def test_what_is_no_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a class"):
        deepen(5)
