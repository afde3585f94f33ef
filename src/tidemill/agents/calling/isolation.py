"""Processes that execute isolated tools, each ended with all it started when its execution is given up."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import defaultdict
from multiprocessing import Pipe, spawn
from multiprocessing.connection import Connection
from typing import Any

from tidemill.agents.tools.tool import Tool
from tidemill.errors import ConfigError, DataError, WorkerError
from tidemill.resources.threads import Threads

LOOK_S = 0.2
"""Between two looks whether a process is gone: a child of its own may hold its end of the socket open."""


_SERVING = "tidemill.agents.calling.isolated"


class DiedError(WorkerError):
    """A tool's process ended by itself in the middle of a call.

    Attributes:
        ending: `SIGSEGV`, `exit code 3`.
    """

    def __init__(self, ending: str) -> None:
        super().__init__(f"its process ended with {ending}")
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


class Processes:
    """Executes isolated tools. A process is used by one execution at a time, and by the next if it ended well.

    Starting one takes 0.3 to 0.6 s, nearly all of it imports, and asking one that is idle 0.2 ms
    (`benchmarks/tools_dispatch.py`), so that idle ones are kept; there are as many as there were executions at once.
    Belongs to one loop; `close` ends them.

    Args:
        threads: where processes are waited for.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._lock = threading.Lock()  # guards what follows
        self._idle: defaultdict[Tool, list[_Child]] = defaultdict(list)
        self._is_closed = False

    async def run(self, tool: Tool, values: dict[str, Any]) -> bytes:
        """The JSON of what the tool's function gives for the keyword arguments `values`.

        Cancelling kills the process and all it started, and is raised when that has happened.

        Raises:
            DataError: the arguments cannot be sent.
            MisfitError: the result is no JSON.
            DiedError: the process ended by itself.
            ConfigError: as `check_isolated`.
            Exception: what the function raised.
        """
        execution = _Execution(self, tool, _pickle_values(tool, values))
        running = asyncio.ensure_future(self._threads.run(execution.run))
        try:
            answer = await asyncio.shield(running)
        except asyncio.CancelledError:
            execution.kill()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # looked at: it is that of a process that was killed
            raise
        return _read(answer)

    def close(self) -> None:
        """Kill the idle processes; one that is at work is killed when that ends."""
        with self._lock:
            self._is_closed = True
            idle = [child for children in self._idle.values() for child in children]
            self._idle.clear()
        for child in idle:
            child.end()

    def take(self, tool: Tool) -> _Child:
        """An idle process of the tool's, or a new one; called in a thread."""
        while True:
            with self._lock:
                child = self._idle[tool].pop() if self._idle[tool] else None
            if child is None:
                return _Child(tool)
            if child.is_alive:
                return child
            child.end()

    def give_back(self, tool: Tool, child: _Child) -> None:
        """Keep a process whose execution ended well; called in a thread."""
        with self._lock:
            if not self._is_closed:
                self._idle[tool].append(child)
                return
        child.end()


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
            hint="put it at the top of a module, under a name of its own, or leave isolate out",
        ) from error


def _pickle_values(tool: Tool, values: dict[str, Any]) -> bytes:
    try:
        return pickle.dumps(values, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        raise DataError(
            f"what `{tool.name}` gets cannot be sent to its process: {type(error).__name__}: {error}",
            hint="give plain data as deps, or leave isolate out",
        ) from error


def _read(answer: bytes) -> bytes:
    has_result, *rest = pickle.loads(answer)  # noqa: S301 - made by our own process
    if has_result:
        return bytes(rest[0])
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


class _Execution:
    """One execution: a thread waits for it, and the loop may kill it."""

    def __init__(self, processes: Processes, tool: Tool, message: bytes) -> None:
        self._processes = processes
        self._tool = tool
        self._message = message
        self._lock = threading.Lock()  # guards the child, and that none is kept which is to be killed
        self._child: _Child | None = None
        self._killed = threading.Event()

    def run(self) -> bytes:
        """The process's answer; called in a thread."""
        if self._killed.is_set():
            return b""  # nobody waits for it any more
        child = self._processes.take(self._tool)
        with self._lock:
            self._child = child
            if self._killed.is_set():
                child.kill()
        try:
            answer = child.ask(self._message)
        except BaseException:
            child.end()
            raise
        with self._lock:
            self._child = None
        if self._killed.is_set():
            child.end()
        else:
            self._processes.give_back(self._tool, child)
        return answer

    def kill(self) -> None:
        """Kill the process, now or as soon as there is one; any thread."""
        with self._lock:
            self._killed.set()
            if self._child is not None:
                self._child.kill()


class _Child:
    """A process, a group of its own, and this end of the socket to it. Used by one thread at a time but for `kill`."""

    def __init__(self, tool: Tool) -> None:
        preparation = spawn.get_preparation_data(tool.name)
        preparation.pop("authkey", None)  # which may not be pickled, and nothing here asks for
        start = pickle.dumps((preparation, _refer(tool)))
        self._lock = threading.Lock()  # guards that what is killed is not waited for yet: its id may be another's then
        self._connection: Connection
        self._connection, theirs = Pipe()
        program = f"import sys; sys.path[:] = {sys.path!r}; from {_SERVING} import serve; serve({theirs.fileno()})"
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.PIPE,
                stdout=2,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                bufsize=0,
            )
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()
        try:
            self._connection.send_bytes(start)
        except OSError:
            pass  # it has died: the first call finds out
        except BaseException:
            self.end()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether it runs; one that has ended stays to be waited for, where the system can tell so."""
        with self._lock:
            if not hasattr(os, "waitid"):  # macOS before Python 3.13
                return self._process.poll() is None
            return os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def ask(self, message: bytes) -> bytes:
        """Its answer to `message`.

        Raises:
            DiedError: it ended instead.
        """
        try:
            self._connection.send_bytes(message)
            while not self._connection.poll(LOOK_S):
                if not self.is_alive and not self._connection.poll():
                    raise EOFError
            return self._connection.recv_bytes()
        except (EOFError, OSError):
            raise DiedError(self.end()) from None

    def kill(self) -> None:
        """Kill it and what it started; it is still to be waited for."""
        with self._lock:
            if self._process.returncode is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone, and nobody of its group
                    os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> str:
        """Kill it, wait for it, and say what it ended with."""
        self.kill()
        with self._lock:
            code = self._process.wait()
        self._connection.close()
        assert self._process.stdin is not None
        self._process.stdin.close()
        if code >= 0:
            return f"exit code {code}"
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"
