"""Streams of the fault server, in good order and broken on their way."""

import http.client
import socket
from contextlib import closing
from typing import Any, Literal

import orjson
import pytest

from tidemill.errors import ConfigError
from tidemill.testing import Delivery, Fault, Faults, FaultServer

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
PATHS = pytest.mark.parametrize("path", [CHAT, MESSAGES])
PACES = pytest.mark.parametrize("token_s", [0.0, 0.001])
FORMAT_HEADERS = {"anthropic-version": "2023-06-01"}


def ask(text: str = "hello", **more: Any) -> bytes:
    request = {"model": "m", "max_tokens": 64, "messages": [{"role": "user", "content": text}], "stream": True, **more}
    return orjson.dumps(request)


def read(server: FaultServer, path: str, body: bytes | None = None) -> tuple[int, list[bytes]]:
    """The status, and the events of a stream read to its end."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as client:
        client.request("POST", path, body or ask(), FORMAT_HEADERS)
        response = client.getresponse()
        return response.status, response.read().split(b"\n\n")[:-1]


def head(path: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nanthropic-version: 2023-06-01\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    )


@PATHS
@PACES
def test_a_paced_stream_has_the_same_bytes(server: FaultServer, path: str, token_s: float) -> None:
    """The pace changes when events come, not which."""
    at_once = read(server, path)
    server.delivery = Delivery(first_token_s=token_s, token_s=token_s)
    assert read(server, path) == at_once
    server.delivery = Delivery(token_s=token_s, tokens_per_event=1_000)
    assert len(read(server, path)[1]) < len(at_once[1])
    assert (server.billed, server.stats()["good"], server.in_flight) == (3, 3, 0)


@PATHS
@PACES
def test_a_stream_may_be_cut(server: FaultServer, path: str, token_s: float) -> None:
    """Some events, then the connection ends without the last chunk; billed."""
    whole = read(server, path)[1]
    server.delivery = Delivery(token_s=token_s)
    server.faults = Faults(script=lambda call: Fault("cut", at_ratio=0.5))
    with pytest.raises(http.client.IncompleteRead) as caught:
        read(server, path)
    assert caught.value.partial.split(b"\n\n")[:-1] == whole[: round(len(whole) * 0.5)]
    assert (server.billed, server.stats()["failed"]) == (2, 1)


@PATHS
@PACES
def test_a_stream_may_stall(server: FaultServer, path: str, token_s: float) -> None:
    """Some events, then no byte until the client leaves; in flight all the while."""
    server.delivery = Delivery(token_s=token_s)
    server.faults = Faults(script=lambda call: Fault("stall", at_ratio=0.3))
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head(path, ask()))
        received = b""
        while b"data: " not in received:
            received += client.recv(65536)
        assert (server.in_flight, server.billed) == (1, 1)
    server.wait_idle()
    assert server.stats()["failed"] == 1


@PATHS
@PACES
@pytest.mark.parametrize(("kind", "mark"), [("garbage", b"<html>"), ("error", b"no luck")])
def test_an_event_may_be_bad(
    server: FaultServer, path: str, token_s: float, kind: Literal["garbage", "error"], mark: bytes
) -> None:
    """Garbage in the midst of the others, or an error behind which nothing comes."""
    whole = read(server, path)[1]
    server.delivery = Delivery(token_s=token_s)
    server.faults = Faults(script=lambda call: Fault(kind, at_ratio=0.5, content="no luck"))
    status, events = read(server, path)
    place = round(len(whole) * 0.5) if kind == "error" else next(i for i, event in enumerate(events) if mark in event)
    assert status == 200
    assert mark in events[place]
    assert len(events) == place + 1 if kind == "error" else events[-1] == whole[-1]
    assert server.billed == 2


@PATHS
def test_a_fault_before_the_stream_is_an_ordinary_one(server: FaultServer, path: str) -> None:
    """Without a place in the stream, a fault comes as it does elsewhere."""
    server.faults = Faults(script=lambda call: Fault("status", status=500))
    assert read(server, path)[0] == 500
    server.faults = Faults(script=lambda call: Fault("error"))
    assert read(server, path, ask())[0] == 200
    server.faults = Faults(script=lambda call: Fault("cut"))
    with pytest.raises(http.client.IncompleteRead, match="more expected"):
        read(server, path)
    assert server.billed == 1


@PATHS
def test_bad_content_may_be_streamed(server: FaultServer, path: str) -> None:
    """Truncated, invalid and given content come as events do."""
    server.faults = Faults(matching=[("cut short", Fault("truncated", content="12345678"))])
    reason = b'"length"' if path == CHAT else b'"max_tokens"'
    assert any(reason in event for event in read(server, path, ask("cut short"))[1])
    server.faults = Faults(script=lambda call: Fault("reply", content="abcd"))
    assert any(b'"abcd"' in event for event in read(server, path)[1])


def test_a_stream_waits_for_its_turn(server: FaultServer) -> None:
    """It starts behind the answer before it, and the one behind it follows."""
    server.delivery = Delivery(token_s=0.002)
    server.faults = Faults(matching=[("slow", Fault("reply", content="first", delay_s=0.02))])
    plain = ask("last", stream=False)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head(CHAT, ask("slow", stream=False)) + head(CHAT, ask()) + head(CHAT, plain))
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 3 or not received.endswith(b"}}"):
            received += client.recv(65536)
    assert received.index(b'"first"') < received.index(b"text/event-stream") < received.index(b"[DONE]")
    assert received.index(b"\r\n0\r\n\r\n") < received.rindex(b"HTTP/1.1 200 OK")
    assert server.stats()["good"] == 3


def test_a_client_that_leaves_a_stream_is_noticed(server: FaultServer) -> None:
    """What it had not read is no longer sent."""
    server.delivery = Delivery(token_s=0.001, min_tokens=100_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head(CHAT, ask()))
        client.recv(100)
    server.wait_idle()
    assert (server.stats()["failed"], server.billed) == (1, 1)


def test_an_oversized_body_is_sent_as_it_is_read(server: FaultServer) -> None:
    """All of what was announced, to a client that takes it; the server does not hold it meanwhile."""
    server.faults = Faults(script=lambda call: Fault("oversized", size_bytes=8 << 20))
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as client:
        client.request("POST", CHAT, ask())
        response = client.getresponse()
        assert server.in_flight == 1  # nothing of it is read yet, and the socket takes far less
        assert len(response.read()) == 8 << 20
    assert server.wait_idle()["failed"] == 1


def test_where_a_stream_breaks_is_checked() -> None:
    """A place outside of the stream, or a kind that has none."""
    with pytest.raises(ConfigError, match=r"does not break by 'cut' at 1\.5"):
        Fault("cut", at_ratio=1.5)
    with pytest.raises(ConfigError, match="does not break by 'refusal'"):
        Fault("refusal", at_ratio=0.5)
