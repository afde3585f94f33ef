"""Pydantic models by the number: every kind of field that a reply may have, nested, shared and by itself."""

from __future__ import annotations

import datetime
import decimal
import enum
import random
import uuid
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, Field, WithJsonSchema, create_model


class Colour(enum.Enum):
    """What it looks like."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Tree(BaseModel):
    """A node and what hangs on it."""

    value: int
    children: list[Tree]


class Chain(BaseModel):
    label: str
    next: Chain | None = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


PLAIN: tuple[Any, ...] = (str, int, float, bool, datetime.date, datetime.datetime, datetime.time, datetime.timedelta)
PLAIN += (
    decimal.Decimal,
    uuid.UUID,
    Colour,
    Level,
    Literal["a", "b"],
    Literal["only"],
    Literal[1, 2],
    Literal[True],
    None,
)
PLAIN += (Annotated[int, Field(ge=0, lt=10)], Annotated[float, Field(gt=0.5, multiple_of=0.5)])
PLAIN += (Annotated[str, Field(pattern="^a+$")], Annotated[list[int], Field(min_length=1, max_length=3)], Tree, Chain)
"""Fields that OpenAI's strict mode holds a reply to."""

LOSSY: tuple[Any, ...] = (
    Annotated[str, WithJsonSchema({"type": "string", "pattern": "^(?!x)"})],
    Annotated[str, Field(max_length=4)],
    set[str],
    bytes,
    Literal["a", 1],
)
LOSSY += (Annotated[Cat | Dog, Field(discriminator="kind")], Annotated[str, Field(examples=["Emden"])])
"""Those whose schema has a word that it does not know."""

SHAPELESS: tuple[Any, ...] = (dict[str, int], tuple[int, str], Any, dict, list)
"""Those that it has no words for."""


def make_model(seed: int, *, lossy: bool = False, shapeless: bool = False) -> type[BaseModel]:
    """The model of that number: equal numbers give equal ones.

    Args:
        lossy, shapeless: whether one of its fields is of the kind.
    """
    rng = random.Random(seed)
    made = _make(rng, depth=0)
    more: dict[str, Any] = {}
    if lossy:
        more["lossy"] = (rng.choice(LOSSY), ...) if rng.random() < 0.7 else (int, rng.choice([0, 5]))
    if shapeless:
        more["shapeless"] = (rng.choice(SHAPELESS), ...)
    return create_model(f"Made{seed}", __base__=made, **more) if more else made


def _make(rng: random.Random, depth: int) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    shared = _annotation(rng, depth)
    for number in range(rng.randint(1, 5)):
        kind = shared if rng.random() < 0.2 else _annotation(rng, depth)
        if rng.random() < 0.25:
            kind = kind | None if not isinstance(kind, str) and kind is not None else kind
            default = rng.choice([None, ...])
        else:
            default = ...
        described = rng.random() < 0.3
        fields[f"field_{number}"] = (kind, Field(default, description="What it holds." if described else None))
    doc = rng.choice([None, "A thing."])
    return create_model(f"Part{rng.randrange(10**6)}", __doc__=doc, **fields)


def _annotation(rng: random.Random, depth: int) -> Any:
    draw = rng.random()
    if draw < 0.2 and depth < 3:
        return _make(rng, depth + 1)
    if draw < 0.35:
        return list[_annotation(rng, depth + 1)]  # type: ignore[misc]
    if draw < 0.45 and depth < 3:
        return Union[rng.choice(PLAIN[:4]), _make(rng, depth + 1)]  # noqa: UP007 - of values
    return rng.choice(PLAIN)
