"""Records in the order of their keys, more than memory holds: against `sorted`, and resumed at every position."""

from __future__ import annotations

import datetime
import random
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from resuming import check_resumes_everywhere, outcomes, through_json

import tidemill as tm
from tidemill.data.iteration import iterate
from tidemill.data.kept import runs
from tidemill.data.nodes.keeping import Sort
from tidemill.data.sources.iterable import FromIterable


def numbers(count: int, most: int = 50) -> list[dict[str, Any]]:
    rng = random.Random(count)
    return [{"n": rng.randrange(most), "at": at, "text": f"{rng.random()}"} for at in range(count)]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("memory", ["256MiB", "20kB", "1kB"])
def test_records_come_as_sorted_gives_them(
    memory: str, reverse: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, in one merge, in merges of merges; equal keys as they came."""
    monkeypatch.setattr(runs, "FAN", 8)
    records = numbers(300)
    stream = tm.from_iterable(records)
    given = list(stream.sort("n", reverse=reverse, dir=tmp_path, memory=memory))
    assert given == sorted(records, key=lambda record: record["n"], reverse=reverse)
    written = {path.name.rpartition("-")[0] for path in tmp_path.glob("*/*")}
    assert written == {"256MiB": set(), "20kB": {"run-0"}, "1kB": {"run-0", "run-1", "run-2"}}[memory]
    if memory == "20kB":
        by_two = stream.sort(["n", "text"], reverse=reverse, dir=tmp_path, memory=memory)
        assert list(by_two) == sorted(records, key=lambda record: (record["n"], record["text"]), reverse=reverse)
        by_function = stream.sort(lambda record: -record["at"], reverse=reverse, dir=tmp_path, memory=memory)
        assert list(by_function) == (records if reverse else records[::-1])


def fail_on_sevens(record: Any) -> Any:
    if record["at"] % 7 == 3:
        raise ValueError(f"{record['at']} is a seventh")
    return record


@pytest.mark.parametrize("memory", [1 << 20, 1500])
def test_a_sort_resumes_everywhere(memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the failures that it gives while it reads, among the records, and within a block of them."""
    monkeypatch.setattr("tidemill.data.stages.spilling.GIVEN", 4)
    nodes = [
        tm.Stream(FromIterable(iterable=[])).map(fail_on_sevens).pipeline[0],
        Sort(key="n", dir=str(tmp_path), memory=memory),
    ]
    whole = check_resumes_everywhere(partial(iterate, FromIterable(iterable=numbers(30, 9)), nodes))
    assert [kind for kind, *_ in whole] == ["DataError"] * 4 + ["record"] * 26


class Counted:
    """How often a step's function was called."""

    calls = 0


def count(record: Any) -> Any:
    Counted.calls += 1
    return record


def test_a_state_behind_the_reading_reads_nothing_of_the_source(tmp_path: Path) -> None:
    stream = tm.from_iterable(numbers(3000)).map(count).sort("n", dir=tmp_path, memory="100kB")
    records = stream.iterate()
    for _ in range(1500):
        next(records)
    state = through_json(records.state())
    left = list(records)
    assert Counted.calls == 3000
    assert list(stream.iterate(state)) == left
    assert Counted.calls == 3000


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("3", "expected a key that is a number, as the first one is, got a text: '3'"),
        (None, r"expected a key that has an order, got None\n.*lambda record"),
        (float("nan"), "expected a key that has an order, got nan"),
        ([1], r"expected a key that is a number, as the first one is, got a list of \(number\)"),
        ({}, "expected a key that has an order, got a dict"),
        (datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), "a number, as the first one is, got a time with a zone"),
    ],
)
def test_a_key_of_another_kind_fails_its_record(key: Any, said: str, tmp_path: Path) -> None:
    """With its place; the others are sorted all the same."""
    stream = tm.from_iterable([{"n": 2}, {"n": 1.5}, {"n": key}, {"n": True}])
    records = stream.sort("n", dir=tmp_path).iterate()
    with pytest.raises(tm.DataError, match=said) as told:
        next(records)
    assert told.value.where == "iterable, item 2, step `sort`"
    assert [record["n"] for record in records] == [True, 1.5, 2]
    skipping = stream.sort("n", dir=tmp_path, on_error="skip").iterate()
    assert len(list(skipping)) == 3
    assert skipping.losses.skipped == {"sort": 1}


