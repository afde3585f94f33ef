"""The tools of `benchmarks/tools`: plain functions, which every library there takes as they stand.

Needs Pydantic alone: peers use it in virtual environments of their own.
"""

from __future__ import annotations

from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field
from pydantic_core import to_jsonable_python

EXECUTED: list[dict[str, Any]] = []
"""The arguments of each booking that was executed, as JSON values: what was given, whatever was sent."""


class Room(Enum):
    SINGLE = "single"
    DOUBLE = "double"
    SUITE = "suite"


class Guest(BaseModel):
    name: str
    age: int = Field(ge=0, le=120)


class Contact(BaseModel):
    phone: str | None = None
    email: str


def book_room(
    city: str,
    arrival: date,
    nights: Annotated[int, Field(ge=1, le=30)],
    room: Room,
    guests: list[Guest],
    contact: Contact,
    board: Literal["none", "breakfast", "half-board", "full-board"] = "none",
    note: str | None = None,
) -> str:
    """Book a room in a hotel.

    Args:
        city: where the hotel is.
        arrival: the first day.
        nights: how many of them.
        room: what kind of room.
        guests: who comes.
        contact: whom the hotel writes to.
        board: the meals that are booked with it.
        note: what the hotel should know.
    """
    EXECUTED.append(to_jsonable_python(locals()))
    return "booked"


def cancel_room(reference: str, reason: Literal["illness", "weather", "other"] = "other") -> str:
    """Cancel a booking.

    Args:
        reference: of the booking.
        reason: why.
    """
    return f"{reference} is cancelled: {reason}"
