"""Every error of what the transport stands on is one of ours beyond it; a new one fails here until it is mapped."""

import asyncio
import inspect
import socket
import ssl
import zlib
from types import ModuleType
from typing import Any

import httptools
import pytest
from farloop import Act, FarLoop
from rawserver import post

from tidemill.calls.http import address, connection, dialer, encoding, heads, pool, ramp
from tidemill.calls.http.connection import CutError, HandOnError, OversizeError
from tidemill.calls.http.dialer import ProxyRefusedError
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.wire import NOT_SENT, Request, Response, UnreachableError
from tidemill.errors import CallError, TransientCallError

NEVER_RAISED_HERE = {
    "BrokenBarrierError": "no barrier",
    "IncompleteReadError": "no stream",
    "InvalidStateError": "ours would be a bug: it should be seen",
    "LimitOverrunError": "no stream",
    "QueueEmpty": "no queue",
    "QueueFull": "no queue",
    "QueueShutDown": "no queue",
    "SendfileNotAvailableError": "no file is sent",
}
OWN_TO_THE_LOOP = {"CancelledError", "TimeoutError"}  # one goes through, the other is the builtin

URL = "https://far.example/v1"
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
PACKED = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n"


def errors_of(module: ModuleType) -> set[type[Exception]]:
    classes = inspect.getmembers(module, inspect.isclass)
    return {found for name, found in classes if issubclass(found, Exception) and not name.startswith("_")}


def and_all_below(error: type[Exception]) -> set[type[Exception]]:
    """Those defined by Python itself or by what the transport uses."""
    below = set().union(*map(and_all_below, error.__subclasses__()))
    return {found for found in {error, *below} if found.__module__ in {"builtins", "socket", "ssl"}}


def in_order(errors: set[type[Exception]]) -> list[type[Exception]]:
    return sorted(errors, key=lambda kind: kind.__name__)


def make_error(kind: type[Exception]) -> Exception:
    if issubclass(kind, OSError):
        return kind(5, "as the system says")
    try:
        return kind("as it says")
    except TypeError:
        return kind("as it says", 0)


SYSTEM = and_all_below(OSError) | errors_of(ssl) | errors_of(socket)
DIALLING = in_order(SYSTEM | {ValueError, UnicodeError, RuntimeError})
LOSING = in_order({*DIALLING, *errors_of(asyncio)})
PARSING = in_order(errors_of(httptools))


def send(loop: FarLoop, url: str = URL, **fields: Any) -> Response:
    """The answer to one request that goes out by `loop`."""

    async def main() -> Response:
        transport = HttpTransport(max_body_bytes=100)
        try:
            return await transport.send(Request(url, {}, b"{}", **fields), 10.0)
        finally:
            await transport.close()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def say(*pieces: bytes) -> Act:
    def act(protocol: Any) -> None:
        for piece in pieces:
            protocol.data_received(piece)

    return act


def lose(error: Exception, *pieces: bytes) -> Act:
    """Say `pieces`, and end as asyncio does with `error`."""

    def act(protocol: Any) -> None:
        say(*pieces)(protocol)
        protocol.transport.lose(error)

    return act


def check_told_alone(error: BaseException) -> None:
    """The foreign error, which may hold the request's headers, goes no further."""
    assert error.__cause__ is error.__context__ is None


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that goes out of this machine goes by a proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.delenv("NO_PROXY", raising=False)


