"""The fault server's port: what a refusal meets on its way is refused too."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import uvloop

from tidemill.testing import Load, Outage
from tidemill.testing.board import Board
from tidemill.testing.load.admission import Admission
from tidemill.testing.serving import Listener

REFUSED = Load(outages=[Outage(start_s=0, length_s=1000, kind="refused")])


@asynccontextmanager
async def listening() -> AsyncIterator[Listener]:
    listener = Listener(Board(), 0)
    try:
        await listener.open()
        yield listener
    finally:
        await listener.close()


def connect(listener: Listener) -> socket.socket:
    return socket.create_connection(("127.0.0.1", listener.port), timeout=10)


def is_answered(client: socket.socket) -> bool:
    """Whether a request gets anything before its connection ends."""
    with suppress(ConnectionResetError):
        client.sendall(b"GET /stats HTTP/1.1\r\n\r\n")
        return client.recv(65536) != b""
    return False


async def is_answered_amid(turns: int) -> bool:
    """Whether a request gets anything on a connection that a refusal overtakes."""
    async with listening() as listener:
        with connect(listener) as client:
            for _ in range(turns):
                await asyncio.sleep(0)
            listener.refuse()
            return await asyncio.to_thread(is_answered, client)


@pytest.mark.parametrize("turns", range(6))
def test_a_connection_that_a_refusal_overtakes_is_reset(turns: int) -> None:
    """However far uvloop has come with accepting it; asyncio's own loop loses one that a closed server has accepted."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert not runner.run(is_answered_amid(turns))


async def test_a_refusal_begins_with_the_request_that_starts_it() -> None:
    """Not a turn of the loop later, in which another connection would be let in."""
    async with listening() as listener:
        listener.follow(Admission(REFUSED))
        with pytest.raises(ConnectionRefusedError):
            connect(listener)
        listener.follow(None)
        await asyncio.sleep(0)
        with connect(listener) as client:
            assert await asyncio.to_thread(is_answered, client)
