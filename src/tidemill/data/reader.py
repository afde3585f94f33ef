"""What every built-in reader of a source part is: builtin-speed iteration, and its place when asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NoReturn

from tidemill.protocols import State


class PartReader(chain[Any]):
    """The records of one part; a `RecordIterator` that also knows its state one record back.

    A subclass of `itertools.chain` keeps the C-speed `__next__`; readers are made with `from_iterable` over a
    generator of short runs of records, and share with it an object that says where the current run stands.
    A reader must not be reachable from that generator: dropping the reader then closes its file at once.
    """

    def state(self, back: int = 0) -> State:
        """Where the reader stands; with `back=1`, where it stood before the record it gave last."""
        raise NotImplementedError

    def close(self) -> None:
        """Release what the reader holds open; may be called twice."""
        raise NotImplementedError


def raise_each(errors: Iterable[BaseException]) -> Iterator[Any]:
    """An iterator that raises the errors one by one and is then at its end.

    A chain goes on after such a link, while an error out of the generator that feeds the chain would end it.
    """
    return _Raising(errors)


class _Raising:
    """Lets go of each error as it raises it: its traceback holds the frames of whoever reads, and so their files."""

    def __init__(self, errors: Iterable[BaseException]) -> None:
        self._errors = iter(errors)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> NoReturn:
        error = next(self._errors)
        following = next(self._errors, None)  # an iterator at its end lets go of what it went through
        if following is not None:
            self._errors = chain((following,), self._errors)
        try:
            raise error
        finally:
            del error
