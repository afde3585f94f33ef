"""Managed servers: a command that serves a model, running for the length of a block.

Its processes are a group of their own, so that Ctrl-C does not reach them, and end with this process however that ends
(`resources/lifeline.py`).
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tidemill.config.secrets import mask
from tidemill.config.wording.suggest import find_near, find_near_file
from tidemill.errors import ConfigError, ResourceError
from tidemill.models.serve import Serve
from tidemill.resources.lifeline import start_kept

logger = logging.getLogger(__name__)

HOST = "127.0.0.1"
STOP_S = 10.0
"""What a server gets between SIGTERM and SIGKILL."""
POLL_S = (0.05, 1.0)
"""Between two looks whether a server answers: at first, and at most."""
ANSWER_S = 2.0
TAIL_LINES = 12
TAIL_BYTES = 8_192


class RunningServer:
    """A server that was started. Threads: any.

    Attributes:
        base_url: where it answers.
        log: the file that its output goes to; kept when it ended by itself or did not come up.
    """

    def __init__(self, command: tuple[str, ...], folder: Path, base_url: str) -> None:
        self.base_url = base_url
        self.users = 0
        self._has_failed = False
        self._program = Path(command[0]).name
        handle, name = tempfile.mkstemp(prefix=f"tidemill-{self._program}-", suffix=".log")
        self.log = Path(name)
        try:
            self._process, self._lifeline = start_kept(
                command,
                grace_s=STOP_S,
                stdin=subprocess.DEVNULL,
                stdout=handle,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        finally:
            os.close(handle)
        logger.info("%s starts, for %s; its output goes to %s", self._program, base_url, self.log)

    def check(self) -> None:
        """Refuse if it has ended.

        Raises:
            ResourceError: it has; with its last lines.
        """
        code = self._process.poll()
        if code is not None:
            raise self._fail(f"ended with exit code {code}")

    def wait(self, timeout_s: float, is_stopped: Callable[[float], bool]) -> None:
        """Return once it answers.

        Args:
            is_stopped: waits so many seconds at most; true ends the waiting.

        Raises:
            ResourceError: it ended, or does not answer in time, or the waiting was ended.
        """
        ends_at, pause_s = time.monotonic() + timeout_s, POLL_S[0]
        while True:
            is_up = _answers(f"{self.base_url}/models")
            self.check()  # behind the look: another process may have its port
            if is_up:
                logger.info("%s answers at %s", self._program, self.base_url)
                return
            if time.monotonic() >= ends_at:
                raise self._fail(f"did not answer at {self.base_url}/models within start_timeout_s={timeout_s:g}")
            if is_stopped(min(pause_s, max(0.0, ends_at - time.monotonic()))):
                raise ResourceError(f"{self._program} was ended before it answered")
            pause_s = min(1.5 * pause_s, POLL_S[1])

    def end(self) -> None:
        """End it and all it started: SIGTERM, and SIGKILL for what is left ten seconds later. Waits for that."""
        keeps_log = self._has_failed or self._process.poll() is not None
        self._lifeline.cut()
        try:
            self._process.wait(STOP_S + 5)
        except subprocess.TimeoutExpired:  # the keeper itself hangs, stopped by a signal say
            self._process.kill()
            self._process.wait()
        if not keeps_log:
            self.log.unlink(missing_ok=True)
        logger.info("%s ended", self._program)

    def _fail(self, what: str) -> ResourceError:
        self._has_failed = True
        lines = _read_tail(self.log)
        hint = f"all it said is in {self.log}" if lines else "run the command by itself to see why"
        told = "; its last lines:\n" + "\n".join(f"  {line}" for line in lines) if lines else ", and said nothing"
        return ResourceError(f"the server `{self._program}` {what}{told}", hint=hint)


@contextmanager
def open_command_server(
    serve: Serve,
    *,
    base_url: str | None = None,
    folder: Path | None = None,
    is_stopped: Callable[[float], bool] | None = None,
) -> Iterator[RunningServer]:
    """The server that `serve` starts, answering, for the length of the block.

    Opened again with the same arguments in this process, the running server is shared; the last one to leave ends it.
    Entering blocks until it answers, leaving until it has ended.

    Args:
        serve: the command.
        base_url: where it answers, for a command without `{port}`.
        folder: what it runs in, and a relative program is looked for in; by default the working folder.
        is_stopped: as `RunningServer.wait` has it; by default nothing ends the waiting but its time.

    Raises:
        ConfigError: there is no such program.
        ResourceError: it ended, or does not answer in time.
    """
    folder = (folder or Path()).resolve()
    check_command(serve, folder)
    plan = _Plan(os.getpid(), serve.command, folder, base_url)
    server = _acquire(plan, serve)
    try:
        server.wait(serve.start_timeout_s, is_stopped or threading.Event().wait)
        yield server
    finally:
        _release(plan, server)


def check_command(serve: Serve, folder: Path) -> None:
    """Refuse a command whose program is not there; nothing is started.

    Raises:
        ConfigError: says what may have been meant.
    """
    program = serve.command[0]
    if os.sep in program:
        path = folder / Path(program).expanduser()
        if os.access(path, os.X_OK) and path.is_file():
            return
        near = find_near_file(path)
        hint = f"did you mean `{Path(program).with_name(near)}`?" if near and near != path.name else "chmod +x, maybe"
        raise ConfigError(f"the program {path} cannot be run", hint=hint if path.parent.is_dir() else "")
    if shutil.which(program) is None:
        near = find_near(program, _list_programs())
        hint = f"did you mean `{near}`?" if near else "install it, or give its path"
        raise ConfigError(f"no program on the PATH is called `{program}`", hint=hint)


def _list_programs() -> list[str]:
    names: set[str] = set()
    for folder in os.get_exec_path():
        with contextlib.suppress(OSError):  # a folder of the PATH need not exist
            names.update(os.listdir(folder))
    return sorted(names)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one server is started from; equal plans share it. A forked child (another `pid`) shares nothing."""

    pid: int
    command: tuple[str, ...]
    folder: Path
    base_url: str | None


