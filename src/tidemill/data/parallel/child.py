"""What a worker process does: call one function for each record it is sent. Imports little, since each worker pays it.

Every answer is a pickle of `(timed, True, value)` or of `(timed, False, error, text, traceback)`: `timed` is what its
latency blocks came to, `error` a pickle of its own, None where it has none, and `text` and `traceback` say what it was.
In place of False stands None where the function could not be left.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any

from tidemill.data.entering.entered import WorkerFunction, needs_entering
from tidemill.data.parallel.gradients import call_in_mode
from tidemill.resources.states.gradients import GradientMode
from tidemill.resources.timing.latency import collecting
from tidemill.resources.timing.timings import Taken, Timings

Answer = tuple[Any, ...]

LEAVE_S = 5.0
"""Seconds that a function may take to be left when the parent has died."""


def serve(connection: Connection, function: bytes, step: str, is_timed: bool) -> None:
    """Answer each record with what the pickled `function` makes of it, until an empty message, or the other end's end.

    A function that is a context manager is entered in front of the first record, as resources that it takes are opened,
    and left on the way out, also when the process is told to end. That it is entered is the first answer; that it could
    not be left the last one.

    Args:
        is_timed: whether latency blocks are on.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group, and the consumer decides
    must_leave = threading.Event()
    threading.Thread(target=_end_with_parent, args=(must_leave,), name="tidemill-parent", daemon=True).start()
    fn = _load(function)
    own = WorkerFunction(fn, step)
    if needs_entering(fn):
        signal.signal(signal.SIGTERM, _end)
        must_leave.set()
    try:
        with collecting(Timings(), is_on=is_timed) as timings, contextlib.suppress(EOFError, OSError):
            if needs_entering(fn):
                connection.send_bytes(_pickle(_enter(own), timings.take()))
            while message := connection.recv_bytes():
                answer = _answer(own, message)
                connection.send_bytes(_pickle(answer, timings.take()))
                del answer
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: it is on its way out
        _leave(own, connection)


def _end(*_: object) -> None:
    raise _Ending


class _Ending(SystemExit):
    """The process was told to end: no failure of the record at hand."""


def _end_with_parent(must_leave: threading.Event) -> None:
    """End, whatever runs, when the parent has died: a function may run for hours yet."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        if must_leave.is_set():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(LEAVE_S)
        os._exit(1)


def _load(function: bytes) -> Callable[[Any], Any]:
    try:
        fn: Callable[[Any], Any] = pickle.loads(function)  # noqa: S301 - made by the parent
    except Exception as error:  # noqa: BLE001 - whatever importing the user's module raises fails each record
        text = f"the function cannot be loaded in a worker process: {type(error).__name__}: {error}"

        def fn(record: Any) -> Any:
            raise ImportError(text)

    return fn


def _enter(own: WorkerFunction) -> Answer:
    try:
        own.open()
    except _Ending:
        raise
    except BaseException as error:  # noqa: BLE001 - raised where records are consumed; a record tries it again
        return _describe(error)
    return True, None


def _leave(own: WorkerFunction, connection: Connection) -> None:
    try:
        own.close()
    except BaseException as error:  # noqa: BLE001 - as above
        try:
            connection.send_bytes(_pickle((None, *_describe(error)[1:]), []))
        except OSError:  # nobody is there any more: as a traceback, then
            raise error from None


def _answer(own: WorkerFunction, message: bytes) -> Answer:
    try:
        mode, record = _open(message)
        return True, call_in_mode(mode, own.open(), record)
    except _Ending:
        raise
    except BaseException as error:  # noqa: BLE001 - the record's failure, raised where it is consumed
        return _describe(error)


def _pickle(answer: Answer, timed: list[Taken]) -> bytes:
    try:
        return pickle.dumps((timed, *answer), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 - pickling calls what the value's class says
        text = f"the result, a {type(answer[1]).__name__}, cannot be pickled: {error}"
        return pickle.dumps((timed, False, None, text, _format(error)))


def _open(message: bytes) -> tuple[GradientMode | None, Any]:
    mode, record = pickle.loads(message)  # noqa: S301 - made by the parent
    return mode, record


def _describe(error: BaseException) -> Answer:
    text = f"{type(error).__name__}: {error}"
    try:
        pickled = pickle.dumps(error)
    except Exception:  # noqa: BLE001 - pickling calls what the error's class says; its text goes instead
        return False, None, text, _format(error)
    return False, pickled, text, _format(error)


def _format(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()
