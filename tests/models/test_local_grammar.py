"""Schemas of every kind, held to by llama.cpp itself: the embedded model's replies fit, whatever it would say."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

import tidemill as tm


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
    pair: tuple[Literal[1, 2], bool]


KINDS: dict[str, tuple[Any, str, float]] = {
    "dates, times, enums and tuples": (Event, "Make one up.", 1.5),
    "a list of a tagged union": (
        Annotated[list[Annotated[Cat | Dog, Field(discriminator="kind")]], Field(min_length=1, max_length=2)],
        "Make one up.",
        1.5,
    ),
    # Drawn hot it may go on within itself for ever.
    "what holds itself": (Chain, 'Copy this: {"label": "a", "next": {"label": "b", "next": null}}', 0.0),
    "a JSON Schema": (
        {
            "type": "object",
            "properties": {
                "kind": {"enum": ["a", "b"]},
                "size": {"type": "integer", "minimum": 3, "maximum": 5},
                "marks": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
            },
            "required": ["kind", "size", "marks"],
            "additionalProperties": False,
        },
        "Make one up.",
        1.5,
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_first_reply_fits(name: str, local_url: str) -> None:
    """Drawn hot, so that only the grammar can hold it; nothing is asked again, and nothing mended."""
    output, prompt, temperature = KINDS[name]
    with tm.model("local/smollm2").open() as model:
        model(prompt, output=output, max_tokens=150, max_reasks=0, temperature=temperature)
        [(label, share)] = model.calls["shares"].items()
    assert (label, share["calls"], share["counts"]) == ("schema", 1, {})
