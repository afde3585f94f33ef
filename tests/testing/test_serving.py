"""The fault server's port: what a refusal meets on its way is refused too."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop

from tidemill.testing import Load, Outage
from tidemill.testing.board import Board
from tidemill.testing.load.admission import Admission
from tidemill.testing.serving import Listener

LoopFactory = Callable[[], asyncio.AbstractEventLoop] | None

REFUSED = Load(outages=[Outage(start_s=0, length_s=1000, kind="refused")])


def run(coroutine: Coroutine[None, None, None], factory: LoopFactory) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(coroutine, timeout=30))


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener(Board(), 0)
    try:
        await listener.open()
        yield listener
    finally:
        await listener.close()


def is_answered(client: socket.socket) -> bool:
    """Whether a request gets anything before its connection ends."""
    with suppress(ConnectionResetError):
        client.sendall(b"GET /stats HTTP/1.1\r\n\r\n")
        return client.recv(65536) != b""
    return False


async def refuse_amid(turns: int) -> None:
    async with listening() as listener:
        with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as client:
            for _ in range(turns):
                await asyncio.sleep(0)
            listener.refuse()
            assert not await asyncio.to_thread(is_answered, client)


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_a_refusal_overtakes_is_reset(turns: int) -> None:
    """However far uvloop has come with accepting it; asyncio's own loop loses one that a closed server has accepted."""
    run(refuse_amid(turns), uvloop.new_event_loop)


async def follow_a_load() -> None:
    async with listening() as listener:
        listener.follow(Admission(REFUSED))
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listener.port), timeout=10)
        listener.follow(None)
        await asyncio.sleep(0)
        with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as client:
            assert await asyncio.to_thread(is_answered, client)


@pytest.mark.parametrize("factory", [None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_refusal_begins_with_the_request_that_starts_it(factory: LoopFactory) -> None:
    """Not a turn of the loop later, in which another connection would be let in."""
    run(follow_a_load(), factory)
