"""Groups and joins of any keys are what plain Python makes of them, whatever memory holds and wherever they stop."""

from __future__ import annotations

import enum
import math
import tempfile
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from resuming import through_json

import tidemill as tm
from tidemill.data.gathered.aggregates import Accumulator, Aggregate
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.kept.shares import Shares
from tidemill.data.records.keys import hash_named
from tidemill.disk import Disk
from tidemill.errors import StateError

FEW = settings(max_examples=60)


class Size(enum.Enum):
    SMALL = "a"
    LARGE = 2


NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
KEYS: Any = st.sampled_from(
    [
        *(None, True, False, 0, 1, 2, -1, 2**70, 0.0, -0.0, 1.0, 2.5, math.nan, math.inf, "", "1", "a", "é", "\ud800"),
        *(b"a", date(2024, 1, 1), Size.SMALL, Size.LARGE, UUID(int=1), str(UUID(int=1)), (1, "a"), (1.0, "a")),
        *(float(2**70), Decimal("1.00"), Decimal("2.5"), Decimal("0.1"), Decimal("NaN"), 0.1, complex(2.5), {"k": 1}),
        *(NOON, NOON.astimezone(timezone(timedelta(hours=5))), NOON.replace(tzinfo=None), {"k": True}, [1, "a"]),
        *(np.int64(1), np.float64(2.5), np.float32(-0.0), np.str_("a"), np.bool_(True), np.datetime64("2024-01-01")),
    ]
)
NUMBERS: Any = st.sampled_from([None, 0, 1, -(2**60), 0.1, -0.0, 1e16, -1e16, 2.5])
MEMORY = st.sampled_from([1, 700, 5000, 1 << 20])
RECORDS = st.lists(st.fixed_dictionaries({"a": KEYS, "b": KEYS, "x": NUMBERS}), max_size=40)


def tell(key: Any) -> Any:
    """What two keys share that are one, by Python's `==`: `nan` is itself, an enum its value, a UUID its text."""
    plain = key.value if isinstance(key, Size) else str(key) if isinstance(key, UUID) else key
    plain = plain.item() if isinstance(plain, np.generic) else plain
    if isinstance(plain, (list, dict)):
        return (tuple if isinstance(plain, list) else frozenset)(plain.items() if isinstance(plain, dict) else plain)
    return plain if plain == plain else tell


def tell_row(record: dict[str, Any], names: list[str]) -> tuple[Any, ...]:
    return tuple(tell(record[name]) for name in names)


def group(records: list[dict[str, Any]], names: list[str]) -> list[dict[str, Any]]:
    groups: dict[Any, list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault(tell_row(record, names), []).append(record)
    return [{**{name: held[0][name] for name in names}, **summarize(held)} for held in groups.values()]


def summarize(held: list[dict[str, Any]]) -> dict[str, Any]:
    values = [record["x"] for record in held]
    known = [value for value in values if value is not None]
    return {"n": len(held), "sum": add(known), "least": min(known, default=None), "last": values[-1], "all": values}


def add(values: list[Any]) -> Any:
    if all(isinstance(value, int) for value in values):
        return sum(values) if values else None
    floats = [value for value in values if isinstance(value, float)]
    total = float(sum(map(Fraction, values)))
    is_negative_zero = not any(values) and all(math.copysign(1, value) < 0 for value in floats)
    return -0.0 if is_negative_zero else total


def join(left: list[dict[str, Any]], right: list[dict[str, Any]], names: list[str], how: str) -> list[dict[str, Any]]:
    given = []
    for one in left:
        has_key = all(one[name] is not None for name in names)
        found = [each for each in right if has_key and tell_row(each, names) == tell_row(one, names)]
        if how in ("semi", "anti"):
            given += [one] if bool(found) == (how == "semi") else []
            continue
        rests = [{name: value for name, value in each.items() if name not in names} for each in found]
        if how == "left":
            kept = (each for each in right if all(each[name] is not None for name in names))
            none = dict.fromkeys(name for each in kept for name in each if name not in names)
            rests = [{**none, **rest} for rest in rests] or [none]
        given += [{**one, **{f"{name}_2" if name in one else name: rest[name] for name in rest}} for rest in rests]
    return given


def check_stopped(stream: tm.Stream[Any], expected: list[dict[str, Any]], stop: int) -> None:
    """All that is given, and what is given on going on from behind any record of it."""
    assert list(map(repr, stream)) == list(map(repr, expected))
    records = stream.iterate()
    for _ in range(min(stop, len(expected))):
        next(records)
    state = through_json(records.state())
    records.close()
    assert list(map(repr, stream.iterate(state))) == list(map(repr, expected[stop:]))


@FEW
@given(RECORDS, st.sampled_from(["a", ["b", "a"], None]), st.integers(0, 40))
def test_the_first_of_any_keys(records: list[dict[str, Any]], key: Any, stop: int) -> None:
    """Of a column, of several, of the whole record."""
    names = [key] if isinstance(key, str) else key or ["a", "b", "x"]
    firsts: dict[Any, dict[str, Any]] = {}
    for record in records:
        firsts.setdefault(tell_row(record, names), record)
    with tempfile.TemporaryDirectory() as folder:
        check_stopped(tm.from_iterable(records).dedupe(key, dir=folder), list(firsts.values()), stop)


@FEW
@given(RECORDS, st.sampled_from([["a"], ["b", "a"]]), MEMORY, st.integers(0, 40))
def test_groups_of_any_keys(records: list[dict[str, Any]], names: list[str], memory: int, stop: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stream = tm.from_iterable(records).group_by(*names, dir=folder, memory=memory)
        made: dict[str, Any] = {"sum": ("sum", "x"), "least": ("min", "x"), "last": ("last", "x"), "all": ("list", "x")}
        check_stopped(stream.agg(n="count", **made), group(records, names), stop)


@FEW
@given(
    RECORDS,
    st.lists(
        st.fixed_dictionaries({"a": KEYS, "b": KEYS, "y": NUMBERS}, optional={"x": NUMBERS, "z": KEYS}), max_size=20
    ),
    st.sampled_from([["a"], ["b", "a"]]),
    st.sampled_from(["inner", "left", "semi", "anti"]),
    MEMORY,
    st.integers(0, 40),
)
def test_joins_by_any_keys(
    left: list[dict[str, Any]], right: list[dict[str, Any]], names: list[str], how: Any, memory: int, stop: int
) -> None:
    """Columns of both, too, and columns that some of the other records lack."""
    with tempfile.TemporaryDirectory() as folder:
        stream = tm.from_iterable(left).join(
            tm.from_iterable(right), names, how=how, suffix="_2", dir=folder, memory=memory
        )
        check_stopped(stream, join(left, right, names, how), stop)


@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_keys_of_one_hash_are_two(memory: int, tmp_path: Path) -> None:
    assert hash_named("plumless") == hash_named("buckeroo")
    records = tm.from_iterable([{"key": key} for key in ("plumless", "buckeroo", "plumless")])
    counted = records.group_by("key", dir=tmp_path, memory=memory).agg(n="count")
    assert [(record["key"], record["n"]) for record in counted] == [("plumless", 2), ("buckeroo", 1)]
    other = tm.from_iterable([{"key": "buckeroo", "x": 1}, {"key": "plumless", "x": 2}])
    assert [record["x"] for record in records.join(other, "key", dir=tmp_path, memory=memory)] == [2, 1, 2]


def test_a_record_that_cannot_be_kept_is_in_no_group(tmp_path: Path) -> None:
    records = tm.from_iterable([{"key": 1, "x": lambda: 1}, {"key": 1, "x": 2}])
    groups = records.group_by("key", dir=tmp_path).agg(n="count", x=("first", "x")).iterate()
    with pytest.raises(tm.DataError, match="item 0, step `group_by`: the record cannot be kept on disk"):
        next(groups)
    assert list(groups) == [{"key": 1, "n": 1, "x": 2}]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5), min_size=17, max_size=60))
