"""Each row of the ideas table points the way it says, by what can be counted; the times in it are for the reader."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "ideas.py"

Counts = Mapping[str, float]
Table = Mapping[str, Mapping[str, Counts]]


@pytest.fixture(scope="module")
def table() -> Table:
    """What the script counts, by row and way."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", "--small"], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    counted: Table = json.loads(done.stdout)
    return counted


def test_calls_are_in_flight_together_and_each_is_committed(table: Table) -> None:
    row = table["calls"]
    assert row["naive"]["max_in_flight"] == 1
    assert row["usual"]["max_in_flight"] > 1
    assert row["tidemill"]["max_in_flight"] > 1
    assert row["tidemill"]["landed"] == 20
    assert row["tidemill"]["commits"] >= 1


def test_many_calls_are_all_made_and_made_durable(table: Table) -> None:
    row = table["many-calls"]
    assert row["naive"] == {"calls": 0}, "what is computed is not called"
    assert row["usual"]["calls"] == row["tidemill"]["calls"] == 1_000
    assert row["usual"]["max_in_flight"] > 1
    assert row["tidemill"]["max_in_flight"] > 1
    assert row["tidemill"]["commits"] >= 1_000 / 200
    assert row["tidemill"]["fsyncs"] > 1


def test_the_requests_of_a_record_are_under_way_at_once_or_one_after_the_other(table: Table) -> None:
    row = table["gather"]
    assert row["naive"] == {"max_in_flight": 1, "answered": 3}
    assert row["usual"] == row["tidemill"] == {"max_in_flight": 3, "answered": 3}


def test_a_quota_is_used_without_a_storm_and_nothing_is_billed_twice(table: Table) -> None:
    row = table["quota"]
    assert all(counts["good"] > 0 for counts in row.values())
    assert row["tidemill"]["refused"] <= row["naive"]["refused"]
    assert row["tidemill"]["repeats"] == 0


def test_the_tools_of_a_turn_are_called_at_once_and_a_bad_call_is_told(table: Table) -> None:
    """Within the slots that a tool has; the results of the others are there all the same."""
    row = table["tools"]
    assert row["naive"] == {"max_in_flight": 1, "answered": 0, "told": 0}
    assert row["usual"] == {"max_in_flight": 20, "answered": 20, "told": 0}
    assert row["tidemill"] == {"max_in_flight": 20, "answered": 20, "told": 1, "max_in_flight_bounded": 5}


def test_a_stream_that_is_consumed_holds_no_payloads(table: Table) -> None:
    row = table["payloads-consumed"]
    assert row["tidemill"]["peak_mb"] < 1 < row["naive"]["peak_mb"]
    assert row["usual"]["peak_mb"] < 1


def test_a_stream_whose_results_are_kept_holds_the_results_alone(table: Table) -> None:
    row = table["payloads-kept"]
    assert row["tidemill"]["peak_mb"] < row["naive"]["peak_mb"] / 2
    assert row["tidemill"]["peak_mb"] < row["usual"]["peak_mb"] + 1


def test_a_stream_that_goes_on_does_nothing_again(table: Table) -> None:
    row = table["resume"]
    assert row["tidemill"]["calls"] == 1
    assert row["usual"]["calls"] == 3_751
    assert row["naive"]["calls"] == 5_000


def test_only_a_scope_releases_everything_and_keeps_the_blocks_error(table: Table) -> None:
    row = table["scope"]
    assert row["naive"] == {"released": 0, "error_kept": 1}
    assert row["usual"] == {"released": 3, "error_kept": 0}
    assert row["tidemill"] == {"released": 3, "error_kept": 1}


def test_only_a_profiler_leaves_a_model_as_it_was_after_an_exception(table: Table) -> None:
    row = table["model"]
    assert row["naive"] == {"modules": 7, "wrong": 6, "records_gradients": 0}
    assert row["usual"] == {"modules": 7, "wrong": 1, "records_gradients": 1}
    assert row["tidemill"] == {"modules": 7, "wrong": 0, "records_gradients": 1}


def test_every_mistake_in_a_config_is_named_with_its_place(table: Table) -> None:
    row = table["config"]
    assert row["naive"]["errors"] == 0
    assert row["usual"] == {"errors": 3, "places": 0, "suggestions": 0}
    assert row["tidemill"] == {"errors": 3, "places": 3, "suggestions": 1}


def test_a_functions_own_schema_refuses_and_explains_every_bad_call(table: Table) -> None:
    """What can mean one thing only is mended, and nothing is written beside the function."""
    row = table["schema"]
    assert row["naive"]["caught"] == 2
    assert row["naive"]["lines"] > row["usual"]["lines"] > 0
    assert {**row["usual"], "lines": 0} == {"caught": 5, "named": 5, "suggested": 0, "mended": 0, "lines": 0}
    assert row["tidemill"] == {"caught": 6, "named": 6, "suggested": 2, "mended": 3, "lines": 0}


@pytest.mark.parametrize("key", ["pipeline", "rows-at-hand", "rows-handed-on"])
def test_one_object_serves_every_use(table: Table, key: str) -> None:
    row = table[key]
    assert row["naive"]["uses"] < row["tidemill"]["uses"] == 5
    assert row["usual"]["uses"] <= 5
