"""What the process of an isolated tool does: call the function for each message, until nobody sends any more.

Messages and answers are frames (`resources.children`). The first message is the function with what its import needs;
each other one a pickle of keyword arguments. An answer is a pickle of `(True, images, JSON)`, of `(True, images, JSON,
JSON)` where more is kept than told, of `(False, problem)` where the result is no JSON, or of `(None, error, class,
text)`. Imports little, since each process pays it.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import pickle
import sys
from collections.abc import Callable
from multiprocessing import current_process, spawn
from typing import Any

from tidemill.errors import ConfigError, DataError
from tidemill.models.steps.packing import pack_result

MAIN = b"__main__"
"""Stands in a pickle that needs the script which the parent runs; that is then imported, as `multiprocessing` does."""

_HEAD = 4
_GUARD = 'put what the script does under `if __name__ == "__main__":`, or the tool into a module of its own'

_is_importing = False


def check_not_importing() -> None:
    """Check that this is not the process of an isolated tool, on its way through the script that has the tool.

    Raises:
        ConfigError: it is: what the script does would be done again, and paid again.
    """
    if _is_importing:
        raise ConfigError("an agent was called while its script was imported")


def serve(most: int) -> None:
    """Answer each message that comes by the standard input, until its other end is closed.

    Both standard streams are first moved out of the function's way: what it prints goes to standard error, and its
    input is empty.

    Args:
        most: bytes that an answer may have.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    function: _Function | None = None
    while head := requests.read(_HEAD):
        message = requests.read(int.from_bytes(head, "big"))
        if function is None:
            function = _Function(message)
        else:
            _write(answers, _pack(function.answer(message), most))


def _pack(answer: tuple[Any, ...], most: int) -> bytes:
    packed = pickle.dumps(answer, pickle.HIGHEST_PROTOCOL)
    if len(packed) > most:
        problem = f"{len(packed)} bytes, expected {most} at most"
        packed = pickle.dumps((False, f"the function's result is {problem}"))
    return len(packed).to_bytes(_HEAD, "big") + packed


def _write(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


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
            return True, (), *_pack_result(result)
        except DataError as error:
            return _pack_pictured(result, error.message)

    def _call(self, message: bytes) -> Any:
        if not self._is_prepared and (MAIN in message or MAIN in self._start):
            preparation, _ = pickle.loads(self._start)  # noqa: S301 - made by the parent
            _import_script(preparation)
            self._is_prepared = True
        if self._fn is None:
            self._fn = _load(pickle.loads(self._start)[1])  # noqa: S301 - made by the parent
        result = self._fn(**pickle.loads(message))  # noqa: S301 - made by the parent
        return asyncio.run(_wait_for(result)) if inspect.isawaitable(result) else result


def _import_script(preparation: dict[str, Any]) -> None:
    """Import the script that the parent runs, as `multiprocessing` does.

    Raises:
        ConfigError: it cannot be imported, or does again what it does; that ends the run.
    """
    global _is_importing
    process: Any = current_process()
    _is_importing = process._inheriting = True  # by the second `multiprocessing` refuses to start processes
    try:
        spawn.prepare(preparation)
    except BaseException as error:
        problem = f"the process of an isolated tool imports the script that has it, and cannot: {error}"
        failure = ConfigError(problem, hint=_GUARD)
        failure.of = "run"
        raise failure from error
    finally:
        _is_importing = process._inheriting = False


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


def _pack_result(result: Any) -> tuple[bytes, ...]:
    told = sys.modules.get("tidemill.agents.tools.told")  # where there is a `Told`, that was imported
    if told is not None and type(result) is told.Told:
        return pack_result(result.told), pack_result(result.value)
    return (pack_result(result),)


def _pack_pictured(result: Any, problem: str) -> tuple[Any, ...]:
    """The answer of a result that is no JSON as it is: its pictures apart, if there are any."""
    from tidemill.agents.calling.pictures import take_pictures  # which few results need

    try:
        pictured = take_pictures(result)
        return (False, problem) if pictured is None else (True, pictured.images, *_pack_result(pictured.plain))
    except DataError as error:
        return False, error.message


def _pickle_error(error: BaseException) -> bytes | None:
    try:
        return pickle.dumps(error)
    except Exception:  # noqa: BLE001 - pickling calls what the error's class says; its text goes instead
        return None
