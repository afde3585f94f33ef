"""Processes that execute isolated tools, each ended with all it started when its execution is given up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import sys
from collections import defaultdict
from multiprocessing import spawn
from pathlib import Path
from typing import Any, NamedTuple

from tidemill.agents.calling.pictures import Pictured
from tidemill.agents.tools.told import Told
from tidemill.agents.tools.tool import Tool
from tidemill.errors import ConfigError, DataError, WorkerError
from tidemill.resources.children import Child, describe_exit

MAX_FRAME = 512 << 20
"""Bytes that a call may send to its process, and get from it. Four characters read as a length are more, so that a
program which prints before it serves is found out."""

_PROGRAM = "import sys; sys.path[:] = {path!r}; from tidemill.agents.calling.isolated import serve; serve({most})"

_MEND = "put it at the top of a module, under a name of its own, or leave isolate out"


class DiedError(WorkerError):
    """A tool's process ended by itself in the middle of a call.

    Attributes:
        ending: `by SIGSEGV`, `with exit code 3`.
    """

    def __init__(self, ending: str) -> None:
        super().__init__(f"its process ended {ending}")
        self.ending = ending


class MisfitError(DataError):
    """A tool's process executed the function, and what that gave is no JSON."""


class ForeignError(WorkerError):
    """What a tool's process raised, where that cannot be pickled.

    Attributes:
        kind: the name of its class.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Packed(NamedTuple):
    """A result that is JSON already."""

    body: bytes


class Processes:
    """Executes isolated tools. A process is used by one execution at a time, and by the next if it ended well.

    Starting one takes 0.3 to 0.6 s, nearly all of it imports, and asking one that is idle 0.1 ms
    (`benchmarks/tools_dispatch.py`), so that idle ones are kept; there are as many as there were executions at once.
    All end, with all they started, when this is closed or this process ends, however that does. Belongs to one loop.
    """

    def __init__(self) -> None:
        self._idle: defaultdict[Tool, list[Child]] = defaultdict(list)
        self._running: set[Child] = set()  # the idle ones among them
        self._is_closed = False

    async def run(self, tool: Tool, values: dict[str, Any]) -> Packed | Told | Pictured:
        """What the tool's function gives for the keyword arguments `values`, packed; of `Told` both parts are.

        Cancelling kills the process and all it started, and is raised when that has happened.

        Raises:
            DataError: the arguments cannot be sent.
            MisfitError: the result is no JSON.
            DiedError: the process ended by itself.
            ConfigError: as `check_isolated`.
            Exception: what the function raised.
        """
        message = _pickle_values(tool, values)
        child = await self._take(tool)
        try:
            child.send(message)
            answer = await child.receive()
            if answer is None:
                raise DiedError(describe_exit(await child.close()))
        except BaseException:
            await self._end(child)
            raise
        if self._is_closed:
            await self._end(child)
        else:
            self._idle[tool].append(child)
        return _read(answer)

    async def close(self) -> None:
        """Kill all processes, and return when they are gone."""
        self._is_closed = True
        self._idle.clear()
        for child in self._running:
            child.kill()
        await asyncio.gather(*(self._end(child) for child in self._running))

    async def _take(self, tool: Tool) -> Child:
        """An idle process of the tool's, or a new one."""
        while self._idle[tool]:
            child = self._idle[tool].pop()
            if not child.has_ended:
                return child
            await self._end(child)
        preparation = spawn.get_preparation_data(tool.name)
        preparation.pop("authkey", None)  # which may not be pickled, and nothing here asks for
        start = pickle.dumps((preparation, _refer(tool)))
        program = _PROGRAM.format(path=sys.path, most=MAX_FRAME)
        child = await Child.start(
            [sys.executable, "-c", program],
            environment=os.environ,
            folder=Path(),
            on_output=None,
            max_frame=MAX_FRAME,
        )
        self._running.add(child)
        child.send(start)
        return child

    async def _end(self, child: Child) -> None:
        await child.close()
        self._running.discard(child)


def check_isolated(tool: Tool) -> None:
    """Check that another process can find the tool's function.

    Raises:
        ConfigError: it cannot; says what to do.
    """
    if tool.open_session is not None:
        raise ConfigError(
            f"tool `{tool.name}` has a session in this process, and isolate=True would call it in another",
            hint="leave isolate out: what opens the session decides where it runs",
        )
    _refer(tool)


def _refer(tool: Tool) -> tuple[str, str] | bytes:
    """How another process finds the function: by module and name, else as a pickle."""
    fn = tool.function
    module, name = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    if module == "__main__" and not _has_script():
        raise ConfigError(
            f"tool `{tool.name}` cannot be isolated: another process cannot import what is typed into a notebook, a "
            "prompt or `python -c`",
            hint=_MEND,
        )
    if module and name:
        found: Any = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is fn or (isinstance(found, Tool) and found.function is fn):
            return module, name
    try:
        return pickle.dumps(fn)
    except Exception as error:
        raise ConfigError(
            f"tool `{tool.name}` cannot be isolated: another process does not find its function: {error}",
            hint=_MEND,
        ) from error


def _has_script() -> bool:
    """Whether this process runs a file or a module, which another one can import."""
    main = sys.modules.get("__main__")
    return getattr(main, "__file__", None) is not None or getattr(main, "__spec__", None) is not None


def _pickle_values(tool: Tool, values: dict[str, Any]) -> bytes:
    hint = "give plain data as deps, or leave isolate out"
    try:
        message = pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        raise DataError(f"what `{tool.name}` gets cannot be sent to its process: {problem}", hint=hint) from error
    if len(message) > MAX_FRAME:
        problem = f"it is {len(message)} bytes, expected {MAX_FRAME} at most"
        raise DataError(f"what `{tool.name}` gets cannot be sent to its process: {problem}", hint=hint)
    return message


def _read(answer: bytes) -> Packed | Told | Pictured:
    has_result, *rest = pickle.loads(answer)  # noqa: S301 - made by our own process
    if has_result:
        images, *packed = rest
        told, *kept = map(Packed, packed)
        result = Told(told, *kept) if kept else told
        return Pictured(result, images) if images else result
    if has_result is False:
        raise MisfitError(rest[0])
    raise _load_error(*rest)


def _load_error(pickled: bytes | None, kind: str, text: str) -> Exception:
    if pickled is not None:
        with contextlib.suppress(Exception):  # a class that pickles and cannot be loaded: its text stands for it
            error = pickle.loads(pickled)  # noqa: S301 - made by our own process
            if isinstance(error, Exception):
                return error
    return ForeignError(kind, text)