@pytest.fixture
def parser_fails(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses are parsed by what raises the parametrized error: not all of them come of bytes that a test knows."""

    class Parser:
        def __init__(self, protocol: object) -> None: ...

        def feed_data(self, data: bytes) -> None:
            raise make_error(request.param)

        def get_status_code(self) -> int:
            return 200

    monkeypatch.setattr(connection, "HttpResponseParser", Parser)


# Nothing was sent.


@pytest.mark.parametrize("kind", DIALLING)
async def test_what_keeps_a_connection_from_coming_about_is_a_call_error(kind: type[Exception]) -> None:
    """Nothing was sent, whatever it is called, and so nothing counts."""

    async def resolve(host: str, port: int) -> list[object]:
        raise make_error(kind)

    transport = HttpTransport(resolve=resolve)
    with pytest.raises(NOT_SENT) as caught:
        await transport.send(post("http://far.example/v1"), 10.0)
    check_told_alone(caught.value)
    await transport.close()


@pytest.mark.parametrize("method", ["getaddrinfo", "create_connection", "start_tls"])
@pytest.mark.parametrize("kind", DIALLING)
def test_whatever_the_loop_fails_to_do_nothing_was_sent(kind: type[Exception], method: str) -> None:
    with pytest.raises(NOT_SENT) as caught:
        send(FarLoop(say(), say(), **{method: make_error(kind)}))
    check_told_alone(caught.value)


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("kind", LOSING)
def test_a_proxy_that_is_lost_has_passed_nothing_on(kind: type[Exception]) -> None:
    with pytest.raises(UnreachableError, match=r"the proxy opened no tunnel: (?!closed)") as caught:
        send(FarLoop(lose(make_error(kind))))
    check_told_alone(caught.value)


@pytest.mark.usefixtures("proxy", "parser_fails")
@pytest.mark.parametrize("parser_fails", PARSING, indirect=True)
def test_a_proxy_that_speaks_no_http_has_passed_nothing_on() -> None:
    with pytest.raises(UnreachableError, match="the proxy opened no tunnel: what it answered is no HTTP") as caught:
        send(FarLoop(say(b"?")))
    check_told_alone(caught.value)


# It was sent, and no whole answer came.


@pytest.mark.parametrize("heard", [(), (HEAD, b"{")], ids=["before", "behind its head"])
@pytest.mark.parametrize("kind", LOSING)
def test_a_connection_that_is_lost_under_a_request_is_a_call_error(
    kind: type[Exception], heard: tuple[bytes, ...]
) -> None:
    """Whatever asyncio says of it: of a body that ends with its connection, too, which then was not its end."""
    with pytest.raises(TransientCallError, match=r"the connection was cut: (?!closed)") as caught:
        send(FarLoop(say(), lose(make_error(kind), *heard)))
    check_told_alone(caught.value)


@pytest.mark.usefixtures("parser_fails")
@pytest.mark.parametrize("parser_fails", PARSING, indirect=True)
def test_an_answer_that_cannot_be_parsed_is_a_call_error() -> None:
    with pytest.raises(TransientCallError, match="the connection was cut: what it answered is no HTTP") as caught:
        send(FarLoop(say(), say(b"?")))
    check_told_alone(caught.value)


@pytest.mark.parametrize("on_chunk", [None, len], ids=["whole", "in pieces"])
def test_a_body_that_cannot_be_unpacked_is_a_call_error(on_chunk: Any) -> None:
    """zlib has one error."""
    assert errors_of(zlib) == {zlib.error}
    with pytest.raises(TransientCallError, match="the connection was cut: its body is no gzip") as caught:
        send(FarLoop(say(), say(PACKED, b"gone")), on_chunk=on_chunk)
    check_told_alone(caught.value)


# The errors between the transport's own modules.


def refuse(piece: bytes) -> None:
    raise KeyError(piece)


OURS: dict[type[Exception], tuple[type[Exception], str, Act]] = {
    CutError: (CallError, "no HTTP", say(b"?\r\n")),
    OversizeError: (CallError, "more than 100 bytes", say(HEAD, b"x" * 101)),
    HandOnError: (KeyError, "piece", say(HEAD, b"piece")),
}
"""What comes out where each arises, and how it does."""


@pytest.mark.parametrize("kind", OURS)
def test_no_error_of_ours_is_left_inside(kind: type[Exception]) -> None:
    """Those of a connection end in the transport; what took a piece of the body gets its own error back."""
    told, match, act = OURS[kind]
    with pytest.raises(told, match=match) as caught:
        send(FarLoop(say(), act), on_chunk=refuse if kind is HandOnError else None)
    check_told_alone(caught.value)


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("status", [407, 502])
def test_nor_is_that_of_a_proxy(status: int) -> None:
    with pytest.raises(NOT_SENT, match=f"the proxy answered {status}") as caught:
        send(FarLoop(say(b"HTTP/1.1 %d No\r\ncontent-length: 0\r\n\r\n" % status)))
    check_told_alone(caught.value)


def test_no_error_of_ours_is_forgotten_above() -> None:
    modules = (address, connection, dialer, encoding, heads, pool, ramp)
    own = {kind for module in modules for kind in errors_of(module) if kind.__module__ == module.__name__}
    assert own == {*OURS, ProxyRefusedError}


def test_asyncio_has_no_error_that_is_not_thought_of() -> None:
    """Those the transport's own calls can raise are `OSError`s, `RuntimeError`s and the loop's own two."""
    mapped = {kind for kind in errors_of(asyncio) if issubclass(kind, (OSError, ValueError))}
    names = {kind.__name__ for kind in errors_of(asyncio) - mapped} - OWN_TO_THE_LOOP
    assert names <= set(NEVER_RAISED_HERE)


async def test_a_cancellation_is_no_error() -> None:
    """It goes through as it is."""

    async def resolve(host: str, port: int) -> list[object]:
        call.cancel()
        await asyncio.sleep(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]

    transport = HttpTransport(resolve=resolve)
    call = asyncio.create_task(transport.send(post("http://far.example/v1"), 10.0))
    await asyncio.wait([call])
    assert call.cancelled()
    await transport.close()
