"""How connections come about, against real listeners: TLS, proxies, names."""

import asyncio
import base64
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from rawserver import OK, RawServer, listen, open_full, post, relay, serve_raw

from tidemill.calls.http.address import Origin
from tidemill.calls.http.connection import Bound
from tidemill.calls.http.dialer import Dialer, interleave
from tidemill.calls.http.pool import Pool
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.wire import Response, UnreachableError
from tidemill.errors import CallError, PermanentCallError

SECRET = "canary-4711-secret"


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(connect_timeout_s=5.0)
    yield transport
    await transport.close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority is one that this process accepts, named as a user would."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


def serve_as(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@contextlib.asynccontextmanager
async def serve_proxy(to_port: int, answer: bytes = b"HTTP/1.1 200 Connected\r\n\r\n") -> AsyncIterator[RawServer]:
    """A proxy that answers a CONNECT with `answer`, and then takes bytes to and from a port of this machine."""
    proxy = RawServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy.connections.append([await reader.readuntil(b"\r\n\r\n")])
        writer.write(answer)
        try:
            if b" 200 " in answer:
                await relay(to_port, reader, writer)
            else:
                await reader.read()
        finally:
            writer.transport.abort()

    async with listen(serve) as proxy.port:
        yield proxy


@pytest.mark.usefixtures("trusted")
async def test_tls_is_spoken_and_the_connection_kept(transport: HttpTransport, authority: trustme.CA) -> None:
    async with serve_raw(OK, tls=serve_as(authority, "localhost")) as server:
        for _ in range(3):
            assert (await transport.send(post(server.url("https", "localhost")), 10.0)).body == b"{}"
        assert list(map(len, server.connections)) == [3]


@pytest.mark.usefixtures("trusted")
async def test_tls_calls_may_be_cancelled_anywhere(transport: HttpTransport, authority: trustme.CA) -> None:
    """In the middle of a handshake, too; nothing stays open."""
    async with serve_raw(OK, tls=serve_as(authority, "localhost")) as server:
        for number in range(200):
            call = asyncio.create_task(transport.send(post(server.url("https", "localhost")), 10.0))
            for _ in range(number % 20):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
        assert (await transport.send(post(server.url("https", "localhost")), 10.0)).body == b"{}"


async def test_a_certificate_of_nobody_is_the_runs_failure(transport: HttpTransport, authority: trustme.CA) -> None:
    """No retry mends it."""
    async with serve_raw(OK, tls=serve_as(authority, "localhost")) as server:
        with pytest.raises(PermanentCallError, match="certificate is not accepted: unable to get local issuer") as got:
            await transport.send(post(server.url("https", "localhost")), 10.0)
    assert got.value.of == "run"


@pytest.mark.usefixtures("trusted")
async def test_a_certificate_for_another_name_is_not_accepted(transport: HttpTransport, authority: trustme.CA) -> None:
    async with serve_raw(OK, tls=serve_as(authority, "elsewhere.example")) as server:
        with pytest.raises(PermanentCallError, match=r"certificate is not accepted: [hH]ostname mismatch"):
            await transport.send(post(server.url("https", "localhost")), 10.0)


async def test_no_tls_where_it_is_expected_is_unreachable(transport: HttpTransport) -> None:
    """`https://` to a port that speaks plain HTTP."""
    async with serve_raw(OK, greeting=OK) as server:
        with pytest.raises(
            UnreachableError, match=r"TLS handshake failed: (it spoke|wrong version number|record layer)"
        ):
            await transport.send(post(server.url("https")), 10.0)


@pytest.mark.usefixtures("trusted")
async def test_a_tunnel_through_a_proxy_ends_at_the_far_side(
    transport: HttpTransport, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy sees host, port and its own password; TLS goes through it, and the tunnel is kept."""
    async with serve_raw(OK, tls=serve_as(authority, "far.example")) as server, serve_proxy(server.port) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        for _ in range(3):
            response = await transport.send(post(f"https://far.example:{server.port}/v1", authorization=SECRET), 10.0)
            assert response.body == b"{}"
        ((asked,),) = proxy.connections
        assert asked.startswith(b"CONNECT far.example:%d HTTP/1.1\r\nhost: far.example:%d\r\n" % ((server.port,) * 2))
        assert b"proxy-authorization: Basic " + base64.b64encode(b"me:p@ss") in asked
        assert SECRET.encode() not in asked
        ((first, _, _),) = server.connections
        assert first.startswith(b"POST /v1 HTTP/1.1\r\n")
        assert b"proxy-authorization" not in first
        await transport.close()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n", PermanentCallError, "the proxy answered 407"),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n", UnreachableError, "the proxy answered 502"),
        (b"SSH-2.0\r\n\r\n", UnreachableError, "the proxy opened no tunnel: .* no HTTP"),
    ],
)
async def test_a_proxy_that_will_not_says_why(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch, answer: bytes, error: type[CallError], text: str
) -> None:
    """Nothing was sent to the far side."""
    async with serve_raw(OK) as server, serve_proxy(server.port, answer) as proxy:
        monkeypatch.setenv("https_proxy", f"127.0.0.1:{proxy.port}")
        with pytest.raises(error, match=text):
            await transport.send(post(f"https://far.example:{server.port}/v1"), 10.0)
        assert not any(server.connections)


async def test_a_proxy_that_is_not_there_is_unreachable(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(UnreachableError, match="connection refused"):
            await transport.send(post("http://far.example/v1"), 10.0)


async def test_a_name_that_is_none_is_unreachable(transport: HttpTransport) -> None:
    """And asked again by the next call: a resolver may come back."""
    for _ in range(2):
        with pytest.raises(UnreachableError, match=r"(?i)name|address"):
            await transport.send(post("http://no-such-host.invalid/v1"), 10.0)


class Names:
    """A resolver that a test holds in its hand."""

    def __init__(self, *addresses: tuple[str, int]) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[object]:
        self.asked.append(host)
        await asyncio.sleep(0)
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in self.addresses]


FAR = Origin("http", "far.example", 80)


def open_pool(dialer: Dialer) -> Pool:
    return Pool(FAR, None, dialer, connect_timeout_s=10.0, bound=Bound(1000))


async def test_a_name_is_looked_up_once_for_all() -> None:
    """Fifty new connections at once ask the resolver one time; a name that was not found is asked for again."""
    async with serve_raw(OK) as server:
        names = Names(("127.0.0.1", server.port))
        pool = open_pool(Dialer(names))

        async def ask() -> Response:
            return await (await pool.wait()).ask(b"POST / HTTP/1.1\r\n\r\n", 10.0)

        await asyncio.gather(*(ask() for _ in range(50)))
        await pool.close()
        assert names.asked == ["far.example"]
    unknown = Names()
    pool = open_pool(Dialer(unknown))
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="not known"):
            await pool.wait()
    assert len(unknown.asked) == 2


async def test_every_address_of_a_name_is_tried() -> None:
    """One where nobody listens does not keep the others away; when none answers, the reason is told."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = taken.getsockname()
        async with serve_raw(OK) as server:
            pool = open_pool(Dialer(Names(dead, ("127.0.0.1", server.port))))
            connection = await pool.wait()
            assert (await connection.ask(b"POST / HTTP/1.1\r\n\r\n", 10.0)).status == 200
            assert connection.transport.get_extra_info("peername")[1] == server.port
            await pool.close()
        pool = open_pool(Dialer(Names(dead, dead)))
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            await pool.wait()


def test_both_kinds_of_address_are_tried_in_turns() -> None:
    """In the resolver's order, so that a network without one of them costs one head start (RFC 8305)."""
    six, four = [("::1", 1), ("::2", 1), ("::3", 1)], [("1.1.1.1", 1)]
    assert interleave([*six, *four]) == [six[0], four[0], six[1], six[2]]
    assert interleave([*four, *six]) == [four[0], *six]
    assert interleave([]) == []


async def test_an_address_that_hangs_does_not_hold_up_the_next() -> None:
    """The second is tried beside it, and the loser is closed."""
    with open_full() as hanging:
        async with serve_raw(OK) as server:
            dialer = Dialer(Names(hanging, ("127.0.0.1", server.port)))
            pool = open_pool(dialer)
            connection = await pool.wait()
            assert (await connection.ask(b"POST / HTTP/1.1\r\n\r\n", 10.0)).status == 200
            await pool.close()
            await dialer.close()
