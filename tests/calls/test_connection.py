"""What a connection makes of the bytes it gets, and when it is used again."""

import asyncio
import gzip
import os
import re
import ssl
import zlib
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rawserver import OK, post, serve_raw

from tidemill.calls.http import connection, encoding, pool
from tidemill.calls.http.transport import HttpTransport
from tidemill.errors import TransientCallError
from tidemill.testing.clock import run_virtual

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
GZIPPED = gzip.compress(b'{"a": 1}' * 100, mtime=0)


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(max_body_bytes=100_000)
    yield transport
    await transport.close()


def with_length(body: bytes, *headers: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", *headers, b"content-length: %d" % len(body), b"", body])


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (OK, b"{}"),
        ([bytes([byte]) for byte in OK], b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, b"{}"),
        ([b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n", OK], b"{}"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", b""),
        (CHUNKED + b"2;ext=1\r\n{}\r\n0\r\ntrailer: yes\r\n\r\n", b"{}"),
        (with_length(GZIPPED, b"Content-Encoding: gzip"), b'{"a": 1}' * 100),
        (
            [CHUNKED[:-2] + b"content-encoding: x-gzip\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(GZIPPED), GZIPPED)],
            b'{"a": 1}' * 100,
        ),
        (with_length(b"{}", b"content-encoding: identity"), b"{}"),
        (with_length(b"{}", b"empty:", b"x-folded: a"), b"{}"),
    ],
    ids=[
        *["plain", "bytewise", "100", "103", "204", "304", "chunked", "gzip"],
        "gzip in chunks",
        "identity",
        "an empty header",
    ],
)
async def test_a_response_is_read_whole_and_its_connection_used_again(
    transport: HttpTransport, answer: bytes | list[bytes], body: bytes
) -> None:
    """However its body is sent; five requests one after another take one connection."""
    async with serve_raw(answer) as server:
        for _ in range(5):
            assert (await transport.send(post(server.url()), 10.0)).body == body
        assert list(map(len, server.connections)) == [5]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        OK + b"HTTP/1.1 200 OK\r\n",
        OK + OK,
    ],
    ids=["close", "1.0", "half an answer more", "an answer more"],
)
async def test_a_connection_that_cannot_be_trusted_is_not_used_again(transport: HttpTransport, answer: bytes) -> None:
    """What came unasked must never be taken for the answer to the next request."""
    async with serve_raw(answer) as server:
        for _ in range(3):
            assert (await transport.send(post(server.url()), 10.0)).body == b"{}"
        assert list(map(len, server.connections)) == [1, 1, 1]


@pytest.mark.parametrize("ending", [b"connection: close\r\n", b""])
async def test_a_body_may_end_with_its_connection(transport: HttpTransport, ending: bytes) -> None:
    async with serve_raw(b"HTTP/1.1 200 OK\r\n" + ending + b"\r\n{}", close=True) as server:
        assert (await transport.send(post(server.url()), 10.0)).body == b"{}"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK[:-1], "closed before the response was whole"),
        (OK[:20], "closed before the response was whole"),
        (CHUNKED + b"2\r\n{}\r\n", "closed before the response was whole"),
        (b"", "closed before the response was whole"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "no HTTP"),
        (CHUNKED + b"zz\r\n", "no HTTP"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", "no HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "no HTTP"),
        (with_length(GZIPPED[:-9], b"content-encoding: gzip"), "no gzip"),
        (with_length(b"{}", b"content-encoding: gzip"), "no gzip"),
        (with_length(zlib.compress(b"{}"), b"content-encoding: br"), "encoded as br, unasked"),
        (b"HTTP/1.1 200 OK\r\n" + b"x: " + b"y" * connection.MAX_HEAD_BYTES, "headers are longer"),
        ([b"HTTP/1.1 200 OK\r\n", *[b"x: " + b"y" * 10_000 + b"\r\n"] * 30], "headers are longer"),
    ],
)
async def test_what_is_no_whole_response_is_a_cut_connection(
    transport: HttpTransport, answer: bytes | list[bytes], reason: str
) -> None:
    """Worth another attempt, on another connection; two lengths in one head are no HTTP (RFC 9112, 6.3)."""
    async with serve_raw(answer, close=True) as server:
        with pytest.raises(TransientCallError, match=f"the connection was cut: .*{reason}"):
            await transport.send(post(server.url()), 10.0)


