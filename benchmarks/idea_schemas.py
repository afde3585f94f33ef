"""JSON Schema: what a model is told of a function, and what becomes of calls that do not fit, three ways."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import tidemill as tm
from rows import Cell, Row, Setting

WRITTEN = {
    "type": "object",
    "properties": {
        "city": {"description": "where.", "type": "string"},
        "nights": {"description": "how many.", "type": "integer", "maximum": 28, "minimum": 1},
        "room": {"$ref": "#/$defs/Room", "description": "what kind of one."},
    },
    "required": ["city", "nights", "room"],
    "additionalProperties": False,
    "$defs": {
        "Room": {
            "description": "A room, as a function takes it.",
            "type": "object",
            "properties": {
                "beds": {"type": "integer", "maximum": 4, "minimum": 1},
                "board": {"type": "string", "enum": ["none", "half", "full"], "default": "none"},
            },
            "required": ["beds"],
            "additionalProperties": False,
        }
    },
}
"""What is told of the function below, written by hand."""


class Room(BaseModel):
    """A room, as a function takes it."""

    beds: int = Field(ge=1, le=4)
    board: Literal["none", "half", "full"] = "none"


def book(city: str, nights: Annotated[int, Field(ge=1, le=28)], room: Room) -> str:
    """Book a room in a hotel.

    Args:
        city: where.
        nights: how many.
        room: what kind of one.
    """
    return f"{nights} nights in {city}"


class StrictRoom(Room):
    """The same, closed as Pydantic's documentation shows."""

    model_config = ConfigDict(extra="forbid")


class Booking(BaseModel):
    """The function's arguments as one writes them for Pydantic."""

    model_config = ConfigDict(extra="forbid")

    city: str = Field(description="where.")
    nights: int = Field(ge=1, le=28, description="how many.")
    room: StrictRoom = Field(description="what kind of one.")


GOOD = '{"city": "Oslo", "nights": 2, "room": {"beds": 2}}'
WRONG: Mapping[str, tuple[str, str]] = {
    '{"city": "Oslo", "nigths": 2, "room": {"beds": 2}}': ("nigths", "`nights`"),
    '{"city": "Oslo", "room": {"beds": 2}}': ("nights", ""),
    '{"city": "Oslo", "nights": 0, "room": {"beds": 2}}': ("nights", ""),
    '{"city": "Oslo", "nights": true, "room": {"beds": 2}}': ("nights", ""),
    '{"city": "Oslo", "nights": 2, "room": {"beds": 9}}': ("room.beds", ""),
    '{"city": "Oslo", "nights": 2, "room": {"beds": 2, "board": "ful"}}': ("room.board", "`full`"),
}
"""Calls that do not fit, each with the path that has to be named, and the word that was meant where there is one."""

MENDABLE = (
    '```json\n{"city": "Oslo", "nights": 2, "room": {"beds": 2}}\n```',
    '{"city": "Oslo", "nights": 2, "room": {"beds": 2},}',
    '{"city": "Oslo", "nights": 2, "room": "{\\"beds\\": 2}"}',
)
"""Calls that are no such JSON, and can mean one thing only."""


def show_schema(setting: Setting) -> Row:
    """A function's schema by hand, by a Pydantic model, and from the function itself."""
    tool = tm.tool(book)
    assert tool.signature.schema == WRITTEN, "the schema by hand tells something else"
    assert _find_errors(GOOD) is None
    assert tool.signature.check(GOOD).values is not None
    return Row(
        "JSON Schema",
        f"a function with a nested model, bounds and an enum as a model's tool; {len(WRONG)} calls that do not fit, "
        f"{len(MENDABLE)} whose JSON is broken: schema by hand / Pydantic model / `tm.tool`",
        [_call_plainly(), _validate(), _check(tool)],
        note="the calls: a key misspelt, one missing, 0 nights and `true` nights, 9 beds, a word misspelt; JSON "
        "between fences, with a comma too many, and written into a text. What the plain call does not refuse, it "
        "runs; Pydantic takes `true` for 1",
    )


def _call_plainly() -> Cell:
    """The schema as a dictionary, the function called with whatever the JSON holds."""
    caught = sum(_fails(call) for call in WRONG)
    mended = sum(not _fails(call) for call in MENDABLE[:2])  # of the last one the function gets a text for a room
    lines = len(json.dumps(WRITTEN, indent=2).splitlines())
    counts = {"caught": caught, "named": 0, "suggested": 0, "mended": mended, "lines": lines}
    return Cell(f"{lines} lines of schema; {caught} of {len(WRONG)} refused, {len(WRONG) - caught} run", counts)


def _fails(call: str) -> bool:
    try:
        book(**json.loads(call))
    except (TypeError, ValueError):
        return True
    return False


def _validate() -> Cell:
    """The arguments as a model, its errors told as they are."""
    caught = named = suggested = 0
    for call, (path, meant) in WRONG.items():
        found = _find_errors(call)
        caught += found is not None
        named += found is not None and path in [".".join(map(str, each["loc"])) for each in found]
        suggested += bool(meant) and meant in json.dumps(found)
    mended = sum(_find_errors(call) is None for call in MENDABLE)
    lines = sum(len(inspect.getsource(model).splitlines()) for model in (StrictRoom, Booking))
    counts = {"caught": caught, "named": named, "suggested": suggested, "mended": mended, "lines": lines}
    return Cell(_tell(f"{lines} lines of model beside the function", counts), counts)


def _find_errors(call: str) -> list[Any] | None:
    try:
        Booking.model_validate_json(call)
    except ValidationError as error:
        return list(error.errors(include_url=False))
    return None


def _check(tool: Any) -> Cell:
    """The function as it is."""
    caught = named = suggested = 0
    for call, (path, meant) in WRONG.items():
        checked = tool.signature.check(call)
        told = checked.render()
        caught += checked.values is None
        named += told.startswith(f"$.{path}:")
        suggested += bool(meant) and f"did you mean {meant}" in told
    good = tool.signature.check(GOOD).values
    mended = sum(tool.signature.check(call).values == good for call in MENDABLE)
    counts = {"caught": caught, "named": named, "suggested": suggested, "mended": mended, "lines": 0}
    return Cell(_tell("the function alone", counts), counts)


def _tell(written: str, counts: Mapping[str, int]) -> str:
    return (
        f"{written}; {counts['caught']} of {len(WRONG)} refused, {counts['named']} with the path, "
        f"{counts['suggested']} with the word that was meant; {counts['mended']} of {len(MENDABLE)} mended"
    )
