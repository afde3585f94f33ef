"""States of all ranks, merged, go on with any other number of ranks: each record once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry import fail_on_sevens, is_odd, make_records, number_of, read_lines, repeat_lazily, repeat_some
from resuming import next_outcome, outcomes, through_json

from tidemill.data.formats.format import Options
from tidemill.data.formats.saving import save_records
from tidemill.data.formats.table import find_format
from tidemill.data.iteration import iterate
from tidemill.data.merging import merge_states
from tidemill.data.nodes.across import Batch, Repeat, Shard, Shuffle, Slice, Take
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter, FlatMap, Map
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.read import Read
from tidemill.data.sources.rows import ObjectSource
from tidemill.data.turns import Layer, Turns
from tidemill.errors import StateError
from tidemill.protocols import Source, State

EXAMPLES = settings(max_examples=30)

FRONTS: list[list[Node]] = [[], [Shuffle(seed=1, buffer=4)], [Map(fn=fail_on_sevens)], [FlatMap(fn=repeat_some)]]
BEHINDS: list[list[Node]] = [
    [],
    [Filter(fn=is_odd)],
    [FlatMap(fn=repeat_some)],
    [FlatMap(fn=repeat_some), Filter(fn=is_odd), FlatMap(fn=repeat_lazily)],
]


def go_through(source: Source, nodes: list[Node], state: State | None, count: int) -> tuple[list[Any], State]:
    """The first outcomes of an iterator, and its state behind them."""
    iterator = iterate(source, nodes, state)
    found = outcomes(iterator, count)
    state = through_json(iterator.state())
    iterator.close()
    return found, state


def as_counts(found: list[Any]) -> Counter[str]:
    """Records as often as they were given; failures in front of the shard come to every rank."""
    return Counter(repr(value) for kind, value, *_ in found if kind == "record")


FIELDS: list[tuple[str, pa.DataType]] = [("n", pa.int64()), ("text", pa.string())]
SCHEMA = pa.schema(FIELDS)


def write_files(folder: Path, suffix: str) -> Read:
    for name, start in (("a", 0), ("b", 9), ("c", 9), ("d", 20)):
        count = {"a": 9, "b": 0, "c": 11, "d": 3}[name]
        records = [{"n": record["n"], "text": record["text"]} for record in make_records(start, count)]
        file_format = find_format(f"a{suffix}")
        assert file_format is not None
        save_records(records, folder / f"{name}{suffix}", file_format, Options())
    return Read(path=str(folder / f"*{suffix}"), record_schema=SCHEMA)


SOURCES = ["iterable", "lines", "corrupt lines", "rows", ".jsonl.gz", ".csv", ".parquet", ".arrow"]


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    if request.param.startswith("."):
        return write_files(tmp_path, request.param)
    made: dict[str, Source] = {
        "iterable": FromIterable(iterable=make_records(0, 23)),
        "lines": read_lines(tmp_path, bad=False),
        "corrupt lines": read_lines(tmp_path),
        "rows": ObjectSource(make_records(0, 23)),
    }
    return made[request.param]


@EXAMPLES
@given(
    front=st.sampled_from(FRONTS),
    behind=st.sampled_from(BEHINDS),
    worlds=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    even=st.sampled_from([None, "drop"]),
    data=st.data(),
)
def test_each_record_is_given_once_over_any_worlds(
    source: Source, front: list[Node], behind: list[Node], worlds: list[int], even: Any, data: st.DataObject
) -> None:
    """Ranks stop anywhere, their states are merged, another number of ranks goes on, and so again."""
    whole = as_counts(outcomes(iterate(source, [*front, *behind])))
    state: State | None = None
    found: Counter[str] = Counter()
    for world in worlds:
        states = []
        for rank in range(world):
            nodes = [*front, Shard(rank=rank, world=world, even=even), *behind]
            given, at = go_through(source, nodes, state, data.draw(st.integers(0, 7)))
            found += as_counts(given)
            states.append(at)
        state = through_json(merge_states(states))
    last = 1 if even else 3  # of one rank nothing is left out to come out even
    for rank in range(last):
        nodes = [*front, Shard(rank=rank, world=last, even=even), *behind]
        found += as_counts(outcomes(iterate(source, nodes, state), 200))
    assert found == whole


@given(world=st.integers(1, 5), done=st.lists(st.integers(0, 9), min_size=1, max_size=4), start=st.integers(0, 60))
def test_turns_are_those_of_records_counted_one_by_one(world: int, done: list[int], start: int) -> None:
    """The numbers that a layer leaves, and whose they are, follow from counting; found in one go as one by one."""
    layer = Layer(tuple(rank + count * len(done) for rank, count in enumerate(done)))
    left = [number for number in range(120) if layer.is_left(number)]
    assert [layer.count_left(number) for number in left] == list(range(len(left)))
    assert [layer.find_number(turn) for turn in range(20)] == left[:20]
    for rank in range(world):
        turns = Turns(rank, world, (layer,))
        own = left[rank::world]
        assert [start + place for place in turns.find(start, 40)] == [n for n in own if start <= n < start + 40]
        assert all(number >= turns.ragged_end or turns.is_own(number) == (number in own) for number in range(100))


def test_another_world_is_refused_without_merging() -> None:
    source = FromIterable(iterable=make_records())
    _, state = go_through(source, [Shard(rank=0, world=2)], None, 2)
    with pytest.raises(StateError, match=r"the state is of rank 0 of 2, this is rank 1 of 3\n.*merge_states"):
        iterate(source, [Shard(rank=1, world=3)], state)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (lambda take: [], "expected states of one world, got none"),
        (lambda take: [take(0, 2)], "expected the state of each of 2 ranks once, got those of 0"),
        (lambda take: [take(0, 2), take(0, 2)], "got those of 0, 0"),
        (lambda take: [take(0, 2), take(1, 3)], "expected states of one world, got 2, 3"),
        (lambda take: [take(0, 2), take(1, 2, Filter(fn=is_odd))], "got those of different ones"),
        (lambda take: [take(0, 2, Take(count=9)), take(1, 2, Take(count=9))], "step 2, behind the shard"),
        (
            lambda take: [take(0, 2, Batch(size=1), Shuffle(buffer=4)), take(1, 2, Batch(size=1), Shuffle(buffer=4))],
            "step 3",
        ),
    ],
)
def test_what_cannot_be_merged_says_why(states: Any, message: str) -> None:
    def take(rank: int, world: int, *behind: Node) -> State:
        source = FromIterable(iterable=make_records())
        return go_through(source, [Shard(rank=rank, world=world), *behind], None, 3)[1]

    with pytest.raises(StateError, match=message):
        merge_states(states(take))


def test_a_state_without_a_shard_cannot_be_merged() -> None:
    _, state = go_through(FromIterable(iterable=make_records()), [], None, 2)
    with pytest.raises(StateError, match=r"without a `shard`\n  shard the stream on each rank"):
        merge_states([state])


def test_ranks_in_different_epochs_cannot_be_merged() -> None:
    source = FromIterable(iterable=make_records(0, 4))
    states = [
        go_through(source, [Shard(rank=rank, world=2), Repeat(epochs=3)], None, count)[1]
        for rank, count in ((0, 1), (1, 3))
    ]
    with pytest.raises(StateError, match="expected states of one epoch, got those of 0 and 1"):
        merge_states(states)


def test_states_are_found_wherever_they_stand() -> None:
    """As in a loader's `state_dict`: nested, a worker that read nothing among them."""
    source = ObjectSource(make_records(0, 9))
    nodes: list[Node] = [Slice(start=1), Shard(rank=0, world=2)]
    given, state = go_through(source, nodes, None, 2)
    workers = {"_snapshot": {"worker_0": [{"records": state}], "worker_1": {"shard": 1, "shards": 2, "records": None}}}
    merged = merge_states(workers.values())
    rest = outcomes(iterate(source, [Slice(start=1), Shard(rank=0, world=1)], merged))
    assert sorted(number_of(value) for _, value in [*given, *rest]) == sorted(range(1, 9))


