"""Reports, statuses and trials as text on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from tidemill.config.secrets import mask
from tidemill.jobs.live.trial import Exchange, Trial
from tidemill.jobs.running.comparison import compare_estimate
from tidemill.jobs.running.report import Report
from tidemill.jobs.running.status import describe_outage
from tidemill.jobs.running.tuning import show_values
from tidemill.resources.timing.timings import render_timings
from tidemill.view.calls import iter_call_lines, iter_compute_lines, iter_limit_lines
from tidemill.view.plain import make_plain

_ENDINGS = {
    "finished": "finished",
    "limit": "reached its limit; run it with a higher one, or without, and it goes on",
    "errors": "stopped, too many records failed",
    "raised": "stopped, a record failed at a step with on_error: raise",
    "stopped": "stopped on request; run it again and it goes on",
    "failed": "stopped; mend that and run it again: what is done is kept",
}


def print_report(console: Console, report: Report, reasons: Sequence[tuple[int, str]] = ()) -> None:
    """The report of a run: what became of the records, what it cost, and how to go on.

    Args:
        reasons: the commonest reasons for quarantine, each with how often it occurs.
    """
    if report.before:
        _say(console, f"went on after {report.before:,} records that were done before")
    console.print(_step_table(report.steps))
    for line in (*_summary_lines(report), *render_timings(report.latency)):
        _say(console, line)
    for count, reason in reasons:
        _say(console, f"{count:,} quarantined: {reason}")
    if reasons and report.outcome != "errors":  # whose reason says the same
        _say(console, f"  all of them: tidemill show {report.output} --failures; again: tidemill retry {report.output}")
    style = "green" if report.exit_code == 0 else "yellow" if report.exit_code in (3, 130, 143) else "red"
    if report.reason:
        _say(console, report.reason, style)
    _say(console, _ENDINGS[report.outcome], style)


def _say(console: Console, text: str, style: str = "") -> None:
    """A line as it is: no markup, and no control characters that a terminal would obey."""
    console.print(make_plain(text, style), soft_wrap=True, highlight=False)


def _step_table(steps: Sequence[Mapping[str, int | str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in steps[0]:
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in steps:
        table.add_row(*(make_plain(value if isinstance(value, str) else f"{value:,}") for value in step.values()))
    return table


def _summary_lines(report: Report) -> list[str]:
    lines = [", ".join(f"{number:,} {name}" for name, number in report.records.items()) + f" → {report.output}"]
    lines += (f"{count:,} of the other source of `{step}` passed over" for step, count in report.passed_over.items())
    lines += iter_call_lines(report.calls)
    lines += iter_compute_lines(report.compute)
    if compared := compare_estimate(report):
        lines.append(compared)
    if report.recalled:
        lines.append(f"{report.recalled:,} replies paid for in an earlier sitting were used")
    if report.reused:
        lines.append(f"{report.reused:,} replies of the earlier run were used again")
    for tuned in report.tuned:
        values = {name: value for name, value in tuned.items() if name not in ("after_s", "model")}
        lines.append(f"after {tuned['after_s']:,.0f} s {tuned['model']} was tuned to {show_values(values)}")
    lines.append(f"{report.elapsed_s:,.1f} s, peak memory {report.peak_rss_bytes / 1e6:,.0f} MB")
    return lines


def print_status(console: Console, status: Mapping[str, Any]) -> None:
    """What a run last said of itself, and why it ended, if it said that."""
    outcomes = ", ".join(f"{number:,} {name}" for name, number in status["outcomes"].items())
    _say(console, f"{status['state']} (process {status['pid']}): {outcomes}")
    _say(console, f"{status['records_per_s']:,} records/s, {status['in_flight']:,} in flight")
    for outage in status.get("outages", ()):
        _say(console, f"waiting for {outage['endpoint']}: {describe_outage(outage)}", "yellow")
    lines = (*iter_call_lines(status["details"]), *iter_limit_lines(status["limits"]))
    for line in (*lines, *render_timings(status.get("latency", {}))):
        _say(console, line)
    if status.get("reason"):
        _say(console, status["reason"], "yellow")


def print_trial(console: Console, number: int, trial: Trial) -> None:
    """One tried record: each request as sent, its reply, and what came of it."""
    console.rule(f"record {number}")
    _say(console, _to_json(trial.record))
    for exchange in trial.exchanges:
        _print_exchange(console, exchange)
    if trial.error is not None:
        at = f" ({trial.error['at']})" if "at" in trial.error else ""
        _say(console, f"failed: {trial.error['type']}: {trial.error['message']}{at}", "red")
    elif trial.result is not None:
        _say(console, "result", "bold")
        _say(console, _to_json(trial.result))
    elif any(exchange.reply is None for exchange in trial.exchanges):
        _say(console, "not sent", "dim")
    else:
        _say(console, "dropped", "dim")


def _print_exchange(console: Console, exchange: Exchange) -> None:
    _say(console, f"{exchange.step}: request", "bold")
    _say(console, _to_json(exchange.request))
    if exchange.reply is None:
        return
    tokens = f", {exchange.input_tokens} tokens in, {exchange.output_tokens} out" if exchange.input_tokens else ""
    cost = f", ${exchange.cost_usd:.6f}" if exchange.cost_usd is not None else ""
    _say(console, f"{exchange.step}: reply{tokens}{cost}", "bold")
    _say(console, exchange.reply)


def _to_json(value: Any) -> str:
    """`value` as indented JSON, secrets masked."""
    return mask(orjson.dumps(value, default=repr, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())


def print_rows(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Failures or replies, a block each: one line a field, empty ones left out."""
    if not rows:
        _say(console, "none")
    for number, row in enumerate(rows):
        if number:
            _say(console, "")
        for name, value in row.items():
            if value not in ("", None):
                _say(console, f"{name:>13}  {_cell(value, 600)}")


def print_records(console: Console, records: Sequence[Mapping[str, Any]], *, width: int = 60) -> None:
    """Records as a table; nested values as JSON, long ones cut."""
    if not records:
        _say(console, "no records are sealed yet")
        return
    names = list(dict.fromkeys(name for record in records for name in record))
    table = Table(header_style="bold", show_lines=True)
    for name in names:
        table.add_column(make_plain(name), overflow="fold", max_width=width)
    for record in records:
        table.add_row(*(make_plain(_cell(record[name], 4 * width) if name in record else "") for name in names))
    console.print(table)


def _cell(value: Any, most: int) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, default=repr).decode()
    return text if len(text) <= most else f"{text[: most - 1]}…"
