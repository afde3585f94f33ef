"""`Link`: a connection to an MCP server that lives in a task of its own, and is made again when it was lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from tidemill.agents.calling.home import Home
from tidemill.agents.mcp.transports import Answered, Reach, Tail, answered
from tidemill.calls.retry import parse_retry_after
from tidemill.errors import CallError, PermanentCallError, ResourceError, TransientCallError

if TYPE_CHECKING:
    from mcp import Client, MCPError
    from mcp.types import CallToolResult, RequestParamsMeta, Tool

KEY = "tidemill/idempotency-key"
"""The key in a call's `_meta` that holds its idempotency key; MCP has none of its own."""

RECONNECT_S = 5.0
"""For how long a lost connection to somebody else's server is tried again, before the run ends."""

FIRST_WAIT_S = 0.2
MAX_PAGES = 100
MAX_TOLD = 2000
_REFUSED = (401, 403, 407)
_CHECK = "check the headers, which let requests through"
_LOST = ("Connection closed", "SSE stream", "Session terminated")
"""What the messages begin with that `mcp` makes where no answer can come any more: their code is also servers' own."""


class _Session:
    """One connection. It is entered and left by one task, as anyio's cancel scopes ask; calls come from any."""

    def __init__(self, reach: Reach) -> None:
        self.tail = Tail()
        self.noted = Answered(maxlen=1)  # while the server says what it is
        self._reach = reach
        self._stop = asyncio.Event()
        self._ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._task = asyncio.get_running_loop().create_task(self._own(), name=f"mcp {reach.label}")
        self._task.add_done_callback(_look_at)

    async def get(self, timeout_s: float) -> Client:
        """The client, once the server has said what it is.

        Raises:
            TimeoutError: it did not within `timeout_s`; the connection is closed then.
            Exception: whatever kept it from that.
        """
        if self._ready.done() and not self._task.done():
            return self._ready.result()
        try:
            either: list[asyncio.Future[Any]] = [self._ready, self._task]
            await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.close(at_once=True)
            raise
        if self._ready.done() and not self._task.done():
            return self._ready.result()
        if not self._task.done():
            await self.close(at_once=True)
            raise TimeoutError
        self._task.result()
        raise ConnectionError("the connection was closed")

    @property
    def has_ended(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._stop.is_set() or self._task.done()

    def explain(self) -> str:
        """Why it ended, as far as that is known."""
        if not self._task.done() or self._task.cancelled() or self._task.exception() is None:
            return ""
        return _explain(self._task.exception())

    async def close(self, *, at_once: bool = False) -> None:
        """Leave the connection; a process is gone then. Cancelling is raised once that is done.

        Args:
            at_once: it need not be ready yet.
        """
        self._stop.set()
        if at_once:
            self._task.cancel()
        cancelled: asyncio.CancelledError | None = None
        while not self._task.done():
            try:
                await asyncio.wait([self._task])
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _own(self) -> None:
        from mcp import Client

        answered.set(self.noted)
        async with Client(self._reach.open(self.tail), cache=None) as client:
            self._ready.set_result(client)
            await self._stop.wait()


class Link:
    """A connection to one MCP server. Belongs to one loop; calls may come from any task of any.

    One that is lost is made again by the next call: a command is started anew, an address tried for 5 s.

    Args:
        start_timeout_s: how long the server may take to say what it is.
    """

    def __init__(self, reach: Reach, *, start_timeout_s: float) -> None:
        self._reach = reach
        self._start_timeout_s = start_timeout_s
        self._loop = asyncio.get_running_loop()
        self._session: _Session | None = None
        self._is_closed = False
        self._starting = asyncio.Lock()  # guards the making of `_session`

    async def list_tools(self) -> list[Tool]:
        """All tools that the server has.

        Raises:
            ResourceError: it cannot be started or reached, or tells none.
        """
        from mcp import MCPError

        client = await self._connect()
        tools: list[Tool] = []
        cursor: str | None = None
        try:
            for _ in range(MAX_PAGES):
                page = await client.list_tools(cursor=cursor)
                tools += page.tools
                cursor = page.next_cursor
                if not cursor:
                    return tools
        except MCPError as error:
            raise ResourceError(f"it tells no tools: {error.message}", where=self._reach.label) from error
        raise ResourceError(f"its list of tools has more than {MAX_PAGES} pages", where=self._reach.label)

    async def call(self, name: str, arguments: Mapping[str, Any], key: str) -> CallToolResult:
        """What the server answers to one call. Cancelling tells the server so.

        Raises:
            TransientCallError: the server went away in the middle of it, or asks to come back later.
            PermanentCallError: the server refuses the call; of the run where it refuses the credentials.
            ResourceError: the server, which had gone, cannot be started or reached again.
        """
        if asyncio.get_running_loop() is self._loop:
            return await self._call(name, arguments, key)
        result: CallToolResult = await Home(self._loop).call(self._call, name, arguments, key)
        return result

    async def _call(self, name: str, arguments: Mapping[str, Any], key: str) -> CallToolResult:
        from mcp import MCPError

        client = await self._connect()
        session = self._session
        noted = Answered(maxlen=1)
        meta = cast("RequestParamsMeta", {KEY: key}) if key else None
        token = answered.set(noted)
        try:
            return await client.call_tool(name, dict(arguments), meta=meta)
        except MCPError as error:
            failure = await self._judge(error, session, noted, name)
        except (RuntimeError, ValueError) as error:  # of an answer that is none, or not as the tool's schema has it
            failure = PermanentCallError(f"its answer cannot be taken: {str(error)[:MAX_TOLD]}", where=name)
        finally:
            answered.reset(token)
        raise failure

    async def close(self) -> None:
        """Leave the server: a process is gone then, with what it started."""
        self._is_closed = True
        async with self._starting:
            session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _connect(self) -> Client:
        async with self._starting:
            if self._is_closed:
                raise ResourceError("the MCP server is called after it was left", where=self._reach.label)
            session = self._session
            if session is not None and not session.has_ended:
                return await session.get(self._start_timeout_s)
            ends_at = asyncio.get_running_loop().time()
            ends_at += RECONNECT_S if session is not None and self._reach.is_remote else 0.0
            self._session, wait_s = None, FIRST_WAIT_S
            while True:
                try:
                    return await self._start()
                except ResourceError:
                    if asyncio.get_running_loop().time() + wait_s > ends_at:
                        raise
                await asyncio.sleep(wait_s)
                wait_s *= 2

    async def _start(self) -> Client:
        session = _Session(self._reach)
        try:
            client = await session.get(self._start_timeout_s)
        except TimeoutError:
            message = f"the MCP server did not say what it is within {self._start_timeout_s:g} s"
            raise self._explain_start(message, session) from None
        except Exception as error:  # whatever of anyio, httpx2 or the server it is: it is not there
            raise self._explain_start(f"the MCP server cannot be used: {_explain(error)}", session) from error
        self._session = session
        return client

    def _explain_start(self, message: str, session: _Session) -> ResourceError:
        tail = session.tail.render()
        status = session.noted[-1][0] if session.noted else 0
        if status >= 400:
            hint = _CHECK if status in _REFUSED else ""
            return ResourceError(f"the MCP server answered {status}", where=self._reach.label, hint=hint)
        return ResourceError(f"{message}{_quote(tail)}", where=self._reach.label)

    async def _judge(self, error: MCPError, session: _Session | None, noted: Answered, name: str) -> CallError:
        """What it means that a call was answered with an error, or not at all."""
        status, headers = noted[-1] if noted else (None, {})
        if status in (401, 407):
            message = f"the MCP server answered {status}"
            return PermanentCallError(message, where=self._reach.label, hint=_CHECK, of="run", status=status)
        if status == 403:
            return PermanentCallError("answered 403: this call is not permitted", where=name, status=status)
        if status in (408, 425, 429) or (status is not None and status >= 500):
            wait_s = parse_retry_after(headers, wall_s=time.time())
            return TransientCallError(f"answered {status}", where=name, status=status, retry_after_s=wait_s)
        if not error.message.startswith(_LOST):
            return PermanentCallError(f"refused: {error.message[:MAX_TOLD]} ({error.code})", where=name)
        reason = tail = ""
        if session is not None:
            if self._session is session:
                await session.close()  # which `_connect` then finds to have ended
            reason, tail = session.explain(), session.tail.render()
        message = "the MCP server went away before it answered"
        return TransientCallError(f"{message}{f': {reason}' if reason else ''}{_quote(tail)}", where=name)


def _look_at(task: asyncio.Task[None]) -> None:
    """Take note of how it ended: whoever calls is told, and leaving shall not fail."""
    if not task.cancelled():
        task.exception()


def _explain(error: BaseException | None) -> str:
    """The innermost reason: anyio's task groups put errors into groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _quote(tail: str) -> str:
    return f"; the end of its standard error:\n{tail}" if tail else ""
