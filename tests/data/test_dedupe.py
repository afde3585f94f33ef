"""The first record of each key, whatever the number of keys: against a set in memory, and resumed at every position."""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pandas
import pydantic
import pytest
from resuming import check_resumes_everywhere, outcomes, through_json

import tidemill as tm
from tidemill.config.objects.descriptions import fingerprint_json
from tidemill.data.iteration import iterate
from tidemill.data.kept import digests
from tidemill.data.nodes.fingerprints import describe_node
from tidemill.data.nodes.keeping import Dedupe, GroupBy, Join, Other
from tidemill.data.nodes.node import Node
from tidemill.data.sources.iterable import FromIterable


def numbers(count: int, most: int, seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [{"n": rng.randrange(most), "at": at} for at in range(count)]


def keep_firsts(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    seen: set[int] = set()
    return [record for record in records if not (record["n"] in seen or seen.add(record["n"]))]  # type: ignore[func-returns-value]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files as they come with millions of keys: sorted every four, merged two by two."""
    monkeypatch.setattr(digests, "STRETCH", 4)
    monkeypatch.setattr(digests, "FAN", 2)


def test_the_first_record_of_each_key_is_kept(tmp_path: Path) -> None:
    """Of a column, of several, of a function, of the whole record."""
    records = [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"b": "x", "a": 1}, {"a": "1", "b": "x"}]
    stream = tm.from_iterable(records)
    assert list(stream.dedupe("b", dir=tmp_path)) == records[:2]
    assert list(stream.dedupe(["a", "b"], dir=tmp_path)) == [*records[:3], records[4]]
    assert list(stream.dedupe(dir=tmp_path)) == [*records[:3], records[4]]
    assert list(stream.dedupe(lambda record: record["a"] == 2, dir=tmp_path)) == [records[0], records[2]]


class Point(pydantic.BaseModel):
    x: float | int | list[float]


@dataclass(frozen=True)
class Place:
    x: Any


class Row(NamedTuple):
    x: Any


class Id(int):
    pass


NOON = datetime(2024, 1, 1, 12, tzinfo=UTC).replace(tzinfo=None)


@pytest.mark.parametrize(
    "equal",
    [
        [1, 1.0, True, Decimal("1.00"), 1 - 0j, Id(1), np.int64(1), np.float16(1), np.bool_(True), np.longdouble(1)],
        *([0, 0.0, -0.0, False, Decimal("-0E+9999999")], [10**300, Decimal("1E+300")], [2**60, 2.0**60]),
        *([0.5, Decimal("0.50"), np.float32(0.5)], [Decimal("0.10"), Decimal("0.1")], [math.nan, Decimal("sNaN")]),
        *([Decimal("1E+9999999"), Decimal("10E+9999998")], [math.inf, Decimal("Infinity")]),
        *(["a", np.str_("a")], [b"a", bytearray(b"a"), np.bytes_(b"a")], [UUID(int=7), str(UUID(int=7))]),
        *([[1, 0.5], [1.0, np.float64(0.5)], (True, 0.5), (*Row(1), 0.5)], [Row(1), (1.0,)]),
        *([{"a": 1, "b": [2]}, {"b": [2.0], "a": 1.0}, OrderedDict(a=True, b=[2])], [{1: "a"}, {1.0: "a"}]),
        *([{"a": 1e-7, "b": None}, OrderedDict(b=None, a=1e-7)], [{1, 0.5}, frozenset((True, 0.5))]),
        *([Point(x=1), Point(x=1.0)], [Point(x=[1.0]), Point(x=[1])], [Place(1), Place(1.0)], [None, None]),
        [NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=UTC).astimezone(timezone(timedelta(hours=-9)))],
        [NOON, pandas.Timestamp(NOON), np.datetime64(NOON), np.datetime64(NOON, "ns")],
        [date(2024, 1, 1), np.datetime64("2024-01-01")],
        [time(1, tzinfo=UTC), time(10, tzinfo=timezone(timedelta(hours=9)))],
        [time(23, tzinfo=timezone(timedelta(hours=-9))), time(22, tzinfo=timezone(timedelta(hours=-10)))],
        [timedelta(days=1), pandas.Timedelta("1D"), np.timedelta64(1, "D"), np.timedelta64(86_400 * 10**9, "ns")],
    ],
)  # fmt: skip
def test_values_that_are_equal_are_one_key(equal: list[Any], tmp_path: Path) -> None:
    """Whatever their types, alone, in a list, and in a whole record."""
    for key in ("k", ["k", "k"], None, lambda record: [record["k"]]):
        stream = tm.from_iterable([{"k": value} for value in equal])
        assert len(list(stream.dedupe(key, dir=tmp_path))) == 1


