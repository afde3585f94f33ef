"""Looking into a run from outside: its status, its records, its replies, its failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import orjson

from tidemill.agents.calling.outcome import ROW_OF_TOOL, ToolOutcome
from tidemill.config.secrets import mask
from tidemill.data.nodes.keeping import iter_streams
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import find_row_files
from tidemill.data.sources.rows import RowSource
from tidemill.disk import Disk
from tidemill.errors import ConfigError, DataError, StateError, TidemillError
from tidemill.jobs.ledger.database import Ledger, open_ledger
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.rows import parse_call
from tidemill.jobs.ledger.segments import iter_calls, iter_failed
from tidemill.jobs.live.estimate import Estimate, Measured, estimate_calls
from tidemill.jobs.live.sampling import SampleLimits
from tidemill.jobs.running.kept import iter_kept
from tidemill.jobs.running.report import Report, load_report
from tidemill.jobs.running.status import RUNNING, load_status
from tidemill.jobs.spec.flow import has_workers
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.messages import Reply
from tidemill.models.steps.embed import Embedding

MEASURED_PARTS = 8
MEASURED_CALLS = 5_000
"""Call archives, and replies in each, that an estimate goes by."""
REASONS_FROM = 1_000
"""Records in quarantine that are looked at to say why records failed."""


def read_status(folder: RunFolder) -> dict[str, Any] | Report:
    """What a running run last published; of one at rest, the report of its last sitting.

    Of a sitting that was killed, or had no room for its report, what it published last.

    Raises:
        StateError: it ended before it could report anything.
    """
    try:
        with open_ledger(folder.ledger, Disk()) as ledger:
            return _read_rest(folder, ledger)
    except StateError:
        status = load_status(folder)
        if status is None:
            raise
        return status


def _read_rest(folder: RunFolder, ledger: Ledger) -> dict[str, Any] | Report:
    """A run that nobody runs: its report, unless a sitting after it left none."""
    status = load_status(folder)
    if status is not None:
        return {**status, "state": "killed; run it again and it goes on"} if status["state"] == RUNNING else status
    report = load_report(folder)
    if report is None:
        sealed = sum(ledger.load_meta("sealed", {}).values())
        raise StateError(
            f"the run ended before its first report; {sealed} records are sealed",
            where=str(folder.run),
            hint="run it again and it goes on",
        )
    return Report(**report)


def read_job_file(folder: RunFolder, overrides: Sequence[str] = ()) -> tuple[Path, list[str]]:
    """The job file a run was started from, and what was put in over it then, followed by `overrides`.

    Raises:
        ConfigError: it was started from Python; or with an override that no file keeps, since it holds a secret, and
            `overrides` does not give it again.
    """
    info = orjson.loads(folder.info.read_bytes())
    if info["job_file"] is None:
        raise ConfigError(
            "this run was started from Python, and no job file describes it",
            where=str(folder.run),
            hint="call it there: stream.write(…, retry=True)",
        )
    given = {override.partition("=")[0].strip() for override in overrides}
    missing = [label for label in info.get("left_out", ()) if label not in given]
    if missing:
        again = " ".join(f"--set {label}=…" for label in missing)
        raise ConfigError(
            f"this run was started with {again}, which may hold a secret and was not kept",
            where=str(folder.run),
            hint=f"give it again: {again}; or name the job file instead of the folder",
        )
    return Path(info["job_file"]), [*info["overrides"], *overrides]


def read_records(folder: RunFolder, count: int) -> list[dict[str, Any]]:
    """The first landed records; of a running run, those sealed so far."""
    rows = find_row_files(folder.output).rows
    return list(rows.iter_rows(0, min(count, rows.count_rows())))


def read_replies(folder: RunFolder, count: int) -> list[dict[str, Any]]:
    """The first replies as archived: identity, step, call number, reply, attempts."""
    with open_ledger(folder.ledger, Disk()) as ledger:
        return list(islice(_iter_replies(folder, ledger), count))


def read_failures(folder: RunFolder, count: int) -> list[dict[str, Any]]:
    """The first records that stand in quarantine: identity, step, why, and the record."""
    return list(_iter_failures(folder, count))


def _iter_failures(folder: RunFolder, count: int) -> Iterator[dict[str, Any]]:
    with open_ledger(folder.ledger, Disk()) as ledger:
        rows = (row for segment in ledger.load_segments() for row in iter_failed(folder, segment, standing=True))
        for row in islice(rows, count):
            yield {
                "part": row.part,
                "record": ".".join(map(str, (row.ordinal, *row.path))),
                "step": row.place,
                "outcome": row.outcome,
                "error": f"{row.error['type']}: {row.error['message']}",
                "where": row.error.get("where", ""),
                "at": row.error.get("at", ""),
                "value": row.record if row.raw is None else row.raw.decode("utf-8", "backslashreplace"),
            }


def count_reasons(folder: RunFolder, most: int = 3) -> list[tuple[int, str]]:
    """The commonest reasons for quarantine among the first records that stand in it, the most frequent first."""
    reasons = Counter(map(_describe_reason, _iter_failures(folder, REASONS_FROM)))
    return [(count, reason) for reason, count in reasons.most_common(most)]


def _describe_reason(row: dict[str, Any]) -> str:
    at = f" ({row['at']})" if row["at"] else ""
    return f"{row['step']}: {row['error'].splitlines()[0][:160]}{at}"


def estimate_job(job: JobSpec, *, seconds: float, limit: int | None = None) -> Estimate | None:
    """What the calls of `job` will come to; None where that would take more than a look at its source.

    What its own run has measured so far is gone by. An iterable is left alone, also one that is joined with, and so are
    steps with workers, which a check does not start.

    Raises:
        DataError: every record tried fails.
    """
    before, rest = job.halves
    read = list(iter_streams(job.source, before))
    is_readable = all(isinstance(source, (Read, RowSource)) for source, _ in read)
    if not (rest and is_readable) or any(has_workers(node) for _, nodes in read for node in nodes):
        return None
    limits = SampleLimits(seconds=seconds, is_strict=True)
    try:
        measured = measure_run(job.folders)
        return estimate_calls(job.source, job.steps, folder=job.folder, limits=limits, limit=limit, measured=measured)
    except DataError:
        raise
    except TidemillError:  # whatever is wrong is told by the check, or by the run
        return None


def measure_run(folder: RunFolder) -> dict[str, Measured]:
    """What the calls of each step that asks a model for texts came to in a run, by the replies it has archived.

    Reads a sample of them, and the files only: the run may be running. Empty where nothing is archived.
    """
    parts = sorted(folder.call_part(1).parent.glob("part-*.jsonl.zst"))
    tokens: dict[str, dict[Any, list[int]]] = {}
    for part in parts[:: max(1, -(-len(parts) // MEASURED_PARTS))]:
        for line in islice(iter_calls(part), MEASURED_CALLS):
            (*identity, step, _), _, reply, _ = parse_call(line.rstrip(b"\n"))
            usage = reply[2] if len(reply) > 3 else None
            if usage is not None:
                known = tokens.setdefault(step, {}).setdefault(tuple(identity), [0, 0, 0])
                known[:] = known[0] + 1, known[1] + usage[0], known[2] + usage[1]
    return {step: _measure(list(records.values())) for step, records in tokens.items()}


def _measure(records: Sequence[Sequence[int]]) -> Measured:
    """The averages of calls, input and output tokens of each record."""
    calls, inputs, outputs = zip(*records, strict=True)
    error = stdev(outputs) / math.sqrt(len(outputs)) if len(outputs) > 1 else 0.0
    return Measured(len(records), fmean(calls), fmean(inputs), fmean(outputs), error)


def _iter_replies(folder: RunFolder, ledger: Ledger) -> Iterator[dict[str, Any]]:
    for line in chain.from_iterable(stretch.lines for stretch in iter_kept(folder, ledger)):
        (part, ordinal, path, step, number), _, reply, attempts = parse_call(line)
        yield {
            "part": part,
            "record": ".".join(map(str, (ordinal, *path))),
            "step": step,
            "call": number,
            **_describe_reply(reply),
            "attempts": attempts,
        }


def _describe_reply(row: list[Any]) -> dict[str, Any]:
    """What a kept reply says: a model's, a function's, a vector or a tool's, told from each other by their length."""
    if len(row) == 1:
        return {"reply": mask(orjson.dumps(row[0]).decode())}
    if len(row) == 2:
        embedding = Embedding.from_row(row)
        tokens = None if embedding.usage is None else [embedding.usage.input_tokens, embedding.usage.output_tokens]
        return {"reply": embedding.describe(), "tokens": tokens}
    if len(row) == ROW_OF_TOOL:
        outcome = ToolOutcome.from_row(row)
        return {"tool": outcome.tool, "outcome": outcome.kind, "reply": mask(outcome.content)}
    reply = Reply.from_row(row)
    called = "; ".join(f"{call['name']}({call['arguments']})" for call in reply.tool_calls)
    told = {"reply": mask(reply.text or reply.refusal or called), "finish_reason": reply.finish_reason}
    return {**told, "tokens": row[2]}