_lock = threading.Lock()  # guards `_open` and the users of what is in it
_open: dict[_Plan, RunningServer] = {}


def _acquire(plan: _Plan, serve: Serve) -> RunningServer:
    with _lock:
        server = _open.get(plan)
        if server is None:
            port = _find_port()
            base_url = plan.base_url or f"http://{HOST}:{port}/v1"
            program, *arguments = serve.fill(port)
            if program.startswith("~"):
                program = str(Path(program).expanduser())
            server = _open[plan] = RunningServer((program, *arguments), plan.folder, base_url)
        server.users += 1
        return server


def _release(plan: _Plan, server: RunningServer) -> None:
    if plan.pid != os.getpid():
        return  # a fork inside the block: the server is the parent's
    with _lock:
        server.users -= 1
        if server.users or _open.get(plan) is not server:
            return  # the interpreter is exiting and has ended it
        del _open[plan]
    server.end()


@atexit.register
def _end_all() -> None:
    with _lock:
        servers = [_open.pop(plan) for plan in list(_open) if plan.pid == os.getpid()]
    for server in servers:
        server.end()


def _let_all_go() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held it
    _open.clear()


os.register_at_fork(after_in_child=_let_all_go)


def _find_port() -> int:
    """A port that is free now; whoever takes it before the server does has that end with a word of it."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        port: int = bound.getsockname()[1]
        return port


def _answers(url: str) -> bool:
    """Whether something answers there that is no server's error, such as llama.cpp's 503 while it loads."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names
    try:
        with opener.open(url, timeout=ANSWER_S):
            return True
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code < 500
    except (OSError, http.client.HTTPException):
        return False


def _read_tail(path: Path) -> list[str]:
    """The last lines of a log, without secrets."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:  # somebody cleaned the folder up
        return []
    return [mask(line.rstrip())[:300] for line in text.splitlines() if line.strip()][-TAIL_LINES:]
