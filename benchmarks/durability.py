"""Did everything really become durable? Counts what the run does to its disk, and checks it against what it left.

Counted, without a tracer: every operation that passes the one door to durable operations (`Disk.perform`), every
`os.fsync`, and at each commit the ledger's `synchronous` and `journal_mode`, since with FULL and WAL one commit of
SQLite is one fsync (https://www.sqlite.org/pragma.html#pragma_synchronous). That no reply got past the ledger follows
from the slots: a call holds one until its commit returned, so a commit makes at most `concurrency` replies durable.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tidemill as tm
from tidemill.disk import Disk
from tidemill.jobs.ledger.database import open_ledger
from tidemill.jobs.ledger.folder import locate_run
from tidemill.jobs.ledger.segments import iter_calls
from tidemill.jobs.running.report import Report

FULL_WAL = (2, "wal")


class DiskCounter:
    """Counts durable operations of this process from its making on."""

    def __init__(self) -> None:
        self.operations: Counter[str] = Counter()
        self.fsyncs = 0
        self.modes: set[tuple[Any, Any]] = set()
        perform, commit, fsync = Disk.perform, Disk.commit, os.fsync

        def counting_perform(disk: Disk, operation: str, path: Path, act: Callable[[], Any]) -> Any:
            self.operations[operation] += 1
            return perform(disk, operation, path, act)

        def counting_commit(disk: Disk, connection: sqlite3.Connection, path: Path) -> None:
            commit(disk, connection, path)
            if self.operations["commit"] % 100 == 1:
                self.modes.add((_ask(connection, "synchronous"), _ask(connection, "journal_mode")))

        def counting_fsync(descriptor: Any) -> None:
            self.fsyncs += 1
            fsync(descriptor)

        Disk.perform = counting_perform  # type: ignore[method-assign,assignment]
        Disk.commit = counting_commit  # type: ignore[method-assign,assignment]
        os.fsync = counting_fsync  # type: ignore[assignment]

    def reset(self) -> None:
        """Count from zero."""
        self.operations.clear()
        self.modes.clear()
        self.fsyncs = 0


def _ask(connection: sqlite3.Connection, pragma: str) -> Any:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]


def find_missing(counter: DiskCounter, report: Report, *, records: int, concurrency: int) -> list[str]:
    """What a finished run of the benched job over `records` new records should have left or done, and did not."""
    ids = [record["id"] for record in tm.dataset(report.output) if record["label"]["sentiment"]]
    folder = locate_run(report.output)
    with open_ledger(folder.ledger, Disk()) as ledger:
        segments = ledger.load_segments()
        unsealed = sum(1 for _ in ledger.iter_frames())
    archived = sum(1 for segment in segments for _ in iter_calls(folder.call_part(segment["number"])))
    operations = counter.operations
    least_commits = -(-records // concurrency) + len(segments)
    least_writes = 3 * len(segments)  # output part, call archive, manifest
    durable = operations["write"] + operations["sync_folder"]
    faults = {
        f"the run ended as {report.outcome}: {report.reason}": report.outcome != "finished",
        f"{len(ids):,} rows in the output, not {records:,} in order": ids != list(range(records)),
        f"{archived:,} replies in the call archives, not {records:,}": archived != records,
        f"{unsealed:,} ledger rows were left unsealed": unsealed > 0,
        f"{operations['commit']:,} ledger commits, fewer than {least_commits:,}": operations["commit"] < least_commits,
        f"the ledger ran with {counter.modes}, not {FULL_WAL}": counter.modes != {FULL_WAL},
        f"{operations['write']:,} files written, fewer than {least_writes:,}": operations["write"] < least_writes,
        f"{counter.fsyncs:,} fsyncs for {durable:,} files and folders": counter.fsyncs != durable,
    }
    return [fault for fault, is_there in faults.items() if is_there]
