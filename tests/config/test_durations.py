"""Lengths of time in a configuration: numbers, texts with units, and what is neither."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.config.loading import load_config
from tidemill.config.model import Config
from tidemill.config.types.durations import Duration, parse_duration, show_duration
from tidemill.errors import ConfigError


class Wait(Config):
    s: Duration


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (90, 90),
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("45 m", 2_700),
        ("2H", 7_200),
        ("1h30m", 5_400),
        ("1d 2h", 93_600),
        ("250ms", 0.25),
        (timedelta(minutes=3), 180),
    ],
)
def test_seconds_come_of_numbers_units_and_timedeltas(given: Any, seconds: float) -> None:
    assert load_config(Wait, {"s": given}).s == seconds


@pytest.mark.parametrize("given", ["2 hours", "h", "1h-30m", "1:30", "inf", "", "1h30"])
def test_any_other_text_is_told_with_what_may_stand_there(given: str) -> None:
    with pytest.raises(ConfigError, match=r"`s`: expected a duration, got .*`45m`, `2h`, `1h30m`"):
        load_config(Wait, {"s": given})


@pytest.mark.parametrize("given", [True, None, [1], {"h": 1}])
def test_a_value_of_another_type_is_told_likewise(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"expected a duration \(seconds, or 45m, 2h\), got"):
        load_config(Wait, {"s": given})


@given(hours=st.integers(0, 999), minutes=st.integers(0, 59), seconds=st.integers(0, 59))
def test_units_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == hours * 3_600 + minutes * 60 + seconds


@given(st.integers(0, 10**7))
def test_what_is_shown_reads_back_to_its_smaller_unit(seconds: int) -> None:
    """Two units at most: from an hour on whole minutes."""
    unit = 60 if seconds >= 3_600 else 1
    assert parse_duration(show_duration(seconds)) == seconds // unit * unit
