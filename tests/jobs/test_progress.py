"""What a running job shows of itself: one line, and a report at the end."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from workbench import FarSide, label, make_job, make_model, numbered

import tidemill as tm
from tidemill.calls.limits import Limits
from tidemill.calls.meter import Meter
from tidemill.data.formats.jsonl import save_jsonl
from tidemill.jobs.running.progress import describe_status
from tidemill.jobs.running.report import Report, describe_calls, explain_breach
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.running.status import Status
from tidemill.testing import Fault, Faults, FaultServer, error_response, run_virtual
from tidemill.view.calls import iter_call_lines, iter_limit_lines
from tidemill.view.reports import print_records, print_report, print_status


def status(**fields: Any) -> Status:
    """A status with nothing in it but `fields`."""
    outcomes = dict.fromkeys(("landed", "dropped", "skipped", "quarantined"), 0)
    numbers = dict.fromkeys(("done", "before", "in_flight", "calls", "attempts", "input_tokens", "output_tokens"), 0)
    given: dict[str, Any] = {"state": "running", "outcomes": outcomes, **numbers, "usd": 0.0, "elapsed_s": 10.0}
    return Status(**{**given, "total": None, **fields})


def test_the_line_says_what_there_is_to_say() -> None:
    assert describe_status(status()) == "0 landed · 0.0 records/s · 0 in flight · 0 calls · 0 tokens"
    everything = status(
        outcomes={"landed": 1_200, "dropped": 30, "skipped": 2, "quarantined": 1},
        done=1_233,
        before=233,
        total=5_000,
        in_flight=64,
        calls=1_100,
        attempts=1_150,
        input_tokens=90_000,
        output_tokens=10_500,
        usd=0.0451,
    )
    assert describe_status(everything) == (
        "1,200 landed · 30 dropped · 2 skipped · 1 quarantined · 100.0 records/s · 64 in flight · 1,100 calls · "
        "1,150 attempts · 100,500 tokens · $0.0451 · 37s left"
    )


@pytest.mark.parametrize(
    ("left", "shown"), [(5, "5s left"), (61, "1m 01s left"), (3_600, "1h 00m left"), (90_061, "25h 01m left")]
)
def test_what_is_left_is_shown_in_two_units(left: int, shown: str) -> None:
    assert describe_status(status(done=10, total=10 + left)).endswith(shown)


def test_nothing_is_left_of_a_run_that_ended() -> None:
    assert "left" not in describe_status(status(state="stopped", done=10, total=20))


def test_an_outage_is_in_the_line_and_in_the_status() -> None:
    outage = {"endpoint": "far.invalid", "error": "answered 500: no room\nat all", "gives_up_s": 252.4}
    line = describe_status(status(outages=[outage]))
    assert "0 in flight · waiting for far.invalid (answered 500: no room at all; gives up in 4m 12s) · 0 calls" in line
    console = Console(width=120, color_system=None, record=True, file=io.StringIO())
    print_status(console, json.loads(status(details=describe_calls(Meter()), outages=[outage]).to_json()))
    assert "waiting for far.invalid: answered 500: no room at all; gives up in 4m 12s\n" in console.export_text()


def test_an_outage_is_told_once_and_so_is_its_end(tmp_path: Path) -> None:
    """Where the run's other notes go: who looks at it sees why nothing lands."""
    save_jsonl(numbered(60), tmp_path / "records.jsonl")
    seen: list[Status] = []
    notes: list[str] = []
    far = FarSide(lambda question: None if notes else error_response(500, "sick"), latency_s=0.5)
    limits = Limits(concurrency=8, max_attempts=100)
    job = make_job(tmp_path, [label(model=make_model(limits=limits))])
    report = run_virtual(Runner(job, transport=far.connect, on_status=seen.append, on_note=notes.append).run())
    assert report.outcome == "finished"
    began, ended = notes
    assert began.startswith("far.invalid is out of order, calls wait: ")
    assert re.search(r"500: .*sick.*; gives up in \d+m \d\ds$", began)
    assert ended == "far.invalid answers again"
    told = [outage for each in seen for outage in each.outages]
    assert {outage["endpoint"] for outage in told} == {"far.invalid"}
    assert all("500" in outage["error"] and 250 < outage["gives_up_s"] <= 300 for outage in told)


