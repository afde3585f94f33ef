"""What every built-in reader of a source part is: builtin-speed iteration, and its place when asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import Any, NoReturn

from tidemill.errors import ResourceError, TidemillError
from tidemill.protocols import State


class PartReader(chain[Any], ABC):
    """The records of one part; a `RecordIterator` that also knows its state one record back.

    A subclass of `itertools.chain` keeps the C-speed `__next__`; readers are made with `from_iterable` over a
    generator of short runs of records, and share with it an object that says where the current run stands.
    A reader must not be reachable from that generator: dropping the reader then closes its file at once.
    """

    @abstractmethod
    def state(self, back: int = 0) -> State:
        """Where the reader stands; with `back=1`, where it stood before the record it gave last."""

    def spot(self) -> Callable[[], State]:
        """What gives, when it is called, the place of `state(1)` as it is now: cheap to take, and to be kept."""
        state = self.state(1)
        return lambda: state

    @abstractmethod
    def close(self) -> None:
        """Release what the reader holds open; may be called twice."""


def raise_each(errors: Iterable[BaseException]) -> Iterator[Any]:
    """An iterator that raises the errors one by one and is then at its end.

    A chain goes on after such a link, while an error out of the generator that feeds the chain would end it.
    """
    return _Raising(errors)


def hold_failure(links: Iterator[Iterator[Any]]) -> Iterator[Iterator[Any]]:
    """The links of a reader, and behind a failure of the run that one for ever.

    A chain whose generator raised is at its end, which would be taken for that of the data.
    """
    try:
        for link in links:  # noqa: UP028 - `yield from` would close them in whatever thread drops this
            yield link
    except ResourceError as error:
        failure = error.with_traceback(None)
        yield raise_each(repeat(failure))


class _Raising:
    """Lets go of each error as it raises it: its traceback holds the frames of whoever reads, and so their files."""

    def __init__(self, errors: Iterable[BaseException]) -> None:
        self._errors = iter(errors)
        self._ahead: BaseException | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> NoReturn:
        error = self._ahead or next(self._errors)
        self._ahead = next(self._errors, None)  # an iterator at its end lets go of what it went through
        try:
            raise error
        finally:
            del error


class Broken:
    """Raises the same error for ever: what is behind one that ended the stream may not be read as if it were next."""

    def __init__(self, error: BaseException) -> None:
        if isinstance(error, TidemillError):
            error.of = "run"  # passed over, it would be asked for without end
        self._error = error

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise self._error
