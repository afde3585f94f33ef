"""The headers of tar archives: v7, ustar, GNU's and pax.

POSIX.1-2001, `pax`, "ustar Interchange Format" and "pax Extended Header"; GNU tar's manual, "Basic Tar Format".
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from isal.isal_zlib import adler32

BLOCK = 512
"""Bytes of a header, and what a member's are filled up to a multiple of."""

ZEROS = bytes(BLOCK)

_OCTAL_SPACES = 8 * ord(" ")
"""What the field of the checksum counts for in it."""

_ADLER_MODULUS = 65521

REGULAR = frozenset(b"0\x007")
DIRECTORY = ord("5")
WITHOUT_DATA = {ord("1"): "a hard link", ord("2"): "a symbolic link", ord("3"): "a device", ord("4"): "a device",
                ord("6"): "a named pipe"}  # fmt: skip
"""Kinds of members that have no bytes behind their header, whatever size it says."""

GNU_NAME, GNU_LINK, GNU_SPARSE = ord("L"), ord("K"), ord("S")
PAX, PAX_GLOBAL = ord("x"), ord("g")


class Header(NamedTuple):
    """One header.

    Attributes:
        name: as it stands there, in no encoding that it tells.
        size: bytes behind it, without what fills them up.
        kind: the type flag.
    """

    name: bytes
    size: int
    kind: int


def parse_header(block: bytes) -> Header:
    """The header in a block of 512 bytes.

    Raises:
        ValueError: it is none; says why.
    """
    if adler32(block) & 0xFFFF != find_adler(block[148:156]):
        raise ValueError("its checksum is wrong")
    name = block[:100].partition(b"\0")[0]
    if block[345] and block[257:263] == b"ustar\0":
        name = block[345:500].partition(b"\0")[0] + b"/" + name
    kind = block[156]
    if kind in (0, ord("0")) and name.endswith(b"/"):  # as v7 has it
        kind = DIRECTORY
    return Header(name, parse_number(block[124:136]), kind)


@functools.lru_cache(maxsize=4096)
def find_adler(checksum: bytes) -> int:
    """The low half of the Adler-32 that a header with this checksum, as it stands in it, has.

    That half is one more than the sum of the bytes, modulo 65,521, and by ISA-L takes a twentieth of what `sum` does.

    Raises:
        ValueError: it is no number.
    """
    return (parse_number(checksum) - _OCTAL_SPACES + sum(checksum) + 1) % _ADLER_MODULUS


def parse_number(field: bytes) -> int:
    """A number of a header: octal digits, or, as GNU writes those that need more of them, bytes behind a mark.

    Raises:
        ValueError: it is none.
    """
    try:
        number = int(field.rstrip(b"\0 "), 8)
    except ValueError:
        number = _parse_oddly(field)
    if number < 0:
        raise ValueError("it has a negative number")
    return number


def _parse_oddly(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    try:
        return int(digits, 8) if digits else 0
    except ValueError:
        raise ValueError("it has no number where one belongs") from None


def has_extension(block: bytes, at: int) -> bool:
    """Whether a header of GNU's sparse members, or its extension, is gone on with by another block."""
    return bool(block[at])


def parse_pax(data: bytes) -> dict[bytes, bytes]:
    """The fields of a pax extended header: lines of `length key=value`.

    Raises:
        ValueError: it is none.
    """
    fields = {}
    while data:
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or not len(length) + 1 < int(length) <= len(data):
            raise ValueError("its extended header is corrupt")
        line, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, equals, value = line.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise ValueError("its extended header is corrupt")
        fields[key] = value[:-1]
    return fields
