"""Names of text encodings, and bytes that are not in them."""

from __future__ import annotations

import codecs

from tidemill.errors import ConfigError, DataError


def find_encoding(name: str, *, by_line: bool) -> str:
    """The codec's own name for the encoding `name`; a byte order mark is taken off in any case.

    Raises:
        ConfigError: Python has no such encoding of text, or, `by_line`, its lines do not end in one byte.
    """
    try:
        found = codecs.lookup(name).name
        line_end = "\n".encode(found)
    except LookupError:
        raise ConfigError(f"there is no encoding `{name}`", hint="as in Python: utf-8, latin-1, cp1252, …") from None
    if found == "utf-8-sig":
        return "utf-8"
    if by_line and line_end != b"\n":
        raise ConfigError(
            f"lines in {name} cannot be told apart byte by byte",
            hint="read each file as one record (`whole`), or convert it to UTF-8 first",
        )
    return found


def decode_text(raw: bytes, encoding: str, *, of: str, where: str = "", offset: int | None = None) -> str:
    """`raw` as text.

    Raises:
        DataError: it is not in the encoding; says where in the line, row or file (`of`).
    """
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(explain_encoding(error, of), where=where, raw=raw, offset=offset) from None


def explain_encoding(error: UnicodeDecodeError, of: str) -> str:
    """That bytes are not text in an encoding, and where."""
    name = error.encoding.upper() if error.encoding.startswith("utf") else error.encoding
    return f"invalid {name}: {error.reason} at byte {error.start} of the {of}"
