"""How bytes get to the far side over HTTP. The only module that knows aiohttp, and where its errors end."""

from __future__ import annotations

import io
import ipaddress
import os
import re
import socket
import ssl
import urllib.request
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from tidemill.calls.credentials import label_endpoint, mask_request
from tidemill.calls.wire import AttemptTimeoutError, Request, Response, UnreachableError
from tidemill.errors import CallError, PermanentCallError, TransientCallError

MAX_BODY_BYTES: Final = 32 * 1024 * 1024
KEEP_ALIVE_S: Final = 4.0
"""Idle connections are closed before the far side does it under a request: uvicorn, which serves vLLM, waits 5 s."""
DNS_CACHE_S: Final = 60
_STREAMED_BYTES: Final = 1024 * 1024  # aiohttp wants more than this as a file


class HttpTransport:
    """HTTP/1.1 over aiohttp: no retries, no redirects, no cookies, no bound on connections (the engine has one).

    Proxies are taken from the environment (`HTTPS_PROXY`, `NO_PROXY`) once, and never used for loopback. The session
    is opened by the first `send`, in the loop that runs it, and belongs to that loop.

    Args:
        connect_timeout_s: for name, connect and TLS handshake of a new connection together.
        max_body_bytes: the longest response taken, after decompression.
    """

    def __init__(self, *, connect_timeout_s: float = 5.0, max_body_bytes: int = MAX_BODY_BYTES) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._max_body_bytes = max_body_bytes
        self._session: aiohttp.ClientSession | None = None
        self._timeouts: dict[float, aiohttp.ClientTimeout] = {}
        self._proxies: dict[str, str | None] = {}

    async def send(self, request: Request, timeout_s: float) -> Response:
        """The response to `request`, whatever its status, read whole within `timeout_s`; see `Transport`."""
        session = self._session or self._open()
        body = request.body
        try:
            response = await session.post(
                request.url,
                data=body if len(body) <= _STREAMED_BYTES else io.BytesIO(body),
                headers=request.headers,
                timeout=self._timeout(timeout_s),
                allow_redirects=False,
                proxy=self._proxy(request.url),
            )
            try:
                content = await self._read(response, request)
            except BaseException:  # cancelled, late or too long: the socket must not go back to the pool
                response.close()
                raise
            return Response(response.status, response.headers, content)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            failure = _map_error(exc, request, timeout_s)
        # Outside the handler, so that the foreign error, which may hold the request's headers, goes no further.
        try:
            raise failure
        finally:
            del failure

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=DNS_CACHE_S, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self._session

    def _timeout(self, timeout_s: float) -> aiohttp.ClientTimeout:
        timeout = self._timeouts.get(timeout_s)
        if timeout is None:
            if len(self._timeouts) > 64:  # retries near a deadline each bring their own
                self._timeouts.clear()
            timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(self._connect_timeout_s, timeout_s))
            self._timeouts[timeout_s] = timeout
        return timeout

    def _proxy(self, url: str) -> str | None:
        try:
            return self._proxies[url]
        except KeyError:
            if len(self._proxies) > 1024:
                self._proxies.clear()
            proxy = self._proxies[url] = _find_proxy(url)
            return proxy

    async def _read(self, response: aiohttp.ClientResponse, request: Request) -> bytes:
        length = response.content_length
        if length is not None and length > self._max_body_bytes:
            raise self._too_long(response, request)
        if length is not None and "Content-Encoding" not in response.headers:
            return await response.read()
        chunks, size = [], 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
            if size > self._max_body_bytes:
                raise self._too_long(response, request)
            chunks.append(chunk)
        return b"".join(chunks)

    def _too_long(self, response: aiohttp.ClientResponse, request: Request) -> CallError:
        return TransientCallError(
            f"answered {response.status} with more than {self._max_body_bytes} bytes",
            where=label_endpoint(request.url),
            status=response.status,
        )


def _map_error(exc: Exception, request: Request, timeout_s: float) -> CallError:
    where = label_endpoint(request.url)
    text = mask_request(" ".join(str(exc).split()), request)[:300] or type(exc).__name__
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return UnreachableError("no answer in time", where=where)
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return PermanentCallError(f"its certificate is not accepted: {text}", where=where, of="run")
    if isinstance(exc, aiohttp.ClientConnectorError):
        return UnreachableError(mask_request(_explain_connect(exc), request)[:300], where=where)
    if isinstance(exc, TimeoutError):
        return AttemptTimeoutError(f"no complete answer within {timeout_s:.3g} s", where=where)
    if isinstance(exc, (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.ClientHttpProxyError)):
        return PermanentCallError(f"cannot be called: {text}", where=where, hint="check base_url", of="run")
    if isinstance(exc, (aiohttp.ClientError, OSError)):
        return TransientCallError(f"the connection was cut: {text}", where=where)
    return PermanentCallError(
        f"the request cannot be sent: {text}", where=where, hint="check base_url and headers", of="run"
    )


def _explain_connect(exc: aiohttp.ClientConnectorError) -> str:
    """Why there is no connection, in the system's words: aiohttp's own repeat the address and its settings."""
    cause = exc.os_error
    text = str(cause.strerror or cause)
    if isinstance(cause, ssl.SSLError):
        text = f"TLS handshake failed: {(cause.reason or text).replace('_', ' ').lower()}"
    elif not isinstance(cause, socket.gaierror):
        code = cause.errno or next(map(int, re.findall(r"\[Errno (\d+)\]", text)), 0)
        text = os.strerror(code) if code > 0 else text
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        text = f"proxy {exc.host}:{exc.port}: {text}"
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


def _find_proxy(url: str) -> str | None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _is_loopback(host) or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
