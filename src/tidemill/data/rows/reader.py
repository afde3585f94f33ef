"""Going through rows in the order of an index, as a reader that knows its place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from operator import length_hint
from typing import Any, cast

from tidemill.data.formats.format import Rows
from tidemill.data.reader import PartReader, raise_each
from tidemill.data.rows.index import Index
from tidemill.errors import StateError
from tidemill.protocols import State

_BLOCK_ROWS = 256


class RowReader(PartReader):
    """The records at the places of an index. A record that cannot be read counts as one.

    Memory: a block of 256 records.   Resume: exact, nothing is read again.   Threads: any, one at a time.
    """

    _place: _Place
    _index: Index

    def state(self, back: int = 0) -> State:
        return {"row": self._place.find(back), "size": self._place.size, "stamp": self._place.stamp}

    def turn(self) -> int | None:
        """The number, in front of the shard, of the record given last."""
        return self._index.find_turn(self._place.find(1))

    def close(self) -> None:
        """Nothing of its own is held open: the rows are their dataset's."""


class _Place:
    """Where a reader stands; shared with the generator that feeds it."""

    def __init__(self, start: int, size: int, stamp: str) -> None:
        self.start = start
        self.size = size
        self.stamp = stamp
        self._link: Iterator[Any] = iter(())
        self._length = 0

    def follow(self, outcomes: list[Any]) -> Iterator[Any]:
        """The records as the next link."""
        self._step(iter(outcomes), len(outcomes))
        return self._link

    def fail(self, error: BaseException) -> Iterator[Any]:
        """A record that cannot be read, as the next link."""
        self._step(iter(()), 1)
        return raise_each((error,))

    def find(self, back: int) -> int:
        return self.start + self._length - length_hint(self._link) - back

    def _step(self, link: Iterator[Any], length: int) -> None:
        self.start += self._length
        self._link, self._length = link, length


def open_row_reader(rows: Rows, index: Index, stamp: str, state: State | None) -> RowReader:
    """A reader of `rows` in the order of `index`, from its start or from `state`.

    Raises:
        StateError: the rows are not those that the state was taken of.
    """
    place = _Place(state["row"] if state else 0, len(index), stamp)
    if state is not None and (state["size"] != place.size or state["stamp"] != stamp):
        raise StateError(
            f"the state belongs to a dataset of {state['size']:,} records, this one has {place.size:,}"
            if state["size"] != place.size
            else "the dataset's files are not those that the state was taken of",
            hint="put them back as they were, or start without a state",
        )
    reader = cast(RowReader, RowReader.from_iterable(_iter_blocks(rows, index, place)))
    reader._place = place
    reader._index = index
    return reader


def _iter_blocks(rows: Rows, index: Index, place: _Place) -> Iterator[Iterator[Any]]:
    span = index.span
    if span is not None:
        yield from _iter_span(rows.iter_rows(span.start + place.start, span.stop), place)
        return
    start = place.start
    while start < len(index):
        numbers = index.read(start, min(start + _BLOCK_ROWS, len(index)))
        records: list[Any] | None = None
        with suppress(Exception):  # told at its place
            records = rows.read_rows(numbers)
        if records is None:
            yield from _iter_singly(rows, numbers, place)
        else:
            yield place.follow(records)
        start += len(numbers)


def _iter_span(records: Iterator[Any], place: _Place) -> Iterator[Iterator[Any]]:
    """A stretch of rows in blocks that end early where a record cannot be read."""
    while True:
        block: list[Any] = []
        failures: list[BaseException] = []
        try:
            block.extend(islice(records, _BLOCK_ROWS))
        except BaseException as error:  # noqa: BLE001 - as above
            failures.append(error)
        if not block and not failures:
            return
        if block:
            yield place.follow(block)
        while failures:  # popped: an error has this frame in its traceback
            yield place.fail(failures.pop())


def _iter_singly(rows: Rows, numbers: list[int], place: _Place) -> Iterator[Iterator[Any]]:
    for number in numbers:
        try:
            link = place.follow([rows.read_row(number)])
        except BaseException as error:  # noqa: BLE001 - as above
            link = place.fail(error)
        yield link
