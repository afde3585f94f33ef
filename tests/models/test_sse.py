"""Event streams: what is an event of one, however its bytes were cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.models.formats.sse import Event, EventParser, is_event_stream


def parse(*chunks: bytes) -> list[Event]:
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


def cut(body: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[start:stop] for start, stop in itertools.pairwise(bounds)]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: a\n\n", [Event("", b"a")]),
        (b"data:a\n\n", [Event("", b"a")]),
        (b"data:  a\n\n", [Event("", b" a")]),
        (b"event: ping\ndata: {}\n\n", [Event("ping", b"{}")]),
        (b"data: a\ndata: b\n\n", [Event("", b"a\nb")]),
        (b"data\n\n", [Event("", b"")]),
        (b": a comment\nid: 7\nretry: 10\ndata: a\nunknown: b\n\n", [Event("", b"a")]),
        (b"event: alone\n\ndata: a\n\n", [Event("", b"a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [Event("", b"a")]),
        (b"data: a\r\rdata: b\r\n\r\ndata: c\n\r\n", [Event("", b"a"), Event("", b"b"), Event("", b"c")]),
        ("data: é\u2028\n\n".encode(), [Event("", "é\u2028".encode())]),
        (b"data: a\n\ndata: cut", [Event("", b"a")]),
        (b"data: a\n\ndata: no end\n", [Event("", b"a")]),
        (b"", []),
    ],
)
def test_the_standard_s_rules(body: bytes, events: list[Event]) -> None:
    assert parse(body) == events
    assert parse(*(body[i : i + 1] for i in range(len(body)))) == events


LINE = st.sampled_from([b"data: a", b"data:", b"event: e", b"event:", b": c", b"", b"", b"id: 1", "data: é".encode()])
END = st.sampled_from([b"\n", b"\r\n", b"\r"])


@given(
    lines=st.lists(st.tuples(LINE, END)),
    places=st.lists(st.integers(0, 500), max_size=8),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_any_cut_gives_the_same_events(lines: list[tuple[bytes, bytes]], places: list[int], mark: bytes) -> None:
    body = mark + b"".join(line + end for line, end in lines)
    assert parse(*cut(body, places)) == parse(body)


@given(st.lists(st.tuples(st.sampled_from(["", "delta"]), st.binary().filter(lambda data: not set(data) & {10, 13}))))
def test_what_is_written_is_read(events: list[tuple[str, bytes]]) -> None:
    body = b"".join(
        (f"event: {kind}\n".encode() if kind else b"") + b"data: " + data + b"\n\n" for kind, data in events
    )
    assert parse(body) == events


def test_a_long_line_in_small_pieces_is_joined_once() -> None:
    """A trickled megabyte takes as many steps as it has pieces, not the square of them."""
    parser = EventParser()
    for _ in range(200_000):
        assert not parser.feed(b"data:")
    [event] = parser.feed(b"\n\n")
    assert event.data == b"data:" * 199_999


@pytest.mark.parametrize(
    "body", [b"data: a\n\n", b": hello\n", b"\xef\xbb\xbfevent: a\n", b"\n\nid: 1\n", b"retry: 1\n"]
)
def test_an_event_stream_is_known_by_its_start(body: bytes) -> None:
    assert is_event_stream(body)


@pytest.mark.parametrize("body", [b"", b'{"data": 1}', b"[]", b"<html>", b"database", b"  {"])
def test_anything_else_is_none(body: bytes) -> None:
    assert not is_event_stream(body)
