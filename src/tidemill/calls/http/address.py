"""Where a request goes: the origin in its address, the proxy on the way, and the head of the request as sent."""

from __future__ import annotations

import base64
import ipaddress
import re
import urllib.request
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from tidemill.version import __version__

_PORTS = {"http": 80, "https": 443}
_DEFAULTS = {"user-agent": f"tidemill/{__version__}", "accept": "*/*"}
LENGTH: Final = b"content-length: "
"""What the head of a route ends with, before the number."""
_FRAMING = ("content-length", "transfer-encoding")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: a token
_IN_PATH = "/%:@!$&'()*+,;=~"  # RFC 3986, 3.3, and what is quoted already


class Origin(NamedTuple):
    """A scheme (`http` or `https`), a host as it is looked up, and a port."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """`host:port` as a request names it: an IPv6 address in brackets, the scheme's own port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class Proxy(NamedTuple):
    """A proxy, and what it is told to let us through (a `Basic` token), None for nothing."""

    origin: Origin
    authorization: str | None


class Asking(NamedTuple):
    """What a request says beside its address and its headers.

    Attributes:
        method: what is asked to be done.
        accept_encoding: what is asked for, unless a header says otherwise.
        by_proxy: whether it may go by the proxy that the environment names.
    """

    method: str = "POST"
    accept_encoding: str = "gzip"
    by_proxy: bool = True


class Route(NamedTuple):
    """How requests to one address with one set of headers go out.

    Attributes:
        origin: whom they are for.
        proxy: who takes them there, None for nobody.
        head: their first bytes, up to the number that says how long the body is.
    """

    origin: Origin
    proxy: Proxy | None
    head: bytes


def find_route(url: str, headers: Mapping[str, str], asking: Asking = Asking()) -> Route:  # noqa: B008 - frozen
    """The way to `url`. A proxy comes from the environment (`HTTPS_PROXY`, `NO_PROXY`), and never for loopback.

    Raises:
        ValueError: the address is none that can be called, or the method or a header cannot be sent; the message holds
            no values.
    """
    if not _NAME.fullmatch(asking.method):
        raise ValueError("the method has characters that no method may have")
    parts = _split(url)
    origin = _parse_origin(parts)
    proxy = _find_proxy(origin) if asking.by_proxy else None
    target = quote(parts.path or "/", safe=_IN_PATH) + (
        f"?{quote(parts.query, safe=_IN_PATH + '?')}" * bool(parts.query)
    )
    known = {"host": origin.authority, **_DEFAULTS, "accept-encoding": asking.accept_encoding}
    if token := _basic_token(parts):
        known["authorization"] = token
    if proxy is not None and origin.scheme == "http":
        target = f"http://{origin.authority}{target}"
        if proxy.authorization is not None:
            known["proxy-authorization"] = proxy.authorization
    return Route(origin, proxy, _render_head(f"{asking.method} {target}", known, headers) + LENGTH)


def check_address(url: str) -> None:
    """Check that requests to `url` can be sent.

    Raises:
        ValueError: it is none that can be called; the message holds no values.
    """
    _parse_origin(_split(url))


def check_headers(headers: Mapping[str, str]) -> None:
    """Check that `headers` can be sent with a request.

    Raises:
        ValueError: one cannot; the message holds no values.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            raise ValueError("a header's name has characters that no name may have")
        if name.lower() in _FRAMING:
            raise ValueError(f"the header {name} follows from the body and cannot be set")
        if any(character in value for character in "\r\n\0"):
            raise ValueError(f"the header {name} has a line break in its value")


def render_connect(origin: Origin, proxy: Proxy) -> bytes:
    """The request that asks `proxy` for a tunnel to `origin`."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}"
    headers = {"host": target, "user-agent": _DEFAULTS["user-agent"]}
    if proxy.authorization is not None:
        headers["proxy-authorization"] = proxy.authorization
    return _render_head(f"CONNECT {target}", headers, {}) + b"\r\n"


def _render_head(request: str, known: Mapping[str, str], given: Mapping[str, str]) -> bytes:
    """The request line and the headers; a given one stands instead of a known one of its name."""
    check_headers(given)
    names = set(map(str.lower, given))
    own = {name: value for name, value in known.items() if name not in names}
    lines = [f"{request} HTTP/1.1", *(f"{name}: {value}" for name, value in {**own, **given}.items())]
    return ("\r\n".join(lines) + "\r\n").encode()


def _split(url: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname:
        raise ValueError("the address is not http(s)://host…")
    return parts


def _parse_origin(parts: SplitResult) -> Origin:
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    if re.search(r"[\s/\\%]", host):
        raise ValueError("the host in the address is none")
    port = parts.port  # raises what it makes of one that is no number
    return Origin(parts.scheme, host, _PORTS[parts.scheme] if port is None else port)


def _basic_token(parts: SplitResult) -> str | None:
    """The user and password in an address as RFC 7617 sends them."""
    if parts.username is None and parts.password is None:
        return None
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _find_proxy(origin: Origin) -> Proxy | None:
    if _is_loopback(origin.host) or urllib.request.proxy_bypass(origin.host):
        return None
    url = urllib.request.getproxies().get(origin.scheme)
    if not url:
        return None
    try:
        parts = _split(url if "://" in url else f"http://{url}")
    except ValueError:
        raise ValueError(f"the proxy that the environment names for {origin.scheme} is no http proxy") from None
    return Proxy(_parse_origin(parts), _basic_token(parts))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
