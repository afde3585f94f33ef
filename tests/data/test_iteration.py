from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes, through_json

from tidemill.data.formats.jsonl import save_jsonl
from tidemill.data.iteration import iterate
from tidemill.data.merging import merge_states
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Catch, Filter, FlatMap, Map, Select, WithColumns
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.read import Read
from tidemill.data.steps.functions import record_function
from tidemill.errors import ConfigError, DataError, ResourceError, StateError, WorkerError
from tidemill.protocols import Growth, RecordIterator, Source, State

FEW = settings(max_examples=60)


def add_one(record: Any) -> Any:
    return {**record, "n": record["n"] + 1}


def is_even(record: Any) -> bool:
    return bool(record["n"] % 2 == 0)


def repeat_some(record: Any) -> list[Any]:
    return [{**record, "child": child} for child in range(record["n"] % 3)]


def repeat_lazily(record: Any) -> Iterator[Any]:
    for child in range(record["n"] % 4):
        if child == 2:
            raise ValueError(f"no child 2 of {record['n']}")
        yield {**record, "grandchild": child}


def fail_on_thirds(record: Any) -> Any:
    if record["n"] % 3 == 0:
        raise ValueError(f"{record['n']} is a third")
    return record


def stop_on_fives(record: Any) -> Any:
    return next(iter([] if record["n"] % 5 == 0 else [record]))


NODES: list[Node] = [
    Map(fn=add_one),
    Map(fn=fail_on_thirds),
    Map(fn=stop_on_fives),
    Map(fn=fail_on_thirds, on_error="skip"),
    Filter(fn=is_even),
    Filter(fn=fail_on_thirds),
    Filter(fn=fail_on_thirds, on_error="skip"),
    FlatMap(fn=repeat_some),
    FlatMap(fn=repeat_lazily),
    FlatMap(fn=stop_on_fives),
    FlatMap(fn=lambda record: (record for _ in range(2))),
    FlatMap(fn=lambda record: map(add_one, [record, record])),
    FlatMap(fn=repeat_lazily, on_error="skip"),
    FlatMap(fn=stop_on_fives, on_error="skip"),
    WithColumns(columns={"twice": lambda record: record["n"] * 2}),
    Select(columns=("n",)),
    Take(count=3),
    Take(count=7),
]

pipelines = st.lists(st.sampled_from(NODES), max_size=4).map(tuple)


def numbers(count: int) -> FromIterable:
    return FromIterable(iterable=[{"n": n} for n in range(count)])


def apply_plainly(records: list[Any], node: Node) -> list[Any]:
    """What a step makes of outcomes, said in the plainest way: the model the iterator is checked against."""
    found: list[Any] = []
    taken = 0
    for outcome in records:
        if isinstance(node, Take) and taken == node.count:
            break
        if outcome[0] != "record":
            found.append(outcome)
        elif isinstance(node, Take):
            taken += 1
            found.append(outcome)
        else:
            found += apply_to_one(outcome[1], node)
    return found


def explain(error: Exception) -> tuple[Any, ...]:
    if isinstance(error, StopIteration):
        return ("WorkerError", "the function raised StopIteration, which would have ended the stream", None, None)
    if isinstance(error, WorkerError):
        return ("WorkerError", error.message, None, None)
    return ("DataError", f"ValueError: {error}", None, None)


def apply_to_one(record: Any, node: Node) -> list[Any]:
    found: list[Any] = []
    try:
        result = record_function(node)(record)
        if isinstance(node, Filter):
            return [("record", record)] if result else []
        if not isinstance(node, FlatMap):
            return [("record", result)]
        if isinstance(result, dict):
            raise WorkerError("expected an iterable of records from the function, got a dict")
        for child in result:
            found.append(("record", child))  # noqa: PERF401 - kept when a later child fails
    except (StopIteration, ValueError, WorkerError) as error:
        if node.on_error != "skip":
            found.append(explain(error))
    return found


