"""The iterators behind the steps of a source half.

A stage is a chain of builtin iterators, so no Python code of ours runs per record, and it works out where it stands
only when asked: `marks(0)` is its state now, `marks(1)` its state in front of the record it gave last. The latter is
exact as long as nothing was asked of the stage since, which is all `flat_map` needs, its one user.

Errors: a stage that raised goes on with the next record. An error out of what feeds a chain would end the chain, so
feeders hand errors over as links that raise (`raise_each`). A builtin `map` or `filter` takes a StopIteration out of
the user's function for the end; it was one only when the stage in front has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, cast

from tidemill.data.reader import raise_each
from tidemill.data.steps import stop_iteration_error
from tidemill.protocols import State


class Stage(chain[Any]):
    """One step's iterator on top of the stage in front of it."""

    upstream: Stage

    def ended(self) -> bool:
        """Whether the source has been asked for more and had no more."""
        return self.upstream.ended()

    def marks(self, back: int) -> State:
        """The state of all stages up to this one; with `back=1`, in front of the record given last."""
        return self.upstream.marks(back)

    def close(self) -> None:
        """Close the file being read; may be called twice."""
        self.upstream.close()


def open_calls(upstream: Stage, make: Callable[[Stage], Iterator[Any]], step: str) -> Stage:
    """The stage that gives what `make(upstream)`, a `map` or a `filter`, gives."""
    stage = cast(Stage, Stage.from_iterable(_iter_calls(upstream, make, step)))
    stage.upstream = upstream
    return stage


def _iter_calls(upstream: Stage, make: Callable[[Stage], Iterator[Any]], step: str) -> Iterator[Iterator[Any]]:
    yield make(upstream)
    while not upstream.ended():
        yield raise_each((stop_iteration_error(step),))
        yield make(upstream)
