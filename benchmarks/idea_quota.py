"""`async`/`await`: as many calls as a server lets through that refuses what is too much, and halves it in the midst."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import aiohttp

import tidemill as tm
from idea_calls import IDEA
from rows import WAYS, Cell, Row, Setting, render_ratio
from tidemill.testing import FaultProcess
from tidemill.testing.faults import Load, Quota, Steps
from workload import JOB, MODEL, override_job, render_prompt, write_records

RATE = 100
"""Calls a second that are let through at first."""

IN_FLIGHT = 64
FIXED_S = 1.0
SHORTEST_S, LONGEST_S = 1.0, 60.0
LATE_S = 0.5
"""The clients go on for so long beyond what is judged."""


class _Got(NamedTuple):
    """What became of one way's calls.

    Attributes:
        good: answered within the time.
        most: of them, what the server would have let through to who takes everything as soon as it is there.
        refused: answered with 429.
        repeats: billed although they had been billed before.
    """

    good: int
    most: float
    refused: int
    repeats: int


def show_quota(setting: Setting) -> Row:
    """Each way against a server of its own, all at the same time."""
    clients: dict[str, Callable[[str], None]] = {
        "naive": lambda base_url: asyncio.run(_call_all(base_url, setting, lambda *_: FIXED_S)),
        "usual": lambda base_url: asyncio.run(_call_all(base_url, setting, _draw_exponential)),
        "tidemill": lambda base_url: _run_job(base_url, setting),
    }
    with ThreadPoolExecutor(len(WAYS)) as pool:
        found = list(pool.map(lambda way: _measure(setting, clients[way]), WAYS))
    naive = found[0]
    cells = []
    for got in found:
        text = f"{got.good / got.most:.0%} of what there was, "
        if got is not naive:
            text += f"{render_ratio(got.good / naive.good)}, "
        counts = {"good": got.good, "refused": got.refused, "repeats": got.repeats}
        cells.append(Cell(f"{text}{got.refused} refused", counts))
    half_s = setting.quota_s / 2
    return Row(
        IDEA,
        f"{RATE} calls a second let through, after {half_s:g} s {RATE // 2}, refused ones counted, "
        f"{setting.quota_s:g} s in all: semaphore, fixed back-off / semaphore, exponential back-off / a durable job, "
        f"`concurrency: auto`",
        cells,
        note=f"good answers in the time, of the most that anyone could have had; the server tells its limits and when "
        f"to come back, and refused calls count against the quota, as OpenAI's do. Both scripts have {IN_FLIGHT} calls "
        f"in flight; the naive one waits {FIXED_S:g} s, the usual one a random time whose bound doubles from "
        f"{SHORTEST_S:g} to {LONGEST_S:g} s, or as long as `Retry-After` says. Servers that "
        f"count or tell otherwise: docs/lab-notes.md",
    )


def _measure(setting: Setting, call_all: Callable[[str], None]) -> _Got:
    # Refused calls count: https://help.openai.com/en/articles/5955604.
    steps = Steps(factors=(1, 0.5), each_s=setting.quota_s / 2)
    quota = Quota(requests_per_minute=RATE * 60, window_s=1, counts_refused=True, steps=steps)
    with FaultProcess(latency_s=setting.latency_s, load=Load(quotas=(quota,))) as server:
        call_all(server.base_url)
        seconds = server.timeline()[: int(setting.quota_s)]
        stats = server.stats()
        most = server.oracle(0, setting.quota_s)["most"]
    return _Got(sum(each["good"] for each in seconds), most, stats["refused"], stats["repeats"])


def _count_records(setting: Setting) -> int:
    """More than anyone gets answered in the time."""
    return int(2 * RATE * (setting.quota_s + LATE_S))


def _draw_exponential(failures: int, asked_s: float) -> float:
    """As tenacity's `wait_random_exponential(min=1, max=60)`, which OpenAI's cookbook shows; longer where asked to."""
    return max(asked_s, random.uniform(SHORTEST_S, max(SHORTEST_S, min(LONGEST_S, 2.0**failures))))


async def _call_all(base_url: str, setting: Setting, draw_pause_s: Callable[[int, float], float]) -> None:
    """The script everybody writes; `draw_pause_s` of the failures so far and of `Retry-After` in seconds."""
    semaphore = asyncio.Semaphore(IN_FLIGHT)

    async def call(number: int) -> str:
        payload = {"model": MODEL, "messages": [{"role": "user", "content": render_prompt(number)}]}
        async with semaphore:
            failures = 0
            while True:
                async with session.post(f"{base_url}/chat/completions", json=payload) as response:
                    if response.status == 200:
                        return str((await response.json())["choices"][0]["message"]["content"])
                    asked_s = float(response.headers.get("retry-after", 0))
                await asyncio.sleep(draw_pause_s(failures, asked_s))
                failures += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(setting.quota_s + LATE_S):
                await asyncio.gather(*map(call, range(_count_records(setting))))


def _run_job(base_url: str, setting: Setting) -> None:
    source = write_records(setting.folder / "quota.jsonl", _count_records(setting))
    overrides = override_job(source=source, output=setting.folder / "quota", base_url=base_url, concurrency=1)
    limits = json.dumps({"concurrency": "auto", "requests_per_minute": None})  # no rate but what is found out
    bounds = [f"models.fast.limits={limits}", f"budget.deadline={setting.quota_s + LATE_S}", "run.grace_s=1"]
    tm.load_job(JOB, [*overrides, *bounds]).run(progress=False)