@pytest.mark.parametrize(
    "others",
    [
        [1, "1", b"1", [1], {"a": 1}, {1}, date(2024, 1, 1), NOON, NOON.replace(tzinfo=UTC), None, math.nan, 1 + 1j],
        [2**53, 2**53 + 1, 2.0**53 + 2, Decimal(2**53) + Decimal("0.5")],
        [0.1, Decimal("0.1"), np.float32(0.1)],
        [Point(x=1), Point(x=1.5), {"x": 1}, Place(1), Row(1)],
        [np.timedelta64(1, "M"), np.timedelta64(30, "D"), np.datetime64(1, "ns"), np.datetime64("NaT"), pandas.NaT],
        [pandas.Timestamp(1), pandas.Timestamp(0), pandas.Timedelta(1), pandas.Timedelta(0)],
        [datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), datetime.min.replace(tzinfo=UTC)],
        [time(1), time(1, tzinfo=UTC), time(23, tzinfo=timezone(timedelta(hours=-2)))],
        [np.array([1]), np.array([1.0]), np.array([[1]])],
    ],
)
def test_values_that_are_not_equal_are_two(others: list[Any], tmp_path: Path) -> None:
    stream = tm.from_iterable([{"k": value} for value in others])
    for key in ("k", ["k", "k"], None):
        assert len(list(stream.dedupe(key, dir=tmp_path))) == len(others)


def test_no_key_is_changed_by_being_compared(tmp_path: Path) -> None:
    record = {"k": [1.0, {"a": True}, Place(1.0), {2.0}]}
    (kept,) = tm.from_iterable([record]).dedupe("k", dir=tmp_path)
    assert repr(kept) == "{'k': [1.0, {'a': True}, Place(x=1.0), {2.0}]}"


def test_a_state_of_keys_compared_by_type_is_refused(tmp_path: Path) -> None:
    """As are those of joins and groups: another record would be the first of its key."""
    source = FromIterable(iterable=numbers(8, 4))
    other = FromIterable(iterable=[{"n": 3}])
    for node in (
        Dedupe(key="n", dir=str(tmp_path)),
        Join(other=Other(other, ()), on={"n": "n"}, how="semi", dir=str(tmp_path)),
        GroupBy(keys=("n",), agg={"m": "count"}, dir=str(tmp_path)),
    ):
        state = walk(source, node, 1)
        described = describe_node(node)
        assert described.pop("compared") == "equal values are one"
        state["pipeline"][1][1] = fingerprint_json(described)
        with pytest.raises(tm.StateError, match=f"step `{node.kind}` changed"):
            iterate(source, [node], state)
    assert "compared" not in describe_node(Dedupe(key="n", near=0.5))


@pytest.mark.usefixtures("small")
def test_keys_on_disk_are_those_in_memory(tmp_path: Path) -> None:
    """Resumed at every position, while the iterator that gave the states goes on in the same folder."""
    records = numbers(24, 16)
    node = Dedupe(key="n", dir=str(tmp_path))
    whole = check_resumes_everywhere(partial(iterate, FromIterable(iterable=records), [node]))
    assert [record for _, record in whole] == keep_firsts(records)
    assert [path.name for path in sorted(tmp_path.glob("*/sorted-*"))] == ["sorted-0-000002", "sorted-1-000000"]


@pytest.mark.usefixtures("small")
def test_sorted_files_that_are_gone_are_made_anew(tmp_path: Path) -> None:
    """They follow from the log, as does what a state of long ago needs of them."""
    records = numbers(60, 40)
    open_at = partial(iterate, FromIterable(iterable=records), [Dedupe(key="n", dir=str(tmp_path))])
    whole = outcomes(open_at(None))
    walking = open_at(None)
    states = []
    for _ in whole:
        states.append(through_json(walking.state()))
        next(walking)
    for at in (len(states) - 1, 13, 8, 1):
        for path in tmp_path.glob("*/sorted-*"):
            path.unlink()
        assert outcomes(open_at(states[at])) == whole[at:]


