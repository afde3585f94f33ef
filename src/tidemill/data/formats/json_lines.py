"""JSON texts as Python values, integers of any size exact.

orjson makes floats of integers that fit no 64 bits, which are other numbers, and tells nothing; msgspec reads them as
they are. Of plain text it is the quicker one by a fifth, of text with many escapes the slower one by a third (measured:
docs/lab-notes.md), so that orjson reads what has many and can hold no such integer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
import orjson

_FEWEST_DIGITS = 19
"""Of an integer below -2**63; one of 2**64 and above has 20."""

_STRIDE = _FEWEST_DIGITS // 2
"""So many bytes apart, two digits in a row are found in any number of at least 19 digits."""

_LOOKED_AT_BYTES = 2048
_MANY_ESCAPES = 16
"""Among the first so many bytes; from here on orjson is the quicker one."""

_ZEROS = bytes(ord("0") if byte in b"0123456789" else byte for byte in range(256))
_LONG = re.compile(rb"-[0-9]{19}|[0-9]{20}")

_decode = msgspec.json.Decoder().decode
_REFUSALS = (msgspec.MsgspecError, orjson.JSONDecodeError, UnicodeDecodeError, RecursionError)


def parse_all(lines: Iterable[bytes], text: bytes) -> list[Any] | None:
    """The values of `lines`, which make up `text`; None when some line needs a closer look."""
    decode: Any = _decode
    if text.count(b"\\", 0, _LOOKED_AT_BYTES) >= _MANY_ESCAPES and b"00" not in text[::_STRIDE].translate(_ZEROS):
        decode = orjson.loads
    try:
        return list(map(decode, lines))
    except _REFUSALS:
        return None


def parse_json(text: bytes) -> Any:
    """The value of one text.

    Raises:
        orjson.JSONDecodeError: it is no JSON; says where.
        ValueError: it is nested too deep, or an integer in it is too long, to be read exactly.
    """
    try:
        return _decode(text)
    except _REFUSALS:
        value = orjson.loads(text)  # says what is wrong with it, and takes what is nested deeper
    if _LONG.search(text):
        raise ValueError("it has integers of more than 64 bits in it, nested too deep or too long")
    return value
