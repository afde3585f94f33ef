"""How bytes get to the far side over HTTP, and the one edge where foreign errors end."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Final, NamedTuple

from tidemill.calls.credentials import label_endpoint, mask_request
from tidemill.calls.http.address import LENGTH, Asking, Origin, Proxy, find_route
from tidemill.calls.http.connection import Bound, CutError, HandOnError, OversizeError
from tidemill.calls.http.dialer import Dialer, ProxyRefusedError, Resolve
from tidemill.calls.http.pool import Pool
from tidemill.calls.wire import AttemptTimeoutError, Request, Response, UnreachableError, UnsentError
from tidemill.errors import CallError, TransientCallError

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
_MAX_KNOWN: Final = 1024
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
"""Methods whose request says how long its body is even when there is none (RFC 9110, 8.6)."""
# A RuntimeError is uvloop's, where it finds a socket closed by the far side.
_NOT_SENT: Final = (OSError, ValueError, RuntimeError, CutError, ProxyRefusedError)
_NOT_ANSWERED: Final = (TimeoutError, CutError, OversizeError)


class _Known(NamedTuple):
    """What is known of requests to one address with one set of headers; these are held, so that their id is theirs."""

    headers: Mapping[str, str]
    head: bytes
    pool: Pool


class HttpTransport:
    """HTTP/1.1 on asyncio: no retries, no redirects, no cookies, no bound on connections (the engine has one).

    Connections are kept for the next request to the same origin, and opened a few at a time (see `Pool`). Waiting for
    one is, as every wait before a send, charged to no timeout and never a failure by itself: a request's time starts
    when it is sent. Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY`) and never used for loopback;
    certificates are checked against the system's, or those in `SSL_CERT_FILE`. Belongs to the loop that runs the first
    `send`.

    The body of a request with `on_chunk` is asked for without compression, which would hold its pieces back, and taken
    out of it all the same. What `on_chunk` raises comes out of `send` as it is; the connection is closed then, as it
    is when such a body stays silent for 120 s.

    Args:
        connect_timeout_s: for name, connect, proxy and TLS handshake of a new connection together.
        max_body_bytes: the longest response taken, after decompression.
        cuts: give the first bytes of a longer one, and close its connection, in place of an error.
        resolve: gives the addresses of a host and port as `loop.getaddrinfo` does, which is the default.
        by_proxy: whether requests go by the proxy that the environment names.
        tls: what certificates are checked against; several transports may share one.
    """

    def __init__(
        self,
        *,
        connect_timeout_s: float = 5.0,
        max_body_bytes: int = MAX_BODY_BYTES,
        cuts: bool = False,
        resolve: Resolve | None = None,
        by_proxy: bool = True,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._bound = Bound(max_body_bytes, cuts=cuts)
        self._resolve = resolve
        self._by_proxy = by_proxy
        self._tls = tls
        self._known: dict[tuple[str, int, bool, str], _Known] = {}
        self._pools: dict[tuple[Origin, Proxy | None], Pool] = {}
        self._dialer: Dialer | None = None

    async def send(self, request: Request, timeout_s: float) -> Response:
        """The response to `request`, whatever its status, read whole within `timeout_s` of sending it.

        See `Transport`, and raises what `request.on_chunk` raised.
        """
        body, on_chunk, method = request.body, request.on_chunk, request.method
        failure: BaseException
        try:
            known = self._known.get((request.url, id(request.headers), on_chunk is None, method))
            if known is None:
                known = self._get_to_know(request)
            connection = known.pool.take() or await known.pool.wait()
        except _NOT_SENT as exc:
            failure = self._map_dial(exc, request)
        else:
            if body or method in _WITH_BODY:
                data = b"%b%d\r\n\r\n%b" % (known.head, len(body), body)
            else:
                data = known.head[: -len(LENGTH)] + b"\r\n"
            waiter = connection.ask(data, timeout_s, on_chunk, has_body=method != "HEAD")
            try:
                return await waiter
            except _NOT_ANSWERED as exc:
                failure = self._map_answer(exc, request, timeout_s)
            except HandOnError as exc:
                failure = exc.error
            except BaseException:  # cancelled: nobody reads what is still to come
                connection.drop(waiter)
                raise
            finally:
                del waiter  # whose error has this frame in its traceback: no cycle is left for the collector
        # Outside the handlers, so that the foreign error, which may hold the request's headers, goes no further.
        try:
            raise failure
        finally:
            del failure

    async def close(self) -> None:
        """Close every connection."""
        pools = list(self._pools.values())
        self._known.clear()
        self._pools.clear()
        for pool in pools:
            await pool.close()
        if self._dialer is not None:
            await self._dialer.close()
            self._dialer = None
        await asyncio.sleep(0)  # what was given up while it was dialled is closed in the loop's next round

    def _get_to_know(self, request: Request) -> _Known:
        """The head of such requests and the connections they go by."""
        is_whole = request.on_chunk is None
        accept_encoding = "gzip" if is_whole else "identity"
        asking = Asking(request.method, accept_encoding, by_proxy=self._by_proxy)
        origin, proxy, head = find_route(request.url, request.headers, asking)
        if self._dialer is None:
            self._dialer = Dialer(self._resolve, tls=self._tls)
        pool = self._pools.get((origin, proxy))
        if pool is None:
            pool = self._pools[origin, proxy] = Pool(
                origin,
                proxy,
                self._dialer,
                connect_timeout_s=self._connect_timeout_s,
                bound=self._bound,
            )
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        known = self._known[request.url, id(request.headers), is_whole, request.method] = _Known(
            request.headers, head, pool
        )
        return known

    def _map_dial(self, exc: Exception, request: Request) -> CallError:
        """What it means that no connection came about: nothing was sent."""
        where = label_endpoint(request.url)
        text = mask_request(_explain_dial(exc), request)[:300]
        if isinstance(exc, ssl.SSLCertVerificationError):
            return UnsentError(f"its certificate is not accepted: {text}", where=where, of="run")
        is_away = isinstance(exc, ProxyRefusedError) and exc.status >= 500
        if is_away or isinstance(exc, (OSError, RuntimeError, CutError)):
            return UnreachableError(text, where=where)
        hint = "check HTTPS_PROXY" if isinstance(exc, ProxyRefusedError) else "check base_url and headers"
        return UnsentError(f"the request cannot be sent: {text}", where=where, hint=hint, of="run")

    def _map_answer(self, exc: Exception, request: Request, timeout_s: float) -> CallError:
        """What it means that a request was sent and no whole answer came."""
        where = label_endpoint(request.url)
        if isinstance(exc, OversizeError):
            message = f"answered {exc.status} with more than {self._bound.max_bytes} bytes"
            return TransientCallError(message, where=where, status=exc.status)
        if isinstance(exc, TimeoutError):
            return AttemptTimeoutError(str(exc) or f"no complete answer within {timeout_s:.3g} s", where=where)
        text = mask_request(" ".join(str(exc).split()), request)[:300] or type(exc).__name__
        return TransientCallError(f"the connection was cut: {text}", where=where)


def _explain_dial(exc: Exception) -> str:
    """Why there is no connection, in the system's words: libraries' own repeat the address and their settings."""
    if isinstance(exc, ProxyRefusedError):
        return f"the proxy answered {exc.status}"
    if isinstance(exc, CutError):
        return f"the proxy opened no tunnel: {exc}"
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    if not isinstance(exc, OSError):
        return " ".join(str(exc).split()) or type(exc).__name__
    text = str(exc.strerror or exc)
    if isinstance(exc, ssl.SSLCertVerificationError):
        text = getattr(exc, "verify_message", text)  # those made in Python have none
    elif isinstance(exc, ssl.SSLError):
        reason = getattr(exc, "reason", None) or text
        text = f"TLS handshake failed: {reason.replace('_', ' ').lower()}"
    elif not isinstance(exc, socket.gaierror):
        code = exc.errno or next(map(int, re.findall(r"\[Errno (\d+)\]", text)), 0)
        text = os.strerror(code) if code > 0 else text
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