@FEW
@given(pipelines, st.integers(0, 12))
def test_any_pipeline_gives_what_plain_loops_give_and_resumes_everywhere(nodes: tuple[Node, ...], count: int) -> None:
    """Errors stand where they belong, none ends the stream, and every position resumes to the same tail."""
    expected: list[Any] = [("record", {"n": n}) for n in range(count)]
    for node in nodes:
        expected = apply_plainly(expected, node)
    assert check_resumes_everywhere(lambda state: iterate(numbers(count), nodes, state)) == expected


@settings(FEW, max_examples=15)
@given(pipelines, st.lists(st.integers(0, 4), min_size=1, max_size=3), st.booleans())
def test_files_resume_everywhere(tmp_path: Path, nodes: tuple[Node, ...], sizes: list[int], packed: bool) -> None:
    """The same over several files with a corrupt line at the end of each."""
    start = 0
    for index, size in enumerate(sizes):
        name = f"{index}.jsonl.gz" if packed else f"{index}.jsonl"
        save_jsonl([{"n": start + n} for n in range(size)], tmp_path / name)
        if not packed:
            with open(tmp_path / name, "ab") as file:
                file.write(b"[0]\n")
        start += size
    source = Read(path=f"{tmp_path}/*")
    try:
        check_resumes_everywhere(lambda state: iterate(source, nodes, state))
    finally:
        for path in tmp_path.iterdir():
            path.unlink()


class Countdown:
    """A source as a user writes one: two parts, and no more than the protocols ask for."""

    def parts(self, start: str | None = None) -> list[str]:
        names = ["3", "2"]
        return names if start is None else names[names.index(start) :]

    def open_part(self, part: str, state: State | None = None) -> RecordIterator:
        return _Counting(state["left"] if state else int(part))

    def decode_record(self, raw: bytes) -> Any:
        raise DataError("no bytes here")

    def compare_part(self, part: str, state: State) -> Growth:
        return "same"

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        return int(part) - state["left"] if state else 0, int(part)

    def describe(self) -> dict[str, Any]:
        return {"countdown": 1}


class _Counting:
    def __init__(self, left: int) -> None:
        self.left = left

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self.left:
            raise StopIteration
        self.left -= 1
        return {"n": self.left}

    def state(self) -> State:
        return {"left": self.left}

    def close(self) -> None:
        pass


@settings(FEW, max_examples=15)
@given(pipelines)
def test_a_users_own_source_resumes_everywhere(nodes: tuple[Node, ...]) -> None:
    """A source needs only `Source` and `RecordIterator`, also under two `flat_map`s."""
    assert isinstance(Countdown(), Source)
    check_resumes_everywhere(lambda state: iterate(Countdown(), nodes, state))


def test_a_users_own_source_that_cannot_be_opened() -> None:
    """Whatever it raises is raised each time, not passed over and asked for without end."""

    class Failing(Countdown):
        def open_part(self, part: str, state: State | None = None) -> RecordIterator:
            raise KeyError(part)

    records = iterate(Failing(), (Catch(),))
    for _ in range(2):
        with pytest.raises(DataError, match="3, step `source`: KeyError: '3'"):
            next(records)
    assert not records.losses.skipped


def test_chosen_parts_are_read_alone(tmp_path: Path) -> None:
    """A run reads part by part; the state names the part and holds its reader's state."""
    for name in ("a", "b", "c"):
        save_jsonl([{"n": name}, {"n": name * 2}], tmp_path / f"{name}.jsonl")
    source = Read(path=f"{tmp_path}/*.jsonl")
    records = iterate(source, (), parts=["b.jsonl"])
    assert records.state()["part"] is None
    assert next(records) == {"n": "b"}
    state = records.state()
    assert (state["part"], state["index"], state["source"]["offset"]) == ("b.jsonl", 0, 10)
    assert list(iterate(source, (), state, parts=["b.jsonl"])) == [{"n": "bb"}]
    with pytest.raises(StateError, match=r"stands in part `b\.jsonl`, number 0, which is not there now"):
        iterate(source, (), state)


