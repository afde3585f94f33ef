"""How a connection comes about: the name looked up, the fastest of its addresses, the proxy's tunnel, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, Final, Protocol

from tidemill.calls.http.address import Origin, Proxy, render_connect
from tidemill.calls.http.connection import Connection

NAMES_S: Final = 60.0
"""How long an address found is used before the name is looked up again."""
HEADSTART_S: Final = 0.25
"""How long one address has to answer before the next is tried beside it (RFC 8305, 5)."""

Address = tuple[str, int]
"""An IP address and a port."""

Resolve = Callable[[str, int], Coroutine[Any, Any, Sequence[Any]]]


class MakeConnection(Protocol):
    """Makes the protocol of a new connection; told when it is for asking a proxy for a tunnel."""

    def __call__(self, *, tunnels: bool = False) -> Connection: ...


class ProxyRefusedError(Exception):
    """The proxy answered the request for a tunnel with `status`."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Dialer:
    """Opens connections. Belongs to one event loop.

    Args:
        resolve: gives the addresses of a host and port, as `loop.getaddrinfo` does, which is the default.
        tls: what certificates are checked against; the system's, or those in `SSL_CERT_FILE`, by default.

    Raises (`dial`): OSError, as the system, the resolver and TLS give it; ProxyRefusedError.
    """

    def __init__(self, resolve: Resolve | None = None, *, tls: ssl.SSLContext | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._resolve = resolve or partial(self._loop.getaddrinfo, type=socket.SOCK_STREAM)
        self._names: dict[tuple[str, int], tuple[float, asyncio.Task[Any]]] = {}
        self._tls = tls
        self._losing: set[asyncio.Task[Connection]] = set()

    async def dial(self, origin: Origin, proxy: Proxy | None, make: MakeConnection, timeout_s: float) -> Connection:
        """A new connection on which requests to `origin` can be sent, within `timeout_s`."""
        async with asyncio.timeout(timeout_s):
            if proxy is None:
                return await self._connect(origin, make)
            if origin.scheme == "http":
                return await self._connect(proxy.origin, make)
            return await self._tunnel(origin, proxy, make, timeout_s)

    async def close(self) -> None:
        """End what is under way."""
        lookups = [lookup for _, lookup in self._names.values()]
        self._names.clear()
        for lookup in lookups:
            lookup.cancel()
        await asyncio.gather(*lookups, *self._losing, return_exceptions=True)

    async def _connect(self, origin: Origin, make: Callable[[], Connection]) -> Connection:
        """A connection to a host that is reached without a tunnel."""
        addresses = await self._look_up(origin.host, origin.port)
        connection = await self._reach(addresses, make)
        opened = connection.transport.get_extra_info("socket")
        if opened is not None:  # a long silence must not look like a loss to what stands between
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return await self._secure(connection, origin, make) if origin.scheme == "https" else connection

    async def _reach(self, addresses: Sequence[Address], make: Callable[[], Connection]) -> Connection:
        """A connection to whichever address takes one first; each is tried beside those that have not answered yet."""
        if len(addresses) == 1:
            return await self._open(addresses[0], make)
        waiting, failure = list(reversed(addresses)), OSError("the name has no address")
        attempts: set[asyncio.Task[Connection]] = set()
        try:
            while waiting or attempts:
                if waiting:
                    attempts.add(self._loop.create_task(self._open(waiting.pop(), make)))
                headstart_s = HEADSTART_S if waiting else None
                await asyncio.wait(attempts, timeout=headstart_s, return_when=asyncio.FIRST_COMPLETED)
                for attempt in [each for each in attempts if each.done()]:
                    attempts.discard(attempt)
                    try:
                        return attempt.result()
                    except OSError as exc:
                        failure = exc
            raise failure
        finally:
            del failure  # which has this frame in its traceback: no cycle is left for the collector
            for attempt in attempts:
                attempt.cancel()
                self._losing.add(attempt)
                attempt.add_done_callback(self._abandon)

    async def _open(self, address: Address, make: Callable[[], Connection]) -> Connection:
        _, connection = await self._loop.create_connection(make, *address)
        return connection

    def _abandon(self, attempt: asyncio.Task[Connection]) -> None:
        """Close what nobody waits for any more."""
        self._losing.discard(attempt)
        if not attempt.cancelled() and attempt.exception() is None:
            attempt.result().close()

    async def _tunnel(self, origin: Origin, proxy: Proxy, make: MakeConnection, timeout_s: float) -> Connection:
        """TLS to `origin` within a connection to `proxy`."""
        connection = await self._connect(proxy.origin, partial(make, tunnels=True))
        if connection.transport.is_closing():
            raise ConnectionError("the proxy hung up")
        waiter = connection.ask(render_connect(origin, proxy), timeout_s)
        try:
            answer = await waiter
        except BaseException:
            connection.drop(waiter)
            raise
        if not 200 <= answer.status < 300:
            connection.close()
            raise ProxyRefusedError(answer.status)
        return await self._secure(connection, origin, make)

    async def _secure(self, plain: Connection, origin: Origin, make: Callable[[], Connection]) -> Connection:
        """A connection within TLS over `plain`, which is used up."""
        connection = make()
        try:
            if plain.transport.is_closing():
                raise ConnectionError("TLS handshake failed: it spoke or hung up before its turn")
            transport = await self._loop.start_tls(
                plain.transport, connection, self._context(), server_hostname=origin.host
            )
            assert transport is not None
        except BaseException:
            plain.close()
            raise
        connection.connection_made(transport)
        return connection

    async def _look_up(self, host: str, port: int) -> Sequence[Address]:
        """The addresses of a name; asked once by all who want to know, and again when they are old."""
        known = self._names.get((host, port))
        if known is None or self._loop.time() >= known[0]:
            lookup = self._loop.create_task(self._resolve(host, port))
            known = self._names[host, port] = (self._loop.time() + NAMES_S, lookup)
        try:
            found = await asyncio.shield(known[1])
        except OSError:
            if self._names.get((host, port)) is known:
                del self._names[host, port]
            raise
        return interleave([address[:2] for *_, address in found])

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = make_tls()
        return self._tls


def make_tls() -> ssl.SSLContext:
    """What checks certificates against the system's, or those in `SSL_CERT_FILE`. Takes milliseconds."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """The addresses in the resolver's order, its two kinds in turns (RFC 8305, 4): one may lead nowhere."""
    first = [address for address in addresses if (":" in address[0]) is (":" in addresses[0][0])]
    second = [address for address in addresses if address not in first]
    pairs = zip_longest(first, second)
    return [address for pair in pairs for address in pair if address is not None]
