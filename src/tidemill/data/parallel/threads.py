"""Threads that call a plain function: for what waits, or computes without the interpreter's lock."""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import Any

from tidemill.data.entering.entered import WorkerFunction, needs_entering
from tidemill.data.entering.managers import explaining_leave
from tidemill.data.parallel.flight import Flight, wait_for
from tidemill.data.parallel.gradients import call_in_mode
from tidemill.resources.releasing import raise_failures
from tidemill.resources.worker import join_thread, make_thread

_Flights = queue.SimpleQueue["Flight | None"]


class ThreadWorkers:
    """As many threads as records were ever in flight at once.

    Two queues and no future: a record costs half of what a `ThreadPoolExecutor` takes. Daemon threads, so that a
    function that blocks for ever cannot hold the process; `close` waits for those that are at work. Where something is
    entered, no record is given before each thread has done so.
    """

    def __init__(self, fn: Any, step: str) -> None:
        self._fn = fn
        self._step = step
        self._flights: _Flights = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[Flight] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._in_flight = 0
        self._entered: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()  # by each thread, or why not
        self._unentered = 0
        self._failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()  # of threads that ended

    def start(self, flight: Flight) -> None:
        self._in_flight += 1
        self._flights.put(flight)
        if self._in_flight > len(self._threads):
            self._add_thread()

    def wait(self) -> Flight:
        if not self._threads:  # the system did not let the first one start
            self._add_thread()
        while self._unentered:
            error = wait_for(self._entered)
            self._unentered -= 1
            if error is not None:
                raise error
        flight: Flight = wait_for(self._finished)
        self._in_flight -= 1
        return flight

    def close(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._flights.get_nowait()
        for _ in self._threads:
            self._flights.put(None)
        for thread in self._threads:
            join_thread(thread)
        failures = [self._failures.get() for _ in range(self._failures.qsize())]
        with explaining_leave():
            raise_failures(None, failures, "several threads could not be left")

    def _add_thread(self) -> None:
        function = WorkerFunction(self._fn, self._step)
        entered = self._entered if needs_entering(self._fn) else None
        arguments = (function, self._flights, self._finished, self._failures, entered)
        thread = make_thread(f"{self._step}-{len(self._threads)}", _serve, *arguments)
        self._threads.append(thread)  # first: an interrupt can break off the waiting for its start, which goes on
        try:
            thread.start()
        except RuntimeError:
            self._threads.remove(thread)
            raise
        self._unentered += entered is not None


def _serve(
    function: WorkerFunction,
    flights: _Flights,
    finished: queue.SimpleQueue[Flight],
    failures: queue.SimpleQueue[BaseException],
    entered: queue.SimpleQueue[BaseException | None] | None,
) -> None:
    if entered is not None:
        entered.put(_enter(function))
    while (flight := flights.get()) is not None:
        _call(function, flight)
        finished.put(flight)
        del flight
    try:
        function.close()
    except BaseException as error:  # noqa: BLE001 - raised by whoever closes
        failures.put(error)


def _enter(function: WorkerFunction) -> BaseException | None:
    """Why the function could not be entered; a record tries it again."""
    try:
        function.open()
    except BaseException as error:  # noqa: BLE001 - raised where records are consumed
        return error
    return None


def _call(function: WorkerFunction, flight: Flight) -> None:
    call: Any = flight.context.run
    try:
        fn = function.open()
        if flight.mode is None:
            flight.value = call(fn, flight.record)
        else:
            flight.value = call(call_in_mode, flight.mode, fn, flight.record)
    except BaseException as error:  # noqa: BLE001 - the record's failure, raised at its place
        flight.fail(error)
    finally:
        del flight  # an error holds this frame
