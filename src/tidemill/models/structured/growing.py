"""`Growing`: the values in JSON that is still being written."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json

from tidemill.models.structured.checking import WRAPPED
from tidemill.models.structured.plan import OutputPlan
from tidemill.models.structured.repair import repair_json

MIN_GROWTH = 64
"""Characters that a text grows by before it is read anew, from this share of it on: reading it takes its length."""
_SHARE = 0.02
_NUMBER = "0123456789.eE+-"
"""What a number at the end may go on with."""


class Growing:
    """Takes the pieces of one reply and gives what there is of it.

    A number, a word and a key are there once they have ended, a text as far as it is written. Text in front of the JSON
    is passed over, as of a fence. Reading takes as long as what there is, so of a long text not each piece is read.
    """

    def __init__(self, plan: OutputPlan) -> None:
        self._is_wrapped = plan.is_wrapped
        self._text = ""
        self._start = -1
        self._read_to = 0
        self._last: Any = None

    def add(self, piece: str) -> Any:
        """What there is now, behind `piece`; None where that is no more than before."""
        self._text += piece
        if self._start < 0:
            self._start = _find_start(self._text)
            if self._start < 0:
                return None
        if len(self._text) - self._read_to < min(MIN_GROWTH, len(self._text) * _SHARE):
            return None
        self._read_to = len(self._text)
        try:
            value = from_json(self._text[self._start :].rstrip(_NUMBER), allow_partial="trailing-strings")
        except ValueError:  # no JSON yet, or text behind it
            return None
        return self._grow(value)

    def finish(self, text: str) -> Any:
        """What the whole reply comes to, whose JSON is `text`; None where that is no more than before, or no JSON."""
        repaired = repair_json(text)
        return None if repaired is None else self._grow(from_json(repaired.value_text))

    def _grow(self, value: Any) -> Any:
        if self._is_wrapped:
            if not isinstance(value, dict) or WRAPPED not in value:
                return None
            value = value[WRAPPED]
        if value == self._last:
            return None
        self._last = value
        return value


def _find_start(text: str) -> int:
    """Where JSON begins: at the first bracket, or at once where the first character is another value's."""
    stripped = text.lstrip()
    if stripped and (stripped[0] in '"-' or stripped[0].isdigit()):
        return len(text) - len(stripped)
    places = [place for place in (text.find("{"), text.find("[")) if place >= 0]
    return min(places, default=-1)
