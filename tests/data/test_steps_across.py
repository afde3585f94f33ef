"""Steps that look across records: each against the plainest way to say it, and resumed at every position."""

from __future__ import annotations

import tracemalloc
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes, through_json

from tidemill.data.iteration import iterate
from tidemill.data.nodes.across import (
    Batch,
    Every,
    Pack,
    Prefetch,
    Repeat,
    Sample,
    Shard,
    Shuffle,
    Skip,
    Sliding,
    Take,
)
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Drop, Filter, FlatMap, Map, Observe, Rename, Unbatch
from tidemill.data.order import Permutation, derive_seed, find_share
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.stages import anchored
from tidemill.data.turns import iter_turns
from tidemill.errors import ConfigError, DataError, StateError


def numbers(stop: int) -> FromIterable:
    return FromIterable(iterable=[{"n": n} for n in range(stop)])


def fail_on_sevens(record: Any) -> Any:
    if isinstance(record, dict) and record.get("n", 0) % 7 == 3:
        raise ValueError(f"{record['n']} is a seventh")
    return record


def take_ids(given: list[Any]) -> list[Any]:
    """The numbers in what came out, batches as lists."""

    def number(value: Any) -> Any:
        return [number(each) for each in value] if isinstance(value, list) else value["n"]

    return [number(outcome[1]) if outcome[0] == "record" else outcome[1] for outcome in given]


def run(nodes: list[Node], stop: int = 20) -> list[Any]:
    return take_ids(outcomes(iterate(numbers(stop), nodes)))


@pytest.mark.parametrize(
    ("node", "given"),
    [
        (Skip(count=17), [17, 18, 19]),
        (Skip(count=30), []),
        (Every(count=7), [0, 7, 14]),
        (Every(count=7, offset=9), [9, 16]),
        (Every(count=5000, offset=9), [9]),
        (Shard(rank=1, world=6), [1, 7, 13, 19]),
        (Shard(rank=1, world=6, even="drop"), [1, 7, 13]),
        (Shard(rank=1, world=6, even="pad"), [1, 7, 13, 19]),
        (Shard(rank=5, world=6, even="pad"), [5, 11, 17, 19]),
        (Batch(size=8), [[*range(8)], [*range(8, 16)], [16, 17, 18, 19]]),
        (Batch(size=8, drop_last=True), [[*range(8)], [*range(8, 16)]]),
        (Sliding(size=3, step=8), [[0, 1, 2], [8, 9, 10], [16, 17, 18]]),
        (Sliding(size=18), [[*range(18)], [*range(1, 19)], [*range(2, 20)]]),
    ],
)
def test_what_a_step_gives(node: Node, given: list[Any]) -> None:
    assert run([node]) == given


def test_batches_by_size_hold_what_fits() -> None:
    """Bytes as JSON: nine for one digit, ten for two; a record over the limit stands alone."""
    assert run([Batch(size_bytes=28)], 13) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10], [11, 12]]
    assert run([Batch(size_bytes=1)], 3) == [[0], [1], [2]]


def test_batches_by_tokens_count_their_padding() -> None:
    """Lengths 1, 1, 3, 2, 2: each counts as the longest of its batch."""
    lengths = [1, 1, 3, 2, 2]
    source = FromIterable(iterable=[{"n": n, "input_ids": [0] * length} for n, length in enumerate(lengths)])
    given = outcomes(iterate(source, [Batch(tokens=6)]))
    assert take_ids(given) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("node", "given"),
    [
        (Sample(ratio=0.3, seed=5), [0, 9, 15, 19]),
        (Shuffle(seed=3, buffer=50), [3, 0, 11, 1, 5, 4, 18, 14, 10, 15, 16, 6, 7, 12, 13, 8, 2, 19, 17, 9]),
        (Shuffle(seed=3, buffer=7), [3, 0, 1, 5, 4, 6, 2, 11, 13, 7, 12, 8, 10, 9, 15, 14, 17, 18, 16, 19]),
        (
            FlatMap(fn=lambda record: [{"n": Permutation(20, 6)[record["n"]]}]),
            [13, 9, 15, 19, 7, 3, 6, 17, 16, 2, 1, 11, 12, 10, 5, 18, 4, 14, 8, 0],
        ),
    ],
)
def test_what_a_seed_gives_is_pinned(node: Node, given: list[int]) -> None:
    """The same on every machine and in every process, for as long as states are of this version."""
    assert run([node]) == given


def test_a_shuffle_keeps_every_record_and_its_block() -> None:
    given = run([Shuffle(seed=1, buffer=10)], 35)
    assert given != list(range(35))
    assert [sorted(given[start : start + 10]) for start in range(0, 35, 10)] == [
        [*range(start, min(start + 10, 35))] for start in range(0, 35, 10)
    ]
    assert run([Shuffle(seed=2, buffer=10)], 35) != given


