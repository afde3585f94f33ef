"""The goodput benchmark: what it judges by, that its scenarios let through what they say, and that both clients run."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from goodput import find_missing, judge
from goodput_clients import OURS
from goodput_figures import (
    Outcome,
    find_billed,
    find_extra,
    find_goodput,
    find_rate,
    find_recovery_s,
    find_tail,
    judge_goodput,
)
from goodput_scenarios import FULL, QUICK, SMALL, Scale, list_scenarios, make_stepped
from tidemill.testing.load.oracle import ask_oracle

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "goodput.py"


def make_outcome(good: list[int], **fields: Any) -> Outcome:
    timeline = [{"arrived": count, "good": count, "refused": 0, "failed": 0} for count in good]
    return Outcome(**{"records": 100, "timeline": timeline, "stats": {}, **fields})


def test_goodput_counts_the_judged_seconds_alone() -> None:
    outcome = make_outcome([400, 90, 100, 80, 400], judged_s=(1, 4), oracle=300)
    assert find_goodput(outcome) == pytest.approx(0.9)
    assert find_rate(outcome) == 90


@pytest.mark.parametrize(("wanted", "is_judged", "met"), [(0.9, True, True), (0.91, True, False), (0.9, False, None)])
def test_a_target_is_met_or_not_or_left_open(wanted: float, is_judged: bool, met: bool | None) -> None:
    outcome = make_outcome([90], judged_s=(0, 1), oracle=100)
    assert judge_goodput(wanted, is_judged=is_judged)(outcome).met is met


def test_recovery_is_the_end_of_the_first_second_near_the_rate() -> None:
    timeline = make_outcome([100, 0, 0, 5, 89, 90, 100]).timeline
    assert find_recovery_s(timeline, 3, 100) == 3
    assert find_recovery_s(timeline, 3, 200) == math.inf


def test_a_bill_is_judged_without_what_the_server_billed_and_spoilt() -> None:
    """An error is not billed and stands in no bill; a cut reply is, whatever the client does."""
    stats = {"billed": 103, "faults": {"cut": 1, "garbage": 2, "status": 7, "outage: status": 9}}
    assert find_billed(make_outcome([], stats=stats)) == 1.0


def test_calls_beyond_one_a_record_count_those_that_failed() -> None:
    assert find_extra(make_outcome([], stats={"requests": 103})) == pytest.approx(0.03)


def test_a_run_that_did_not_end_is_all_tail() -> None:
    assert find_tail(make_outcome([], reached_s=(19.0, 20.0))) == pytest.approx(0.05)
    assert find_tail(make_outcome([], reached_s=(19.0, math.inf))) == 1.0


@pytest.mark.parametrize("scale", [FULL, QUICK, SMALL], ids=["full", "quick", "small"])
def test_each_scenario_has_its_name_and_something_to_judge(scale: Scale) -> None:
    scenarios = list_scenarios(scale)
    assert len({each.name for each in scenarios}) == len(scenarios)
    assert all(each.judges and each.start_s < each.length_s for each in scenarios)


@pytest.mark.parametrize("scale", [FULL, QUICK, SMALL], ids=["full", "quick", "small"])
def test_constant_quotas_let_the_rate_through(scale: Scale) -> None:
    """Whatever the kind of the quota, clients are measured against the same number of calls."""
    for each in list_scenarios(scale):
        if each.load.quotas and each.records is None and "halves" not in each.name and "tokens" not in each.name:
            there = ask_oracle(each.load, each.start_s, each.length_s, cost={"requests": 1})
            assert there.sustained == pytest.approx(scale.rate * (each.length_s - each.start_s)), each.name


def test_a_stepped_quota_lets_three_quarters_through() -> None:
    scenario = make_stepped(200, 20, told=True)
    assert ask_oracle(scenario.load, 0, 80, cost={"requests": 1}).sustained == pytest.approx(0.75 * 80 * 200)


def test_a_run_that_ends_as_it_should_not_is_missing() -> None:
    scenario = next(each for each in list_scenarios(SMALL) if each.records is not None)
    told = {"outcome": "finished", "reason": "", "landed": scenario.records, "failed": 0}
    for change, expected in (({}, 0), ({"outcome": "failed"}, 1), ({"landed": 3}, 1), ({"failed": 1}, 1)):
        results = {scenario.name: {OURS: make_outcome([], told=told | change)}}
        assert len(find_missing([scenario], results)) == expected


def test_targets_name_their_scenario() -> None:
    scenario = make_stepped(60, 2, told=False)
    (target,) = judge(scenario, make_outcome([60] * 8, judged_s=(4, 8), oracle=240))
    assert target.name.startswith(scenario.name)


def test_both_clients_get_every_record_answered_once(tmp_path: Path) -> None:
    """Under failures: the server saw as many good replies as there are records, whichever client it was."""
    path = tmp_path / "counted.json"
    command = [sys.executable, str(SCRIPT), "--small", "--only", "transient", "--json", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "(target <= 1.02)" in done.stdout
    (clients,) = json.loads(path.read_text()).values()
    for counted in clients.values():
        assert counted["told"]["landed"] == counted["records"] == counted["stats"]["good"]


def test_every_other_part_runs(tmp_path: Path) -> None:
    """A run that is ended, and the loop's lag; figures are for the reader."""
    command = [sys.executable, str(SCRIPT), "--small"]
    command += [part for only in ("known; tokens", "lag") for part in ("--only", only)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    for shown in ("known; tokens, bucket: goodput", "loop lag p99", "semaphore script"):
        assert shown in done.stdout
