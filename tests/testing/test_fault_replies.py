"""Replies as functions of the request: they conform to the schema asked for."""

import datetime
import uuid
from enum import Enum
from typing import Annotated, Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from tidemill.errors import DataError
from tidemill.testing.formats.exchange import count_output
from tidemill.testing.replies import Draws, compile_schema


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Node(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    children: list["Node"] = []
    parent: "Node | None" = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    weight: float = Field(gt=0, lt=1)


class Everything(BaseModel):
    model_config = ConfigDict(extra="forbid")
    colour: Colour
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=7)
    long: str = Field(min_length=90, max_length=95)
    empty: Annotated[str, Field(max_length=0)]
    count: int = Field(gt=3, lt=5)
    even: int = Field(ge=1, le=9, multiple_of=4)
    below: int = Field(lt=-7)
    ratio: float = Field(ge=0.25, le=0.5)
    flag: bool
    nothing: None
    maybe: int | None
    tags: list[str] = Field(min_length=2, max_length=3)
    unique: set[Literal["a", "b", "c"]] = Field(min_length=2)
    pair: tuple[int, str]
    scores: dict[str, float]
    pet: Cat | Dog = Field(discriminator="kind")
    tree: Node
    at: datetime.datetime
    on: datetime.date
    key: uuid.UUID


@given(st.binary(min_size=32, max_size=32))
def test_a_reply_conforms_to_its_schema(digest: bytes) -> None:
    """For any request, the value validates as it is against the model whose schema was sent."""
    value = compile_schema(Everything.model_json_schema())(digest)
    made = Everything.model_validate_json(orjson.dumps(value), strict=True)
    assert made.model_dump(mode="json", exclude_unset=True).keys() == value.keys() == Everything.model_fields.keys()


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**40))
def test_draws_stay_below_their_limit(seed: int, limit: int) -> None:
    """A draw is in `0 … limit - 1`, and follows from the seed."""
    drawn = Draws(seed).below(limit)
    assert 0 <= drawn < limit
    assert drawn == Draws(seed).below(limit)


def test_a_reply_follows_from_the_digest() -> None:
    """The same digest gives the same value, another one another."""
    make = compile_schema({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]})
    assert make(b"\x01" * 32) == make(b"\x01" * 32) != make(b"\x02" * 32)


@pytest.mark.parametrize(
    ("schema", "accepted"),
    [
        ({"const": 5}, {5}),
        ({"type": ["integer", "null"], "minimum": 2, "maximum": 2}, {2, None}),
        ({"type": "number", "multipleOf": 0.5, "exclusiveMinimum": 1, "maximum": 2}, {1.5, 2.0}),
        ({"oneOf": [{"const": 1}, {"const": 2}]}, {1, 2}),
        (
            {"allOf": [{"$ref": "#/$defs/low"}, {"maximum": 3}], "$defs": {"low": {"type": "integer", "minimum": 3}}},
            {3},
        ),
        ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"enum": ["x"]}}}, {"x"}),
    ],
)
def test_small_schemas_give_what_they_allow(schema: dict[str, Any], accepted: set[Any]) -> None:
    """Every value drawn is allowed, and each allowed one is drawn some time."""
    make = compile_schema(schema)
    assert {make(bytes([number]) * 8) for number in range(64)} == accepted


def test_objects_merged_from_parts_have_the_fields_of_all() -> None:
    """`allOf` joins properties and required names."""
    one = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}
    two = {"properties": {"b": {"const": 2}}, "required": ["b"]}
    assert compile_schema({"allOf": [one, two]})(b"\0" * 8) == {"a": 1, "b": 2}


def test_a_pattern_is_refused_with_the_way_out() -> None:
    """A schema that cannot be served says so."""
    with pytest.raises(DataError, match="no string is made for the pattern"):
        compile_schema({"type": "string", "pattern": "^a+$"})


def test_output_tokens_stay_within_the_requests_ceiling() -> None:
    """Four bytes to a token, never more output than the request allows."""
    assert count_output(["x" * 100], 2) == 2
    assert count_output(["x" * 99], None) == 25
    assert count_output(["", "x" * 5], None, reasoning=7) == 10
