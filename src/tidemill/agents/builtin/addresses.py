"""Which IP addresses are of the public internet, whatever form they come in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_UNICAST: Final = IPv6Network("2000::/3")  # all of IPv6 that is given out (RFC 4291, 2.4)
_NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052
_SPECIAL: Final[tuple[IPNetwork, ...]] = (  # what `is_global` of some versions of Python lets through
    IPv4Network("192.0.0.0/24"),  # RFC 6890
    IPv4Network("192.88.99.0/24"),  # relays of 6to4, withdrawn by RFC 7526
    IPv6Network("2001::/23"),  # protocol assignments, RFC 2928
    IPv6Network("3fff::/20"),  # documentation, RFC 9637
)
_ISATAP: Final = frozenset({0x00005EFE, 0x02005EFE})  # RFC 5214, 6.1
_NUMBER: Final = re.compile(r"\d+|0x[0-9a-f]*", re.IGNORECASE)
_DOTTED: Final = re.compile(r"(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}")


def explain_address(address: IPAddress) -> str:
    """Why an address is none of the public internet; empty where it is one.

    An address that carries one of IPv4 within it (mapped, 6to4, NAT64, ISATAP) leads where that one does.

    >>> from ipaddress import ip_address
    >>> explain_address(ip_address("::ffff:10.0.0.7"))
    'a private address'
    >>> explain_address(ip_address("93.184.216.34"))
    ''
    """
    return next(filter(None, map(_explain, _iter_forms(address))), "")


def is_link_local(address: IPAddress) -> bool:
    """Whether the address is of the link alone: there the cloud's metadata servers are."""
    return any(form.is_link_local for form in _iter_forms(address))


def is_disguised(host: str) -> bool:
    """Whether a host is a number that systems take for an IPv4 address without looking like one.

    >>> [is_disguised(host) for host in ("2130706433", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1", "v1.far.example")]
    [True, True, True, True, False, False]
    """
    if ":" in host:
        return False
    last = host.rstrip(".").rpartition(".")[2]
    return bool(_NUMBER.fullmatch(last)) and not _DOTTED.fullmatch(host)


def _iter_forms(address: IPAddress) -> Iterator[IPAddress]:
    """The address, or in its place the one it leads to."""
    if isinstance(address, IPv4Address):
        yield address
        return
    bits = int(address)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    elif address.sixtofour is not None:
        yield address
        yield address.sixtofour
    elif address in _NAT64:
        yield IPv4Address(bits & 0xFFFFFFFF)
    else:
        yield address
        if bits >> 32 & 0xFFFFFFFF in _ISATAP:
            yield IPv4Address(bits & 0xFFFFFFFF)


def _explain(address: IPAddress) -> str:
    if address.is_unspecified:
        return "no address"
    if address.is_loopback:
        return "an address of this machine"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if isinstance(address, IPv6Address) and address.teredo is not None:
        return "a Teredo address"
    if isinstance(address, IPv6Address) and not address.is_private and address not in _UNICAST:
        return "a reserved address"
    if address.is_reserved:
        return "a reserved address"
    if not address.is_global or any(address in network for network in _SPECIAL if network.version == address.version):
        return "a private address"
    return ""
