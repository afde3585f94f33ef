"""The report of a run: what became of every record, what it cost, and how to go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from tidemill.calls.endpoint_gate import Outage
from tidemill.calls.meter import Meter
from tidemill.disk import Disk
from tidemill.errors import TidemillError
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.run import OpenRun
from tidemill.jobs.records.outcomes import explain_error

EXIT_CODES: Mapping[str, int] = {"finished": 0, "limit": 0, "errors": 1, "raised": 1, "failed": 3, "stopped": 130}


@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """What a run came to.

    Attributes:
        outcome: `finished`, `limit` (the limit was reached), `errors` (more than `max_errors`), `raised` (a step with
            `on_error: raise`), `stopped` (Ctrl-C or SIGTERM), `failed` (a failure of the run: budget, endpoint, disk).
        reason: why, when it did not finish, and the next step; or that there was nothing to do.
        exit_code: what the command ends with; of a run that SIGTERM stopped 143, else as `EXIT_CODES` says.
        records: landed, dropped, skipped, quarantined, over the life of the run.
        steps: per step in, passed, dropped, skipped, quarantined, emitted.
        passed_over: of each `join` whose other source passed over records that failed, how many, where this sitting
            read it; they are no records of the run.
        done, before: source-half records finished, and how many of them in earlier sittings: sealed, or all their
            replies committed.
        recalled: replies committed before a crash and used now; `reused` those of the run named by `--reuse`.
        calls: over the life of the run: calls, attempts, failed attempts by cause, calls by their attempts; tokens,
            cost; percentiles of the latency and of the time to the first token; the seconds that all calls together
            waited, by what for.
        tuned: the limits that were changed while this sitting went on: after how many seconds, whose, to what.
        peak_rss_bytes: the most memory this process has held.
        compute: of each `predict` step, and each `embed` with a model of this process, by the name of each device that
            computed in this sitting: `batches` and `records`; `busy_ratio`, the share of the time from the first to the
            last batch in which one was on the device; `peak_bytes` of its memory, None for the processor; `batch`, the
            most records in one at the end; `out_of_memory`, how often there was no room for one; and of an `embed`
            `cut`, the texts that had more tokens than the model takes.
        estimate: what the calls were estimated to come to before the run began, as `Estimate.to_dict` has it; None
            where that was not asked for.
        latency: what the latency blocks of this sitting came to, by their path `outer/inner`: count, how many failed,
            total, percentiles and maximum in seconds.
    """

    run_id: str
    outcome: str
    reason: str
    exit_code: int
    output: str
    run_folder: str
    records: Mapping[str, int]
    steps: Sequence[Mapping[str, int | str]]
    done: int
    before: int
    recalled: int
    reused: int
    calls: Mapping[str, Any]
    elapsed_s: float
    peak_rss_bytes: int
    tuned: Sequence[Mapping[str, Any]] = ()
    compute: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    estimate: Mapping[str, Any] | None = None
    latency: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    passed_over: Mapping[str, int] = field(default_factory=dict)

    def __repr__(self) -> str:
        records = ", ".join(f"{count:,} {name}" for name, count in self.records.items() if count) or "no records"
        return f"<Report: {self.outcome}{f' ({self.reason})' if self.reason else ''}; {records} → {self.output}>"

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return asdict(self)

    def to_json(self) -> bytes:
        """The report as a JSON file's bytes."""
        return orjson.dumps(self.to_dict(), option=orjson.OPT_INDENT_2)


def explain_start(run: OpenRun, sealed: int, *, is_retry: bool) -> str:
    """Where a run that was begun before goes on, in a line; empty for a new one.

    Args:
        sealed: records that earlier sittings have sealed.
        is_retry: whether quarantined and skipped records are tried again.
    """
    if is_retry:
        parts = [segment["quarantine"] for segment in run.segments if "quarantine" in segment]
        standing = sum(part["rows"] - part["retired"] for part in parts)
        return f"trying again {standing:,} records that were quarantined or skipped"
    if run.is_new:
        return ""
    if not sealed:
        return "going on: no record is sealed yet, what was paid for is used"
    done = f"going on after {sealed:,} records that are done"
    if not run.parts:
        return f"{done}: nothing is left in the source"
    place = run.parts[0]
    return f"{done}, in {place.name} at record {place.ordinal:,}" if place.name else done


def explain_reason(reason: BaseException | str | None) -> str:
    """Why a run ended, in the user's words, secrets masked."""
    if reason is None:
        return ""
    if isinstance(reason, str):
        return reason
    text = explain_error(reason)
    return text if isinstance(reason, TidemillError) else f"{type(reason).__name__}: {text}"


def add_unreleased(
    outcome: str, reason: BaseException | str | None, failures: Sequence[BaseException]
) -> tuple[str, BaseException | str | None]:
    """How a run ended and why, with what could not be released: a run that had finished has failed in that."""
    if not failures:
        return outcome, reason
    told = [reason] if EXIT_CODES[outcome] else []
    reasons = "\n  ".join(filter(None, map(explain_reason, [*told, *failures])))
    return outcome if EXIT_CODES[outcome] else "failed", reasons


def explain_breach(breach: str, cause: str, *, failed: int, quarantined: int, output: str) -> str:
    """Why too many failures ended a run, what became of the records, and how to see them.

    Args:
        breach: which bound was passed.
        cause: what the last failure was, as far as this sitting knows.
        failed, quarantined: records that failed, and those of them that are sealed: the others are tried again.
    """
    parts = [breach]
    if cause:
        parts.append(f"the last at {cause}")
    if failed > quarantined:
        again = f"{failed - quarantined:,} not sealed yet are tried again when the run goes on"
        parts.append(f"of {failed:,} that failed {quarantined:,} are quarantined, and {again}")
    if not quarantined:
        return "; ".join(parts)
    return "; ".join(parts) + f"\n  see them: tidemill show {output} --failures; again: tidemill retry {output}"


def explain_outage(outage: Outage) -> str:
    """That an endpoint was out of order when a run was stopped, and why."""
    return f"{outage.endpoint} was out of order and calls waited: {outage.error}"


def describe_calls(meter: Meter) -> dict[str, Any]:
    """The meter as the report shows it."""
    described = meter.describe()
    waited: Mapping[str, int] = described.pop("waited_us")
    return {**described, "waited_s": {what: round(us / 1e6, 3) for what, us in waited.items()}}


def save_report(report: Report, folder: RunFolder, disk: Disk) -> bool:
    """Put the report into the run folder, and say whether it stands there; a disk that is full keeps the last one."""
    try:
        disk.write_file(folder.report, report.to_json())
    except OSError:
        return False
    return True


def is_told(report: Report, folder: RunFolder) -> bool:
    """Whether the report in the run folder says the same end of the same run, and why it did not finish."""
    known = load_report(folder)
    if known is None or (known["run_id"], known["outcome"]) != (report.run_id, report.outcome):
        return False
    return report.exit_code == 0 or known["reason"] == report.reason


def load_report(folder: RunFolder) -> dict[str, Any] | None:
    """The report of the last sitting, None when there is none."""
    try:
        report: dict[str, Any] = orjson.loads(folder.report.read_bytes())
    except (OSError, ValueError):
        return None
    return report
