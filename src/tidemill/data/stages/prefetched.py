"""The stage of a `prefetch`: a thread reads ahead, and the state is that of what was given."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, cast

from tidemill.data.parallel.flight import wait_for
from tidemill.data.parallel.gradients import call_in_mode, find_gradient_mode
from tidemill.data.reader import raise_each
from tidemill.data.records.origin import Origin
from tidemill.data.stages import anchored
from tidemill.data.stages.anchored import Reopen
from tidemill.data.stages.progress import explain_again, iter_outcomes
from tidemill.data.stages.stage import FedStage, Stage
from tidemill.errors import StateError
from tidemill.protocols import State
from tidemill.resources.worker import join_thread, make_thread

_RECORD, _ERROR, _PLACE, _END = range(4)

_Permits = queue.SimpleQueue[None]
_Outcomes = queue.SimpleQueue[tuple[int, Any, Any, Any]]


class PrefetchStage(FedStage):
    """The records of the stage in front, read by a thread of its own."""

    index: int
    ahead: _Ahead
    reopen: Reopen

    def marks(self, back: int) -> State:
        return self.ahead.marks(self.index, back)

    def spot(self) -> Any:
        return self.ahead.spot

    def counts(self) -> Any:
        return self.ahead.counts

    def explain(self) -> Origin:
        if self.gathers() and self.ahead.given:
            return explain_again(self.reopen(self.ahead.place), self.ahead.given - 1).through(self.step)
        return self.origin()

    def close(self) -> None:
        try:
            self.ahead.close()
        finally:
            self.upstream.close()


class _Ahead:
    """The consumer's side of the thread that reads.

    The thread may read `count` records, and one more for each that is given: those are permits. Once it is started the
    stage in front belongs to the thread, which sends along, now and then, where that stands.

    Attributes:
        spot: where the outcome given last came from.
        counts: what the steps in front had given by then.
        place: the state of the stage in front at the anchor.
        given: outcomes given since.
    """

    def __init__(self, upstream: Stage, count: int, step: str, done: int) -> None:
        self.spot = upstream.spot()
        self.counts = upstream.counts()
        self.place = upstream.marks(0)
        self.given = done
        self._upstream = upstream
        self._count = count
        self._step = step
        self._permits: _Permits = queue.SimpleQueue()
        self._read: _Outcomes = queue.SimpleQueue()
        self._reading: _Reading | None = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def take(self) -> tuple[int, Any]:
        """The next outcome and its kind; at the end `_END`. Raises an interrupt, after which it can be asked again."""
        if self._is_closed:
            return _END, None
        if self._thread is None:
            self._start()
        while True:
            kind, value, spot, counts = wait_for(self._read)
            if kind is _PLACE:
                self.place, self.given = value, 0
                continue
            self.counts = counts
            if kind is not _END:
                self.spot = spot
                self.given += 1
                self._permits.put(None)
            return kind, value

    def marks(self, index: int, back: int) -> State:
        steps = dict(self.place["steps"])
        if self.given > back:
            steps[str(index)] = {"done": self.given - back}
        return {**self.place, "steps": steps}

    def close(self) -> None:
        """Stop the thread and wait for what it reads just now; may be called twice.

        Raises:
            ResourceError: a step in front failed as the thread left it.
        """
        self._is_closed = True
        thread, self._thread = self._thread, None
        reading, self._reading = self._reading, None
        if thread is not None and reading is not None:
            reading.is_stopped = True
            self._permits.put(None)  # it may wait for one
            join_thread(thread)
            reading.check_left()

    def _start(self) -> None:
        self._permits = queue.SimpleQueue()
        self._reading = reading = _Reading(
            self._upstream, self._count, self._step, self.given, self._permits, self._read
        )
        self._thread = make_thread(self._step, call_in_mode, find_gradient_mode(), reading.run, None)
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
            raise


class _Reading:
    """The thread's side: reads as many outcomes as it may. Knows nothing of the stage it reads for.

    Attributes:
        is_stopped: set by the consumer, who needs no more.
    """

    def __init__(self, upstream: Stage, count: int, step: str, done: int, permits: _Permits, read: _Outcomes) -> None:
        self.is_stopped = False
        self._ahead = count  # of these it may read ahead without a permit
        self._upstream = upstream
        self._outcomes = iter_outcomes(upstream)
        self._step = step
        self._done = done
        self._permits = permits
        self._read = read
        self._failure: BaseException | None = None

    def run(self, _: None) -> None:
        try:
            self._read_all()
        finally:
            self._leave()

    def check_left(self) -> None:
        """Raise what went wrong as the steps in front were left."""
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure

    def _leave(self) -> None:
        try:
            self._upstream.leave()
        except BaseException as error:  # noqa: BLE001 - raised by whoever closes
            self._failure = error

    def _read_all(self) -> None:
        since = self._pass_over()
        while self._may_read():
            if since >= anchored.ANCHOR_RECORDS:
                self._read.put((_PLACE, self._upstream.marks(0), None, None))
                since = 0
            outcome = self._next()
            since += 1
            self._read.put(outcome)
            if outcome[0] is _END:
                return
            del outcome

    def _pass_over(self) -> int:
        """Read what was given before; gives how many outcomes that were."""
        for passed in range(self._done):
            if self.is_stopped:
                break
            if self._next()[0] is _END:
                error = StateError(
                    f"the state stands {self._done - passed} records behind the end of what there is now",
                    where=f"step `{self._step}`",
                    hint="the source and its functions must give the same records each time; start without a state",
                )
                self._read.put((_ERROR, error, self._upstream.spot(), self._upstream.counts()))
                break
        return self._done

    def _may_read(self) -> bool:
        """Whether the consumer still wants one, once it may be read: a permit goes first, so few ever wait there."""
        if self._ahead and self._permits.empty():
            self._ahead -= 1
        else:
            self._permits.get()
        return not self.is_stopped

    def _next(self) -> tuple[int, Any, Any, Any]:
        outcome = next(self._outcomes, None)
        counts = self._upstream.counts()
        if outcome is None:
            return _END, None, None, counts
        record, error = outcome
        spot = self._upstream.spot()
        return (_RECORD, record, spot, counts) if error is None else (_ERROR, error, spot, counts)


def open_prefetch(upstream: Stage, count: int, index: int, step: str, mark: State | None, reopen: Reopen) -> Stage:
    """The stage of a `prefetch` step, going on from its `mark`."""
    ahead = _Ahead(upstream, count, step, mark["done"] if mark else 0)
    feeder = _iter_read(ahead)
    stage = cast(PrefetchStage, PrefetchStage.from_iterable(feeder))
    stage.feeder = feeder
    stage.upstream = upstream
    stage.step = step
    stage.index = index
    stage.ahead = ahead
    stage.reopen = reopen
    return stage


def _iter_read(ahead: _Ahead) -> Generator[Iterator[Any]]:
    try:
        while True:
            try:
                kind, value = ahead.take()
            except BaseException as error:  # noqa: BLE001 - raised by the chain, which it would end here
                link = raise_each((error,))
            else:
                if kind is _END:
                    return
                link = iter((value,)) if kind is _RECORD else raise_each((value,))
                del value
            yield link
            del link
    finally:
        ahead.close()
