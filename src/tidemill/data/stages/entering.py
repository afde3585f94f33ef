"""The stage that enters the steps of a worker: in front of its first record, in the thread that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, cast

from tidemill.data.entering.entered import Entered
from tidemill.data.nodes.node import Node
from tidemill.data.reader import raise_each
from tidemill.data.records.origin import Origin
from tidemill.data.stages.stage import Stage
from tidemill.data.steps.functions import check_entering, enter_step, has_managers
from tidemill.protocols import State


class WorkerSteps:
    """The steps that one worker enters: those between two places where other workers take over."""

    def __init__(self) -> None:
        self._steps: dict[int, tuple[Node, str]] = {}  # by identity: each epoch of a `repeat` adds the same ones
        self._entered = Entered()

    def add(self, node: Node, name: str) -> Callable[[], Node]:
        """Have the step entered; gives what gives it as it was entered, from then on.

        Raises:
            ConfigError: nothing awaits its being entered.
        """
        if not has_managers(node):
            return lambda: node
        check_entering(node, name)
        self._steps[id(node)] = node, name
        return lambda: enter_step(node, name, self._entered)

    def guard(self, stage: Stage) -> Stage:
        """`stage` with the steps entered in front of its first record and left behind its last; alone without any."""
        if not self._steps:
            return stage
        guarded = cast(EnteredStage, EnteredStage.from_iterable(_iter_entered(stage, self)))
        guarded.upstream = stage
        guarded.worker = self
        return guarded

    @property
    def is_open(self) -> bool:
        """Whether they are entered."""
        return self._entered.is_open

    def enter(self) -> None:
        """Enter all; a failure leaves those that were entered.

        Raises:
            ResourceError: one cannot be entered.
        """
        try:
            for node, name in self._steps.values():
                enter_step(node, name, self._entered)
        except BaseException:
            self._entered.close()
            raise

    def close(self) -> None:
        """Leave all; may be called twice."""
        self._entered.close()


class EnteredStage(Stage):
    """The stage in front, whose steps are entered while it is gone through."""

    worker: WorkerSteps

    def describe(self, spot: Any) -> Origin:
        return self.upstream.describe(spot)

    def explain(self) -> Origin:
        return self.upstream.explain()

    def marks(self, back: int) -> State:
        return self.upstream.marks(back)

    def leave(self) -> None:
        self.worker.close()

    def close(self) -> None:
        try:
            self.upstream.close()
        finally:
            self.worker.close()


def _iter_entered(stage: Stage, worker: WorkerSteps) -> Generator[Iterator[Any]]:
    try:
        while (failed := _fail(worker.enter)) is not None:  # asked again, it is tried again
            yield failed
        yield stage
        if (failed := _fail(worker.close)) is not None:
            yield failed
    finally:
        worker.close()


def _fail(call: Callable[[], None]) -> Iterator[Any] | None:
    """What raises the error of `call`; None when there is none. Raised by the chain, which it would end here."""
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - as above
        return raise_each((error,))
    return None