def walk(source: FromIterable, node: Node, count: int) -> Any:
    records = iterate(source, [node])
    for _ in range(count):
        next(records)
    return through_json(records.state())


@pytest.mark.usefixtures("small")
def test_a_folder_that_is_not_the_state_s_is_refused(tmp_path: Path) -> None:
    """Gone, cut short, or written over by another stream that looks the same."""
    node = Dedupe(key="n", dir=str(tmp_path))

    def source(start: int) -> FromIterable:
        return FromIterable(iterable=iter([{"n": n} for n in range(start, start + 30)]))

    state = walk(source(0), node, 11)
    (log,) = tmp_path.glob("*/keys")
    walk(source(100), node, 11)
    with pytest.raises(
        tm.StateError, match=r"not there, or not as it was: .*keys[\s\S]*streams that differ need a `dir`"
    ):
        iterate(source(0), [node], state)
    assert walk(source(0), node, 11) == state
    log.write_bytes(log.read_bytes()[:100])
    with pytest.raises(tm.StateError, match="not there, or not as it was"):
        iterate(source(0), [node], state)
    log.unlink()
    with pytest.raises(tm.StateError, match="not there, or not as it was"):
        iterate(source(0), [node], state)


def test_a_record_without_the_key_fails_alone(tmp_path: Path) -> None:
    stream = tm.from_iterable([{"text": "a"}, {"txt": "b"}, {"text": "a"}, {"text": {1, 2}}, {"text": object()}])
    records = stream.dedupe("text", dir=tmp_path).iterate()
    assert next(records) == {"text": "a"}
    with pytest.raises(
        tm.DataError, match=r"item 1, step `dedupe`: expected a column `text`, got `txt`\n.*`txt`"
    ) as told:
        next(records)
    assert told.value.step == "dedupe"
    assert next(records) == {"text": {1, 2}}
    with pytest.raises(tm.DataError, match="expected a key of plain values, got a builtins"):
        next(records)
    skipping = stream.dedupe("text", dir=tmp_path, on_error="skip").iterate()
    assert list(skipping) == [{"text": "a"}, {"text": {1, 2}}]
    assert skipping.losses.skipped == {"dedupe": 2}


def test_what_a_dedupe_is_told(tmp_path: Path) -> None:
    stream = tm.from_iterable([{"n": 1}])
    with pytest.raises(tm.ConfigError, match=r'step `dedupe`: `dedupe` keeps on disk[\s\S]*name one: dir="…"'):
        list(stream.dedupe("n"))

    async def later(record: Any) -> Any:
        return record

    with pytest.raises(tm.ConfigError, match="expected a column, a list of columns or a function, got a coroutine"):
        stream.dedupe(later, dir=tmp_path)
    with pytest.raises(tm.ConfigError, match="expected a column, a list of columns or a function, got 3"):
        stream.dedupe(3, dir=tmp_path)  # type: ignore[arg-type]


@pytest.mark.usefixtures("small")
def test_a_disk_that_fails_is_no_record_s_failure(tmp_path: Path) -> None:
    """It is raised, also where records that fail are passed over."""
    stream = tm.from_iterable(numbers(24, 30)).dedupe("n", dir=tmp_path, on_error="skip")
    list(stream)
    (folder,) = tmp_path.iterdir()
    for path in folder.glob("sorted-*"):
        path.unlink()
    (folder / "sorted-0-000000").mkdir()
    with pytest.raises(
        tm.errors.ResourceError, match=r"step `dedupe`: the step's folder fails: .*Is a directory"
    ) as told:
        list(stream)
    assert told.value.of == "run"


def test_nothing_is_written_before_it_must_be(tmp_path: Path) -> None:
    """Few keys, and no one asks for a state: the folder is not even made."""
    assert len(list(tm.from_iterable(numbers(100, 50)).dedupe("n", dir=tmp_path))) < 51
    assert list(tmp_path.iterdir()) == []


def test_each_epoch_begins_with_no_keys(tmp_path: Path) -> None:
    stream = tm.from_iterable(numbers(40, 10)).shuffle(3, buffer=50).dedupe("n", dir=tmp_path).repeat(3)
    given = [record["n"] for record in stream]
    assert [len(set(given[at : at + 10])) for at in (0, 10, 20)] == [10, 10, 10]
    records = stream.iterate()
    for _ in range(14):
        next(records)
    assert [record["n"] for record in stream.iterate(through_json(records.state()))] == given[14:]