@pytest.mark.parametrize("memory", ["256MiB", "1"])
def test_scalars_of_numpy_sort_as_python_values(memory: str, tmp_path: Path) -> None:
    """Alone and in lists, among Python's own; the records stay as they are."""
    keys = [np.int64(3), 2.5, np.float32(0.5), 1, np.bool_(True), np.int8(-1)]
    stream = tm.from_iterable([{"n": key} for key in keys])
    expected = [np.int8(-1), np.float32(0.5), 1, np.bool_(True), 2.5, np.int64(3)]
    for key in ("n", ["n", "n"], lambda record: [record["n"]]):
        given = [record["n"] for record in stream.sort(key, dir=tmp_path, memory=memory)]
        assert repr(given) == repr(expected)
    days = [np.datetime64("2026-01-02"), datetime.date(2026, 1, 1)]
    dated = tm.from_iterable([{"n": day} for day in days]).sort("n", dir=tmp_path, memory=memory)
    assert [record["n"] for record in dated] == days[::-1]


def test_a_record_that_cannot_be_kept_fails_alone(tmp_path: Path) -> None:
    records = (
        tm.from_iterable([{"n": 2}, {"n": 1, "lock": threading.Lock()}, {"n": 0}]).sort("n", dir=tmp_path).iterate()
    )
    with pytest.raises(tm.DataError, match=r"step `sort`: the record cannot be kept on disk: .*lock"):
        next(records)
    assert list(records) == [{"n": 0}, {"n": 2}]


def test_records_keep_their_types(tmp_path: Path) -> None:
    records = [{"n": n, "t": (1, {2}), "d": datetime.date(2026, 1, n), "b": b"\x00"} for n in range(9, 0, -1)]
    assert list(tm.from_iterable(records).sort("d", dir=tmp_path, memory=1)) == records[::-1]


class Point(NamedTuple):
    x: Any
    y: Any


def test_a_named_tuple_sorts_among_tuples(tmp_path: Path) -> None:
    """With scalars of NumPy in it, too."""
    keys = [Point(2, 0), (1, np.int64(3)), Point(np.int64(1), 2)]
    sort = tm.from_iterable(keys).sort(lambda key: key, dir=tmp_path, memory=1)
    assert list(sort) == [keys[2], keys[1], keys[0]]


def test_runs_that_are_not_the_state_s_are_refused(tmp_path: Path) -> None:
    """Gone, or written over by another stream that looks the same."""
    node = Sort(key="n", dir=str(tmp_path), memory=2000)
    source = FromIterable(iterable=lambda: numbers(40))
    records = iterate(source, [node])
    next(records)
    state = through_json(records.state())
    expected = outcomes(records)
    assert outcomes(iterate(source, [node], state)) == expected
    other = FromIterable(iterable=iter(numbers(41)))
    folder = next(tmp_path.iterdir())
    (folder / "run-0-000001").rename(folder / "run-0-000009")
    with pytest.raises(tm.StateError, match=r"step `sort`: what the state names .* not as it was: .*run-0-000001"):
        next(iterate(source, [node], state))
    (folder / "run-0-000009").rename(folder / "run-0-000001")
    with closing(iterate(FromIterable(iterable=iter(numbers(40))), [node])) as same:
        next(same)
        theirs = through_json(same.state())
    list(iterate(other, [node]))
    with pytest.raises(tm.StateError, match="not as it was"):
        next(iterate(FromIterable(iterable=iter(numbers(40))), [node], {**theirs, "source": None, "part": None}))


def test_a_folder_that_cannot_be_written_is_told_each_time(tmp_path: Path) -> None:
    """It does not look like the end of the stream."""
    (tmp_path / "file").write_text("")
    records = tm.from_iterable(numbers(40)).sort("n", dir=tmp_path / "file", memory=2000).iterate()
    for _ in range(2):
        with pytest.raises(tm.errors.ResourceError, match="step `sort`: the step's folder cannot be made"):
            next(records)
