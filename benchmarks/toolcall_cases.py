"""The calls of `benchmarks/tools`: 15 that are bad, and some that mean one thing only although they are written oddly.

All are of `book_room` in `toolcall_types.py`, with one thing wrong each. Imports nothing beyond the standard library:
peers use it in virtual environments of their own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

TOOL = "book_room"
RIGHT: dict[str, Any] = {
    "city": "Emden",
    "arrival": "2026-07-04",
    "nights": 3,
    "room": "double",
    "board": "breakfast",
    "guests": [{"name": "Ada", "age": 36}, {"name": "Tom", "age": 4}],
    "contact": {"email": "ada@example.org"},
}
"""What is meant each time."""

TEXT = json.dumps(RIGHT)


@dataclass(frozen=True)
class Call:
    """A call as a model wrote it.

    Attributes:
        name: what is wrong with it.
        arguments: JSON, or nearly.
        tool: the tool's name as it was written.
    """

    name: str
    arguments: str
    tool: str = TOOL


@dataclass(frozen=True)
class BadCall(Call):
    """A call that has no right reading, so that the model has to be told.

    Attributes:
        field: what is wrong, by the names on the way to it; empty where it is the text.
        meant: the name or value that was misspelt, as it should be; empty where nothing was.
        expected: a pattern of what the message must have for the call to be mended by it, in any library's words.
    """

    field: tuple[str, ...] = ()
    meant: str = ""
    expected: str = ""


def change(**values: Any) -> str:
    """The right arguments but for `values`, in the same order."""
    return json.dumps(RIGHT | values)


def rename(wrong: str, name: str) -> str:
    """The right arguments with `wrong` for the key `name`."""
    return json.dumps({wrong if key == name else key: value for key, value in RIGHT.items()})


def leave_out(name: str) -> str:
    """The right arguments without one."""
    return json.dumps({key: value for key, value in RIGHT.items() if key != name})


_ADA, _TOM = RIGHT["guests"]
_NUMBER = r"\bint(eger)?\b|whole number"

BAD = (
    BadCall("misspelt tool", TEXT, tool="book_rom", field=("book_rom",), meant="book_room", expected=r"\bbook_room\b"),
    BadCall("misspelt argument", rename("bord", "board"), field=("bord",), meant="board", expected=r"\bboard\b"),
    BadCall("missing argument", leave_out("nights"), field=("nights",), expected=_NUMBER),
    BadCall(
        "unknown argument", change(language="de"), field=("language",), expected="unknown|unexpected|extra|additional"
    ),
    BadCall("true for an integer", change(nights=True), field=("nights",), expected=_NUMBER),
    BadCall("64.5 for an integer", change(nights=64.5), field=("nights",), expected=_NUMBER),
    BadCall("null for a text", change(city=None), field=("city",), expected=r"\bstr(ing)?\b|\btext\b"),
    BadCall("number for a text", change(city=26721), field=("city",), expected=r"\bstr(ing)?\b|\btext\b"),
    BadCall("out of range", change(nights=45), field=("nights",), expected=r"\b30\b"),
    BadCall("day that is none", change(arrival="2026-02-30"), field=("arrival",), expected=r"\bdate\b|\bday\b"),
    BadCall("misspelt choice", change(room="dubble"), field=("room",), meant="double", expected=r"\bdouble\b"),
    BadCall(
        "misspelt nested field",
        change(guests=[_ADA, {"name": "Tom", "agee": 4}]),
        field=("guests", "1", "agee"),
        meant="age",
        expected=r"\bage\b",
    ),
    BadCall(
        "list for an object",
        change(contact=[RIGHT["contact"]]),
        field=("contact",),
        expected=r"\bobject\b|\bmapping\b|\bdict(ionary)?\b|instance of Contact",
    ),
    BadCall("argument given twice", f'{TEXT[:-1]}, "nights": 4}}', field=("nights",), expected="twice|duplicate"),
    BadCall(
        "cut off", TEXT[:-2], expected=r"\}|\bEOF\b|cut|delimiter|unterminated|end of (?:the )?(?:input|text|data)"
    ),
)

CLEAR = (
    Call("right", TEXT),
    Call("number in quotes", change(nights="3")),
    Call("object as text", change(contact=json.dumps(RIGHT["contact"]))),
    Call("all as text", json.dumps(TEXT)),
    Call("trailing comma", f"{TEXT[:-1]},}}"),
    Call("words around it", f"Here is the call:\n```json\n{TEXT}\n```"),
)
"""Calls that can mean one thing only. The first must be taken for a library to take part."""
