"""Running a job from plain Python: live progress on a terminal, plain lines elsewhere, and Ctrl-C."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tidemill.config.types.durations import show_duration
from tidemill.jobs.running.report import Report
from tidemill.jobs.running.request import RunRequest
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.running.status import RUNNING, Status, describe_outage
from tidemill.jobs.running.tuning import show_values
from tidemill.jobs.spec.checks import check_job
from tidemill.jobs.spec.job import JobSpec
from tidemill.resources.bridge import Bridge
from tidemill.resources.process import find_exit_code

logger = logging.getLogger(__name__)

PLAIN_EVERY_S = 10.0
"""Seconds between two progress lines where there is no terminal."""


def run_with_progress(
    job: JobSpec, request: RunRequest, *, show: bool | None = None, is_checked: bool = False
) -> Report:
    """The report of a run, made on a loop of its own; works inside a running loop.

    The first KeyboardInterrupt starts nothing new, gives calls in flight their grace period and seals; the second
    ends at once. Both give the report of a resumable run.

    Args:
        show: progress on stderr: live on a terminal, a line every ten seconds elsewhere. None shows it on a terminal.
        is_checked: whether the job was checked just now, which calls its functions for some records.

    Raises:
        ConfigError, StateError, DataError: the run cannot begin; nothing was called or written.
    """
    if not is_checked:
        check_job(job, read=not request.retry)
    live = sys.stderr.isatty()
    is_shown = live if show is None else show
    with _open_display(live) if is_shown else _no_display() as display, Bridge() as bridge:
        runner = Runner(job, request, on_status=display, on_note=_write_line if is_shown else _say_nothing)

        def stop(times: int, interrupt: type[KeyboardInterrupt]) -> None:
            runner.stop(times, exit_code=find_exit_code(interrupt))
            if times == 1 and show is not False:
                grace = show_duration(job.run.grace_s)
                _write_line(f"stopping: calls in flight get {grace}, another signal ends at once")

        report = bridge.run(runner.run(), stop)
    if report.exit_code and show is not True:  # a command prints the report; a script would learn nothing
        logger.warning("%r", report)
    return report


def describe_status(status: Status) -> str:
    """A status as one line: how far, what became of the records, what it took."""
    outcomes = status.outcomes
    parts = [f"{outcomes['landed']:,} landed"]
    parts += [f"{outcomes[name]:,} {name}" for name in ("dropped", "skipped", "quarantined") if outcomes[name]]
    parts.append(f"{status.records_per_s:,.1f} records/s")
    parts.append(f"{status.in_flight:,} in flight")
    parts += [f"waiting for {outage['endpoint']} ({describe_outage(outage)})" for outage in status.outages]
    parts.append(f"{status.calls:,} calls")
    if status.attempts > status.calls:
        parts.append(f"{status.attempts:,} attempts")
    if coalesced := status.details.get("coalesced"):
        parts.append(f"{coalesced:,} coalesced")
    parts.append(f"{status.input_tokens + status.output_tokens:,} tokens")
    if status.usd:
        parts.append(f"${status.usd:,.4f}")
    parts += [f"{label} tuned to {show_values(status.limits[label])}" for label in status.tuned]
    if status.eta_s is not None and status.state == RUNNING:
        parts.append(f"{show_duration(status.eta_s)} left")
    return " · ".join(parts)


def _write_line(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _say_nothing(text: str) -> None:
    pass


@contextmanager
def _no_display() -> Iterator[Callable[[Status], None]]:
    yield lambda status: None


@contextmanager
def _open_display(live: bool) -> Iterator[Callable[[Status], None]]:
    if not live:
        yield _PlainLines()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=4, transient=True) as display:
        yield lambda status: display.update(_render(status))


def _render(status: Status) -> Any:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    line = Text(describe_status(status), overflow="fold")
    if not status.total:
        return line
    return Group(ProgressBar(total=status.total, completed=min(status.done, status.total), width=40), line)


class _PlainLines:
    """A line on stderr now and then, for logs."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, status: Status) -> None:
        now = time.monotonic()
        if status.state == RUNNING and now - self._last < PLAIN_EVERY_S:
            return
        self._last = now
        _write_line(describe_status(status))
