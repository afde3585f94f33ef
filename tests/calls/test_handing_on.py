"""A response's body, handed on as it comes."""

import asyncio
import gzip
from collections.abc import AsyncIterator

import msgspec.structs
import pytest
from rawserver import OK, listen, post, serve_raw

from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.wire import AttemptTimeoutError, Request
from tidemill.errors import TransientCallError

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(max_body_bytes=1000)
    yield transport
    await transport.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def handing_on(request: Request, heard: list[bytes]) -> Request:
    return msgspec.structs.replace(request, on_chunk=heard.append)


async def test_pieces_come_one_by_one_and_the_body_whole(transport: HttpTransport) -> None:
    """Compression, which would hold them back, is not asked for; the connection is used again."""
    heard: list[bytes] = []
    async with serve_raw([HEAD, chunk(b"one "), chunk(b"two "), chunk(b"three") + END]) as server:
        for _ in range(3):
            response = await transport.send(handing_on(post(server.url()), heard), 10.0)
            assert response.body == b"one two three"
        assert heard == [b"one ", b"two ", b"three"] * 3
        ((first, *_),) = server.connections
        assert b"\r\naccept-encoding: identity\r\n" in first
        await transport.send(post(server.url()), 10.0)
        assert b"\r\naccept-encoding: gzip\r\n" in server.connections[0][-1]


async def test_a_piece_comes_before_the_next_is_sent(transport: HttpTransport) -> None:
    """The server says the second piece once the first has reached the caller."""
    heard = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HEAD + chunk(b"first"))
        await heard.wait()
        writer.write(chunk(b"second") + END)
        await reader.read()
        writer.close()

    async with listen(serve) as port:
        request = msgspec.structs.replace(post(f"http://127.0.0.1:{port}/"), on_chunk=lambda _: heard.set())
        assert (await transport.send(request, 10.0)).body == b"firstsecond"
        await transport.close()


async def test_compression_that_nobody_asked_for_is_undone(transport: HttpTransport) -> None:
    """Piece by piece; one in which nothing is told yet is not handed on."""
    packed, heard = gzip.compress(b"body " * 20), list[bytes]()
    pieces = [chunk(packed[:3]), chunk(packed[3:12]), chunk(packed[12:]) + END]
    async with serve_raw([HEAD[:-2] + b"content-encoding: gzip\r\n\r\n", *pieces]) as server:
        response = await transport.send(handing_on(post(server.url()), heard), 10.0)
    assert response.body == b"".join(heard) == b"body " * 20
    assert all(heard)


@pytest.mark.parametrize("status", [b"429 Too Many", b"500 Oh", b"307 There"])
async def test_only_a_success_is_handed_on(transport: HttpTransport, status: bytes) -> None:
    """What another status says is no part of the reply."""
    heard: list[bytes] = []
    async with serve_raw(OK.replace(b"200 OK", status)) as server:
        assert (await transport.send(handing_on(post(server.url()), heard), 10.0)).body == b"{}"
    assert not heard


async def test_hints_before_the_response_change_nothing(transport: HttpTransport) -> None:
    heard: list[bytes] = []
    async with serve_raw([b"HTTP/1.1 103 Early Hints\r\n\r\n", OK]) as server:
        assert (await transport.send(handing_on(post(server.url()), heard), 10.0)).body == b"{}"
    assert heard == [b"{}"]


class ToldToStopError(Exception):
    """What a test's taker of pieces raises."""


@pytest.mark.parametrize("error", [ToldToStopError("no"), OSError("mine"), ValueError("mine"), TimeoutError("mine")])
@pytest.mark.parametrize("number", [1, 2])
async def test_what_the_taker_raises_ends_the_attempt(transport: HttpTransport, error: Exception, number: int) -> None:
    """It comes out as it is, though it looks like an error of the connection; the server sees its client go."""
    heard: list[bytes] = []

    def take(piece: bytes) -> None:
        heard.append(piece)
        if len(heard) == number:
            raise error

    async with serve_raw([HEAD, chunk(b"one") + chunk(b"two"), chunk(b"three")]) as server:
        with pytest.raises(type(error)) as caught:
            await transport.send(msgspec.structs.replace(post(server.url()), on_chunk=take), 10.0)
        assert caught.value is error
        assert error.__context__ is None
        await server.gone.wait()
    assert heard == [b"one", b"two"][:number]


async def test_a_taker_that_raises_at_the_end_closes_the_connection(transport: HttpTransport) -> None:
    """The response was whole, and yet it is no answer."""

    def take(piece: bytes) -> None:
        raise ToldToStopError

    async with serve_raw(OK) as server:
        with pytest.raises(ToldToStopError):
            await transport.send(msgspec.structs.replace(post(server.url()), on_chunk=take), 10.0)
        await server.gone.wait()


async def test_nothing_is_handed_on_after_a_call_was_given_up(transport: HttpTransport) -> None:
    """Cancelled from within, while more pieces of the same packet are still to come."""
    heard: list[bytes] = []

    def take(piece: bytes) -> None:
        heard.append(piece)
        call.cancel()

    async with serve_raw([HEAD, chunk(b"one"), chunk(b"two")]) as server:
        call = asyncio.create_task(transport.send(msgspec.structs.replace(post(server.url()), on_chunk=take), 10.0))
        await asyncio.wait([call])
        assert call.cancelled()
        await server.gone.wait()
    assert heard == [b"one"]


async def test_the_time_limit_covers_the_last_piece(transport: HttpTransport) -> None:
    """A stall in the middle is cut off as one before the first byte is."""
    heard: list[bytes] = []
    async with serve_raw(HEAD + chunk(b"one")) as server:
        with pytest.raises(AttemptTimeoutError, match=r"no complete answer within 0.2 s"):
            await transport.send(handing_on(post(server.url()), heard), 0.2)
        await server.gone.wait()
    assert heard == [b"one"]


@pytest.mark.parametrize("is_packed", [False, True])
async def test_the_bound_on_a_body_holds(transport: HttpTransport, is_packed: bool) -> None:
    """No more than that is handed on."""
    heard: list[bytes] = []
    head = HEAD[:-2] + b"content-encoding: gzip\r\n\r\n" if is_packed else HEAD
    pieces = cut_evenly(gzip.compress(b"x" * 2000)) if is_packed else [b"x" * 300] * 7
    async with serve_raw([head, *map(chunk, pieces)]) as server:
        with pytest.raises(TransientCallError, match="answered 200 with more than 1000 bytes"):
            await transport.send(handing_on(post(server.url()), heard), 10.0)
        await server.gone.wait()
    assert len(b"".join(heard)) <= 1000


def cut_evenly(whole: bytes) -> list[bytes]:
    return [whole[start : start + 5] for start in range(0, len(whole), 5)]


async def test_a_body_that_is_cut_is_no_answer(transport: HttpTransport) -> None:
    """What was handed on of it is the taker's to forget."""
    heard: list[bytes] = []
    async with serve_raw([HEAD, chunk(b"one")], close=True) as server:
        with pytest.raises(TransientCallError, match="closed before the response was whole"):
            await transport.send(handing_on(post(server.url()), heard), 10.0)
    assert heard == [b"one"]