async def test_a_connection_closed_while_idle_is_forgotten(transport: HttpTransport) -> None:
    """The next request opens another one."""
    async with serve_raw(OK, close=True) as server:
        for _ in range(3):
            assert (await transport.send(post(server.url()), 10.0)).status == 200
            await server.gone.wait()
            server.gone.clear()
        assert len(server.connections) == 3


async def test_idle_connections_grow_old(transport: HttpTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that nobody needs any more are closed from this side, the last one too."""
    monkeypatch.setattr(pool, "KEEP_ALIVE_S", 0.05)
    async with serve_raw(OK) as server:
        await asyncio.gather(*(transport.send(post(server.url()), 10.0) for _ in range(8)))
        while server.lost < 8:
            server.gone.clear()
            await server.gone.wait()
        assert (await transport.send(post(server.url()), 10.0)).status == 200
        assert len(server.connections) == 9


async def test_headers_are_found_by_lower_case_name(transport: HttpTransport) -> None:
    """Those that come twice are joined, as RFC 9110, 5.3 has it."""
    async with serve_raw(with_length(b"{}", b"Retry-After: 3", b"X-A: 1", b"x-a: 2", b"X-Umlaut: \xe4")) as server:
        headers = (await transport.send(post(server.url()), 10.0)).headers
    assert (headers["retry-after"], headers["x-a"], headers["x-umlaut"]) == ("3", "1, 2", "ä")


async def test_an_answer_before_the_request_was_read_is_taken(transport: HttpTransport) -> None:
    """A 413 comes at once, and the far side closes; what is left of the request goes nowhere."""
    async with serve_raw(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n") as server:
        response = await transport.send(post(server.url(), b"x" * 2_000_000), 30.0)
    assert response.status == 413


async def test_a_thousand_cancelled_calls_leave_nothing(transport: HttpTransport) -> None:
    """Each is seen by the server, at whatever moment it comes, and no descriptor is left."""

    def count_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    async with serve_raw(OK) as server:
        before = count_files()
        for number in range(1_000):
            call = asyncio.create_task(transport.send(post(server.url()), 10.0))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
        assert (await transport.send(post(server.url()), 10.0)).body == b"{}"
        await transport.close()
        while server.lost < len(server.connections):
            server.gone.clear()
            await server.gone.wait()
        for _ in range(3):
            await asyncio.sleep(0)  # what is aborted is closed in the loop's next round
        assert count_files() == before


def gunzip_all(pieces: list[bytes], max_bytes: int = 10**6) -> bytes:
    gunzip = encoding.Gunzip(max_bytes)
    body = b"".join(map(gunzip.feed, pieces))
    assert gunzip.size_bytes == len(body)
    assert gunzip.is_whole or len(body) > max_bytes
    return body


def cut(whole: bytes, at: set[int]) -> list[bytes]:
    """`whole` in pieces."""
    cuts = [0, *sorted(at), len(whole)]
    return [whole[start:stop] for start, stop in pairwise(cuts)]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=4), st.sets(st.integers(0, 200), max_size=5))
def test_a_gzip_of_several_members_is_one_body(bodies: list[bytes], cuts: set[int]) -> None:
    """Wherever it is cut (RFC 1952, 2.2)."""
    whole = b"".join(map(gzip.compress, bodies))
    assert gunzip_all(cut(whole, {at for at in cuts if at < len(whole)})) == b"".join(bodies)


@given(st.integers(0, 3000), st.sets(st.integers(1, 30), max_size=3))
def test_a_gzip_gives_one_byte_beyond_its_bound_at_most(max_bytes: int, cuts: set[int]) -> None:
    """What a megabyte in a kilobyte takes is bounded."""
    whole = gzip.compress(b"x" * 2000, mtime=0) + gzip.compress(b"y" * 500, mtime=0)
    assert len(gunzip_all(cut(whole, cuts), max_bytes)) == min(2500, max_bytes + 1)


@given(st.data())
@settings(max_examples=60)
def test_the_pieces_a_response_comes_in_change_nothing(data: st.DataObject) -> None:
    """Cut anywhere, a response with hints before it, chunks and gzip in it gives the same, handed on or not."""
    packed = gzip.compress(b"body" * 50, mtime=0)
    whole = b"HTTP/1.1 103 Early Hints\r\n\r\n" + CHUNKED[:-2] + b"content-encoding: gzip\r\n\r\n"
    whole += b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (packed[:5], len(packed) - 5, packed[5:])
    pieces = cut(whole, data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=6)))
    heard: list[bytes] | None = data.draw(st.sampled_from([None, []]))

    async def receive() -> bytes:
        receiver = connection.Connection(idle.append, lambda _: None, bound=connection.Bound(10_000))
        receiver.connection_made(Sink())
        waiter = receiver.ask(b"", 10.0, None if heard is None else heard.append)
        for piece in pieces:
            receiver.data_received(piece)
        return (await waiter).body

    idle: list[connection.Connection] = []
    assert asyncio.run(receive()) == b"body" * 50
    assert len(idle) == 1
    assert heard is None or b"".join(heard) == b"body" * 50


class Sink(asyncio.Transport):
    """Takes what is written."""

    is_given_up = False

    def write(self, data: object) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        self.is_given_up = True


async def ask_in_pieces(*pieces: tuple[float, bytes], timeout_s: float) -> tuple[float, BaseException | None]:
    """When a request whose answer comes at these times is over, and its error."""
    loop, sink = asyncio.get_running_loop(), Sink()
    receiver = connection.Connection(lambda _: None, lambda _: None, bound=connection.Bound(10_000))
    receiver.connection_made(sink)
    waiter = receiver.ask(b"", timeout_s, lambda _: None)

    def receive(piece: bytes) -> None:
        if not sink.is_given_up:
            receiver.data_received(piece)

    for at, piece in pieces:
        loop.call_at(at, receive, piece)
    (error,) = await asyncio.gather(waiter, return_exceptions=True)
    ended_at = loop.time()
    receiver.connection_lost(None)
    return ended_at, error if isinstance(error, BaseException) else None


def test_a_body_that_falls_silent_is_given_up_before_its_time() -> None:
    """The far side is gone without a word; as long as a piece comes now and then, its time is the whole time."""
    head, piece, end = (0.0, CHUNKED), b"1\r\nx\r\n", b"0\r\n\r\n"
    talk = [(at, piece) for at in (100.0, 219.0, 338.0)]
    ended_at, error = run_virtual(ask_in_pieces(head, *talk, timeout_s=600.0))
    assert ended_at == pytest.approx(338.0 + connection.STALL_S)
    assert isinstance(error, TimeoutError)
    assert str(error) == "nothing came for 120 s in the middle of its answer"
    assert run_virtual(ask_in_pieces(head, *talk, (457.0, end), timeout_s=600.0)) == (457.0, None)
    ended_at, error = run_virtual(ask_in_pieces(head, *talk, timeout_s=400.0))
    assert ended_at == pytest.approx(400.0)
    assert str(error) == ""
    assert run_virtual(ask_in_pieces(head, timeout_s=600.0))[0] == pytest.approx(600.0)


def test_a_shorter_time_is_kept_after_a_longer_one() -> None:
    """One timer serves all the requests of a connection."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        receiver = connection.Connection(lambda _: None, lambda _: None, bound=connection.Bound(10_000))
        receiver.connection_made(Sink())
        for timeout_s in (120.0, 60.0, 90.0):
            waiter = receiver.ask(b"", timeout_s)
            await asyncio.sleep(50.0)
            receiver.data_received(OK)
            assert (await waiter).body == b"{}"
        started_at = loop.time()
        with pytest.raises(TimeoutError):
            await receiver.ask(b"", 5.0)
        assert loop.time() == pytest.approx(started_at + 5.0)
        receiver.connection_lost(None)

    run_virtual(main())


@pytest.mark.parametrize(
    "error", [ConnectionResetError("reset"), ssl.SSLEOFError(8, "eof"), EOFError(), RuntimeError("x")]
)
async def test_whatever_ends_a_connection_cuts_its_answer(error: Exception) -> None:
    """asyncio, uvloop and TLS have errors of their own for it."""
    receiver = connection.Connection(lambda _: None, lambda _: None, bound=connection.Bound(10_000))
    receiver.connection_made(Sink())
    waiter = receiver.ask(b"", 10.0)
    receiver.connection_lost(error)
    with pytest.raises(connection.CutError, match=f"^{re.escape(str(error))}$"):
        await waiter
