"""Token sequences packed into records: nothing lost or doubled, and resumed at every position."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes, through_json

import tidemill as tm
from tidemill.data.iteration import iterate
from tidemill.data.nodes.across import Batch, Pack, Repeat, Shuffle
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter, FlatMap, Map
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.stages import anchored
from tidemill.errors import DataError


@pytest.fixture
def anchors_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anchors are moved wherever they can be."""
    monkeypatch.setattr(anchored, "ANCHOR_RECORDS", 1)


def sequences(lengths: list[int]) -> list[dict[str, Any]]:
    """A record for each length; no token comes twice."""
    ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
    return [
        {"n": n, "input_ids": [*range(end - length, end)]}
        for n, (length, end) in enumerate(zip(lengths, ends, strict=True))
    ]


def pack(lengths: list[int], node: Node) -> list[Any]:
    return list(iterate(FromIterable(iterable=sequences(lengths)), [node]))


def take_sizes(packed: list[Any]) -> list[list[int]]:
    """The lengths of the segments in each packed record."""
    return [[record["segment_ids"].count(n) for n in dict.fromkeys(record["segment_ids"])] for record in packed]


def test_a_packed_record_tells_its_sequences_apart() -> None:
    """As Tensor2Tensor and seqio number them: segments from 1, positions from 0 in each."""
    records = [{"input_ids": [7, 8, 9], "text": "a"}, {"input_ids": [5, 6], "text": "b"}, {"input_ids": [4], "x": 1}]
    assert list(tm.from_iterable(records).pack(5)) == [
        {"input_ids": [7, 8, 9, 5, 6], "segment_ids": [1, 1, 1, 2, 2], "positions": [0, 1, 2, 0, 1]},
        {"input_ids": [4], "segment_ids": [1], "positions": [0]},
    ]


@pytest.mark.parametrize(
    ("node", "sizes"),
    [
        (Pack(max_tokens=10), [[6, 4], [7, 3], [2, 5]]),
        (Pack(max_tokens=10, buffer=2), [[6, 4], [7, 3], [2, 5]]),
        (Pack(max_tokens=10, buffer=1), [[6], [7], [4, 3, 2], [5]]),
        (Pack(max_tokens=20), [[6, 7, 4, 3], [2, 5]]),
        (Pack(max_tokens=10, how="concat_and_split"), [[6, 4], [3, 4, 3], [2, 5]]),
        (Pack(max_tokens=10, how="concat_and_split", drop_last=True), [[6, 4], [3, 4, 3]]),
        (Pack(max_tokens=4, how="concat_and_split"), [[4], [2, 2], [4], [1, 3], [1, 3], [2, 2], [3]]),
        (Pack(max_tokens=3, split=True), [[3], [3], [3], [3], [3], [3], [3], [1, 1], [2], [2]]),
    ],
)
def test_where_sequences_come_to_stand(node: Node, sizes: list[list[int]]) -> None:
    """Full bins as they fill, the others in the order they were opened."""
    assert take_sizes(pack([6, 7, 4, 3, 2, 5], node)) == sizes


def test_columns_are_packed_along_with_the_tokens() -> None:
    """A loss mask stays with its tokens, wherever they are cut."""
    records = [{"ids": [1, 2, 3], "mask": [0, 1, 1]}, {"ids": [4, 5], "mask": [0.5, 1]}]
    stream = tm.from_iterable(records).pack(4, column="ids", also=["mask"], how="concat_and_split")
    assert [(record["ids"], record["mask"]) for record in stream] == [
        ([1, 2, 3, 4], [0, 1, 1, 0.5]),
        ([5], [1]),
    ]


@pytest.mark.parametrize("make", [tuple, np.asarray])
def test_tokens_may_be_any_flat_list(make: Any) -> None:
    """Tuples and arrays give lists of plain numbers."""
    (packed,) = tm.from_iterable([{"input_ids": make([1, 2])}, {"input_ids": make([3])}]).pack(9)
    assert packed["input_ids"] == [1, 2, 3]
    assert {type(token) for token in packed["input_ids"]} == {int}


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"input_id": [1]}, r"(?s)step `pack`: expected a column `input_ids`, got `input_id`.*did you mean `input_id`"),
        ([1, 2], r"step `pack`: expected a record with a column `input_ids`, got a list"),
        ({"input_ids": "text"}, r"step `pack`: expected a list in `input_ids`, got str"),
        ({"input_ids": [[1, 2]]}, r"step `pack`: expected a flat list in `input_ids`"),
        ({"input_ids": [1] * 6}, r"(?s)expected at most 5 tokens in `input_ids`, got 6.*split=True"),
    ],
)
def test_a_record_that_cannot_be_packed_fails_alone(record: Any, told: str, caplog: pytest.LogCaptureFixture) -> None:
    """It raises between the others, or is passed over; those held are kept."""
    good = [{"input_ids": [1, 2]}, record, {"input_ids": [3]}]
    packing = iterate(FromIterable(iterable=good), [Pack(max_tokens=5)])
    with pytest.raises(DataError, match=told):
        next(packing)
    assert next(packing)["input_ids"] == [1, 2, 3]
    with caplog.at_level(logging.INFO, "tidemill"):
        (packed,) = tm.from_iterable(good).pack(5, on_error="skip")
    assert packed["input_ids"] == [1, 2, 3]
    assert "step `pack` skipped a record" in caplog.text


