"""Reading the items of a Python iterable, with a running checksum of those given where it holds them."""

from __future__ import annotations

import sys
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import compress, islice, repeat
from operator import length_hint
from sys import maxsize
from typing import Any, cast

import orjson

from tidemill.data.reader import PartReader
from tidemill.errors import StateError
from tidemill.protocols import Growth, State

_CANONICAL = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


class ItemsReader(PartReader):
    """Counts what it gives without a step per item: by how many of its ticks are left."""

    _ticks: repeat[bool]
    _track: _Track | None

    def state(self, back: int = 0) -> State:
        given = maxsize - length_hint(self._ticks)
        state: State = {"count": given - back}
        if self._track is not None:
            state |= {"length": len(self._track.items), "crc": self._track.find_crc(given, back)}
        return state

    def spot(self) -> Callable[[], State]:
        return partial(_place, maxsize - length_hint(self._ticks) - 1)

    def close(self) -> None:
        """Nothing is held open."""


def _place(count: int) -> State:
    return {"count": count}


class _Track:
    """The checksum of the items given; kept from the first time it is asked for, since most readers never are."""

    def __init__(self, items: Sequence[Any], *, started: bool) -> None:
        self.items = items
        self._started = started
        self._crc = self._before = 0  # of the items given, and of those before the last one

    def note(self, item: Any) -> Any:
        """`item`, taken into the checksum before anything can change it."""
        if self._started:
            self._before, self._crc = self._crc, _add_item(self._crc, item)
        return item

    def find_crc(self, given: int, back: int) -> int:
        """The checksum of the `given` items, or of all but the last `back` (0 or 1) of them."""
        if not self._started:
            self._started = True
            for item in islice(self.items, given):
                self.note(item)
        return self._before if back else self._crc


def _add_item(crc: int, item: Any) -> int:
    """`crc` with `item` in it: its JSON, whatever the order of keys; of what JSON has no form for, the type."""
    try:
        return zlib.crc32(orjson.dumps(item, _sum_up, _CANONICAL), crc)
    except TypeError:  # an integer beyond 64 bits, a lone surrogate, an endless nesting
        return zlib.crc32(_name_type(item).encode(), crc)


def _sum_up(value: Any) -> Any:
    """What stands in the JSON for a value that has no form there: of an array the checksum of its bytes."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray) and not value.dtype.hasobject:
        return [value.dtype.str, value.shape, zlib.crc32(value.tobytes())]  # its numbers as text take ten times as long
    if numpy is not None and isinstance(value, numpy.generic):
        return value.item()
    return _name_type(value)


def _name_type(value: Any) -> str:
    return type(value).__qualname__


def compare_items(items: Sequence[Any], state: State) -> Growth:
    """Whether `items`, up to `state`, are what was given then."""
    count = state["count"]
    crc = 0
    for item in islice(items, count):
        crc = _add_item(crc, item)
    if len(items) < count or crc != state["crc"]:
        return "edited"
    return "grown" if len(items) > state["length"] else "same"


def open_items(iterator: Iterator[Any], state: State | None, held: Sequence[Any] | None) -> ItemsReader:
    """A reader of what `iterator` gives, from its start or behind what was given before `state`.

    Args:
        held: the sequence that the iterator goes through, None when it goes through none.

    Raises:
        StateError: the iterator ends in front of `state`, or gives other items than it gave then.
    """
    count = state["count"] if state else 0
    crc = state.get("crc") if state else None
    ticks = repeat(True, maxsize)
    track = None if held is None else _Track(held, started=crc is not None)
    counted = compress(iterator if track is None else map(track.note, iterator), ticks)
    reader = cast(ItemsReader, ItemsReader.from_iterable((counted,)))
    reader._ticks = ticks
    reader._track = track
    deque(islice(counted, count), maxlen=0)
    passed = maxsize - length_hint(ticks)
    if passed < count:
        raise StateError(
            f"the state stands behind item {count}, but the iterable ends after {passed}",
            hint="give the iterable the state was taken from, or start without a state",
        )
    if track is not None and crc is not None and track.find_crc(count, 0) != crc:
        raise StateError(
            f"an item was edited before item {count}, where the state stands",
            hint="give the iterable the state was taken from, or start without a state; a function must not change "
            "what is nested in a record",
        )
    return reader
