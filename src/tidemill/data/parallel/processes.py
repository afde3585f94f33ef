"""Processes that call a plain function: for what computes in Python."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import selectors
import signal
from collections import deque
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from tidemill.data.entering.managers import explaining_leave
from tidemill.data.parallel.child import serve
from tidemill.data.parallel.flight import WAKE_S, Flight
from tidemill.errors import ConfigError, WorkerError
from tidemill.resources.releasing import raise_failures
from tidemill.resources.timing.latency import find_timing, latency
from tidemill.resources.timing.timings import put_timings

MAX_DEATHS = 2
"""Workers that may die of a record before it fails: one may have been killed for what another program did."""

_END_S = 5.0
"""Seconds a worker that was told to end may take before it is killed."""


class RemoteTraceback(Exception):  # noqa: N818 - what concurrent.futures and multiprocessing call theirs
    """Where in a worker process an error was raised: the cause of that error here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}\n"""'


class ProcessWorkers:
    """One process for each record in flight, made with `spawn`: a fork takes along locks that threads hold.

    The consumer's thread does it all: it sends a record to an idle worker and reads the answers when it waits. A
    worker that dies is replaced and its record tried once more. Workers end with `close` and with this process. Where
    something is entered, no record is given before each worker has done so.
    """

    def __init__(self, function: bytes, step: str, *, enters: bool = False) -> None:
        self._function = function
        self._step = step
        self._enters = enters
        self._selector = selectors.DefaultSelector()
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._again: deque[Flight] = deque()  # to be sent anew
        self._ready: deque[Flight] = deque()  # finished without a worker

    def start(self, flight: Flight) -> None:
        try:
            message = pickle.dumps((flight.mode, flight.record), pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # noqa: BLE001 - pickling calls what the record's class says
            flight.error = _unsendable(f"the record, a {type(flight.record).__name__},", error)
            self._ready.append(flight)
            return
        try:
            worker = self._idle.pop() if self._idle else self._open_worker()
        except BaseException:  # the system lets no process start: asked again it is tried again
            self._again.append(flight)
            raise
        worker.flight = flight
        try:
            worker.connection.send_bytes(message)
        except OSError:
            self._bury(worker)
        except BaseException:  # an interrupt: half of the record may be in the pipe
            self._drop(worker)
            raise

    def wait(self) -> Flight:
        while True:
            while self._again:
                self.start(self._again.popleft())
            if self._ready and not (self._enters and any(worker.is_entering for worker in self._workers)):
                return self._ready.popleft()
            for key, _ in self._selector.select(WAKE_S):
                self._receive(key.data)

    def close(self) -> None:
        workers, self._workers = self._workers, set()
        self._idle.clear()
        failures: list[BaseException] = []
        for worker in workers:
            worker.tell_to_end()
        for worker in workers:
            failure = worker.find_failure() if self._enters else None
            failures += [] if failure is None else [failure]
            worker.connection.close()
            worker.end()
        self._selector.close()
        with explaining_leave():
            raise_failures(None, failures, "several processes could not be left")

    def _open_worker(self) -> _Worker:
        _check_may_have_children(self._step)
        worker = _Worker(self._function, self._step, is_entering=self._enters)
        self._workers.add(worker)
        self._selector.register(worker.connection, selectors.EVENT_READ, worker)
        return worker

    def _receive(self, worker: _Worker) -> None:
        try:
            answer = worker.connection.recv_bytes()
        except (EOFError, OSError):
            self._bury(worker)
            return
        except BaseException:  # an interrupt: half of the answer may be read
            self._drop(worker)
            raise
        if worker.is_entering:
            worker.is_entering = False
            _check_entered(answer)
            return
        flight, worker.flight = worker.flight, None
        self._idle.append(worker)
        if flight is not None:
            _take_answer(flight, answer)
            self._ready.append(flight)

    def _bury(self, worker: _Worker) -> None:
        """Give up a worker that died; its record is tried once more."""
        flight = worker.flight
        ending = self._remove(worker)
        if flight is None:
            return
        flight.tries += 1
        if flight.tries < MAX_DEATHS:
            self._again.append(flight)
            return
        flight.error = WorkerError(
            f"{flight.tries} worker processes died of the record, the last one by {ending}",
            hint="SIGKILL is often the system's, for want of memory; exit code 1 at once is a script that starts work "
            'when it is imported: put that under `if __name__ == "__main__":`',
        )
        self._ready.append(flight)

    def _drop(self, worker: _Worker) -> None:
        """Give up a worker whose pipe stands in the middle of something; its record is sent anew."""
        flight = worker.flight
        if flight is not None:
            self._again.append(flight)
        worker.process.kill()
        self._remove(worker)

    def _remove(self, worker: _Worker) -> str:
        self._workers.discard(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        self._selector.unregister(worker.connection)
        worker.connection.close()
        return worker.end()


class _Worker:
    """One process, its end of the pipe, and the record that it has.

    Attributes:
        is_entering: whether it is still to say that its function is entered.
    """

    def __init__(self, function: bytes, step: str, *, is_entering: bool) -> None:
        self.is_entering = is_entering
        context = multiprocessing.get_context("spawn")
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.process: SpawnProcess = context.Process(
            target=serve, args=(theirs, function, step, latency.is_on), name=f"tidemill-{step}", daemon=True
        )
        self.flight: Flight | None = None
        try:
            self.process.start()
        except BaseException:
            self.connection.close()
            raise
        finally:
            theirs.close()

    def tell_to_end(self) -> None:
        """Have it leave its function and end, whatever it is at."""
        if self.flight is not None:
            self.process.terminate()
            return
        with contextlib.suppress(OSError):
            self.connection.send_bytes(b"")

    def find_failure(self) -> BaseException | None:
        """Why its function could not be left, waiting for its end; None where it could, or nobody knows."""
        with contextlib.suppress(EOFError, OSError):
            while self.connection.poll(_END_S):
                _, outcome, *rest = pickle.loads(self.connection.recv_bytes())  # noqa: S301 - made by our own worker
                if outcome is None:
                    return _read_error(*rest)
            self.process.kill()
        return None

    def end(self) -> str:
        """Wait for the process, which has been told to end, and say what it ended with."""
        self.process.join(_END_S)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()
        code = self.process.exitcode or 0
        self.process.close()
        if code >= 0:
            return f"exit code {code}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"


def pickle_function(fn: Any, step: str) -> bytes:
    """The function as each worker gets it.

    Raises:
        ConfigError: it has no name that another process could find it under.
    """
    try:
        return pickle.dumps(fn)
    except Exception as error:
        raise ConfigError(
            f"the function cannot be sent to a process: {error}",
            where=f"step `{step}`",
            hint="put it at the top of a module, under a name of its own (a lambda or a local function has none), "
            'or use on="threads"',
        ) from error


def _take_answer(flight: Flight, answer: bytes) -> None:
    try:
        timed, is_value, *rest = pickle.loads(answer)  # noqa: S301 - made by our own worker
    except Exception as error:  # noqa: BLE001 - unpickling calls what the value's class says
        flight.error = _unsendable("the result", error)
        return
    if timed and (timing := find_timing(flight.context)) is not None:
        put_timings(timed, timing)
    if is_value:
        (flight.value,) = rest
        return
    flight.error = _read_error(*rest)


def _check_entered(answer: bytes) -> None:
    """Raise what a worker's function could not be entered for."""
    _, is_entered, *rest = pickle.loads(answer)  # noqa: S301 - made by our own worker
    if not is_entered:
        raise _read_error(*rest)


def _read_error(pickled: bytes | None, text: str, traceback: str) -> BaseException:
    error = _load_error(pickled, text)
    error.__cause__ = RemoteTraceback(traceback)
    return error


def _load_error(pickled: bytes | None, text: str) -> BaseException:
    if pickled is not None:
        with contextlib.suppress(Exception):
            error = pickle.loads(pickled)  # noqa: S301 - made by our own worker
            if isinstance(error, BaseException):
                return error
    return WorkerError(text)


def _unsendable(what: str, error: Exception) -> WorkerError:
    failure = WorkerError(
        f"{what} cannot be sent between processes: {type(error).__name__}: {error}",
        hint='give plain data, or use on="threads"',
    )
    failure.__cause__ = error
    return failure


def _check_may_have_children(step: str) -> None:
    if multiprocessing.current_process().daemon:
        raise ConfigError(
            "a worker process, of a DataLoader say, may not start processes of its own",
            where=f"step `{step}`",
            hint='use on="threads" there, or let this step have the processes and the DataLoader num_workers=0',
        )
