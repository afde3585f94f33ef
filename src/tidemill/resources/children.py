"""`Child`: a program that runs beside this one and is spoken with in frames, killed with all that it started.

A frame is its length, four bytes, the highest first, and so many bytes. Frames go to the program's standard input and
come from its standard output; what it writes to its standard error is handed on as it comes. A program that other code
may print from moves the first two elsewhere before that code runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tidemill.errors import WorkerError
from tidemill.resources.lifeline import Lifeline, start_kept

MAX_FRAME = 64 << 20
"""Bytes of a frame that a child may send, unless more are asked for."""

END_S = 10.0
"""Seconds that the killed may take to be gone: a system call that nothing interrupts holds them."""

OUTPUT_S = 1.0
"""Seconds that the last of its output may take, once all are gone."""

_HEAD = 4


class Child:
    """A running program, in a process group of its own. Belongs to one loop; one task at a time may receive.

    It ends, and with it every process that it started, when it is closed, when its program ends, or when this process
    ends, however that does. On systems other than Linux a process that left the program's group goes on.

    Make it with `await Child.start(…)`, and close it.
    """

    def __init__(self, process: subprocess.Popen[bytes], lifeline: Lifeline, max_frame: int) -> None:
        self._process = process
        self._lifeline = lifeline
        self._max_frame = max_frame
        self._replies = asyncio.StreamReader()
        self._has_no_output = asyncio.Event()  # and will have none
        self._transports: list[asyncio.ReadTransport | asyncio.WriteTransport] = []
        self._closing: asyncio.Future[int] | None = None

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        folder: Path,
        on_output: Callable[[bytes], object] | None,
        max_frame: int = MAX_FRAME,
        owns_folder: bool = False,
    ) -> Child:
        """The running program of `command`.

        Args:
            command: the program, found on the environment's PATH, and its arguments.
            environment: all of its variables.
            folder: what it runs in.
            on_output: given what the program writes to its standard error, in the loop; None where that is this
                process's own.
            max_frame: bytes of a frame that it may send.
            owns_folder: whether the folder is removed where this process dies while the program runs.

        Raises:
            OSError: no process could be started. A program that is not there ends with exit code 127 instead.
        """
        process, lifeline = start_kept(
            command,
            folder=folder if owns_folder else None,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if on_output is None else subprocess.PIPE,
            env=dict(environment),
            cwd=folder,
        )
        self = cls(process, lifeline, max_frame)
        try:
            await self._connect(on_output)
        except BaseException:
            await self.close()
            raise
        return self

    async def _connect(self, on_output: Callable[[bytes], object] | None) -> None:
        loop, process = asyncio.get_running_loop(), self._process
        replies, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(self._replies), process.stdout)
        self._transports.append(replies)
        if on_output is None:
            self._has_no_output.set()
        else:
            output = _Output(on_output, self._has_no_output)
            errors, _ = await loop.connect_read_pipe(lambda: output, process.stderr)
            self._transports.append(errors)
        self._requests, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, process.stdin)
        self._transports.append(self._requests)

    def send(self, frame: bytes) -> None:
        """Have `frame` sent; never waits. To a program that has ended nothing is sent."""
        self._requests.write(len(frame).to_bytes(_HEAD, "big") + frame)

    async def receive(self) -> bytes | None:
        """The next frame; None once the program has ended or closed its end. Cancelled, it may not be called again.

        Raises:
            WorkerError: what came is no frame.
        """
        try:
            length = int.from_bytes(await self._replies.readexactly(_HEAD), "big")
            if length > self._max_frame:
                raise WorkerError(f"a child process sent a frame of {length} bytes, expected {self._max_frame} at most")
            return await self._replies.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    @property
    def has_ended(self) -> bool:
        """Whether the program is known to have ended."""
        return self._closing is not None or self._replies.at_eof() or self._process.poll() is not None

    async def close(self, *, grace_s: float = 0.0) -> int:
        """The program's exit code, once it and all it started are gone: they are killed, if they run yet.

        128 and its number for a signal, which is SIGKILL for what had to be killed here. Cancelling ends the waiting,
        not the killing.

        Args:
            grace_s: how long it may take to end by itself first: of one that closed its output, what is around it.
        """
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close(grace_s))
        return await asyncio.shield(self._closing)

    def kill(self) -> None:
        """Begin to kill it and all it started; never waits. It is to be closed all the same."""
        self._lifeline.cut()

    async def _close(self, grace_s: float) -> int:
        code = await asyncio.to_thread(self._end, grace_s)
        with contextlib.suppress(TimeoutError):  # somebody may hold the other end yet where not all can be killed
            async with asyncio.timeout(OUTPUT_S):
                await self._has_no_output.wait()
        for transport in self._transports:
            if not transport.is_closing():
                transport.abort() if isinstance(transport, asyncio.WriteTransport) else transport.close()
        self._transports.clear()
        return code

    def _end(self, grace_s: float) -> int:
        if grace_s:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace_s)
        self.kill()
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:  # the keeper itself hangs: it is stopped by a signal, or waits for the system
            self._process.kill()
            code = self._process.wait()
        return code if code >= 0 else 128 - code


def describe_exit(code: int) -> str:
    """How a program ended that gave `code`: `by SIGSEGV`, `with exit code 3`."""
    if code > 128:
        with contextlib.suppress(ValueError):
            return f"by {signal.Signals(code - 128).name}"
    return f"with exit code {code}"


class _Output(asyncio.Protocol):
    def __init__(self, on_output: Callable[[bytes], object], at_end: asyncio.Event) -> None:
        self._on_output = on_output
        self._at_end = at_end

    def data_received(self, data: bytes) -> None:
        self._on_output(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._at_end.set()
