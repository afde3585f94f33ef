"""Reports, statuses and trials as text on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tidemill.jobs.report import Report
from tidemill.jobs.trial import Exchange, Trial

_ENDINGS = {
    "finished": "finished",
    "limit": "reached its limit; run it with a higher one, or without, and it goes on",
    "errors": "stopped: too many records failed",
    "raised": "stopped: a record failed at a step with on_error: raise",
    "stopped": "stopped on request; run it again and it goes on",
    "failed": "stopped; run it again and it goes on",
}


def print_report(console: Console, report: Report) -> None:
    """The report of a run: what became of the records, what it cost, and how to go on."""
    if report.before:
        console.print(f"went on after {report.before:,} records that were done before")
    console.print(_step_table(report.steps))
    for line in _summary_lines(report):
        console.print(line, highlight=False)
    ending = _ENDINGS[report.outcome]
    style = "green" if report.exit_code == 0 else "yellow" if report.exit_code in (3, 130, 143) else "red"
    console.print(Text(f"{ending}{f': {report.reason}' if report.reason else ''}", style=style))


def _step_table(steps: Sequence[Mapping[str, int | str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in steps[0]:
        table.add_column(name, justify="left" if name == "step" else "right")
    for step in steps:
        table.add_row(*(value if isinstance(value, str) else f"{value:,}" for value in step.values()))
    return table


def _summary_lines(report: Report) -> list[str]:
    calls, records = report.calls, report.records
    lines = [", ".join(f"{number:,} {name}" for name, number in records.items()) + f" → {report.output}"]
    if calls["calls"]:
        latency = ", ".join(f"{name} {value:.3g} s" for name, value in calls["latency_s"].items() if value)
        lines.append(
            f"{calls['calls']:,} calls in {calls['attempts']:,} attempts, {calls['failed']:,} failed; "
            f"at most {calls['max_in_flight']:,} in flight; latency {latency or 'unknown'}"
        )
        cost = f", ${calls['usd']:,.4f}" if calls["usd"] else ""
        lines.append(f"{calls['input_tokens']:,} tokens in, {calls['output_tokens']:,} out{cost}")
        if calls["failures"]:
            lines.append("failed attempts: " + ", ".join(f"{n:,} {cause}" for cause, n in calls["failures"].items()))
    if report.recalled or report.reused:
        lines.append(f"{report.recalled:,} replies kept from before a crash, {report.reused:,} reused from another run")
    lines.append(f"{report.elapsed_s:,.1f} s, peak memory {report.peak_rss_bytes / 1e6:,.0f} MB")
    return lines


def print_status(console: Console, status: Mapping[str, Any]) -> None:
    """What a running run last said of itself."""
    outcomes = ", ".join(f"{number:,} {name}" for name, number in status["outcomes"].items())
    console.print(f"{status['state']} (process {status['pid']}): {outcomes}", highlight=False)
    console.print(
        f"{status['records_per_s']:,} records/s, {status['in_flight']:,} in flight, {status['calls']:,} calls in "
        f"{status['attempts']:,} attempts, ${status['usd']:,.4f}",
        highlight=False,
    )


def print_trial(console: Console, number: int, trial: Trial) -> None:
    """One tried record: each request as sent, its reply, and what came of it."""
    console.rule(f"record {number}")
    console.print(_show(trial.record), soft_wrap=True)
    for exchange in trial.exchanges:
        _print_exchange(console, exchange)
    if trial.error is not None:
        console.print(Text(f"failed: {trial.error['type']}: {trial.error['message']}", style="red"))
    elif trial.result is not None:
        console.print("[bold]result[/bold]", _show(trial.result), soft_wrap=True)
    elif any(exchange.reply is None for exchange in trial.exchanges):
        console.print("[dim]not sent[/dim]")
    else:
        console.print("[dim]dropped[/dim]")


def _print_exchange(console: Console, exchange: Exchange) -> None:
    console.print(f"[bold]{exchange.step}: request[/bold]", _show(exchange.request), soft_wrap=True)
    if exchange.reply is None:
        return
    tokens = f"{exchange.input_tokens} tokens in, {exchange.output_tokens} out" if exchange.input_tokens else ""
    cost = f", ${exchange.cost_usd:.6f}" if exchange.cost_usd is not None else ""
    console.print(f"[bold]{exchange.step}: reply[/bold] {tokens}{cost}", highlight=False)
    console.print(Text(exchange.reply), soft_wrap=True)


def _show(value: Any) -> Text:
    return Text(orjson.dumps(value, default=repr, option=orjson.OPT_INDENT_2).decode())


def print_records(console: Console, records: Sequence[Mapping[str, Any]], *, width: int = 60) -> None:
    """Records as a table; nested values as JSON, long ones cut."""
    if not records:
        console.print("no records")
        return
    names = list(dict.fromkeys(name for record in records for name in record))
    table = Table(header_style="bold", show_lines=True)
    for name in names:
        table.add_column(name, overflow="fold", max_width=width)
    for record in records:
        table.add_row(*(Text(_cell(record.get(name), 4 * width)) for name in names))
    console.print(table)


def _cell(value: Any, most: int) -> str:
    text = value if isinstance(value, str) else orjson.dumps(value, default=repr).decode()
    return text if len(text) <= most else f"{text[: most - 1]}…"
