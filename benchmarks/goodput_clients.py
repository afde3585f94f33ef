"""Clients and their servers: each client a process of its own against a server of its own."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from children import finish_child, start_child
from goodput_figures import Outcome
from goodput_scenarios import Scenario
from tidemill.errors import ResourceError
from tidemill.testing.faults import FaultProcess
from workload import JOB, WORK, override_job, write_records

OURS, SCRIPT = "Tidemill", "semaphore script"
LATE_S = 90.0
"""What a run may take beyond what it should: then it is ended, and what it did not do is not done."""
MOST_PER_S = 700
"""Records a second that a run is given which is ended: more than any client here gets answered."""


@dataclass(frozen=True)
class Place:
    """Where the clients work.

    Attributes:
        folder: for their files.
        options: the fields that a request has beside its messages, as a JSON file.
    """

    folder: Path
    options: Path


def run_both(scenario: Scenario, place: Place) -> dict[str, Outcome]:
    """Tidemill and the semaphore script, at the same time."""
    with ThreadPoolExecutor(2) as pool:
        running = {name: pool.submit(run_client, name, scenario, place) for name in (OURS, SCRIPT)}
        return {name: each.result() for name, each in running.items()}


def run_client(name: str, scenario: Scenario, place: Place) -> Outcome:
    """One client from its start to its end."""
    records = scenario.records if scenario.records is not None else MOST_PER_S * scenario.length_s
    with FaultProcess(load=scenario.load, faults=scenario.faults) as server:
        process = _start(name, scenario, place, server.base_url, records)
        try:
            _await_first(server, process)
            if scenario.records is None:
                time.sleep(scenario.length_s + 0.5)
                reached_s = (math.inf, math.inf)
            else:
                reached_s = _await_records(server, scenario.records, scenario.length_s + LATE_S)
            told = _end(process, is_over=math.isfinite(reached_s[1]))
        finally:
            if process.poll() is None:
                process.kill()
        # What is let in at the end is answered later, and the oracle counts what is let in.
        held_s = scenario.load.latency.mean_s if scenario.load.latency is not None else 0.0
        judged_s = scenario.start_s, scenario.length_s
        oracle = server.oracle(max(0.0, judged_s[0] - held_s), judged_s[1] - held_s)["sustained"]
        return Outcome(
            records=records,
            timeline=server.timeline(),
            stats=server.stats(),
            delays_s=server.delays_s(),
            oracle=oracle,
            judged_s=judged_s,
            told=told,
            reached_s=reached_s,
        )


def _start(name: str, scenario: Scenario, place: Place, base_url: str, records: int) -> subprocess.Popen[str]:
    if name == SCRIPT:
        return start_child("client_semaphore.py", base_url, records, scenario.in_flight, place.options)
    folder = place.folder / f"{base_url.rpartition(':')[2].partition('/')[0]}"
    shutil.rmtree(folder, ignore_errors=True)
    source = write_records(folder / "reviews.jsonl", records)
    overrides = override_job(source=source, output=folder / "out", base_url=base_url, concurrency=1)
    limits = {"requests_per_minute": None, **scenario.limits}  # without the job's own rate
    overrides += [f"models.fast.limits={json.dumps(limits)}", "run.grace_s=2"]
    return start_child("client_goodput.py", JOB, json.dumps(overrides))


def _await_first(server: FaultProcess, process: subprocess.Popen[str]) -> None:
    """Until the first call has come.

    Raises:
        SystemExit: the client ended before; its output is in the message.
    """
    while True:
        try:
            server.wait_for(requests=1, timeout_s=2.0)
        except ResourceError:
            if process.poll() is not None:
                finish_child(process)
                raise
        else:
            return


def _await_records(server: FaultProcess, records: int, timeout_s: float) -> tuple[float, float]:
    """Seconds until 99 %, and until all of the records had a good reply; infinity for what does not come in time."""
    started = time.monotonic()
    reached_s = [math.inf, math.inf]
    for index, count in enumerate((math.ceil(0.99 * records), records)):
        try:
            server.wait_for(good=count, timeout_s=max(0.1, started + timeout_s - time.monotonic()))
        except ResourceError:
            break
        reached_s[index] = time.monotonic() - started
    return reached_s[0], reached_s[1]


def _end(process: subprocess.Popen[str], *, is_over: bool) -> Mapping[str, Any]:
    """What the client told at its end, which comes by itself where the run is over."""
    if is_over:
        return finish_child(process)
    process.send_signal(signal.SIGINT)
    return finish_child(process)


def open_place(options: Path) -> Place:
    """An empty folder for the clients."""
    folder = WORK / "goodput"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Place(folder, options)
