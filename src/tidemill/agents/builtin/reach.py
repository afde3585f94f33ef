"""Where a tool may go: the hosts and addresses its author named, and no other."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from tidemill.agents.builtin.addresses import IPAddress, IPNetwork, explain_address, is_disguised, is_link_local
from tidemill.agents.tools.refusal import RefusalError
from tidemill.calls.http.address import Origin, find_route
from tidemill.calls.http.dialer import Resolve
from tidemill.config.wording.suggest import list_names
from tidemill.errors import ConfigError, TransientCallError

_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[?[0-9a-f:.]*:[0-9a-f:.]*\]?")
_UNSENDABLE: Final = re.compile(r"[\x00-\x20\x7f\\]")
_UNQUOTINGS: Final = 3


@dataclass(frozen=True, slots=True)
class Allowed:
    """One entry of an allow-list.

    Attributes:
        host: in lower case; `*` for any, `*.far.example` for those below that one.
        port: None for the scheme's own.
        scheme: None for both.
        path: what paths begin with, whole segments; empty for any.
    """

    host: str
    port: int | None = None
    scheme: str | None = None
    path: str = ""

    def takes(self, origin: Origin, path: str) -> bool:
        """Whether an address is within it."""
        host = origin.host.rstrip(".")
        is_host = self.host in ("*", host) or (self.host.startswith("*.") and host.endswith(self.host[1:]))
        is_port = origin.port == (_PORTS[origin.scheme] if self.port is None else self.port)
        is_path = path.startswith(self.path) and (
            len(path) == len(self.path) or self.path[-1:] in ("", "/") or path[len(self.path)] == "/"
        )
        return is_host and is_port and self.scheme in (None, origin.scheme) and is_path


@dataclass(frozen=True, slots=True)
class Target:
    """An address that may be called, and what its name was resolved to: `getaddrinfo` rows, all of them checked."""

    url: str
    origin: Origin
    found: Sequence[Any]


class Reach:
    """Says of each address whether it may be called, and what its name leads to. Safe to share.

    Args:
        allow: hosts (`docs.python.org`, `*.python.org`, `far.example:8443`), beginnings of addresses
            (`https://far.example/v1`), or `*` for every host. A host is allowed at the ports of http and https alone,
            unless it names another.
        allow_private: what of private networks may be called: hosts by name, and networks (`10.1.0.0/16`). What is
            link-local, such as a cloud's metadata server, only by its network.
        resolve: gives the addresses of a host and port as `loop.getaddrinfo` does, which is the default.

    Raises:
        ConfigError: an entry is neither.
    """

    def __init__(
        self, allow: Sequence[str], *, allow_private: Sequence[str] = (), resolve: Resolve | None = None
    ) -> None:
        if isinstance(allow, str) or isinstance(allow_private, str):
            raise ConfigError("expected a list of hosts, got one text", hint='write `["…"]`')
        self.texts = tuple(allow)
        self._allowed = [_parse_entry(entry) for entry in allow]
        self._hosts, self._networks = _parse_private(allow_private)
        self._resolve = resolve

    async def find(self, url: str) -> Target:
        """The target at `url`, its name resolved once.

        Raises:
            RefusalError: it may not be called, or its name is not known; the message is for the model.
            TransientCallError: the name cannot be resolved now.
        """
        origin = self._check(url)
        found = await self._look_up(origin)
        for row in found:
            self._check_address(origin.host, row[4][0])
        return Target(url, origin, found)

    def _check(self, url: str) -> Origin:
        """The origin of an address that is allowed by its text."""
        if _UNSENDABLE.search(url):
            raise RefusalError("the address has a blank, a backslash or a control character in it")
        try:
            parts = urlsplit(url)
            origin = find_route(url, {}).origin
        except ValueError as exc:
            raise RefusalError(f"`{url[:200]}` cannot be called: {exc}") from None
        if "@" in parts.netloc:
            raise RefusalError("an address with a user or password in it is not called")
        if is_disguised(origin.host):
            raise RefusalError(f"`{origin.host}` is a number in place of a host", hint="write the host's name")
        path = _plain_path(parts.path)
        if not any(each.takes(origin, path) for each in self._allowed):
            refused = f"`{origin.scheme}://{origin.authority}{path[:100]}` is not allowed"
            raise RefusalError(refused, hint=self._tell_allowed(origin, path))
        return origin

    def _tell_allowed(self, origin: Origin, path: str) -> str:
        """What is allowed, for an address that is not; of one that is so but for its port, that it is the port."""
        if not self.texts:
            return "nothing is allowed"
        allowed = f"allowed: {list_names(self.texts)}"
        usual = Origin(origin.scheme, origin.host, _PORTS[origin.scheme])
        is_port = any(each.port is None and each.takes(usual, path) for each in self._allowed)
        return f"{allowed}, and port {origin.port} only where it is named" if is_port else allowed

    async def _look_up(self, origin: Origin) -> Sequence[Any]:
        resolve = self._resolve or _resolve
        try:
            found = await resolve(origin.host, origin.port)
        except socket.gaierror as exc:
            if exc.errno == socket.EAI_AGAIN:
                raise TransientCallError("the name cannot be resolved now", where=origin.host) from None
            raise RefusalError(f"there is no host `{origin.host}`") from None
        except UnicodeError:  # the codec's, of a label that is too long or empty
            raise RefusalError(f"`{origin.host[:200]}` is no host") from None
        if not found:
            raise RefusalError(f"the host `{origin.host}` has no address")
        return found

    def _check_address(self, host: str, text: str) -> None:
        address = ip_address(text.partition("%")[0])
        reason = explain_address(address)
        if not reason or self._is_let_in(host, address):
            return
        raise RefusalError(f"`{host}` is at {reason}, which is not called")

    def _is_let_in(self, host: str, address: IPAddress) -> bool:
        plain = address.ipv4_mapped or address if address.version == 6 else address
        if any(plain in network for network in self._networks if network.version == plain.version):
            return True
        is_private = plain.is_private and not plain.is_multicast and not plain.is_unspecified
        is_shared = plain.version == 4 and plain in ip_network("100.64.0.0/10")
        return host.rstrip(".") in self._hosts and (is_private or is_shared) and not is_link_local(address)


async def _resolve(host: str, port: int) -> Sequence[Any]:
    return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _plain_path(path: str) -> str:
    """The path, where a server can take it in one way only."""
    plain = path or "/"
    for _ in range(_UNQUOTINGS):
        if any(segment in (".", "..") for segment in re.split(r"[/\\]", plain)):
            raise RefusalError("the address has `.` or `..` in its path", hint="write it without")
        plain = unquote(plain)
    return path or "/"


def _parse_entry(entry: str) -> Allowed:
    if entry == "*":
        return Allowed("*")
    text = entry if "://" in entry else f"//{entry}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise ConfigError(f"`{entry}` cannot be allowed: {exc}") from None
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    is_plain = "://" in entry or not parts.path.strip("/")
    if not _HOST.fullmatch(host) or parts.query or parts.fragment or "@" in parts.netloc or not is_plain:
        hint = "write a host, `*.host`, `host:port`, or the beginning of an address: `https://host/path`"
        raise ConfigError(f"`{entry}` is no host that can be allowed", hint=hint)
    if parts.scheme not in ("", *_PORTS):
        raise ConfigError(f"`{entry}` cannot be allowed: only http and https are called")
    return Allowed(host, port, parts.scheme or None, parts.path if parts.path != "/" else "")


def _parse_private(entries: Sequence[str]) -> tuple[frozenset[str], list[IPNetwork]]:
    hosts, networks = set(), []
    for entry in entries:
        try:
            networks.append(ip_network(entry))
        except ValueError:
            if not _HOST.fullmatch(entry.lower()) or entry.startswith("*"):
                hint = "write a host by its name, or a network: `10.1.0.0/16`"
                raise ConfigError(f"`{entry}` is neither a host nor a network", hint=hint) from None
            hosts.add(entry.lower().rstrip("."))
    return frozenset(hosts), networks
