"""A server that says just the bytes a test gives it."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tidemill.calls.wire import Request

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    """Where it listens, and what it was sent: one list of heads a connection."""

    port: int = 0
    connections: list[list[bytes]] = field(default_factory=list)
    lost: int = 0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}/v1"


def post(url: str, body: bytes = b"{}", **headers: str) -> Request:
    return Request(url, {"content-type": "application/json", **headers}, body)


@contextlib.asynccontextmanager
async def serve_raw(
    *answers: bytes | Sequence[bytes], close: bool = False, tls: ssl.SSLContext | None = None, greeting: bytes = b""
) -> AsyncIterator[RawServer]:
    """Answers the requests of each connection with `answers` in turn, the last one for ever.

    The pieces of a sequence are sent apart; with `close` the connection ends behind its first answer. A `greeting` is
    sent before anything was asked.
    """
    server = RawServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads: list[bytes] = []
        server.connections.append(heads)
        try:
            writer.write(greeting)
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                heads.append(head)
                await say(writer, answers[min(len(heads), len(answers)) - 1])
                if close:
                    writer.close()
                    await writer.wait_closed()
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went
        finally:
            writer.transport.abort()
            server.lost += 1
            server.gone.set()

    async with listen(serve, tls) as server.port:
        yield server


@contextlib.asynccontextmanager
async def listen(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port at which each connection is given to `serve`; what it does there, and every handshake, ends with it."""
    before, serving = asyncio.all_tasks(), set()

    def start(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(serve(reader, writer)))

    listening = await asyncio.start_server(start, "127.0.0.1", 0, ssl=tls)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        tasks = asyncio.all_tasks() - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


@contextlib.contextmanager
def open_full() -> Iterator[tuple[str, int]]:
    """An address at which connecting hangs, as behind a firewall: its backlog is full."""
    with contextlib.ExitStack() as sockets:
        full = sockets.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        yield full.getsockname()


async def relay(port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take bytes to and from a port of this machine, until one side goes."""
    there, back = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(pump(reader, back), pump(there, writer))


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # one side went
    finally:
        writer.transport.abort()


async def say(writer: asyncio.StreamWriter, answer: bytes | Sequence[bytes]) -> None:
    """Send an answer, its pieces apart."""
    for piece in [answer] if isinstance(answer, bytes) else answer:
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.002)


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
