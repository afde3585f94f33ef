"""The HTTP transport against real sockets on loopback."""

import asyncio
import contextlib
import functools
import gzip
import os
import pickle
import random
import resource
import socket
import ssl
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from answer import Answer
from rawserver import listen, open_full, relay

from tidemill.calls.engine import Engine
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.limits import Limits
from tidemill.calls.wire import AttemptTimeoutError, Request, Response, UnreachableError, Usage
from tidemill.errors import CallError, PermanentCallError, TransientCallError
from tidemill.testing.faults import Fault, Faults, FaultServer

SECRET = "canary-4711-secret"
CANCELLED = 1_000


def chat(base_url: str, text: str = "hello") -> Request:
    body = orjson.dumps({"model": "any", "messages": [{"role": "user", "content": text}], "max_tokens": 20})
    headers = {"content-type": "application/json", "authorization": f"Bearer {SECRET}"}
    return Request(f"{base_url}/chat/completions", headers, body, 20)


async def in_thread(read: Callable[..., dict[str, Any]], **counts: int) -> dict[str, Any]:
    """Ask the server without blocking the loop."""
    with ThreadPoolExecutor(1) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, functools.partial(read, **counts))


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(max_body_bytes=10**10)
    yield transport
    await transport.close()


@contextlib.asynccontextmanager
async def serve_raw(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers every request with these bytes and closes; and the heads it was sent."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", heads


async def test_a_response_comes_back_whole(transport: HttpTransport, server: FaultServer) -> None:
    """Status, headers by lower-case name, body."""
    response = await transport.send(chat(server.base_url), 10.0)
    assert response.status == 200
    assert response.headers["content-type"].startswith("application/json")
    assert orjson.loads(response.body)["usage"]["completion_tokens"] > 0


async def test_any_status_is_a_response(transport: HttpTransport, server: FaultServer) -> None:
    """What a status means is not the transport's to say."""
    server.faults = Faults(script=lambda call: Fault("status", status=429, retry_after_s=3))
    response = await transport.send(chat(server.base_url), 10.0)
    assert (response.status, float(response.headers["retry-after"])) == (429, 3.0)


async def test_a_redirect_is_not_followed(transport: HttpTransport, server: FaultServer) -> None:
    """The key goes to the address the user wrote, and nowhere else."""
    server.faults = Faults(script=lambda call: Fault("redirect"))
    response = await transport.send(chat(server.base_url), 10.0)
    assert response.status == 307
    assert server.stats()["strays"] == 0


@pytest.mark.parametrize("kind", ["stall", "trickle"])
async def test_what_does_not_end_is_cut_off_in_time(transport: HttpTransport, server: FaultServer, kind: str) -> None:
    """The time limit covers the last byte, not only the first; the connection is not used again."""
    server.faults = Faults(script=lambda call: Fault(kind, interval_s=0.01))  # type: ignore[arg-type]
    with pytest.raises(AttemptTimeoutError, match=r"no complete answer within 0.2 s"):
        await transport.send(chat(server.base_url), 0.2)
    assert (await in_thread(server.wait_idle))["in_flight"] == 0
    server.faults = None
    assert (await transport.send(chat(server.base_url), 10.0)).status == 200


@pytest.mark.parametrize("kind", ["cut", "reset"])
async def test_a_connection_that_is_cut_is_transient(transport: HttpTransport, server: FaultServer, kind: str) -> None:
    """It was sent, so it may have been billed: not the same as no connection."""
    server.faults = Faults(script=lambda call: Fault(kind))  # type: ignore[arg-type]
    with pytest.raises(TransientCallError, match="the connection was cut") as caught:
        await transport.send(chat(server.base_url), 10.0)
    assert type(caught.value) is TransientCallError


async def test_a_refused_connection_is_unreachable(transport: HttpTransport) -> None:
    """Nothing was sent."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableError, match=r"/chat/completions: connection refused$"):
            await transport.send(chat(f"http://127.0.0.1:{taken.getsockname()[1]}"), 10.0)


async def test_a_connection_that_hangs_is_unreachable() -> None:
    """A full backlog lets a connect hang as a firewall does; `connect_timeout_s` ends it, not the attempt's limit."""
    transport = HttpTransport(connect_timeout_s=0.3)
    with open_full() as (host, port), pytest.raises(UnreachableError, match="no answer in time"):
        await transport.send(chat(f"http://{host}:{port}"), 60.0)
    await transport.close()


@pytest.mark.parametrize("url", ["nonsense", "http://", "ftp://example.org/x", "http://[::1/x"])
async def test_an_address_that_is_none_is_the_runs_failure(transport: HttpTransport, url: str) -> None:
    """No retry mends it."""
    with pytest.raises(PermanentCallError, match="base_url") as caught:
        await transport.send(Request(url, {"authorization": SECRET}, b"{}"), 1.0)
    assert caught.value.of == "run"


async def test_a_header_that_cannot_be_sent_is_the_runs_failure(transport: HttpTransport, server: FaultServer) -> None:
    """A key read with its line end, say; the key is not in the error."""
    with pytest.raises(PermanentCallError, match="cannot be sent") as caught:
        await transport.send(Request(server.base_url, {"authorization": f"Bearer {SECRET}\nx"}, b"{}"), 1.0)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_foreign_errors_go_no_further(transport: HttpTransport, server: FaultServer) -> None:
    """They may hold the request and its key: they are neither cause nor context of ours."""
    server.faults = Faults(script=lambda call: Fault("cut"))
    with pytest.raises(TransientCallError, match="cut") as caught:
        await transport.send(chat(server.base_url), 10.0)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert SECRET not in repr(pickle.loads(pickle.dumps(caught.value)))


@pytest.mark.parametrize(
    "head_and_body",
    [
        b"content-length: 5000\r\n\r\n" + b"x" * 5000,
        b"transfer-encoding: chunked\r\n\r\n" + b"1000\r\n" + b"x" * 4096 + b"\r\n0\r\n\r\n",
        b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%s"
        % (len(gzip.compress(b"x" * 10**6)), gzip.compress(b"x" * 10**6)),
    ],
    ids=["length", "chunked", "gzip"],
)
async def test_a_body_beyond_the_limit_is_not_taken(head_and_body: bytes) -> None:
    """Memory is bounded whatever the far side sends, compressed or not."""
    transport = HttpTransport(max_body_bytes=4000)
    async with serve_raw(b"HTTP/1.1 200 OK\r\n" + head_and_body) as (url, _):
        with pytest.raises(TransientCallError, match="answered 200 with more than 4000 bytes"):
            await transport.send(chat(url), 10.0)
    await transport.close()


@pytest.mark.parametrize(
    "head_and_body",
    [
        b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%s" % (len(gzip.compress(b"{}")), gzip.compress(b"{}")),
        b"connection: close\r\n\r\n{}",
    ],
    ids=["chunked", "gzip", "until-close"],
)
async def test_every_way_to_send_a_body_is_read(transport: HttpTransport, head_and_body: bytes) -> None:
    """Chunks, compression, and a body that ends with the connection."""
    async with serve_raw(b"HTTP/1.1 200 OK\r\n" + head_and_body) as (url, _):
        assert (await transport.send(chat(url), 10.0)).body == b"{}"


async def test_a_body_that_is_given_up_closes_its_connection(transport: HttpTransport) -> None:
    """A chunked answer that never ends: the server sees its client go when the time is over."""
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        gone.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        with pytest.raises(AttemptTimeoutError, match="no complete answer"):
            await transport.send(chat(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"), 0.2)
        await gone.wait()


async def test_no_http_at_all_is_transient(transport: HttpTransport) -> None:
    """Something else listens there, or a proxy is confused."""
    async with serve_raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n") as (url, _):
        with pytest.raises(TransientCallError, match="the connection was cut"):
            await transport.send(chat(url), 10.0)


async def test_a_request_of_megabytes_is_sent(transport: HttpTransport, server: FaultServer) -> None:
    """Long documents go out as they are."""
    response = await transport.send(chat(server.base_url, "x" * 3_000_000), 30.0)
    assert orjson.loads(response.body)["usage"]["prompt_tokens"] > 0


async def test_cancelling_reaches_the_socket(transport: HttpTransport, server: FaultServer) -> None:
    """The server sees its client go at once."""
    server.faults = Faults(script=lambda call: Fault("stall"))
    call = asyncio.create_task(transport.send(chat(server.base_url), 600.0))
    await in_thread(server.wait_for, requests=1)
    call.cancel()
    await asyncio.wait([call])
    assert (await in_thread(server.wait_idle))["in_flight"] == 0


@pytest.fixture
def many_files() -> Iterator[None]:
    """Descriptors for both ends of all connections, and those of what stands between."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 5 * CANCELLED
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted if hard < 0 else min(wanted, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def count_files(server: FaultServer) -> int:
    """The descriptors of both sides, without those that the server is about to close: the fewest of some rounds."""
    counts = []
    for _ in range(30):
        await in_thread(server.stats)
        counts.append(len(os.listdir("/dev/fd")))
    return min(counts)


@contextlib.asynccontextmanager
async def open_tls(port: int, folder: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """What listens at a port of this machine, over TLS; its authority is one that this process accepts."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    patch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    async with listen(functools.partial(relay, port), context) as at:
        yield f"https://localhost:{at}/v1"


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
async def test_a_thousand_calls_that_are_cancelled_close_a_thousand_sockets(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_tls: bool
) -> None:
    """All were in flight at the server, since the transport has no limit of its own, as many clients have; the server
    sees every one of them go, and no descriptor is left on either side."""
    transport = HttpTransport(connect_timeout_s=60.0)
    await transport.send(chat(server.base_url), 10.0)  # the loop opens what it keeps
    await transport.close()
    before = await count_files(server)
    server.faults = Faults(script=lambda call: Fault("stall"))
    async with contextlib.AsyncExitStack() as stack:
        url = server.base_url
        if is_tls:
            url = await stack.enter_async_context(open_tls(server.port, tmp_path, monkeypatch))
        calls = [asyncio.create_task(transport.send(chat(url), 600.0)) for _ in range(CANCELLED)]
        seen = await in_thread(server.wait_for, requests=1 + CANCELLED)
        assert (seen["requests"], seen["in_flight"]) == (1 + CANCELLED, CANCELLED)
        assert len(os.listdir("/dev/fd")) >= before + 2 * CANCELLED
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert all(call.cancelled() for call in calls)
        assert (await in_thread(server.wait_idle))["in_flight"] == 0
    assert await count_files(server) <= before
    seen = await in_thread(server.stats)
    assert (seen["requests"], seen["good"]) == (1 + CANCELLED, 1)
    await transport.close()


async def test_a_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the outside world, not for what NO_PROXY names, and never for loopback."""
    async with (
        serve_raw(b"HTTP/1.1 203 OK\r\ncontent-length: 0\r\n\r\n") as (proxy, proxied),
        serve_raw(b"HTTP/1.1 204 OK\r\n\r\n") as (direct, _),
    ):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "unproxied.invalid")
        transport = HttpTransport()
        assert (await transport.send(chat("http://far.invalid/v1"), 10.0)).status == 203
        assert proxied[0].startswith(b"POST http://far.invalid/v1/chat/completions HTTP/1.1")
        assert (await transport.send(chat(direct), 10.0)).status == 204
        assert len(proxied) == 1
        await transport.close()


@pytest.mark.parametrize("is_used", [False, True])
async def test_closing_twice_is_allowed(transport: HttpTransport, server: FaultServer, is_used: bool) -> None:
    """The first time ends every connection; one never used has nothing to close."""
    await transport.send(chat(server.base_url), 10.0)  # what a loop opens once and keeps is open from then on
    before = await count_files(server)
    other = HttpTransport()
    if is_used:
        await other.send(chat(server.base_url), 10.0)
        assert await count_files(server) == before + 2
    for _ in range(2):
        await other.close()
        assert await count_files(server) == before


def decode(response: Response) -> Answer:
    try:
        usage = orjson.loads(response.body)["usage"]
    except (orjson.JSONDecodeError, KeyError) as exc:
        raise TransientCallError("no chat completion") from exc
    return Answer(Usage(usage["prompt_tokens"], usage["completion_tokens"]))


async def test_a_storm_of_faults_loses_no_call(server: FaultServer) -> None:
    """429s, 500s, cuts and garbage in a third of the attempts: every call lands, never more than the slots at once."""
    server.latency_s = 0.002
    faults = [
        (0.1, Fault("status", status=429, retry_after_s=0.01)),
        (0.1, Fault("status", status=500)),
        (0.05, Fault("cut")),
        (0.05, Fault("garbage")),
        (0.05, Fault("reset")),
    ]
    server.faults = Faults(mixed=faults, seed=3)
    async with Engine(HttpTransport(), rng=random.Random(0)) as engine:
        limits = Limits(concurrency=32, max_attempts=50, breaker_failures=1000)
        lane = engine.lane("m", limits=limits, endpoint=server.base_url)
        await asyncio.gather(*(lane.call(chat(server.base_url, f"call {number}"), decode) for number in range(100)))
        meter = engine.meter
        assert (meter.calls, meter.failed, meter.in_flight) == (100, 0, 0)
        assert meter.attempts == server.requests == 100 + sum(meter.failures.values())
        assert meter.max_in_flight <= 32
        assert server.max_in_flight <= 32
        assert set(meter.failures) == {"429", "500", "connection", "garbage"}


@pytest.mark.parametrize("fault", [Fault("unauthorized"), Fault("redirect")])
async def test_a_server_that_echoes_the_key_does_not_get_it_into_an_error(server: FaultServer, fault: Fault) -> None:
    """Body, header and address of the answer are all masked, in the pickled error too."""
    server.faults = Faults(script=lambda call: fault)
    async with Engine(HttpTransport(), rng=random.Random(0)) as engine:
        lane = engine.lane("m", limits=Limits(), endpoint=server.base_url)
        with pytest.raises(PermanentCallError, match=r"\*\*\*") as caught:
            await lane.call(chat(server.base_url), decode)
        assert caught.value.of == "run"
        assert caught.value.attempts == 1
        copy = pickle.loads(pickle.dumps(caught.value))
        assert SECRET not in repr((str(copy), vars(copy), "".join(traceback.format_exception(caught.value))))


async def test_an_endpoint_that_is_not_there_stops_the_run_in_time() -> None:
    """A refused port is the run's failure as soon as `connect_s` is over."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        base_url = f"http://{address}/v1"
        async with Engine(HttpTransport(), rng=random.Random(0)) as engine:
            lane = engine.lane("m", limits=Limits(connect_s=0.3), endpoint=base_url)
            calls = [lane.call(chat(base_url), decode) for _ in range(100)]
            errors = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(error, CallError) and error.of == "run" for error in errors)
        assert str(errors[0]).startswith(f"no connection to {address} for 0.3 s (connection refused)\n")