@example([1e308] * 20 + [-1e308] * 20)
@example([-0.0] * 40)
@example([1.0, -1.0] * 20)
@example([5e-324, 1e308, -1e308] * 12)
def test_a_sum_of_many_is_exact(values: list[float]) -> None:
    accumulator = Accumulator(Aggregate(how="sum", of="x"))
    state = accumulator.start(0, values[0])
    for number, value in enumerate(values[1:], 1):
        state = accumulator.add(state, number, value)
    try:
        expected = add(values)
    except OverflowError:
        expected = math.inf if sum(map(Fraction, values)) > 0 else -math.inf
    assert repr(accumulator.finish(state)) == repr(expected)


ENTRIES = st.lists(st.tuples(st.integers(0, 2**32 - 1) | st.sampled_from([0, 2**31]), st.text(max_size=3)), max_size=8)


@FEW
@given(st.lists(ENTRIES, min_size=1, max_size=40), st.sampled_from([1, 600 << 10, 64 << 20]))
def test_each_entry_is_in_one_share(runs: list[list[tuple[int, str]]], memory: int) -> None:
    """By the order of its hash; entries of one hash are in one share, in the order of the runs."""
    with tempfile.TemporaryDirectory() as folder:
        shares = Shares(KeptFolder(Path(folder), "step", Disk()), "run", memory)
        check = ""
        for number, run in enumerate(runs):
            check = shares.write(number, [[hashed for hashed, _ in run], [text for _, text in run]], check)
        read = [
            [entry for columns in share for entry in zip(*columns, strict=True)]
            for share in shares.iter_shares(len(runs), check)
        ]
    together = [entry for share in read for entry in sorted(share, key=lambda entry: entry[0])]
    assert together == sorted((entry for run in runs for entry in run), key=lambda entry: entry[0])
    held = [{hashed for hashed, _ in share} for share in read]
    assert sum(map(len, held)) == len(set().union(*held))


def test_a_share_is_not_read_of_other_runs(tmp_path: Path) -> None:
    """Of runs that are gone or written over, before they are read or among it."""
    shares = Shares(KeptFolder(tmp_path, "step", Disk()), "run", 1)
    first = shares.write(0, [[1, 2]], "")
    second = shares.write(1, [[3]], first)
    other = "not there, or not as it was: .*run-0-00000"
    with pytest.raises(StateError, match=f"{other}1"):
        next(shares.iter_shares(2, first))
    reading = shares.iter_shares(2, second)
    next(reading)
    share = next(reading)
    shares.write(1, [[4]], first)
    with pytest.raises(StateError, match=f"{other}1"):
        list(share)
    shares.write(0, [[5]], "")
    with pytest.raises(StateError, match=f"{other}1"):
        next(shares.iter_shares(2, second))
    (tmp_path / "run-0-000000").unlink()
    with pytest.raises(StateError, match=f"{other}0"):
        next(shares.iter_shares(2, second))
