"""A histogram knows how many, how long in all, and every percentile to within one bucket."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.resources.timing.histogram import Histogram

durations = st.floats(0, 5_000) | st.floats(0, 1e-3) | st.floats(1e-7, 1.0)
many = st.lists(durations, min_size=1, max_size=60)


def filled(*given: float) -> Histogram:
    histogram = Histogram()
    for each in given:
        histogram.add(each)
    return histogram


def same(first: Histogram, second: Histogram) -> bool:
    """Alike in all but the last bits of the sum, which is added up in another order."""
    exact = first.buckets == second.buckets and first.max_s == second.max_s
    return exact and first.total_s == pytest.approx(second.total_s)


@given(many, st.floats(0, 1))
def test_a_percentile_is_never_below_the_exact_one_and_at_most_a_bucket_above(given: list[float], ratio: float) -> None:
    """A bucket is 12.3 % wide; below 1 us and above 1,000 s there is one for all."""
    exact = sorted(given)[max(0, math.ceil(ratio * len(given)) - 1)]
    measured = filled(*given).percentile_s(ratio)
    assert measured is not None
    assert exact <= measured * (1 + 1e-12)
    assert measured <= max(given)
    assert exact > 1_000 or measured <= max(exact * 1.1221, 1e-6)


@given(many)
def test_what_is_added_is_counted_and_summed(given: list[float]) -> None:
    histogram = filled(*given)
    assert histogram.count == len(given)
    assert histogram.total_s == pytest.approx(sum(given))
    assert histogram.max_s == histogram.percentile_s(1.0) == max(given)


@given(many, st.lists(durations, max_size=60))
def test_all_at_once_one_by_one_and_merged_are_the_same(first: list[float], second: list[float]) -> None:
    together = filled(*first)
    together.add_all(second)
    merged = filled(*first)
    merged.merge(filled(*second))
    one_by_one = filled(*first, *second)
    assert same(together, one_by_one)
    assert same(merged, one_by_one)


@given(many)
def test_it_goes_through_json_and_back(given: list[float]) -> None:
    histogram = filled(*given)
    assert same(Histogram.from_dict(json.loads(json.dumps(histogram.to_dict()))), histogram)


def test_an_empty_one_has_no_percentile() -> None:
    """Nothing measured is None, not 0."""
    for saved in (Histogram().to_dict(), {}):
        empty = Histogram.from_dict(saved)
        assert (empty.count, empty.total_s, empty.max_s, empty.percentile_s(0.5)) == (0, 0.0, 0.0, None)


def test_it_stays_small() -> None:
    """However many durations it holds, of whatever size."""
    histogram = Histogram()
    histogram.add_all(10 ** (step / 1_000 - 12) for step in range(24_000))
    assert histogram.count == 24_000
    assert len(histogram.buckets) == 182