def test_nothing_is_read_before_it_is_asked_for() -> None:
    """`take` asks for no record beyond its count, and making an iterator asks for none."""
    pulled: list[int] = []

    def pull() -> Iterator[Any]:
        for n in range(10):
            pulled.append(n)
            yield {"n": n}

    records = iterate(FromIterable(iterable=pull), (Map(fn=add_one), Take(count=2)))
    assert pulled == []
    assert list(records) == [{"n": 1}, {"n": 2}]
    assert pulled == [0, 1]


def test_take_counts_records_not_failures() -> None:
    """A record that failed in front of `take` is not one of its records."""
    records = iterate(numbers(9), (Map(fn=fail_on_thirds), Take(count=4)))
    found = outcomes(records)
    assert [outcome[1] for outcome in found if outcome[0] == "record"] == [{"n": n} for n in (1, 2, 4, 5)]


@pytest.mark.parametrize(
    ("node", "name"), [(Map(fn=stop_on_fives), "map"), (Filter(fn=stop_on_fives, name="pick"), "pick")]
)
def test_stop_iteration_is_an_error_even_on_the_last_record(node: Node, name: str) -> None:
    """A function's StopIteration never ends the stream; the error names the record's place and the step."""
    found = []
    records = iterate(numbers(6), (WithColumns(columns={"m": is_even}), node))
    for _ in range(6):
        try:
            found.append(next(records)["n"])
        except WorkerError as error:
            found.append(str(error).partition(":")[0])
    assert found == [f"iterable, item 0, step `{name}`", 1, 2, 3, 4, f"iterable, item 5, step `{name}`"]
    assert next(records, None) is None


@pytest.mark.parametrize(("result", "got"), [(None, "None"), ({"n": 1}, "a dict"), ("text", "a str"), (7, "a int")])
def test_flat_map_wants_an_iterable_of_records(result: Any, got: str) -> None:
    """A single record or nothing, returned bare, is told with the mend."""
    records = iterate(numbers(1), (FlatMap(fn=lambda record: result),))
    with pytest.raises(WorkerError, match=rf"step `flat_map`: .* got {got}\n  return a list"):
        next(records)
    assert next(records, None) is None


def test_flat_map_gives_children_as_they_are_made() -> None:
    """A parent's children are not gathered: an endless one is gone through as far as asked."""

    def count_up(record: Any) -> Iterator[Any]:
        while True:
            record = add_one(record)
            yield record

    assert outcomes(iterate(numbers(1), (FlatMap(fn=count_up), Take(count=2)))) == [
        ("record", {"n": 1}),
        ("record", {"n": 2}),
    ]


def test_fewer_children_than_the_state_says_is_refused() -> None:
    """A function that gives other children than before cannot be resumed inside a parent."""
    given = [5, 1]

    def shrink(record: Any) -> Iterator[Any]:
        yield from [record] * given.pop(0)

    node = FlatMap(fn=shrink)
    records = iterate(numbers(1), (node,))
    outcomes(records, 3)
    with pytest.raises(StateError, match="stands behind child 3 of a record that now has 1"):
        next(iterate(numbers(1), (node,), records.state()))


def test_select_names_the_missing_column() -> None:
    """A record without a selected column fails, with the columns it has and a near name."""
    records = iterate(FromIterable(iterable=[{"text": 1}, {"texts": 2}]), (Select(columns=("texts",)),))
    with pytest.raises(DataError, match=r"expected a column `texts`, got `text`\n  did you mean `text`\?"):
        next(records)
    assert next(records) == {"texts": 2}


def test_columns_are_added_from_the_record_as_it_came_in() -> None:
    """No column sees another one of its step; an equal name is replaced."""
    node = WithColumns(columns={"n": lambda record: record["n"] + 1, "m": lambda record: record["n"]})
    assert list(iterate(numbers(2), (node,))) == [{"n": 1, "m": 0}, {"n": 2, "m": 1}]


