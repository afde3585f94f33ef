"""Functions behind a call: a slow one leaves the loop to the calls in flight."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from workbench import FarSide, ask, make_job, numbered, read_failed, read_output, run_job, write_records

from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter, FlatMap, Map


class Pulse:
    """Whether the loop goes on while a function is at work, as that function saw it; made in the loop's own thread.

    `watch` is slow: it waits for the loop to go on, except in that thread, where the loop waits for it.
    """

    def __init__(self) -> None:
        self._home = threading.get_ident()
        self.seen: list[bool] = []
        self.at_work = self.most_at_work = 0
        self._beat, self._never = threading.Event(), threading.Event()

    def watch(self, result: Any) -> Any:
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        is_beside = threading.get_ident() != self._home
        for _ in range(2):
            self._beat.clear()
            if is_beside:
                assert self._beat.wait(30)
            self._never.wait(0.008 if is_beside else 0.1)
        self.seen.append(is_beside)
        self.at_work -= 1
        return result

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        async def beat() -> None:
            while True:
                self._beat.set()
                await asyncio.sleep(0)

        task = asyncio.create_task(beat())
        try:
            yield
        finally:
            task.cancel()


MADE: dict[str, Callable[[Callable[[Any], Any]], Node]] = {
    "map": lambda watch: Map(fn=watch),
    "filter": lambda watch: Filter(fn=lambda record: watch(True)),
    "flat_map": lambda watch: FlatMap(fn=lambda record: (watch(child) for child in [record])),
}


@pytest.mark.parametrize("kind", MADE)
async def test_a_slow_function_leaves_the_loop_to_the_calls(tmp_path: Path, kind: str) -> None:
    """Once it was slow it works beside the loop, still one call of it at a time; what comes out is the same."""
    write_records(tmp_path / "records.jsonl", numbered(30))
    pulse, far = Pulse(), FarSide()
    job = make_job(tmp_path, [ask("{{ text }}", into="a"), MADE[kind](pulse.watch), ask("again {{ text }}", into="b")])
    async with pulse.beating():
        report = await run_job(job, far)
    assert report.outcome == "finished"
    assert [record["id"] for record in read_output(job.folders)] == list(range(30))
    assert len(far.billed) == 60
    assert pulse.seen.count(False) == 1, "the first call alone, before it was known to be slow"
    assert pulse.most_at_work == 1


async def test_a_function_that_was_slow_only_at_first_comes_back(tmp_path: Path) -> None:
    """Such as one that imports a module: it is no slower for that in the end."""
    write_records(tmp_path / "records.jsonl", numbered(100))
    threads: list[str] = []
    pulse = Pulse()

    def warm_up(record: dict[str, Any]) -> dict[str, Any]:
        threads.append(threading.current_thread().name)
        return pulse.watch(record) if len(threads) == 1 else record

    await run_job(make_job(tmp_path, [ask("{{ text }}"), Map(fn=warm_up)]), FarSide())
    here = threading.current_thread().name
    assert threads[0] == threads[-1] == here
    assert any(name != here for name in threads)


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration(), SystemExit(3), KeyboardInterrupt()])
async def test_a_slow_function_fails_its_record_alone(tmp_path: Path, error: BaseException) -> None:
    """Whatever it raises beside the loop means what it means on it."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    pulse = Pulse()

    def fail(record: dict[str, Any]) -> dict[str, Any]:
        pulse.watch(record)
        if record["id"] == 11:
            raise error
        return record

    job = make_job(tmp_path, [ask("{{ text }}"), Map(fn=fail)])
    async with pulse.beating():
        report = await run_job(job, FarSide())
    assert (report.records["landed"], report.records["quarantined"]) == (19, 1)
    (failed,) = read_failed(job.folders)
    assert failed.ordinal == 11
    assert type(error).__name__ in str(failed.error)
