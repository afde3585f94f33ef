"""The longest body that is taken: refused beyond it, or cut there where that is wanted."""

import gzip
import ssl
from collections.abc import AsyncIterator

import pytest
import trustme
from rawserver import OK, post, serve_raw

from tidemill.calls.http.transport import HttpTransport
from tidemill.errors import TransientCallError

HEAD = b"HTTP/1.1 200 OK\r\nx-of: all\r\n"
LONG = b"0123456789" * 30
BOMB = gzip.compress(b"0" * 10_000_000)
ANSWERS: dict[str, bytes | list[bytes]] = {
    "length": HEAD + b"content-length: 300\r\n\r\n" + LONG,
    "in pieces": [HEAD + b"content-length: 300\r\n\r\n", LONG[:90], LONG[90:105], LONG[105:]],
    "chunked": HEAD + b"transfer-encoding: chunked\r\n\r\n12c\r\n" + LONG + b"\r\n0\r\n\r\n",
    "until the end": HEAD + b"connection: close\r\n\r\n" + LONG,
    "endless": [HEAD + b"content-length: 1000000000000\r\n\r\n", LONG],
    "gzip": HEAD + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(BOMB) + BOMB,
}


@pytest.fixture
async def cutting() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(max_body_bytes=100, cuts=True)
    yield transport
    await transport.close()


@pytest.mark.parametrize("kind", ANSWERS)
async def test_a_body_is_cut_where_that_is_wanted(cutting: HttpTransport, kind: str) -> None:
    """Its head is there, and just as many bytes as are taken; what would still come is not waited for."""
    async with serve_raw(ANSWERS[kind]) as server:
        response = await cutting.send(post(server.url()), 10.0)
        assert (response.status, response.headers["x-of"], response.is_cut) == (200, "all", True)
        assert response.body == (b"0" * 100 if kind == "gzip" else LONG[:100])
        await server.gone.wait()  # the connection that has more to say serves nobody else


@pytest.mark.parametrize("size", [0, 99, 100])
async def test_a_body_that_fits_is_whole(cutting: HttpTransport, size: int) -> None:
    async with serve_raw(HEAD + b"content-length: %d\r\n\r\n" % size + LONG[:size]) as server:
        for _ in range(2):
            response = await cutting.send(post(server.url()), 10.0)
            assert (response.body, response.is_cut) == (LONG[:size], False)
    assert list(map(len, server.connections)) == [2]


@pytest.mark.parametrize("kind", ANSWERS)
async def test_a_body_is_refused_by_default(kind: str) -> None:
    transport = HttpTransport(max_body_bytes=100)
    async with serve_raw(ANSWERS[kind]) as server:
        with pytest.raises(TransientCallError, match="answered 200 with more than 100 bytes"):
            await transport.send(post(server.url()), 10.0)
        await transport.close()


async def test_a_proxy_is_not_taken_where_it_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has checked an address must reach just that one: a proxy would look the name up again."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    async def resolve(host: str, port: int) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    transport = HttpTransport(resolve=resolve, by_proxy=False)
    async with serve_raw(OK) as server:
        response = await transport.send(post(server.url(host="far.example")), 10.0)
        await transport.close()
    assert response.body == b"{}"
    ((head,),) = server.connections
    assert f"host: far.example:{server.port}".encode() in head


async def test_certificates_are_checked_against_what_is_given() -> None:
    """For the name in the address, whatever it was resolved to."""
    authority = trustme.CA()
    trusting, serving = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(trusting)
    authority.issue_cert("far.example").configure_cert(serving)

    async def resolve(host: str, port: int) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", ("127.0.0.1", port))]

    transport = HttpTransport(resolve=resolve, tls=trusting)
    async with serve_raw(OK, tls=serving) as server:
        url = server.url("https", host="far.example")
        assert (await transport.send(post(url), 10.0)).status == 200
        await transport.close()
