"""One record for each group: against the plainest way to say it, the same whatever memory holds."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resuming import check_resumes_everywhere

import tidemill as tm
from tidemill.data.gathered.aggregates import Accumulator, Aggregate, How
from tidemill.data.iteration import iterate
from tidemill.data.nodes.keeping import GroupBy
from tidemill.data.sources.iterable import FromIterable


def sales(count: int) -> list[dict[str, Any]]:
    rng = random.Random(count)
    return [
        {
            "shop": rng.choice("abcdefghij"),
            "day": rng.randrange(5),
            "at": at,
            "price": rng.choice([None, 1, 0.1, 1e16, -1e16, 2.5]),
        }
        for at in range(count)
    ]


MADE: dict[str, Any] = {
    "n": "count",
    "priced": ("count", "price"),
    "total": ("sum", "price"),
    "mean": ("mean", "price"),
    "low": ("min", "price"),
    "high": ("max", "price"),
    "first": ("first", "at"),
    "last": ("last", "at"),
    "some": {"how": "list", "of": "at", "limit": 3},
    "prices": ("distinct", "price"),
}


def group(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["shop"], record["day"]), []).append(record)
    return [{"shop": shop, "day": day, **summarize(held)} for (shop, day), held in groups.items()]


def summarize(held: list[dict[str, Any]]) -> dict[str, Any]:
    prices = [record["price"] for record in held if record["price"] is not None]
    total = float(sum(map(Fraction, prices))) if prices else None
    if prices and all(isinstance(price, int) for price in prices):
        total = sum(prices)
    return {
        "n": len(held),
        "priced": len(prices),
        "total": total,
        "mean": None if total is None else total / len(prices),
        "low": min(prices, default=None),
        "high": max(prices, default=None),
        "first": held[0]["at"],
        "last": held[-1]["at"],
        "some": [record["at"] for record in held][:3],
        "prices": list(dict.fromkeys(record["price"] for record in held)),
    }


@pytest.mark.parametrize("memory", ["256MiB", "60kB", "5kB"])
def test_groups_are_what_memory_would_make_of_them(memory: str, tmp_path: Path) -> None:
    """Sums to the last digit, whatever parts they were made in."""
    records = sales(600)
    made = list(tm.from_iterable(records).group_by("shop", "day", dir=tmp_path, memory=memory).agg(**MADE))
    assert made == group(records)
    assert (len(list(tmp_path.glob("*/part-*"))) > 1) == (memory != "256MiB")
    assert (len(list(tmp_path.glob("*/group-*"))) > 1) == (memory == "5kB")


@pytest.mark.parametrize("memory", [1 << 20, 8000])
def test_a_group_by_resumes_everywhere(memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Among the failures of what it reads, and among the groups."""
    monkeypatch.setattr("tidemill.data.stages.spilling.GIVEN", 4)
    records: list[Any] = sales(40)
    records[11] = {"shop": "a"}
    records[30] = {**records[30], "price": "dear"}
    node = GroupBy(keys=("shop", "day"), agg=MADE, dir=str(tmp_path), memory=memory)
    whole = check_resumes_everywhere(partial(iterate, FromIterable(iterable=records), [node]))
    assert [said for kind, said, *_ in whole if kind == "DataError"] == [
        "expected a column `day`, got `shop`",
        "expected a number in `price` to sum, got a str",
    ]
    kept = [record for at, record in enumerate(records) if at not in (11, 30)]
    assert [record for kind, record, *_ in whole if kind == "record"] == group(kept)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64) | st.integers(-(2**80), 2**80)), st.data())
def test_a_sum_is_exact_however_it_is_parted(values: list[float], data: st.DataObject) -> None:
    accumulator = Accumulator(Aggregate(how="sum", of="x"))
    states = [accumulator.start(number, value) for number, value in enumerate(values)]
    while len(states) > 1:
        at = data.draw(st.integers(0, len(states) - 2))
        states[at : at + 2] = [accumulator.merge(states[at], states[at + 1])]
    whole = sum(map(Fraction, values), Fraction())
    if not states:
        return
    found = accumulator.finish(states[0])
    if all(isinstance(value, int) for value in values):
        assert found == int(whole)
        return
    try:
        expected = float(whole)
    except OverflowError:
        expected = math.inf if whole > 0 else -math.inf
    assert found == expected