def test_a_run_stopped_in_an_outage_says_so(tmp_path: Path) -> None:
    save_jsonl(numbered(30), tmp_path / "records.jsonl")
    limits = Limits(concurrency=8, max_attempts=100)
    job = make_job(tmp_path, [label(model=make_model(limits=limits))], run={"grace_s": 0.0})
    far = FarSide(lambda question: error_response(500, "sick"))
    runner = Runner(job, transport=far.connect, on_note=lambda note: runner.stop())
    report = run_virtual(runner.run())
    assert report.outcome == "stopped"
    assert re.match(r"far\.invalid was out of order and calls waited: .*500: .*sick", report.reason)


@pytest.mark.parametrize("name", ["records.jsonl", "records.jsonl.gz"])
async def test_how_many_there_will_be_is_told_by_what_is_read(tmp_path: Path, name: str) -> None:
    """Also of a file smaller than the blocks it is read in."""
    save_jsonl(numbered(400), tmp_path / name)
    seen: list[Status] = []
    job, far = make_job(tmp_path, [label()], source=name, budget={"calls": 50}), FarSide()
    report = await Runner(job, transport=far.connect, on_status=seen.append).run()
    assert report.done <= 50
    assert seen[-1].total is not None
    assert 380 < seen[-1].total < 440


def stream_of(server: FaultServer, count: int) -> tm.Stream[dict[str, Any]]:
    model = tm.model("openai/any", base_url=server.base_url, api_key="none", price=tm.Price(1_000, 1_000))
    return tm.from_iterable(lambda: [{"id": number} for number in range(count)]).generate(model, "About {{ id }}")


def shown(report: Report) -> str:
    """The report as it is printed where there is no terminal."""
    console = Console(width=120, color_system=None, record=True, file=io.StringIO(), highlight=False)
    print_report(console, report)
    return console.export_text()


def test_the_report_says_what_became_of_everything(server: FaultServer, tmp_path: Path) -> None:
    """Attempts that failed, tokens, cost, latency, memory; the same in `report.json`."""
    server.faults = Faults(
        matching=[("About 7", Fault("status", status=400))],
        script=lambda call: Fault("status", status=503) if call.times == 1 and call.message.endswith("3") else None,
    )
    report = stream_of(server, 20).write(tmp_path / "out", max_errors=3)
    stats, text = server.stats(), shown(report)
    assert "19 landed, 0 dropped, 0 skipped, 1 quarantined" in text
    assert "20 calls in 22 attempts, 1 failed" in text
    assert f"{stats['input_tokens']:,} tokens in, {stats['output_tokens']:,} out, $" in text
    assert "failed attempts: 1 × 400, 2 × 503" in text
    assert "attempts a call: 18 took 1, 2 took 2" in text
    assert "1 attempts may have" not in text
    assert "latency p50 " in text
    assert " MB" in text
    assert text.rstrip().endswith("finished")
    assert json.loads((tmp_path / "out/.run/report.json").read_bytes()) == json.loads(json.dumps(report.to_dict()))
    assert report.calls["usd"] == pytest.approx((stats["input_tokens"] + stats["output_tokens"]) / 1e3)
    [(name, price)] = report.calls["prices"].items()
    assert price == {"input": 1000.0, "output": 1000.0, "source": "the model's own"}
    assert f"at 1000 input, 1000 output USD per million tokens of {name}, the model's own" in " ".join(text.split())


