"""`async`/`await`: the same calls one by one, gathered, and as a durable job; a few of them, and many."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

import tidemill as tm
from calls import write_options
from children import run_child
from driving import WARM_UP
from rows import Cell, Row, Setting, render_ratio
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.wire import Request, Response
from tidemill.disk import Disk
from tidemill.jobs.running.report import Report
from tidemill.jobs.running.runner import Runner
from tidemill.resources.bridge import Bridge
from tidemill.testing import FaultProcess
from workload import API_KEY, JOB, MODEL, override_job, render_prompt, write_records

IDEA = "`async` / `await`"
ROUNDS = 2
"""Runs of those with many calls, in turns: other work on the machine makes one slower, never faster."""


def show_calls(setting: Setting) -> Row:
    """A handful of calls: nobody can be faster than the slowest one."""
    with FaultProcess(latency_s=setting.latency_s) as server:
        one_by_one_s, most_one_by_one = _time(server, lambda: _call_one_by_one(server, setting.calls))
        gathered_s, most_gathered = _time(server, lambda: asyncio.run(_gather(server.base_url, setting.calls)))
        cold = _Sitting(server, setting, "cold")
        server.reset()
        warm = _Sitting(server, setting, "warm")
        most = server.max_in_flight
    speed_ups = [render_ratio(one_by_one_s / each_s) for each_s in (gathered_s, warm.calls_s)]
    counts = {"max_in_flight": most, "landed": warm.report.records["landed"], "commits": warm.commits}
    return Row(
        IDEA,
        f"{setting.calls} calls of {setting.latency_s * 1e3:.0f} ms: one by one / `gather` / a durable job",
        [
            Cell(f"{one_by_one_s:.3f} s, {most_one_by_one} in flight", {"max_in_flight": most_one_by_one}),
            Cell(f"{gathered_s:.3f} s, {speed_ups[0]}, {most_gathered} in flight", {"max_in_flight": most_gathered}),
            Cell(f"{warm.calls_s:.3f} s, {speed_ups[1]}, {most} in flight", counts),
        ],
        note=f"with limits, a budget, retries and the ledger on: from the first call sent to the last reply committed "
        f"with fsync, in a process that has run the job once before; with opening the run, sealing it to Parquet and "
        f"closing it {warm.whole_s:.3f} s, the first time {cold.whole_s:.2f} s",
    )


def show_many_calls(setting: Setting) -> Row:
    """Thousands of calls in flight: what counts is what is left to do besides waiting."""
    calls, in_flight = setting.many_calls, setting.in_flight
    naive_s = calls * setting.latency_s
    source = write_records(setting.folder / "many.jsonl", calls)
    with FaultProcess(latency_s=setting.latency_s) as server:
        rounds = [
            (_run_bare(server, setting), _run_job(server, setting, source, f"many-{number}"))
            for number in range(ROUNDS)
        ]
    cells = [Cell(f"{naive_s:,.0f} s, computed", {"calls": 0})]
    usual, ours = (min(found, key=lambda each: float(each["wall_s"])) for found in zip(*rounds, strict=True))
    for found in (usual, ours):
        counts = {name: found[name] for name in ("calls", "max_in_flight", "commits", "fsyncs") if name in found}
        cells.append(Cell(f"{found['wall_s']:.2f} s, {render_ratio(naive_s / found['wall_s'])}", counts))
    return Row(
        IDEA,
        f"{calls:,} calls of {setting.latency_s * 1e3:.0f} ms, up to {in_flight:,} in flight: one by one / a tuned "
        f"bare `aiohttp` loop / a durable job",
        cells,
        note=f"each in a process of its own that has made {WARM_UP} calls before, the faster of {ROUNDS} runs. The "
        f"bare loop: uvloop, orjson, no limit on connections, the collector held back, nothing kept. Tidemill's: from "
        f"reading the job file to the sealed Parquet, with everything on as above; "
        f"{ours['wall_s'] / usual['wall_s']:.2f}x the bare loop's time",
    )


def _run_bare(server: FaultProcess, setting: Setting) -> dict[str, Any]:
    server.reset()
    arguments = (server.base_url, setting.many_calls, setting.in_flight, write_options())
    return {**run_child("client_aiohttp.py", *arguments), "max_in_flight": server.max_in_flight}


def _run_job(server: FaultProcess, setting: Setting, source: Path, name: str) -> dict[str, Any]:
    server.reset()
    warm_up, job = (
        override_job(source=source, output=output, base_url=server.base_url, concurrency=setting.in_flight)
        for output in (setting.folder / f"{name}-warm-up", setting.folder / name)
    )
    arguments = (JOB, json.dumps(warm_up), json.dumps(job), setting.many_calls, setting.in_flight)
    found = run_child("client_tidemill.py", *arguments)
    if found["missing"]:
        raise SystemExit("\n".join(["MISSING:", *found["missing"]]))
    return {**found, "max_in_flight": server.max_in_flight}


def _time(server: FaultProcess, call_all: Callable[[], object]) -> tuple[float, int]:
    """Seconds, and the most calls in flight at once."""
    server.reset()
    started = time.perf_counter()
    call_all()
    return time.perf_counter() - started, server.max_in_flight


def _payload(number: int) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": render_prompt(number)}]}


def _call_one_by_one(server: FaultProcess, calls: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    for number in range(calls):
        connection.request("POST", "/v1/chat/completions", json.dumps(_payload(number)))
        json.loads(connection.getresponse().read())["choices"][0]["message"]["content"]
    connection.close()


async def _gather(base_url: str, calls: int) -> None:
    async with aiohttp.ClientSession() as session:

        async def call(number: int) -> str:
            async with session.post(f"{base_url}/chat/completions", json=_payload(number)) as response:
                return str((await response.json())["choices"][0]["message"]["content"])

        await asyncio.gather(*map(call, range(calls)))


class _Sitting:
    """One run of the job, with the times of its calls and commits.

    Attributes:
        calls_s: from the first call sent to the last reply committed.
        whole_s: from opening the run to its report.
        commits: ledger commits from the first call on.
    """

    def __init__(self, server: FaultProcess, setting: Setting, name: str) -> None:
        source = write_records(setting.folder / f"{name}.jsonl", setting.calls)
        output = setting.folder / name
        overrides = override_job(source=source, output=output, base_url=server.base_url, concurrency=64)
        job = tm.load_job(JOB, [*overrides, f"models.fast.api_key={API_KEY}"])
        disk, transport = _TimingDisk(), _TimingTransport()
        started = time.perf_counter()
        with Bridge() as bridge:
            self.report: Report = bridge.run(Runner(job.spec, disk=disk, transport=lambda: transport).run())
        self.whole_s = time.perf_counter() - started
        committed = next(at for at in disk.committed_at if at >= max(transport.answered_at))
        self.calls_s = committed - min(transport.sent_at)
        self.commits = sum(1 for at in disk.committed_at if at >= min(transport.sent_at))


class _TimingDisk(Disk):
    """The disk, with the time each commit returned."""

    def __init__(self) -> None:
        self.committed_at: list[float] = []

    def perform(self, operation: str, path: Path, act: Callable[[], Any]) -> Any:
        result = act()
        if operation == "commit":
            self.committed_at.append(time.perf_counter())
        return result


class _TimingTransport(HttpTransport):
    """The transport, with the time each request went and each answer was there."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_at: list[float] = []
        self.answered_at: list[float] = []

    async def send(self, request: Request, timeout_s: float) -> Response:
        self.sent_at.append(time.perf_counter())
        response = await super().send(request, timeout_s)
        self.answered_at.append(time.perf_counter())
        return response
