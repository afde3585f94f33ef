"""Call numbers of an agent's run: turn, place in the turn, and those of the runs it is within."""

from __future__ import annotations

from collections.abc import Iterator

PLACES = 1_000
"""Calls of one turn at most, the model's own among them, which has the place 0."""
LEVEL = PLACES * 1_000
MAX_TURNS = 999
MAX_DEPTH = 3
"""Runs within runs: a number has 63 bits, and a level takes twenty of them."""


def number_call(within: int, turn: int, place: int) -> int:
    """The number of a call.

    Args:
        within: the number of the call that the run belongs to, 0 for none.
        turn: from 1 on.
        place: 0 for the model, then its tool calls in order.

    >>> number_call(0, 2, 1), number_call(number_call(0, 2, 1), 1, 0)
    (2001, 2001001000)
    """
    return within * LEVEL + turn * PLACES + place


def iter_around(number: int) -> Iterator[int]:
    """The numbers of the calls that this one is within, the nearest first.

    >>> list(iter_around(2001001003001000))
    [2001001003, 2001]
    """
    while (number := number // LEVEL) > 0:
        yield number


def show_number(number: int) -> str:
    """The number as people read it: turn and place of each level.

    >>> show_number(2001001000)
    '2.1 / 1.0'
    """
    levels = []
    while number:
        number, level = divmod(number, LEVEL)
        turn, place = divmod(level, PLACES)
        levels.append(f"{turn}.{place}")
    return " / ".join(reversed(levels))
