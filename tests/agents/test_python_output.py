"""What is kept of the output of code, however it comes in pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidemill.agents.interpreter.output import Output

MARKER = b"\0end."
MAX = 16
PIECES = st.one_of(st.binary(max_size=MAX), st.sampled_from([MARKER[:4], MARKER[:1] * 3, b"\0en" * 4]))
PIECES = PIECES.filter(lambda text: MARKER not in text)


def feed(output: Output, data: bytes, cuts: list[int]) -> None:
    """Give `data` in pieces."""
    edges = sorted({0, *(cut % (len(data) + 1) for cut in cuts), len(data)})
    for start, stop in zip(edges, [*edges[1:], len(data)], strict=True):
        output.feed(data[start:stop])


@given(texts=st.lists(PIECES, min_size=1, max_size=4), cuts=st.lists(st.integers(0, 10**6)))
def test_each_call_has_what_came_up_to_its_marker(texts: list[bytes], cuts: list[int]) -> None:
    output = Output(MAX, 1000)
    for text in texts:
        output.expect(MARKER)
        feed(output, text + MARKER, cuts)
        assert output.take() == text.decode(errors="backslashreplace")


@given(text=st.text(max_size=200), cuts=st.lists(st.integers(0, 10**6)))
def test_of_what_is_long_both_ends_are_kept_whole_characters_only(text: str, cuts: list[int]) -> None:
    output = Output(MAX, 10_000)
    output.expect(MARKER)
    data = text.encode()
    feed(output, data + MARKER, cuts)
    told = output.take()
    if len(data) <= MAX:
        assert told == text
        return
    head, _, rest = told.partition("\n[… ")
    count, _, tail = rest.partition(" bytes left out; write to a file what must be whole …]\n")
    assert int(count) == len(data) - len(head.encode()) - len(tail.encode())
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head.encode()) + len(tail.encode()) > MAX - 8


@given(before=st.binary(max_size=8), after=st.binary(max_size=8))
def test_what_comes_behind_the_marker_belongs_to_the_next_call(before: bytes, after: bytes) -> None:
    output = Output(100, 1000)
    output.expect(b"\xff\xff-marker")
    output.feed(before + b"\xff\xff-marker" + after)
    assert output.take() == before.decode(errors="backslashreplace")
    assert output.take() == after.decode(errors="backslashreplace")


def test_no_more_than_a_cut_character_goes_from_what_is_no_text() -> None:
    output = Output(MAX, 1000)
    output.feed(b"\x80" * 100)
    assert output.take().count("\\x80") >= MAX - 6


def test_without_its_marker_all_that_came_is_given() -> None:
    output = Output(100, 1000)
    output.expect(MARKER)
    output.feed(b"cut off \0en")
    assert output.take() == "cut off \0en"


def test_a_flood_is_told_once_so_much_has_come_for_one_call() -> None:
    output = Output(MAX, 100)
    output.feed(bytes(100))
    assert not output.is_flooded.is_set()
    output.feed(b"1")
    assert output.is_flooded.is_set()
    output.take()
    output.expect(MARKER)
    output.feed(bytes(100))
    assert not output.is_flooded.is_set()
