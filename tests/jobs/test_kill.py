"""A run whose process is killed again and again ends as one that never was."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from victim import BLOCKED, CONCURRENCY, job_in, read_line, start
from workbench import check_folders, describe_failed, load_manifest, numbered, read_failed, read_output, write_records

from tidemill.data.sources.read import Read
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.testing import FaultProcess

SEED = 20
RECORDS = 500

IN_FLIGHT = ("in flight",)
# Durable operations of a seal, and of opening a run right after a process died there. The first manifest a process
# writes is that of opening, the second that of a seal.
SEALING = [
    ("sealing", "write", "part-*.parquet.tmp", "before"),
    ("sealing", "rename", "part-*.jsonl.zst", "after"),
    ("sealing", "write", "_manifest.json.tmp", "before", "2"),
]
RECOVERING = [
    None,
    ("recovering", "remove", "part-*", "after"),
    ("recovering", "rename", "_manifest.json", "before"),
]


def plan_kills(rng: random.Random) -> list[tuple[str, ...]]:
    """Twenty moments: three while sealing, two while recovering from that, the others with calls in flight."""
    kills: list[tuple[str, ...]] = [IN_FLIGHT] * 15
    places = sorted(rng.sample(range(1, 15), 3), reverse=True)
    for at, sealing, recovering in zip(places, SEALING, RECOVERING, strict=True):
        kills[at:at] = [sealing, recovering] if recovering else [sealing]
    return kills


def kill_in_flight(folder: Path, server: FaultProcess, more: int, half: str) -> int:
    """Kill the job once it has sent `more` calls; returns how many were in flight."""
    wanted = server.requests + more
    with start(folder, server.base_url, half=half):
        return int(server.wait_for(requests=wanted)["in_flight"])


def kill_at(folder: Path, server: FaultProcess, *blocking: str, half: str) -> None:
    """Kill the job at one durable operation."""
    with start(folder, server.base_url, *blocking, half=half) as process:
        assert read_line(process) == BLOCKED


def count_repeats(server: FaultProcess, wanted: Counter[str]) -> int:
    """Billed calls beyond those that the records come to."""
    return (Counter(server.billed_bodies) - wanted).total()


@pytest.fixture
def server() -> Iterator[FaultProcess]:
    with FaultProcess(latency_s=0.05) as process:
        yield process


@pytest.mark.parametrize("half", ["plain", "across"])
def test_twenty_kills(half: str, tmp_path: Path, server: FaultProcess) -> None:
    """SIGKILL with calls in flight, while sealing and while recovering: equal rows, few calls repeated.

    Whatever the source half: also one that mixes, shuffles, batches and repeats, with threads of its own.
    """
    rng = random.Random(SEED)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        write_records(folder / "records.jsonl", numbered(RECORDS))
    with start(whole, server.base_url, half=half) as process:
        assert process.wait() == 0
    wanted = Counter(server.billed_bodies)
    server.reset()
    kills = plan_kills(rng)
    sys.stdout.write(f"seed {SEED}: {kills}\n")
    for number, kill in enumerate(kills, 1):
        if kill == IN_FLIGHT:
            assert kill_in_flight(killed, server, rng.randrange(2, 45), half) > 0
        else:
            kill_at(killed, server, *kill[1:], half=half)
        assert count_repeats(server, wanted) <= number * CONCURRENCY, kill
        check_readable(job_in(killed, server.base_url, half).folders)
    with start(killed, server.base_url, half=half) as process:
        assert process.wait() == 0
    assert count_repeats(server, wanted) <= len(kills) * CONCURRENCY
    job, uncut = job_in(killed, server.base_url, half), job_in(whole, server.base_url, half)
    assert read_output(job.folders) == read_output(uncut.folders)
    assert describe_failed(read_failed(job.folders)) == describe_failed(read_failed(uncut.folders))
    assert load_report(job.folders)["steps"] == load_report(uncut.folders)["steps"]
    check_folders(job.folders)


def check_readable(folder: RunFolder) -> None:
    """Check that a pattern finds what the manifest names, whatever the kill left beside it."""
    if named := [part["name"] for part in load_manifest(folder)["parts"]]:
        assert list(Read(path=str(folder.output / "*.parquet")).parts()) == named


def load_report(folder: RunFolder) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(folder.report.read_bytes())
    return report
