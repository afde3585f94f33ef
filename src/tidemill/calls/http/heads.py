"""The heads of responses that were parsed before: what came once byte for byte is not parsed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from tidemill.calls.wire import Response

MOST_HEADS: Final = 256
MOST_BYTES: Final = 4096
LEAST_RATIO: Final = 0.25

_END: Final = b"\r\n\r\n"


class Head(Struct, frozen=True):
    """A parsed head whose body has as many bytes as `content-length` says and is in no encoding."""

    status: int
    headers: Mapping[str, str]
    body_bytes: int


class Heads:
    """The heads that one origin's responses had lately.

    Responses of one server differ in their bodies, their lengths and the date; parsing such a head takes several times
    as long as the rest of receiving it. Where each head has something of its own, such as a request's number, this is
    found out by the first few hundred, and none is kept from then on.
    """

    __slots__ = ("_found", "_is_worthwhile", "_known")

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self._found = 0
        self._is_worthwhile = True

    def find(self, data: bytes) -> Response | None:
        """The response that `data` is, where it is one whole response whose head is known."""
        if not self._known:
            return None
        end = data.find(_END) + 4
        head = self._known.get(data[:end])
        if head is None or len(data) != end + head.body_bytes:
            return None
        self._found += 1
        return Response(head.status, head.headers, data[end:])

    def note(self, data: bytes, status: int, headers: Mapping[str, str]) -> None:
        """`data` was parsed as one whole response, with a body in no encoding."""
        if not self._is_worthwhile:
            return
        end = data.find(_END) + 4
        length = headers.get("content-length", "")
        if end > MOST_BYTES or "transfer-encoding" in headers or length != str(len(data) - end):
            return
        if len(self._known) >= MOST_HEADS:
            self._is_worthwhile = self._found >= LEAST_RATIO * MOST_HEADS
            self._known = {}
            self._found = 0
        if self._is_worthwhile:
            self._known[data[:end]] = Head(status, headers, len(data) - end)
