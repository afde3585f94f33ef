"""Schemas of every kind, held to by llama.cpp itself: the embedded model's replies fit, whatever it would rather say."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import tidemill as tm
from tidemill.models.local.server import EMBEDDED

pytestmark = pytest.mark.local


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field(max_length=8)


class Chain(BaseModel):
    label: Literal["a", "b"]
    next: Chain | None


@dataclasses.dataclass
class Event:
    day: datetime.date
    at: datetime.time
    colour: Colour
    id: uuid.UUID


KINDS: dict[str, Any] = {
    "dates, times, enums and ids": Event,
    "a tagged union": Annotated[Cat | Dog, Field(discriminator="kind")],
    "a list of a union": Annotated[list[Cat | Dog], Field(min_length=1, max_length=2)],
    "what holds itself": Chain,
    "a tuple": tuple[Literal[1, 2], bool],
    "choices": Literal["yes", "no"],
    "a decimal": Annotated[decimal.Decimal, Field(ge=-(10**40))],
    "a JSON Schema": {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "sizes": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
        },
        "required": ["kind", "sizes"],
        "additionalProperties": False,
    },
}
