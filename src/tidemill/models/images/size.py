"""How large an image is, from the bytes it begins with.

Sources: PNG (W3C, 11.2.2 IHDR), GIF89a (18, Logical Screen Descriptor), JPEG (ITU-T T.81, B.2.2 Frame header), WebP
(RFC 9649, 2.4 to 2.7).
"""

from __future__ import annotations

import base64
import binascii
import struct

Size = tuple[int, int]
"""Width and height in pixels."""

_SEGMENT = struct.Struct(">BBH")
_NO_FRAME = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among those of frames that begin none: tables, and one that is reserved."""


def measure_image(data: bytes) -> Size | None:
    """Width and height of a PNG, JPEG, GIF or WebP file; None of anything else, and where it is cut before them."""
    try:
        size = _measure(data)
    except (struct.error, IndexError):
        return None
    return size if size is not None and all(size) else None


def measure_url(url: str) -> Size | None:
    """The same of the image in a data URI, or of base64 alone; None of an address."""
    if url.startswith(("http://", "https://")):
        return None
    try:
        return measure_image(base64.b64decode(url.rpartition(",")[2]))
    except binascii.Error:
        return None


def _measure(data: bytes) -> Size | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack_from(">II", data, 16)
    if data.startswith((b"GIF87a", b"GIF89a")):
        return struct.unpack_from("<HH", data, 6)
    if data.startswith(b"\xff\xd8"):
        return _measure_jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _measure_webp(data)
    return None


def _measure_jpeg(data: bytes) -> Size:
    place = 2
    while True:
        start, marker, length = _SEGMENT.unpack_from(data, place)
        if start != 0xFF:
            raise IndexError("no marker where one should be")
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += 1 if marker == 0xFF else 2 + length  # a marker may be filled up in front


def _measure_webp(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        low, high, bottom, top = struct.unpack_from("<HBHB", data, 24)
        return (low | high << 16) + 1, (bottom | top << 16) + 1
    return None
