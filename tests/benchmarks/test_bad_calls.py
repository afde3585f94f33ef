"""What counts as told in the side-by-side of bad tool calls, and that Tidemill tells all of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from toolcall_cases import BAD, CLEAR, RIGHT, TEXT, BadCall, Call, change
from toolcall_judging import Score, has, is_meant, judge, list_executed, list_missed, names_field, read_message
from toolcall_server import Outcome

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "tools" / "bad_calls.py"
GIVEN = {**RIGHT, "contact": {"phone": None, **RIGHT["contact"]}}
"""The right arguments as the function has them."""


def find(name: str) -> BadCall:
    return next(call for call in BAD if call.name == name)


def outcome_of(*executed: dict[str, Any], told: str | None = None, ended: str | None = None) -> Outcome:
    return {"told": told, "ended": ended, "executed": list(executed) or None}


def test_tidemill_has_every_point() -> None:
    """The script ends well only then; a library's own row is what it prints."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "tidemill"], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if "tidemill 0" in line)
    assert row.split()[2:] == ["15/15", "15/15", "14/14", "4/4", "11/11", "5/5"]


def test_there_are_fifteen_bad_calls_with_one_thing_wrong_each() -> None:
    assert len({(call.tool, call.arguments) for call in BAD}) == 15
    for call in BAD:
        if call.tool == "book_room" and call.name not in ("cut off", "argument given twice"):
            sent = json.loads(call.arguments)
            wrong = {name for name in sent.keys() | RIGHT.keys() if sent.get(name, ...) != RIGHT.get(name, ...)}
            assert wrong <= {call.field[0], call.meant}, call


def test_what_is_written_oddly_has_one_meaning() -> None:
    assert json.loads(CLEAR[0].arguments) == RIGHT
    assert all(call.arguments != TEXT for call in CLEAR[1:])


def test_a_library_that_says_nothing_has_no_point_for_it() -> None:
    outcomes = {call.name: outcome_of(told="An error occurred.") for call in (*CLEAR, *BAD)}
    outcomes["right"] = outcome_of(GIVEN)
    verdict = judge(outcomes)
    assert (verdict.caught, verdict.told) == (Score(15, 15), Score(15, 15))
    assert (verdict.named.got, verdict.suggested.got, verdict.expected.got, verdict.taken.got) == (0, 0, 0, 0)
    assert len(list_missed(outcomes)) == 20


def test_a_call_that_is_executed_is_not_caught_and_one_that_ends_the_run_is_not_told() -> None:
    outcomes = {call.name: outcome_of({**GIVEN, "nights": 1}) for call in (*CLEAR, *BAD)}
    outcomes["right"] = outcome_of(GIVEN)
    outcomes["cut off"] = outcome_of(ended="ValueError: no JSON")
    verdict = judge(outcomes)
    assert (verdict.caught, verdict.told, verdict.taken) == (Score(1, 15), Score(0, 15), Score(0, 5))
    assert not verdict.is_full
    assert list_executed(outcomes)[0] == "misspelt tool (nights=1)"


def test_a_library_that_does_not_execute_the_right_call_is_not_judged() -> None:
    outcomes = {call.name: outcome_of(told="no") for call in (*CLEAR, *BAD)}
    with pytest.raises(ValueError, match="the right call is not executed as it is"):
        judge(outcomes)


@pytest.mark.parametrize(
    ("executed", "meant"),
    [
        pytest.param([GIVEN], True, id="defaults"),
        pytest.param([{**GIVEN, "nights": 3.0}], False, id="other-type"),
        pytest.param([{**GIVEN, "nights": 4}], False, id="other-value"),
        pytest.param([GIVEN, GIVEN], False, id="twice"),
        pytest.param([], False, id="never"),
    ],
)
def test_a_call_is_executed_as_it_is_meant_or_not(executed: list[dict[str, Any]], meant: bool) -> None:
    assert is_meant(outcome_of(*executed)) is meant


def test_what_a_message_repeats_of_the_arguments_says_nothing() -> None:
    sent = change(nights=True)
    call = Call("true", sent)
    assert read_message(outcome_of(told=f"Invalid JSON: {sent}"), call) == "Invalid JSON: "
    assert read_message(outcome_of(told=f'{{"input": {json.dumps(sent)}}}'), call) == '{"input": ""}'
    assert read_message(outcome_of(GIVEN), call) is None


def test_a_field_is_named_by_all_that_leads_to_it() -> None:
    nested = find("misspelt nested field")
    assert names_field("$.guests[1].agee: unknown key", nested)
    assert names_field("guests.1.age: missing {'name': 'Tom', 'agee': 4}", nested)
    assert not names_field("'agee' was unexpected", nested)


def test_a_name_is_not_found_within_another() -> None:
    assert has("did you mean `age`?", "age")
    assert not has("unknown key `agee` of guests_age", "age")