def test_columns_of_other_lengths_are_refused() -> None:
    stream = tm.from_iterable([{"input_ids": [1, 2], "labels": [1]}]).pack(5, also=["labels"])
    with pytest.raises(DataError, match="expected as many values in `labels` as in `input_ids`, 2, got 1"):
        list(stream)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"drop_last": True}, "drop_last needs `how: concat_and_split`"),
        ({"split": True, "how": "concat_and_split"}, "split needs `how: first_fit`"),
        ({"also": ("positions",)}, "two columns would be one: `positions`"),
        ({"also": ("input_ids",)}, "two columns would be one: `input_ids`"),
        ({"max_tokens": 0}, "expected an integer >= 1, got 0"),
    ],
)
def test_options_that_do_not_go_together_are_told(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Pack(**{"max_tokens": 5, **fields})


LENGTHS = st.lists(st.integers(0, 12), max_size=30)


@settings(max_examples=300)
@given(
    lengths=LENGTHS,
    limit=st.integers(1, 14),
    buffer=st.integers(1, 6),
    how=st.sampled_from(["first_fit", "concat_and_split"]),
)
def test_no_token_is_lost_doubled_or_out_of_its_order(lengths: list[int], limit: int, buffer: int, how: Any) -> None:
    """Every token once; those of a sequence in order, within a record side by side; no record over the limit."""
    packed = pack(lengths, Pack(max_tokens=limit, buffer=buffer, how=how, split=how == "first_fit"))
    assert sorted(chain.from_iterable(record["input_ids"] for record in packed)) == list(range(sum(lengths)))
    owner = [n for n, length in enumerate(lengths) for _ in range(length)]
    seen: dict[int, int] = {}
    for record in packed:
        ids, segments, positions = record["input_ids"], record["segment_ids"], record["positions"]
        assert 1 <= len(ids) == len(segments) == len(positions) <= limit
        assert sorted(segments) == segments
        assert set(segments) == set(range(1, segments[-1] + 1))
        for segment in range(1, segments[-1] + 1):
            tokens = [token for token, each in zip(ids, segments, strict=True) if each == segment]
            assert tokens == [*range(tokens[0], tokens[-1] + 1)]
            assert [place for place, each in zip(positions, segments, strict=True) if each == segment] == [
                *range(len(tokens))
            ]
            (sequence,) = {owner[token] for token in tokens}
            if how == "concat_and_split":
                assert seen.get(sequence, tokens[0] - 1) == tokens[0] - 1
                seen[sequence] = tokens[-1]
    if how == "concat_and_split":
        assert [token for record in packed for token in record["input_ids"]] == list(range(sum(lengths)))
        assert all(len(record["input_ids"]) == limit for record in packed[:-1])


@settings(max_examples=300)
@given(lengths=st.lists(st.integers(1, 12), max_size=60), limit=st.integers(12, 30), buffer=st.integers(1, 8))
def test_first_fit_fills_at_least_as_well_as_one_bin_after_the_other(
    lengths: list[int], limit: int, buffer: int
) -> None:
    """As many records at most as next fit needs, however few bins are open."""
    bins, room = 0, 0
    for length in lengths:
        if length > room:
            bins, room = bins + 1, limit
        room -= length
    assert len(pack(lengths, Pack(max_tokens=limit, buffer=buffer))) <= bins


def fail_on_sevens(record: Any) -> Any:
    if record.get("n", 0) % 7 == 3:
        raise ValueError(f"{record['n']} is a seventh")
    return record


PACKS: list[Node] = [
    Pack(max_tokens=7, buffer=2),  # sequences longer than that fail
    Pack(max_tokens=7, buffer=3, on_error="skip"),
    Pack(max_tokens=5, buffer=2, split=True),
    Pack(max_tokens=3, buffer=1, split=True),
    Pack(max_tokens=50, buffer=4),
    Pack(max_tokens=4, how="concat_and_split"),
    Pack(max_tokens=6, how="concat_and_split", drop_last=True),
    Pack(max_tokens=100, how="concat_and_split"),
]
AROUND: list[Node] = [
    Map(fn=fail_on_sevens),
    Filter(fn=lambda record: record.get("n", 0) % 2 == 0),
    FlatMap(fn=lambda record: [record] * (len(record["input_ids"]) % 3)),
    Shuffle(seed=1, buffer=4),
    Repeat(epochs=2),
    Pack(max_tokens=6, buffer=2, split=True),
    Pack(max_tokens=5, how="concat_and_split"),
]


@pytest.mark.parametrize("every", [1, 3, 1024])
@settings(max_examples=150)
@given(
    lengths=st.lists(st.integers(0, 12), max_size=14),
    before=st.lists(st.sampled_from(AROUND), max_size=2),
    node=st.sampled_from(PACKS),
    behind=st.sampled_from([[], [Batch(size=2)], [Repeat(epochs=2)], [Map(fn=fail_on_sevens)]]),
)
def test_packing_resumes_everywhere(
    every: int, lengths: list[int], before: list[Node], node: Node, behind: list[Node]
) -> None:
    """The tail after any position is the uninterrupted tail, twice in a row, wherever anchors fall."""
    source = FromIterable(iterable=sequences(lengths))
    usual, anchored.ANCHOR_RECORDS = anchored.ANCHOR_RECORDS, every
    try:
        check_resumes_everywhere(lambda state: iterate(source, [*before, node, *behind], state))
    finally:
        anchored.ANCHOR_RECORDS = usual


class Counted:
    """A sequence that counts what is read of it."""

    def __init__(self, lengths: list[int]) -> None:
        self.records = sequences(lengths)
        self.read = 0

    def __call__(self) -> Iterator[Any]:
        for record in self.records:
            self.read += 1
            yield record


@pytest.mark.parametrize(
    ("node", "length", "bound"),
    [
        (Pack(max_tokens=100, buffer=8), 7, 1024 + 8 * 100 // 7),
        (Pack(max_tokens=7, buffer=8), 7, 1024 + 8),  # each fills a bin of its own
        (Pack(max_tokens=5, buffer=8, split=True), 7, 1024 + 8 * 5),
        (Pack(max_tokens=100, how="concat_and_split"), 7, 1024 + 100 // 7 + 1),
        (Pack(max_tokens=2, how="concat_and_split"), 7, 1024),
    ],
)
def test_a_resume_reads_one_buffer_again(node: Node, length: int, bound: int) -> None:
    """However far it had come: the open bins and 1,024 records, the source's own way to its state left out."""
    source = Counted([length] * 9_000)
    walking = iterate(FromIterable(iterable=source), [node])
    for _ in range(400 if "100" in str(node) else 6_000):
        next(walking)
    read, state = source.read, through_json(walking.state())
    assert read - state["source"]["count"] <= bound
    assert next(iterate(FromIterable(iterable=source), [node], state)) == next(walking)


@pytest.mark.usefixtures("anchors_often")
def test_a_long_sequence_is_gone_on_with_in_its_middle() -> None:
    """The state says how many of its tokens were given; it is not packed again from its start."""
    source = FromIterable(iterable=sequences([3, 100_000]))
    node = Pack(max_tokens=10, how="concat_and_split")
    walking = iterate(source, [node])
    for _ in range(5_000):
        next(walking)
    state = through_json(walking.state())
    assert state["source"]["count"] == 1
    assert state["steps"]["0"] == {"own": 49_987, "given": 1}
    assert outcomes(iterate(source, [node], state)) == outcomes(walking)


def test_a_state_holds_no_tokens() -> None:
    """Its size is that of a few numbers, however many bins are open."""
    walking = iterate(FromIterable(iterable=sequences([30] * 5_000)), [Pack(max_tokens=1_000)])
    next(walking)
    assert len(str(walking.state())) < 500


@pytest.mark.parametrize(
    ("node", "places"),
    [
        (Pack(max_tokens=6), [["item 0", "item 3"], ["item 2", "item 5"], ["item 4"]]),
        (
            Pack(max_tokens=6, how="concat_and_split"),
            [["item 0", "item 2"], ["item 2", "item 3", "item 4"], ["item 4", "item 5"]],
        ),
    ],
)
def test_a_packed_record_tells_where_its_sequences_came_from(node: Node, places: list[list[str]]) -> None:
    """Each of them, also behind a record that failed."""
    records: list[Any] = [*sequences([4, 0, 5, 2, 3, 1])]
    records[1] = {"n": 1}
    walking = iterate(FromIterable(iterable=records), [node])
    with pytest.raises(DataError, match="expected a column `input_ids`"):
        next(walking)
    found = []
    for _ in walking:
        origin = walking.explain()
        found.append([each.place for each in origin.records])
        assert origin.steps == ("pack",)
    assert found == places