def test_each_epoch_has_an_order_of_its_own() -> None:
    """What is shuffled in front of a `repeat` is shuffled anew; behind it, it runs on."""
    given = run([Shuffle(seed=1, buffer=100), Repeat(epochs=3)], 20)
    epochs = [given[start : start + 20] for start in (0, 20, 40)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert run([Shuffle(seed=1, buffer=100), Repeat(epochs=2, start=1)], 20) == given[20:]
    nested = run([Shuffle(seed=1), Repeat(epochs=2), Repeat(epochs=2)], 10)
    assert len({tuple(nested[start : start + 10]) for start in range(0, 40, 10)}) == 4


def test_a_repeat_without_end() -> None:
    endless = iterate(numbers(3), [Repeat()])
    assert [next(endless)["n"] for _ in range(8)] == [0, 1, 2, 0, 1, 2, 0, 1]
    endless.close()
    assert run([Filter(fn=lambda record: False), Repeat()]) == []
    assert run([Repeat(epochs=0)]) == []
    assert run([Skip(count=99), Repeat(epochs=3), Filter(fn=lambda record: True)]) == []


def test_a_sample_is_of_its_ratio() -> None:
    given = run([Sample(ratio=0.25, seed=9)], 20_000)
    assert 0.24 < len(given) / 20_000 < 0.26
    assert run([Sample(ratio=0.25, seed=9)], 100) == [n for n in given if n < 100]
    assert (run([Sample(ratio=0)]), run([Sample(ratio=1)])) == ([], list(range(20)))


@pytest.mark.parametrize(("size", "seed"), [(1, 0), (2, 7), (10, 1), (1000, 3), (4097, 5)])
def test_a_permutation_gives_every_number_once(size: int, seed: int) -> None:
    order = Permutation(size, seed)
    assert sorted(order[index] for index in range(size)) == list(range(size))
    assert size < 10 or [order[index] for index in range(size)] != list(range(size))


@pytest.mark.parametrize(("size", "start"), [(0, 0), (599, 0), (3_000, 0), (150_000, 65_530), (10**15, 10**15 - 700)])
def test_a_permutation_is_iterated_as_it_is_indexed(size: int, start: int) -> None:
    """Many at once or one by one: the same numbers, from any place on."""
    order = Permutation(size, 8)
    given = list(order.iter_from(start))
    assert len(given) == size - start
    assert [given[place] for place in range(0, size - start, 97)] == [
        order[start + place] for place in range(0, size - start, 97)
    ]
    assert start or list(order) == given
    assert order.read(range(size - 1, start - 1, -1)) == given[::-1]


def test_a_place_beyond_a_permutation_is_refused_among_many() -> None:
    for beyond in (-1, 3_000):
        with pytest.raises(IndexError, match=f"index {beyond} is out of range: there are 3,000"):
            Permutation(3_000, 8).read([*range(2_000), beyond])


def test_a_permutation_of_any_size_takes_no_memory() -> None:
    order = Permutation(10**15, 4)
    assert len({order[index] for index in range(1000)}) == 1000
    with pytest.raises(IndexError, match="out of range"):
        order[10**15]


@given(st.text(min_size=1), st.integers(0, 2**60))
def test_a_long_text_stands_in_the_share_of_its_json(text: str, seed: int) -> None:
    """As a short one does, whatever it takes to write it: quotes, controls, letters of any alphabet."""
    long = text * (70_000 // len(text))
    assert find_share(long, [1] * 1000, seed) == derive_seed(seed, long) * 1000 >> 64


def test_a_text_is_shared_out_in_less_memory_than_it_takes() -> None:
    """Its JSON form is not made whole."""
    text = "word\n" * 200_000
    tracemalloc.start()
    find_share(text, (0.9, 0.1), 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(text) / 2


def test_columns_are_renamed_and_dropped() -> None:
    assert next(iterate(numbers(1), [Rename(columns={"n": "m"})])) == {"m": 0}
    source = FromIterable(iterable=[{"a": 1, "b": 2}])
    assert next(iterate(source, [Drop(columns=("a",))])) == {"b": 2}
    for node in (Rename(columns={"c": "d"}), Drop(columns=("c",))):
        with pytest.raises(DataError, match="expected a column `c`, got `a`, `b`"):
            next(iterate(source, [node]))
    with pytest.raises(DataError, match="two columns would be one"):
        next(iterate(source, [Rename(columns={"a": "b"})]))


def test_a_record_is_observed_as_it_passes() -> None:
    seen: list[Any] = []
    assert run([Observe(fn=seen.append)], 3) == [0, 1, 2]
    assert seen == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_batches_are_taken_apart_again() -> None:
    for form in ("records", "columns", "arrow", "numpy"):
        assert run([Batch(size=8, form=form), Unbatch()]) == list(range(20))


@pytest.mark.parametrize(
    "fields",
    [{}, {"size": 3, "tokens": 5}, {"tokens": 5, "drop_last": True}],
)
def test_a_batch_has_one_bound(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected one of size, size_bytes and tokens|drop_last needs `size`"):
        Batch(**fields)


def test_columns_of_a_batch_must_be_the_same() -> None:
    source = FromIterable(iterable=[{"a": 1}, {"a": 1, "b": 2}, {"a": 3}, {"a": 4}])
    first, second = outcomes(iterate(source, [Batch(size=2, form="columns")]))
    assert "record 1 of the batch has other columns than its first: 'b'" in first[1]
    assert second == ("record", {"a": [3, 4]})


NODES: list[Node] = [
    Map(fn=fail_on_sevens),
    Filter(fn=lambda record: not isinstance(record, dict) or record["n"] % 2 == 0),
    FlatMap(fn=lambda record: [record] * (len(record) % 3)),
    Take(count=9),
    Skip(count=2),
    Every(count=2, offset=1),
    Sample(ratio=0.6, seed=1),
    Shard(rank=1, world=3),
    Shard(rank=1, world=3, even="drop"),
    Shard(rank=2, world=3, even="pad"),
    Batch(size=3),
    Batch(size=2, drop_last=True),
    Batch(size_bytes=25),
    Unbatch(),
    Sliding(size=3),
    Sliding(size=2, step=3),
    Shuffle(seed=1, buffer=4),
    Shuffle(seed=2, buffer=100),
    Repeat(epochs=2),
    Repeat(epochs=2, start=3),
]


@given(
    first=st.integers(0, 5_000),
    every=st.integers(1, 40) | st.integers(1_000, 1_100) | st.integers(1, 10**18),
    start=st.integers(0, 9_000),
)
def test_turns_are_those_of_their_numbers(first: int, every: int, start: int) -> None:
    numbers = range(start, start + 4_000)
    own = [number >= first and (number - first) % every == 0 for number in numbers]
    assert [*islice(iter_turns(first, every, start), len(numbers))] == own


@pytest.mark.parametrize(
    "node",
    [
        Every(count=2_000_000),
        Every(count=2, offset=2_000_000),
        Shard(rank=0, world=2_000_000),
        Skip(count=2_000_000),
        Batch(size=2_000_000),
        Sliding(size=1, step=2_000_000),
        Shuffle(buffer=2_000_000),
        Repeat(epochs=2_000_000),
        Prefetch(count=2_000_000),
        Pack(max_tokens=3, column="n", buffer=2_000_000),
    ],
    ids=lambda node: node.kind,
)
def test_a_count_takes_no_memory_of_its_own(node: Node) -> None:
    """What a step holds is records: a count of more than there are costs nothing, whatever it is."""
    source = FromIterable(iterable=[{"n": [n]} for n in range(50)])
    tracemalloc.start()
    with closing(iterate(source, [node])) as records:
        deque(islice(records, 50), maxlen=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("every", [1, 3, 1024])
@settings(max_examples=120)
@given(nodes=st.lists(st.sampled_from(NODES), max_size=5), stop=st.integers(0, 17))
def test_any_steps_resume_everywhere(every: int, nodes: list[Node], stop: int) -> None:
    """The tail after any position is the uninterrupted tail, twice in a row, wherever anchors fall."""
    before, anchored.ANCHOR_RECORDS = anchored.ANCHOR_RECORDS, every
    try:
        check_resumes_everywhere(lambda state: iterate(numbers(stop), nodes, state))
    finally:
        anchored.ANCHOR_RECORDS = before


@pytest.mark.parametrize(
    "node", [Batch(size=10), Batch(size_bytes=100), Sliding(size=5), Sliding(size=50, step=7), Shuffle(buffer=100)]
)
def test_a_resume_reads_one_buffer_again(node: Node) -> None:
    """However far it had come: not from the start, and not all that was given."""
    walking = iterate(numbers(20_000), [node])
    for _ in range(1_500):
        next(walking)
    state = through_json(walking.state())
    marks = list(state["steps"].values())
    assert state["source"] == walking.state()["source"]
    assert sum(mark["given"] for mark in marks) <= 1024 + 100  # none of a batch at rest
    assert next(iterate(numbers(20_000), [node], state)) == next(walking)


class Shrinking:
    """A source function that gives fewer records from some time on."""

    stop = 30


def shrinking() -> Iterator[Any]:
    return ({"n": n} for n in range(Shrinking.stop))


def test_a_state_that_records_do_not_reach_is_refused() -> None:
    """The source gives fewer than it did: said, not passed over."""
    source = FromIterable(iterable=shrinking)
    walking = iterate(source, [Sliding(size=3)])
    for _ in range(20):
        next(walking)
    state = walking.state()
    Shrinking.stop = 10
    with pytest.raises(StateError, match="behind the end of what there is now"):
        next(iterate(source, [Sliding(size=3)], state))


def test_a_step_that_is_none_of_the_source_half_is_refused() -> None:
    class Odd(Node):
        kind = "odd"
        record_wise = False

    with pytest.raises(ConfigError, match="expected a step of the source half, got `odd`"):
        iterate(numbers(1), [Odd()])
