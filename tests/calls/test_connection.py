"""What a connection makes of the bytes it gets, and when it is used again."""

import asyncio
import gzip
import os
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rawserver import OK, post, serve_raw

from tidemill.calls import connection, pool
from tidemill.calls.transport import HttpTransport
from tidemill.errors import TransientCallError

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
GZIPPED = gzip.compress(b'{"a": 1}' * 100)


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


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_pieces_a_response_comes_in_change_nothing(data: st.DataObject) -> None:
    """Cut anywhere, a response with hints before it, chunks and gzip in it gives the same."""
    packed = gzip.compress(b"body" * 50)
    whole = b"HTTP/1.1 103 Early Hints\r\n\r\n" + CHUNKED[:-2] + b"content-encoding: gzip\r\n\r\n"
    whole += b"5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (packed[:5], len(packed) - 5, packed[5:])
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=6)))

    async def receive() -> bytes:
        receiver = connection.Connection(idle.append, lambda _: None, max_body_bytes=10_000)
        receiver.connection_made(Sink())
        waiter = receiver.ask(b"", 10.0)
        for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            receiver.data_received(whole[start:stop])
        return (await waiter).body

    idle: list[connection.Connection] = []
    assert asyncio.run(receive()) == b"body" * 50
    assert len(idle) == 1


class Sink(asyncio.Transport):
    """Takes what is written."""

    def write(self, data: object) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def abort(self) -> None:
        raise AssertionError("the connection was given up")