def test_what_stands_behind_a_whole_batch_can_be_merged() -> None:
    """A batch at rest holds nothing."""
    source = FromIterable(iterable=make_records(0, 12))
    states = []
    found = []
    for rank in range(2):
        iterator = iterate(source, [Shard(rank=rank, world=2), Batch(size=2)])
        found.append(next_outcome(iterator))
        states.append(iterator.state())
        iterator.close()
    for rank in range(3):
        found += outcomes(iterate(source, [Shard(rank=rank, world=3), Batch(size=2)], merge_states(states)))
    assert sorted(record["n"] for _, batch in found for record in batch) == list(range(12))


def test_a_failure_of_a_file_comes_to_one_rank(tmp_path: Path) -> None:
    """A corrupt line is one rank's turn, as a record is; the others do not see it."""
    source = read_lines(tmp_path)
    found = [outcomes(iterate(source, [Shard(rank=rank, world=3)])) for rank in range(3)]
    assert sorted(map(len, found)) == [4, 5, 5]
    assert [kind for outcome in found for kind, *_ in outcome].count("DataError") == 1


def test_what_is_another_ranks_turn_is_not_parsed(tmp_path: Path) -> None:
    """Lines that are no JSON at all cost a rank nothing where they are another's."""
    (tmp_path / "a.jsonl").write_bytes(b"".join(b'{"n": %d}\n' % n if n % 2 else b"x\n" for n in range(100)))
    source = Read(path=str(tmp_path / "a.jsonl"))
    assert [record["n"] for record in iterate(source, [Shard(rank=1, world=2)])] == list(range(1, 100, 2))