def test_why_too_many_failures_ended_a_run_is_told_in_numbers_that_agree() -> None:
    bound = "6 records failed, max_errors is 5"
    told = explain_breach(bound, "`label`: ValueError: no", failed=6, quarantined=3, output="out")
    assert told == (
        "6 records failed, max_errors is 5; the last at `label`: ValueError: no; of 6 that failed 3 are quarantined, "
        "and 3 not sealed yet are tried again when the run goes on\n"
        "  see them: tidemill show out --failures; again: tidemill retry out"
    )
    assert explain_breach(bound, "", failed=6, quarantined=6, output="out").startswith(f"{bound}\n  see them: ")
    assert explain_breach(bound, "", failed=6, quarantined=0, output="out").endswith("when the run goes on")


def test_the_report_counts_replies_that_were_cut(server: FaultServer, tmp_path: Path) -> None:
    """Over the life of the run; of none it says nothing."""
    server.faults = Faults(matching=[("About 3", Fault("truncated")), ("About 7", Fault("truncated"))])
    stream = stream_of(server, 9)
    first, last = stream.write(tmp_path / "out", limit=5), stream.write(tmp_path / "out")
    assert (first.calls["cut"], last.calls["cut"], last.records["landed"]) == (1, 2, 9)
    assert "2 replies were cut at max_tokens, or at the endpoint's own bound" in shown(last)
    server.faults = None
    assert "were cut" not in shown(stream.write(tmp_path / "whole"))


def test_the_report_of_a_run_that_went_on_says_so(server: FaultServer, tmp_path: Path) -> None:
    stream = stream_of(server, 9)
    assert "reached its limit" in shown(stream.write(tmp_path / "out", limit=4))
    assert shown(stream.write(tmp_path / "out")).startswith("went on after 4 records that were done before")


EVERYTHING: dict[str, Any] = {
    "calls": 1_000,
    "attempts": 1_100,
    "failed": 3,
    "coalesced": 40,
    "cut": 5,
    "unknown_usage": 7,
    "input_tokens": 90_000,
    "output_tokens": 8_000,
    "cached_tokens": 60_000,
    "cache_write_tokens": 1_500,
    "reasoning_tokens": 2_500,
    "usd": 1.25,
    "max_in_flight": 64,
    "failures": {"429": 80, "503": 20},
    "attempts_of_calls": {"1": 930, "2": 60, "3": 8, "5": 2},
    "waited_s": {"slots": 1_234.5, "limits": 60.0, "budget": 0.01},
    "latency_s": {"p50": 0.5, "p90": 1.0, "p99": 2.0},
    "first_token_s": {"p50": 0.1, "p90": 0.2, "p99": 0.4},
    "shares": {
        "label/schema": {"calls": 990, "input_tokens": 80_000, "output_tokens": 7_000, "usd": 1.2, "counts": {}},
        "label/schema/re-ask": {
            "calls": 10,
            "input_tokens": 10_000,
            "output_tokens": 1_000,
            "usd": 0.05,
            "counts": {"repaired": 2},
        },
        "search": {"calls": 5, "input_tokens": 0, "output_tokens": 0, "usd": 0.0, "counts": {}},
    },
}
NOTHING: dict[str, Any] = {
    name: {} if isinstance(value, dict) else 0 for name, value in EVERYTHING.items() if not name.endswith("_s")
} | {
    "waited_s": {},
    "latency_s": {"p50": None},
    "first_token_s": {"p50": None},
}


