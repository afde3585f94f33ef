"""`ToolCalls`: a reply that asks to have tools called."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.errors import DataError


@dataclass(frozen=True, slots=True, init=False)
class ToolCalls:
    """What a scripted model asks to have called: `ToolCalls(("search", {"q": "tide"}), ("clock", {}))`.

    Attributes:
        calls: names and arguments, those as JSON; given as text they go as they are, well formed or not.
        text: what it says besides.
    """

    calls: tuple[tuple[str, str], ...]
    text: str

    def __init__(self, *calls: tuple[str, Mapping[str, Any] | str], text: str = "") -> None:
        written: list[Any] = list(calls)
        if any(isinstance(each, (str, Mapping)) or len(each) != 2 for each in written):
            raise TypeError('each call is a pair, its name and its arguments: ToolCalls(("search", {"q": "tide"}))')
        told = [(name, given if isinstance(given, str) else orjson.dumps(given).decode()) for name, given in calls]
        object.__setattr__(self, "calls", tuple(told))
        object.__setattr__(self, "text", text)

    def identify(self, digest: bytes) -> list[str]:
        """The ids of the calls in the reply to the request of that digest."""
        return [hashlib.sha256(digest + b"%d" % place).hexdigest()[:24] for place in range(len(self.calls))]


Content = str | ToolCalls
"""What a reply holds."""


def count_characters(content: Content) -> int:
    """The characters a reply is billed by: of its text, and of names and arguments."""
    if isinstance(content, str):
        return len(content)
    return len(content.text) + sum(len(name) + len(arguments) for name, arguments in content.calls)


def halve(content: Content) -> Content:
    """What a limit in the midst leaves: half of a text; of calls the last one with half of its arguments."""
    if isinstance(content, str):
        return content[: len(content) // 2]
    *whole, (name, arguments) = content.calls
    return ToolCalls(*whole, (name, arguments[: len(arguments) // 2]), text=content.text)


def check_results(turns: list[tuple[list[str], list[str], bool]]) -> None:
    """Refuse what providers refuse: a result of no call, and calls that are gone on from without their results.

    Args:
        turns: of each turn the ids that it calls by and that it has results for, and whether results alone make it.

    Raises:
        DataError: says which.
    """
    waiting: list[str] = []
    for number, (called, answered, is_result) in enumerate(turns):
        for identity in answered:
            if identity not in waiting:
                raise DataError(f"messages.{number}: a result of {identity!r}, which the turn before does not call")
            waiting.remove(identity)
        if not is_result or called:
            if waiting:
                raise DataError(f"messages.{number}: no results of {', '.join(waiting)} stand before it")
            waiting = list(called)
    if waiting:
        raise DataError(f"messages: no results of {', '.join(waiting)} stand behind the calls")
