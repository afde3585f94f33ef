"""What a reader of a file gives at a time, whatever its format: some records or one error; of a share its part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import length_hint
from typing import Any, Generic, TypeVar

from tidemill.data.reader import raise_each
from tidemill.data.turns import Share
from tidemill.protocols import State


class Items:
    """Records with nothing between them, or one error.

    Attributes:
        count: how many there are to give.
        is_error: whether the one item is an error, to be raised.
        seen: of a share, the number of the first item among all of the source.
    """

    __slots__ = ("_items", "_places", "_total", "count", "is_error", "seen")

    def __init__(self, items: list[Any], *, is_error: bool = False) -> None:
        self.count = len(items)
        self.is_error = is_error
        self.seen = 0
        self._items = iter(items)
        self._places: Sequence[int] | None = None
        self._total = self.count

    def choose(self, share: Share) -> None:
        """Keep the items that are the share's turn, unless these were chosen; none may have been given."""
        if self._places is None:
            items = list(self._items)
            seen, places = share.seen, share.take(len(items))
            self.share([items[place] for place in places], seen, places, len(items))

    def share(self, items: list[Any], seen: int, places: Sequence[int], total: int) -> None:
        """Let `items` be given, which stand at `places` among `total`, the first of which is numbered `seen`."""
        self._items = iter(items)
        self.count = len(items)
        self.seen, self._places, self._total = seen, places, total

    def link(self) -> Iterator[Any]:
        """What the reader's chain goes through."""
        return raise_each(self._items) if self.is_error else self._items

    def given(self) -> int:
        """How many were given."""
        return self.count - length_hint(self._items)

    def before(self, given: int) -> int:
        """How many of all, chosen or not, stand before what comes behind `given` of those it gives."""
        if self._places is None:
            return given
        if given >= self.count:
            return self._total
        return self._places[given - 1] + 1 if given else 0

    def passed(self, back: int) -> int:
        """How many of all stand before what comes next, had `back` fewer been given."""
        return self.before(self.given() - back)


R = TypeVar("R", bound=Items)


class Place(Generic[R]):
    """Where a reader stands; shared with the generator that feeds it.

    Args:
        run: one that is over, at the place that it begins from.
        share: whose turn records and failures are; None gives all.

    Attributes:
        run: what it is giving now.
    """

    __slots__ = ("_share", "run")

    def __init__(self, run: R, share: Share | None) -> None:
        self.run = run
        self._share = share
        if share is not None:
            run.seen = share.seen

    def follow(self, run: R) -> Iterator[Any]:
        """The run as what the reader's chain goes through next; of a share, what of it is its turn."""
        if self._share is not None:
            run.choose(self._share)
        self.run = run
        return run.link()

    def mark(self, back: int) -> State:
        """Of a share, what its state has besides: the number, among all of the source, of what comes next."""
        return {} if self._share is None else {"seen": self.run.seen + self.run.passed(back)}