def test_skip_passes_over_corrupt_lines(tmp_path: Path) -> None:
    """`on_error="skip"` on the source passes over what cannot be read."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1}\noops\n{"n": 2}\n')
    source = Read(path=str(path), on_error="skip")
    whole = check_resumes_everywhere(lambda state: iterate(source, (Map(fn=add_one),), state))
    assert whole == [("record", {"n": 2}), ("record", {"n": 3})]


def test_a_part_that_cannot_be_opened_is_never_passed_over(tmp_path: Path) -> None:
    """Asking again raises again: what stands behind a missing file must not be read as if it were next."""
    save_jsonl([{"n": 1}], tmp_path / "a.jsonl")
    save_jsonl([{"n": 3}], tmp_path / "c.jsonl")
    records = iterate(Read(path=f"{tmp_path}/*.jsonl"), (), parts=["a.jsonl", "b.jsonl", "c.jsonl"])
    assert next(records) == {"n": 1}
    for _ in range(3):
        with pytest.raises(ResourceError, match=r"b\.jsonl: cannot be read"):
            next(records)
    records.close()


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((Map(fn=add_one), Filter(fn=fail_on_thirds)), "step `filter` changed"),
        ((Map(fn=add_one), Take(count=1)), "step `take` stands where `filter` stood"),
        ((Map(fn=add_one),), "step `filter` is gone"),
        ((Map(fn=add_one), Filter(fn=is_even), Map(fn=add_one)), "step `map_2` is new"),
    ],
)
def test_a_foreign_state_names_what_changed(nodes: tuple[Node, ...], message: str) -> None:
    """A state goes with one pipeline, and with no other."""
    records = iterate(numbers(3), (Map(fn=add_one), Filter(fn=is_even)))
    next(records)
    state = through_json(records.state())
    assert list(iterate(numbers(3), (Map(fn=add_one), Filter(fn=is_even)), state)) == []
    with pytest.raises(StateError, match=f"the state belongs to another pipeline: {message}"):
        iterate(numbers(3), nodes, state)
    with pytest.raises(StateError, match="the source changed"):
        iterate(FromIterable(iterable=(1, 2)), (Map(fn=add_one), Filter(fn=is_even)), state)
    with pytest.raises(StateError, match="expected a state of version 1, got 2"):
        iterate(numbers(3), nodes, {**state, "version": 2})


def test_what_is_no_state_is_refused() -> None:
    """The JSON text of one, as it was kept, or another's mapping of the same version."""
    records = iterate(numbers(3), ())
    text = json.dumps(records.state())
    for kept in (text, text.encode()):
        state: Any = kept
        with pytest.raises(StateError, match=r"expected a state, a mapping, got (?s:.*)json\.loads"):
            iterate(numbers(3), (), state)
        with pytest.raises(StateError, match=r"expected a state, a mapping, got (?s:.*)json\.loads"):
            merge_states([state])
    other: Any = [1]
    with pytest.raises(StateError, match="expected a state, a mapping, got a list"):
        iterate(numbers(3), (), other)
    with pytest.raises(StateError, match="got a mapping without `pipeline`, `part`, `index`, `source` and `steps`"):
        iterate(numbers(3), (), {"version": 1, "shard": 0, "records": json.loads(text)})


def test_a_step_that_is_no_function_is_refused() -> None:
    """Only steps of the source half run here."""

    class Call(Node):
        kind = "call"

    with pytest.raises(ConfigError, match="expected a step that is a function of one record, got `call`"):
        iterate(numbers(1), (Call(),))


def test_an_iterator_left_behind_closes_its_file(tmp_path: Path) -> None:
    """Breaking out of a loop leaves no open file: one would warn, and warnings are errors here."""
    save_jsonl([{"n": n} for n in range(9)], tmp_path / "a.jsonl")
    for record in iterate(Read(path=f"{tmp_path}/*.jsonl"), (Map(fn=add_one), FlatMap(fn=repeat_some))):
        assert record["n"] == 1
        break
