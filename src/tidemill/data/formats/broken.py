"""What is read of a file that cannot be read at all: one error, and then the end."""

from __future__ import annotations

from typing import cast

from tidemill.data.formats.items import Items, Place
from tidemill.data.reader import PartReader
from tidemill.data.turns import Share
from tidemill.errors import DataError
from tidemill.protocols import State


class BrokenReader(PartReader):
    """The one error of a file, and then its end; with a share, the error is one rank's turn, as a record would be."""

    _place: Place[Items]
    _before: State
    _after: State

    def state(self, back: int = 0) -> State:
        items = self._place.run
        is_told = items.given() - back >= items.count
        return {**(self._after if is_told else self._before), **self._place.mark(back)}

    def close(self) -> None:
        """Nothing is open."""


def open_failing(error: DataError, before: State, after: State, *, told: bool, share: Share | None) -> BrokenReader:
    """A reader that raises `error` once, unless it was told.

    Args:
        before: its state in front of the error.
        after: its state behind that.
        share: whose turn the error is; None gives it to all.
    """
    place = Place(Items([]), share)
    link = place.follow(Items([] if told else [error], is_error=True))
    reader = cast(BrokenReader, BrokenReader.from_iterable(iter((link,))))
    reader._place, reader._before, reader._after = place, before, after
    return reader


def open_broken(error: DataError, stamp: State, state: State | None, share: Share | None = None) -> BrokenReader:
    """A reader of a file that is none of its format: raises `error` once, unless `state` says that it did.

    Args:
        stamp: what tells the file from another.
    """
    before = {"group": 0, "row": 0, "read": 0, **stamp}
    told = bool(state and state.get("failed"))
    return open_failing(error, before, {**before, "failed": True}, told=told, share=share)