@given(st.lists(st.floats(allow_nan=False, width=64) | st.integers(-5, 5) | st.none()))
def test_adding_one_by_one_is_merging(values: list[float | None]) -> None:
    """Of every aggregate, whichever way its state was made."""
    for how in get_args(How):
        accumulator = Accumulator(Aggregate(how=how, of="x"))
        read = [accumulator.read({"x": value}) for value in values]
        if not read:
            continue
        added = merged = None
        for number, value in enumerate(read):
            added = accumulator.start(number, value) if added is None else accumulator.add(added, number, value)
            one = accumulator.start(number, value)
            merged = one if number == 0 else accumulator.merge(merged, one)
        assert repr(accumulator.finish(added)) == repr(accumulator.finish(merged))


@pytest.mark.parametrize("memory", ["256MiB", "1kB"])
def test_keys_that_are_equal_are_one_group(memory: str, tmp_path: Path) -> None:
    """Whether a key is held itself or stands on disk by its digest; a group has the key of its first record."""
    keys = [1.0, 1, True, "1", None, 2**70, -0.0, False, "1", np.int64(1), 2.0**70, 0.5, np.float64(0.5)]
    stream = tm.from_iterable([{"key": key} for key in keys]).group_by("key", dir=tmp_path, memory=memory)
    made = [(record["key"], record["n"]) for record in stream.agg(n="count")]
    assert repr(made) == repr([(1.0, 4), ("1", 2), (None, 1), (2**70, 2), (-0.0, 2), (0.5, 2)])


@pytest.mark.parametrize("memory", ["256MiB", "1kB"])
def test_scalars_of_numpy_are_numbers(memory: str, tmp_path: Path) -> None:
    """To sum, to compare, and to be told apart."""
    values = [np.int64(2), 1, np.float32(0.5), np.int8(1), 2.0]
    made: dict[str, Any] = {how: (how, "x") for how in ("sum", "mean", "min", "max", "distinct")}
    stream = tm.from_iterable([{"g": "a", "x": value} for value in values])
    (record,) = stream.group_by("g", dir=tmp_path, memory=memory).agg(**made)
    assert record == {"g": "a", "sum": 6.5, "mean": 1.3, "min": 0.5, "max": 2, "distinct": [2, 1, 0.5]}
    with pytest.raises(tm.DataError, match="expected a number in `x` to sum, got a bool"):
        list(tm.from_iterable([{"g": "a", "x": np.bool_(True)}]).group_by("g", dir=tmp_path).agg(x=("sum", "x")))


def test_what_is_not_finite_sums_as_floats_do(tmp_path: Path) -> None:
    records = [{"g": 1, "x": math.inf}, {"g": 1, "x": 2.0}, {"g": 2, "x": math.inf}, {"g": 2, "x": -math.inf}]
    one, two = tm.from_iterable(records).group_by("g", dir=tmp_path).agg(x=("sum", "x"))
    assert one["x"] == math.inf
    assert math.isnan(two["x"])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"x": ("summ", "price")}, r"`agg\.x`: expected one of `count`, .*got \"summ\"; did you mean `sum`"),
        ({"x": "sum"}, r"expected a column: `\[sum, column\]`"),
        ({"x": {"how": "sum", "of": "price", "limit": 3}}, "limit needs `how` to be one of list and distinct"),
        ({"shop": "count"}, "two columns would be one: `shop`"),
        ({}, "agg"),
    ],
)
def test_what_is_made_must_make_sense(made: dict[str, Any], said: str) -> None:
    with pytest.raises(tm.ConfigError, match=said):
        tm.from_iterable([]).group_by("shop").agg(**made)