def test_calls_are_shown_with_all_that_is_counted_of_them() -> None:
    """What the budget waited for a hundredth of a second is left out."""
    assert list(iter_call_lines(EVERYTHING)) == [
        "40 calls were not sent: each took the reply of an identical one in flight",
        "1,000 calls in 1,100 attempts, 3 failed; at most 64 in flight; latency p50 0.5 s, p90 1 s, p99 2 s",
        "time to the first token p50 0.1 s, p90 0.2 s, p99 0.4 s",
        "90,000 tokens in (60,000 from a cache, 1,500 written to one), 8,000 out (2,500 reasoning), $1.2500",
        (
            "label/schema: 990 calls, 80,000 tokens in, 7,000 out, $1.2000; "
            "10 re-asks, 10,000 tokens in, 1,000 out, $0.0500, 2 repaired"
        ),
        "search: 5 calls",
        "5 replies were cut at max_tokens, or at the endpoint's own bound",
        "failed attempts: 80 × 429, 20 × 503",
        "attempts a call: 930 took 1, 60 took 2, 10 took 3 or more",
        "7 attempts may have been billed without saying what they used",
        "a call waited on average 1.23 s for a slot, 0.06 s for limits",
    ]


def test_of_what_did_not_happen_nothing_is_said() -> None:
    assert list(iter_call_lines(NOTHING)) == []
    assert list(iter_call_lines({**NOTHING, "calls": 2, "attempts": 2, "attempts_of_calls": {"1": 2}})) == [
        "2 calls in 2 attempts, 0 failed; at most 0 in flight; latency unknown",
        "0 tokens in, 0 out",
    ]


def test_what_a_meter_counts_is_what_is_shown() -> None:
    """Each key that the lines read is one that a report has."""
    assert EVERYTHING.keys() <= describe_calls(Meter()).keys()
    assert list(iter_call_lines(describe_calls(Meter()))) == []


def test_limits_in_force_are_shown() -> None:
    limits = {"openai/any": {"concurrency": "auto", "requests_per_minute": 600, "concurrency_now": 48}}
    assert list(iter_limit_lines(limits)) == ["openai/any: concurrency auto, requests_per_minute 600; 48 at once now"]


async def test_a_running_run_tells_all_of_that_too(tmp_path: Path) -> None:
    """In `status.json`, which `tidemill status` prints."""
    save_jsonl(numbered(9), tmp_path / "records.jsonl")
    seen: list[Status] = []
    job, far = make_job(tmp_path, [label()]), FarSide()
    report = await Runner(job, transport=far.connect, on_status=seen.append).run()
    last = json.loads(seen[-1].to_json())
    told = {name: value for name, value in report.calls.items() if name != "prices"}
    assert last["details"] == json.loads(json.dumps(told))
    console = Console(width=120, color_system=None, record=True, file=io.StringIO(), highlight=False)
    print_status(console, last)
    text = console.export_text()
    assert f"9 calls in 9 attempts, 0 failed; at most {report.calls['max_in_flight']} in flight" in text
    assert "openai/any: concurrency 8; 8 at once now" in text
    assert "90 tokens in, 45 out, $0.0000" in text


def test_what_was_tuned_is_in_the_report(server: FaultServer, tmp_path: Path) -> None:
    report = stream_of(server, 1).write(tmp_path / "out")
    tuned = [{"after_s": 61.4, "model": "openai/any", "concurrency": 20, "requests_per_minute": None}]
    text = shown(replace(report, tuned=tuned))
    assert "after 61 s openai/any was tuned to concurrency=20, requests_per_minute=null" in text


def test_records_are_shown_as_a_table() -> None:
    """Columns in order of appearance, nested values as JSON, long ones cut, nothing taken for markup or obeyed."""
    console = Console(width=100, color_system=None, record=True, file=io.StringIO())
    print_records(console, [{"a": 1, "b": {"c": [1]}}, {"a": "[bold]x[/bold]\x1b[2J", "z": "y" * 500}])
    text = console.export_text()
    assert '{"c":[1]}' in text
    assert "[bold]x[/bold]" in text
    assert "…" in text
    assert text.index(" a ") < text.index(" b ") < text.index(" z ")
    assert "\x1b" not in text
    assert "null" not in text  # what a record lacks is left empty


def test_no_records_are_told() -> None:
    console = Console(width=100, color_system=None, record=True, file=io.StringIO())
    print_records(console, [])
    assert console.export_text() == "no records are sealed yet\n"
