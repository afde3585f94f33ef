"""The iterators behind the steps of a source half.

A stage is a chain of builtin iterators, so no Python code of ours runs per record, and it works out where it stands
only when asked: `marks(0)` is its state now, `marks(1)` its state in front of the record it gave last. The latter is
exact as long as nothing was asked of the stage since, which is all that `flat_map` and an error's place need.

Errors: a stage that raised goes on with the next record. An error out of what feeds a chain would end the chain, so
feeders hand errors over as links that raise (`raise_each`), or raise them in a link of their own (`guard`, a generator
around a link: 10 ns a record). A builtin `map` or `filter` takes a StopIteration out of the user's function for the
end; it was one only when the stage in front has ended.

A generator that is dropped is closed where it stands: by a GeneratorExit whose traceback goes no further. One that goes
further was raised by what it called. That is told in place, with no name of a module: at the end of the process these
are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import chain
from types import GeneratorType
from typing import Any, cast

from tidemill.data.failing.failures import raise_explained, stop_iteration_error
from tidemill.data.records.origin import Origin
from tidemill.protocols import State


class Stage(chain[Any]):
    """One step's iterator on top of the stage in front of it."""

    upstream: Stage
    step: str

    def ended(self) -> bool:
        """Whether it has been asked for more and had no more; one that holds records is not at its end before them."""
        return self.upstream.ended()

    def marks(self, back: int) -> State:
        """The state of all stages up to this one; with `back=1`, in front of the record given last."""
        return self.upstream.marks(back)

    def origin(self) -> Origin:
        """Where the record given last came from, as far as is known without reading again."""
        return self.describe(self.spot())

    def spot(self) -> Any:
        """The same before it is put into words: what `describe` takes, now or later. Takes 1 to 3 us."""
        return self.upstream.spot()

    def describe(self, spot: Any) -> Origin:
        """The origin of the record that was at that `spot`."""
        return self.upstream.describe(spot).through(self.step)

    def counts(self) -> Any:
        """What the source and each step up to here have given, where they are counted (`stages/tally.py`)."""
        return self.upstream.counts()

    def gathers(self) -> bool:
        """Whether records are gathered on the way here, so that `explain` knows more than `origin`."""
        return self.upstream.gathers()

    def explain(self) -> Origin:
        """Where the record given last came from; a stage that gathers records reads its last ones again."""
        return self.upstream.explain().through(self.step)

    def turn(self) -> int | None:
        """The number, in front of the shard on the way here, of the record given last; None without a shard."""
        return self.upstream.turn()

    def leave(self) -> None:
        """Leave the steps that were entered for it, in the thread that goes through it; may be called twice."""

    def close(self) -> None:
        """Close the file being read; may be called twice."""
        self.upstream.close()


class FedStage(Stage):
    """A stage fed by a generator of links: at its end when that is."""

    feeder: Generator[Iterator[Any]]

    def ended(self) -> bool:
        return cast("GeneratorType[Any, Any, Any]", self.feeder).gi_frame is None


def open_calls(upstream: Stage, make: Callable[[Stage], Iterator[Any]], step: str) -> Stage:
    """The stage that gives what `make(upstream)`, a `map` or a `filter`, gives."""
    stage = cast(Stage, Stage.from_iterable(iter_calls(upstream, make, step)))
    stage.upstream = upstream
    stage.step = step
    return stage


def iter_calls(upstream: Stage, make: Callable[[Stage], Iterator[Any]], step: str) -> Iterator[Iterator[Any]]:
    """The links of a chain of what `make(upstream)`, a `map` or a `filter`, gives."""
    yield guard(make(upstream), upstream, step, is_all=True)
    while not upstream.ended():
        yield guard(make(upstream), upstream, step, is_all=True)


def guard(link: Iterator[Any], upstream: Stage, step: str, *, is_all: bool = False) -> Iterator[Any]:
    """What `link` gives, until it fails: the error has the step and the place of the record in front.

    With `is_all` it gives what comes of all records, so that one left over is a StopIteration of the user's function.
    """
    try:
        yield from link
    except GeneratorExit as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is None:
            raise
        raise_explained(error, step, upstream.origin().location)
    except BaseException as error:  # noqa: BLE001 - raised again
        raise_explained(error, step, upstream.origin().location)
    if is_all and not upstream.ended():
        raise_explained(stop_iteration_error(step), step, upstream.origin().location)
