"""Server-sent events: the bytes of a stream in, its events out, however the bytes were cut.

Source: the HTML standard, section 9.2.6 "Interpreting an event stream"; of its fields only `event` and `data` are kept.
"""

from __future__ import annotations

from typing import NamedTuple

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_STARTS = (b"data:", b"event:", b"id:", b"retry:", b":")


class Event(NamedTuple):
    """One event: its type, empty when the stream names none, and the bytes of its data."""

    type: str
    data: bytes


def is_event_stream(body: bytes) -> bool:
    """Whether `body` starts as an event stream does, and no JSON."""
    return body[:64].removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(_STARTS)


class EventParser:
    """Takes a stream apart, piece by piece; an event whose end has not come is never given.

    Linear in the bytes, whatever the pieces. Not safe to share between threads.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []  # of the line that has not ended
        self._is_after_cr = False
        self._is_first = True
        self._type = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that end within `chunk`."""
        if self._is_after_cr and chunk:  # CR LF is one end of a line, wherever it was cut
            self._is_after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._is_after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *lines = chunk.split(b"\n")
        self._pieces.append(first)
        if not lines:
            return []
        first = b"".join(self._pieces)
        *lines, rest = lines
        self._pieces = [rest]
        if self._is_first:
            self._is_first = False
            first = first.removeprefix(_BYTE_ORDER_MARK)
        events: list[Event] = []
        for line in (first, *lines):
            if line:
                self._take(line)
            else:
                self._dispatch(events)
        return events

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._type = value.decode("utf-8", "replace")

    def _dispatch(self, events: list[Event]) -> None:
        if self._data:
            events.append(Event(self._type, b"\n".join(self._data)))
            self._data = []
        self._type = ""
