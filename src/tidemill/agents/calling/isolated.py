"""What the process of an isolated tool does: call the function for each message, until nobody sends any more.

The first message is the function with what its import needs; each other one a pickle of keyword arguments. An answer is
a pickle of `(True, JSON)`, of `(False, problem)` where the result is no JSON, or of `(None, error, class, text)`.
Imports little, since each process pays it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import spawn
from multiprocessing.connection import Connection
from typing import Any

from tidemill.errors import DataError
from tidemill.models.steps.packing import pack_result

MAIN = b"__main__"
"""Stands in a pickle that needs the script which the parent runs; that is then imported, as `multiprocessing` does."""


def serve(descriptor: int) -> None:
    """Answer each message on the socket `descriptor`, until its other end is closed.

    Standard input is the parent's lifeline: at its end, however the parent died, this process and all it started are
    killed. What the function prints goes to standard error.
    """
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_end_with_parent, args=(lifeline,), name="tidemill-parent", daemon=True).start()
    with contextlib.suppress(EOFError, OSError), Connection(descriptor) as connection:
        function = _Function(connection.recv_bytes())
        while True:
            connection.send_bytes(pickle.dumps(function.answer(connection.recv_bytes()), pickle.HIGHEST_PROTOCOL))


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


class _Function:
    """The tool's function, imported with the first message that needs it."""

    def __init__(self, start: bytes) -> None:
        self._start = start
        self._fn: Callable[..., Any] | None = None
        self._is_prepared = False

    def answer(self, message: bytes) -> tuple[Any, ...]:
        try:
            result = self._call(message)
        except BaseException as error:  # noqa: BLE001 - the call's failure, told where it is waited for
            return None, _pickle_error(error), type(error).__name__, str(error)
        try:
            return True, pack_result(result)
        except DataError as error:
            return False, error.message

    def _call(self, message: bytes) -> Any:
        if not self._is_prepared and (MAIN in message or MAIN in self._start):
            preparation, _ = pickle.loads(self._start)  # noqa: S301 - made by the parent
            spawn.prepare(preparation)
            self._is_prepared = True
        if self._fn is None:
            self._fn = _load(pickle.loads(self._start)[1])  # noqa: S301 - made by the parent
        result = self._fn(**pickle.loads(message))  # noqa: S301 - made by the parent
        return asyncio.run(_wait_for(result)) if inspect.isawaitable(result) else result


async def _wait_for(awaitable: Any) -> Any:
    return await awaitable


def _load(reference: tuple[str, str] | bytes) -> Callable[..., Any]:
    """The function at a module's attribute, or in a pickle; a tool that stands there is its function."""
    if isinstance(reference, bytes):
        found = pickle.loads(reference)  # noqa: S301 - made by the parent
    else:
        found = importlib.import_module(reference[0])
        for name in reference[1].split("."):
            found = getattr(found, name)
    tools = sys.modules.get("tidemill.agents.tools.tool")  # where there is a tool, that was imported; it takes long
    function: Callable[..., Any] = found.function if tools is not None and isinstance(found, tools.Tool) else found
    return function


def _pickle_error(error: BaseException) -> bytes | None:
    try:
        return pickle.dumps(error)
    except Exception:  # noqa: BLE001 - pickling calls what the error's class says; its text goes instead
        return None
