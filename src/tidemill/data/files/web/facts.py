"""What a server tells of a file, by the head of a response."""

from __future__ import annotations

import http.client
import re
from dataclasses import dataclass

from tidemill.data.files.codecs import find_codec
from tidemill.data.files.path import RemotePath
from tidemill.errors import ResourceError

_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")


@dataclass(frozen=True)
class Facts:
    """What a server tells of a file.

    Attributes:
        size: in bytes; None where it does not say, or sends it packed otherwise than it is stored.
        version: its ETag, else when it was changed; empty where it tells neither.
        has_ranges: whether it can be asked for a part of it.
        encoding: how it is packed on the way, empty for not at all.
    """

    size: int | None
    version: str
    has_ranges: bool
    encoding: str


def read_facts(path: RemotePath, response: http.client.HTTPResponse) -> Facts:
    """What a response tells.

    Raises:
        ResourceError: it is packed as nobody asked for.
    """
    headers = response.headers
    encoding = (headers.get("Content-Encoding") or "identity").strip().lower()
    codec = find_codec(path)
    if encoding == "identity" or (codec is not None and codec.name == "gzip" and encoding in ("gzip", "x-gzip")):
        encoding = ""  # of a `.gz` file, its own
    elif encoding not in ("gzip", "x-gzip"):
        message = f"cannot be read: the server packs it as `{encoding}` unasked"
        raise ResourceError(message, where=str(path), hint="have it serve the file as it is")
    version = headers.get("ETag") or headers.get("Last-Modified") or ""
    ranged = _RANGE.fullmatch(headers.get("Content-Range", ""))
    if encoding:
        return Facts(None, version, has_ranges=False, encoding=encoding)
    if ranged is None:
        return Facts(response.length, version, has_ranges=False, encoding="")
    return Facts(None if ranged[3] == "*" else int(ranged[3]), version, has_ranges=True, encoding="")


def find_first(response: http.client.HTTPResponse) -> int:
    """The place in the file of a response's first byte."""
    ranged = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(ranged[1]) if ranged is not None and ranged[1] is not None else 0
