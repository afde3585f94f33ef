"""Requests by other methods than POST, and what is read of their responses."""

from collections.abc import AsyncIterator

import pytest
from rawserver import OK, serve_raw

from tidemill.calls.http.address import Asking, find_route
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.wire import Request, UnsentError


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(max_body_bytes=1_000)
    yield transport
    await transport.close()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("body", [b"", b'{"a": 1}'])
async def test_a_request_goes_by_its_method(transport: HttpTransport, method: str, body: bytes) -> None:
    """Its body goes along; without one, only a method that is meant to have one says so (RFC 9110, 8.6)."""
    async with serve_raw(OK) as server:
        response = await transport.send(Request(server.url(), {}, body, method=method), 10.0)
    assert response.body == b"{}"
    ((head,),) = server.connections
    assert head.startswith(b"%b /v1 HTTP/1.1\r\n" % method.encode())
    lengths = [line for line in head.split(b"\r\n") if line.startswith(b"content-length")]
    tells = bool(body) or method in ("POST", "PUT", "PATCH")
    assert lengths == [b"content-length: %d" % len(body)] * tells


async def test_methods_to_one_address_are_told_apart(transport: HttpTransport) -> None:
    """And share their connection."""
    headers = {"x-one": "1"}
    async with serve_raw(OK) as server:
        for method in ("POST", "GET", "POST", "DELETE"):
            await transport.send(Request(server.url(), headers, b"", method=method), 10.0)
    assert [[head.split()[0] for head in heads] for heads in server.connections] == [
        [b"POST", b"GET", b"POST", b"DELETE"]
    ]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-more: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5000000\r\nx-more: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nx-more: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\nx-more: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-more: 1\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nx-more: 1\r\n\r\n",
    ],
    ids=["length", "a length beyond what is taken", "chunked", "an encoding", "no length", "after a hint"],
)
async def test_a_response_to_head_is_its_head(transport: HttpTransport, head: bytes) -> None:
    """No body is waited for, whatever the head says of one (RFC 9110, 9.3.2); the next request is answered as ever."""
    async with serve_raw(head, OK) as server:
        response = await transport.send(Request(server.url(), {}, b"", method="HEAD"), 10.0)
        assert (response.status, response.headers["x-more"], response.body) == (200, "1", b"")
    async with serve_raw(OK) as server:
        assert (await transport.send(Request(server.url(), {}, b"", method="GET"), 10.0)).body == b"{}"


@pytest.mark.parametrize("method", ["", "GE T", "GET\r\nx: 1", "GÉT"])
async def test_what_is_no_method_is_not_sent(transport: HttpTransport, method: str) -> None:
    with pytest.raises(UnsentError, match="the method has characters that no method may have"):
        await transport.send(Request("http://127.0.0.1:9/", {}, b"", method=method), 10.0)


def test_a_route_names_its_method() -> None:
    assert find_route("http://far/a?b=c", {}, Asking("DELETE")).head.startswith(b"DELETE /a?b=c HTTP/1.1\r\n")
