"""How an MCP server is reached: a process of ours and its pipes, or an address."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from io import FileIO
from itertools import pairwise
from typing import Any, Protocol

from tidemill.calls.credentials import label_endpoint
from tidemill.config.secrets import MASK, is_secret_key, mask
from tidemill.resources.lifeline import close_in_forks, keep

CONNECT_TIMEOUT_S = 30.0
TERM_S = 1.0
"""What a process gets between SIGTERM and SIGKILL. `mcp` kills the keeper 2 s after the first, and with it the one that
sees to what left the process's group."""

MAX_TAIL_BYTES = 8192
"""What is kept of the end of a process's standard error."""

MAX_SHOWN = 1000
"""Characters of it that an error shows."""

Answered = deque[tuple[int, Mapping[str, str]]]

answered: ContextVar[Answered | None] = ContextVar("tidemill_mcp_answered", default=None)
"""Gets the status and headers of each HTTP response to what is sent in this context: `mcp` itself hides them."""


class Reach(Protocol):
    """A way to a server.

    Attributes:
        label: what messages call the server, without credentials.
        is_remote: whether the server is somebody else's to start.
    """

    @property
    def label(self) -> str: ...

    @property
    def is_remote(self) -> bool: ...

    def open(self, tail: Tail) -> Any:
        """The streams that `mcp.Client` takes, as an asynchronous context manager; `tail` gets standard error."""
        ...


class Tail(asyncio.Protocol):
    """The end of what a process wrote to its standard error."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def data_received(self, data: bytes) -> None:
        self._kept += data
        del self._kept[:-MAX_TAIL_BYTES]

    def render(self) -> str:
        """The last lines as they may be shown; empty where there is nothing."""
        return mask(self._kept.decode("utf-8", "replace")).strip()[-MAX_SHOWN:]


@dataclass(frozen=True, slots=True)
class Process:
    """A server that is started by a command and speaks over its standard input and output.

    Attributes:
        command: the program and its arguments.
        env: its variables, beside HOME, LOGNAME, PATH, SHELL, TERM and USER; it gets no others of this process.
        cwd: its working folder, by default this process's.
    """

    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str | None = None

    is_remote = False

    @property
    def label(self) -> str:
        """The command, without credentials."""
        hidden = set(self.iter_secrets())
        return " ".join(MASK if word in hidden else mask(word) for word in self.command)

    def iter_secrets(self) -> Iterator[str]:
        """What the command and its variables hold under names of secrets."""
        for word, following in pairwise(self.command):
            if word.startswith("-") and "=" not in word and is_secret_key(word):
                yield following
        yield from (value for name, value in self.env.items() if is_secret_key(name))

    @asynccontextmanager
    async def open(self, tail: Tail) -> AsyncIterator[Any]:
        """The process's pipes. Leaving closes its standard input, and ends it and what it started within some seconds.

        It is given 2 s to go by itself, 1 s more after SIGTERM, and then killed, with all it started. Where this
        process itself dies, killed or not, SIGTERM comes at once.

        Raises:
            OSError: no process could be started.
        """
        from mcp.client.stdio import StdioServerParameters, get_default_environment, stdio_client

        self._check_program(self.env.get("PATH", get_default_environment().get("PATH")))
        program, *arguments = keep(self.command, 2, grace_s=TERM_S)
        given = StdioServerParameters(
            command=program,
            args=arguments,
            env=dict(self.env),
            cwd=self.cwd,
            encoding_error_handler="replace",
        )
        reading, writing = os.pipe()
        pipe = FileIO(reading)  # which the transport closes
        close_in_forks(pipe)  # the keeper ends the command where nobody is left to read what it writes there
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: tail, pipe)
        try:
            with os.fdopen(writing, "w") as errors:
                async with stdio_client(given, errlog=errors) as streams:
                    yield streams
        finally:
            transport.close()

    def _check_program(self, path: str | None) -> None:
        program = self.command[0]
        place = os.path.join(self.cwd or "", program) if os.sep in program else program
        if shutil.which(place, path=path) is None:
            code = errno.EACCES if os.sep in program and os.path.exists(place) else errno.ENOENT
            raise OSError(code, os.strerror(code), program)


@dataclass(frozen=True, slots=True)
class Address:
    """A server that speaks streamable HTTP.

    Attributes:
        url: its endpoint, `https://host/mcp`.
        headers: sent with every request.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    is_remote = True

    @property
    def label(self) -> str:
        """The address, without credentials."""
        return label_endpoint(self.url)

    @asynccontextmanager
    async def open(self, tail: Tail) -> AsyncIterator[Any]:
        """Streams over HTTP. A redirect is followed within the server's origin alone."""
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        async def note(response: httpx2.Response) -> None:
            if (noted := answered.get()) is not None:
                noted.append((response.status_code, response.headers))

        timeout = httpx2.Timeout(CONNECT_TIMEOUT_S, read=None)  # how long a call may take is the tool's to say
        async with (
            httpx2.AsyncClient(headers=dict(self.headers), timeout=timeout, event_hooks={"response": [note]}) as client,
            streamable_http_client(self.url, http_client=client) as streams,
        ):
            yield streams
