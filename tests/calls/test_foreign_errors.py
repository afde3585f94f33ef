"""Every error of what the transport stands on is one of ours beyond it; a new one fails here until it is mapped."""

import asyncio
import inspect
import socket
import ssl
from types import ModuleType

import httptools
import pytest
from rawserver import post

from tidemill.calls import connection
from tidemill.calls.dialer import ProxyRefusedError
from tidemill.calls.transport import HttpTransport
from tidemill.errors import CallError

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


def errors_of(module: ModuleType) -> set[type[BaseException]]:
    classes = inspect.getmembers(module, inspect.isclass)
    return {found for name, found in classes if issubclass(found, BaseException) and not name.startswith("_")}


def and_all_below(error: type[BaseException]) -> set[type[BaseException]]:
    """Those defined by Python itself or by what the transport uses."""
    below = set().union(*map(and_all_below, error.__subclasses__()))
    return {found for found in {error, *below} if found.__module__ in {"builtins", "socket", "ssl"}}


def make_error(kind: type[BaseException]) -> BaseException:
    if issubclass(kind, OSError):
        return kind(5, "as the system says")
    return UnicodeError("no name") if issubclass(kind, UnicodeError) else kind("as it says")


DIALLING = sorted(
    and_all_below(OSError) | errors_of(ssl) | errors_of(socket) | {ValueError, UnicodeError, RuntimeError},
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", DIALLING)
async def test_what_keeps_a_connection_from_coming_about_is_a_call_error(kind: type[BaseException]) -> None:
    """Nothing was sent, whatever it is called."""

    async def resolve(host: str, port: int) -> list[object]:
        raise make_error(kind)

    transport = HttpTransport(resolve=resolve)
    with pytest.raises(CallError) as caught:
        await transport.send(post("http://far.example/v1"), 10.0)
    assert caught.value.__cause__ is caught.value.__context__ is None
    await transport.close()


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


def test_asyncio_has_no_error_that_is_not_thought_of() -> None:
    """Those the transport's own calls can raise are `OSError`s, `RuntimeError`s and the loop's own two."""
    mapped = {kind for kind in errors_of(asyncio) if issubclass(kind, (OSError, ValueError))}
    names = {kind.__name__ for kind in errors_of(asyncio) - mapped} - OWN_TO_THE_LOOP
    assert names <= set(NEVER_RAISED_HERE)


def test_httptools_has_no_error_that_is_not_mapped() -> None:
    assert all(issubclass(kind, connection.PARSER_ERRORS) for kind in errors_of(httptools))
    assert errors_of(httptools) >= set(connection.PARSER_ERRORS)


def test_no_error_of_ours_is_left_inside() -> None:
    """Those between the modules of the transport end in it as well."""
    own = {connection.CutError, connection.OversizeError, connection.HandOnError, ProxyRefusedError}
    assert {kind for kind in errors_of(connection) if kind.__module__ == connection.__name__} | {
        ProxyRefusedError
    } == own
