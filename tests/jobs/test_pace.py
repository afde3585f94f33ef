"""How long what is finished waits to be sealed: `segment.age_s`, however fast records are read or finish."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from workbench import FarSide, ask, make_job, make_model, numbered, run_job

from tidemill.calls.engine import Engine
from tidemill.calls.limits import Limits
from tidemill.data.sources.iterable import FromIterable
from tidemill.jobs.landing.pace import FIRST_PER_S, Pace
from tidemill.jobs.landing.stretch import SegmentLimits, Stretch
from tidemill.jobs.reading.reader import Reader
from tidemill.jobs.records.chunk import Chunk, PartPosition, SourceTotals
from tidemill.jobs.records.root import Mark, Root
from tidemill.jobs.window.limits import WindowLimits
from tidemill.jobs.window.opening import open_steps
from tidemill.jobs.window.window import Window
from tidemill.protocols import RecordIterator, State
from tidemill.resources.scope import Scope
from tidemill.testing import run_virtual

STEPS = 3
"""Source, one step, sink."""


def read_all(count: int) -> Reader:
    """A reader of so many records."""
    source = FromIterable(iterable=numbered(count))
    return Reader(source, [], [PartPosition("iterable", 0)], totals=SourceTotals(), steps=STEPS)


def test_the_pace_is_that_of_late() -> None:
    """Steady, it is what it is; after a change the old one is soon forgotten; before the first it is assumed."""
    pace = Pace(0.0, memory_s=10.0)
    assert pace.estimate(0.0) == FIRST_PER_S
    assert pace.estimate(5.0) == 1 / 5
    now = 5.0
    for per_s, seconds in ((50, 60), (2, 60)):
        for _ in range(per_s * seconds):
            now += 1 / per_s
            pace.note(1)
            pace.estimate(now)
        assert pace.estimate(now) == pytest.approx(per_s, rel=0.2)


def test_no_chunk_is_larger_than_what_is_due() -> None:
    """However quick reading is; told more, it grows again."""
    reader = read_all(300)
    sizes: list[int] = []
    for due in (1, 5, 5, 5, 5, 256, 256):
        reader.due_records = due
        chunk = reader.next_chunk()
        assert chunk is not None
        sizes.append(len(chunk.rows))
    reader.close()
    assert sizes == [1, 2, 4, 5, 5, 32, 64]


@pytest.mark.parametrize(
    ("slots", "latency_s", "age_s"), [(8, 0.8, 2.0), (64, 6.4, 3.0), (1, 0.5, 4.0), (64, 0.1, 2.0)]
)
def test_nothing_finished_waits_longer_than_it_may(slots: int, latency_s: float, age_s: float, tmp_path: Path) -> None:
    """To the second, since age is looked at once a second; or as long as a call takes that was read with it."""
    waits = run_virtual(measure_waits(slots, latency_s, age_s, tmp_path))
    assert len(waits) == 600
    assert max(waits) <= max(age_s, latency_s) + 1.0


async def measure_waits(slots: int, latency_s: float, age_s: float, folder: Path) -> list[float]:
    """Run records through a window into a stretch that is cut when it is old: how long each has waited then."""
    loop = asyncio.get_running_loop()
    reader, stretch = read_all(600), Stretch(STEPS, SegmentLimits(age_s=age_s), loop.time())
    arrived: dict[int, float] = {}
    waits: list[float] = []

    def cut() -> None:
        waits.extend(loop.time() - arrived[landed.ordinal] for landed in stretch.cut().landed)

    def deliver(entry: Root | Mark) -> None:
        if isinstance(entry, Root):
            arrived[entry.ordinal] = loop.time()
            stretch.add_roots([entry], loop.time())
        else:
            stretch.add_mark(entry)
        if stretch.is_old(loop.time()):
            cut()

    async def next_chunk() -> Chunk | None:
        reader.due_records = stretch.due_records(loop.time())
        return reader.next_chunk()

    async def tick() -> None:
        while True:
            await asyncio.sleep(1.0)
            if stretch.is_old(loop.time()):
                cut()

    node = ask(model=make_model(limits=Limits(concurrency=slots)))
    async with Engine(FarSide(latency_s=latency_s).connect(), rng=random.Random(1)) as engine, Scope() as scope:
        steps = open_steps([node], ["generate"], first=1, engine=engine, scope=scope, folder=folder)
        ticks = asyncio.create_task(tick())
        await Window(next_chunk, steps, WindowLimits(workers=slots), deliver).run()
        ticks.cancel()
        cut()
    return waits


class CountedSource(FromIterable):
    """Counts the chunks that are read: a reader asks for the state at the start, and at the end of each."""

    def open_part(self, part: str, state: State | None = None) -> Any:
        return CountedIterator(super().open_part(part, state))


class CountedIterator:
    chunks = 0

    def __init__(self, records: RecordIterator) -> None:
        self._records = records
        self.close = records.close

    def __iter__(self) -> CountedIterator:
        return self

    def __next__(self) -> Any:
        return next(self._records)

    def state(self) -> State:
        CountedIterator.chunks += 1
        return self._records.state()


@pytest.mark.parametrize(("age_s", "least", "most"), [(0.001, 60, 302), (300.0, 1, 59)])
async def test_a_run_reads_as_its_records_finish(tmp_path: Path, age_s: float, least: int, most: int) -> None:
    """In small chunks where what is finished may not wait, in large ones where it may."""
    CountedIterator.chunks = 0
    source = CountedSource(iterable=numbered(300))
    job = make_job(tmp_path, [ask()], source=source, sink={"segment": {"age_s": age_s}})
    report = await run_job(job, FarSide(latency_s=0.001))
    assert report.outcome == "finished"
    assert least <= CountedIterator.chunks <= most
