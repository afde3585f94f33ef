"""The stage of a `map`, or a `decode_image`, that has several records in flight.

Its state counts from an anchor, as that of every stage that holds records, and says which of the records behind it
were not given yet: going on passes over the others without calling the function again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, cast

from tidemill.data.failing.failures import NO_RECORD, explain_failure, explain_isolated
from tidemill.data.failing.policy import Policy
from tidemill.data.nodes.images import DecodeImage
from tidemill.data.nodes.single import Map
from tidemill.data.parallel.flight import Flight, Workers
from tidemill.data.parallel.kinds import find_workers
from tidemill.data.reader import raise_each
from tidemill.data.records.origin import Origin
from tidemill.data.stages.anchored import Reopen
from tidemill.data.stages.progress import Progress, explain_again, iter_outcomes
from tidemill.data.stages.stage import FedStage, Stage
from tidemill.data.steps.functions import copy_record
from tidemill.errors import StateError
from tidemill.protocols import State


class ParallelStage(FedStage):
    """What the function gave for each record, several being in flight."""

    index: int
    window: Window
    reopen: Reopen

    def marks(self, back: int) -> State:
        return self.window.progress.marks(self.index, back)

    def spot(self) -> Any:
        return self.window.spot

    def counts(self) -> Any:
        return self.window.counts

    def explain(self) -> Origin:
        if self.gathers() and self.window.number is not None:
            place, passed = self.window.progress.find(self.window.number)
            return explain_again(self.reopen(place), passed).through(self.step)
        return self.origin()

    def close(self) -> None:
        try:
            self.window.close()
        finally:
            self.upstream.close()


class Window:
    """Keeps exactly `concurrency` records in flight: started, and not given yet.

    Before a record is given, the one that takes its place is read and started; so a consumer that stalls after `k`
    records has had `k + concurrency` of them started, no more and no fewer. The stage in front is asked in the
    consumer's own thread, which waits for it.

    Attributes:
        progress: which outcomes of the stage in front were given.
        spot: where the one given last came from.
        number: its number, None before the first.
        counts: what the steps in front had given when the one furthest on of those given was read.
    """

    def __init__(self, upstream: Stage, node: Map | DecodeImage, step: str, policy: Policy, mark: State | None) -> None:
        self.progress = Progress(upstream, mark)
        self.spot = upstream.spot()
        self.number: int | None = None
        self.counts = upstream.counts()
        self._furthest = -1
        self._upstream = upstream
        self._outcomes = iter_outcomes(upstream)
        self._step = step
        self._concurrency = node.concurrency
        self._ordered = node.ordered
        self._policy = policy
        self._open_workers = find_workers(node, step)
        self._workers: Workers | None = None
        self._is_closed = False
        self._has_read_all = False
        self._in_flight = 0
        self._unstarted: deque[Flight] = deque()  # those that a state said had not been given
        self._queue: deque[Flight] = deque()  # what is given next: in order what was started, else what has finished

    def take(self) -> Flight | None:
        """The next to be given; None at the end. Raises an interrupt, after which it can be asked again."""
        if self._is_closed:
            return None
        if self._workers is None:
            self._workers = self._open_workers()
        self._pass_over()
        while True:
            self.progress.advance()
            self._fill(self._workers, self._concurrency)
            if not self._in_flight:
                self.counts = self._upstream.counts()
                return None
            flight = self._find_finished(self._workers)
            self._fill(self._workers, self._concurrency + 1)
            self._queue.popleft()
            self._in_flight -= 1
            self.progress.settle(flight)
            self.spot, self.number = flight.spot, flight.number
            if flight.number > self._furthest:
                self.counts, self._furthest = flight.counts, flight.number
            if flight.error is None or not self._is_passed_over(flight, flight.error):
                return flight

    def close(self) -> None:
        """End the workers; may be called twice."""
        self._is_closed = True
        workers, self._workers = self._workers, None
        if workers is not None:
            workers.close()

    def _fill(self, workers: Workers, most: int) -> None:
        while self._in_flight < most:
            flight = self._unstarted.popleft() if self._unstarted else self._read()
            if flight is None:
                return
            self._in_flight += 1
            if self._ordered or flight.is_done:
                self._queue.append(flight)
            if not flight.is_done:
                workers.start(flight)

    def _read(self) -> Flight | None:
        if self._has_read_all:
            return None
        outcome = next(self._outcomes, None)
        if outcome is None:
            self._has_read_all = True
            return None
        record, error = outcome
        del outcome
        try:
            if error is not None and not isinstance(error, Exception):
                raise error  # an interrupt
            counts = self._upstream.counts()
            flight = Flight(self.progress.read, record, self._upstream.spot(), error, counts=counts)
            if self._policy.isolates:
                flight.record = copy_record(record)
        finally:
            del error
        self.progress.add(flight)
        return flight

    def _find_finished(self, workers: Workers) -> Flight:
        if self._ordered:
            head = self._queue[0]
            while not head.is_done:
                workers.wait().is_done = True
            return head
        if not self._queue:
            self._queue.append(workers.wait())
        return self._queue[0]

    def _is_passed_over(self, flight: Flight, error: BaseException) -> bool:
        """Whether the failure is passed over; else it is put into words."""
        if flight.came_failed:
            return False
        place = self._upstream.describe(flight.spot).location
        if self._policy.isolates:
            flight.error = explain_isolated(error, self._step, flight.kept, place=place)
        else:
            record = flight.record if self._policy.keeps else NO_RECORD
            flight.error = explain_failure(error, self._step, place, record)
        return self._policy.takes(flight.error)

    def _pass_over(self) -> None:
        """Read what a state stands behind, and keep what had not been given."""
        progress = self.progress
        while progress.is_behind():
            flight = self._read()
            if flight is None:
                raise StateError(
                    f"the state stands {progress.missing()} records behind the end of what there is now",
                    where=f"step `{self._step}`",
                    hint="the source and its functions must give the same records each time; start without a state",
                )
            if progress.was_given(flight):
                progress.settle(flight)
            else:
                self._unstarted.append(flight)


def open_parallel(
    upstream: Stage, node: Map | DecodeImage, index: int, step: str, mark: State | None, reopen: Reopen, policy: Policy
) -> Stage:
    """The stage of a step with records in flight, going on from its `mark`.

    Raises:
        ConfigError: the function is not one that such workers can call.
    """
    window = Window(upstream, node, step, policy, mark)
    feeder = _iter_given(window)
    stage = cast(ParallelStage, ParallelStage.from_iterable(feeder))
    stage.feeder = feeder
    stage.upstream = upstream
    stage.step = step
    stage.index = index
    stage.window = window
    stage.reopen = reopen
    return stage


def _iter_given(window: Window) -> Generator[Iterator[Any]]:
    try:
        while True:
            try:
                flight = window.take()
            except BaseException as error:  # noqa: BLE001 - raised by the chain, which it would end here
                link = raise_each((error,))
            else:
                if flight is None:
                    return
                link = iter((flight.value,)) if flight.error is None else raise_each((flight.error,))
                flight = None
            yield link
            del link
    finally:
        window.close()
