"""A job in a process of its own, to be killed: `python victim.py FOLDER BASE_URL HALF [BLOCKING…]`.

HALF says which source half it has: `plain`, or one `across` records. BLOCKING is OPERATION PATTERN MOMENT NUMBER.

Given an operation, it stops for ever at the first one (or the one with that number) on a file of that pattern, before
or after it is done, and says so on standard output.
"""

from __future__ import annotations

import fnmatch
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from workbench import ask, label, make_job, make_model

from tidemill.calls.limits import Limits
from tidemill.data.flow import Flow
from tidemill.data.joined.mixed import Mix
from tidemill.data.nodes.across import Batch, Every, Prefetch, Repeat, Shuffle, Take
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter, FlatMap, Map, Unbatch
from tidemill.data.sources.read import Read
from tidemill.disk import Disk
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.spec.job import JobSpec
from tidemill.resources.bridge import Bridge

CONCURRENCY = 16
BLOCKED = "blocked\n"

T = TypeVar("T")


class BlockingDisk(Disk):
    """A disk that never returns from one operation."""

    def __init__(self, operation: str, pattern: str, moment: str, number: str = "1") -> None:
        self.operation = operation
        self.pattern = pattern
        self.moment = moment
        self.left = int(number)

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        is_meant = operation == self.operation and fnmatch.fnmatch(path.name, self.pattern)
        self.left -= is_meant
        is_the_one = is_meant and self.left == 0
        if is_the_one and self.moment == "before":
            self.block()
        result = act()
        if is_the_one:
            self.block()
        return result

    def block(self) -> None:
        """Say so, and wait until the parent is gone."""
        sys.stdout.write(BLOCKED)
        sys.stdout.flush()
        sys.stdin.read()


@contextmanager
def start(folder: Path, base_url: str, *blocking: str, half: str = "plain") -> Iterator[subprocess.Popen[str]]:
    """The job's process; it is dead when the block ends."""
    command = [sys.executable, __file__, str(folder), base_url, half, *blocking]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line the process writes."""
    assert process.stdout is not None
    return process.stdout.readline()


def is_wanted(record: dict[str, Any]) -> bool:
    return bool(record["id"] % 9)


def fan_out(record: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**record, "side": side} for side in range(record["id"] % 3)]


def tag(record: dict[str, Any]) -> dict[str, Any]:
    if record["id"] % 50 == 17:
        raise ValueError("17 of 50")
    return {**record, "tag": record["id"] % 3}


def mix_in(folder: Path) -> Mix:
    """The records in two streams by weight, one of them shuffled."""
    read = Read.model_validate({"path": "records.jsonl"}, context={"folder": folder})
    flows = [Flow(read, (Shuffle(buffer=64),)), Flow(read, (Take(count=100),))]
    return Mix(flows, weights=[3, 1], seed=1, stop="all")


ACROSS: list[Node] = [
    Map(fn=tag, concurrency=3),
    Repeat(epochs=2),
    Shuffle(buffer=100),
    Batch(size=7, drop_last=True),
    Prefetch(count=3),
    Unbatch(),
    Every(count=2),
]
"""A source half of steps that look across records, or have workers, over joined streams."""


def job_in(folder: Path, base_url: str, half: str = "plain") -> JobSpec:
    """The job over `records.jsonl` in `folder`."""
    model = make_model(base_url=base_url, limits=Limits(concurrency=CONCURRENCY))
    steps = [
        *(ACROSS if half == "across" else []),
        Filter(fn=is_wanted),
        label(model=model),
        FlatMap(fn=fan_out),
        ask("Side {{ side }} of {{ text }}: {{ label.topic }}", model=model),
    ]
    source = mix_in(folder) if half == "across" else "records.jsonl"
    return make_job(folder, steps, source=source, sink={"format": "parquet", "segment": SegmentLimits(records=40)})


def main() -> None:
    folder, base_url, half, *blocking = sys.argv[1:]
    disk = BlockingDisk(*blocking) if blocking else Disk()
    with Bridge() as bridge:
        report = bridge.run(Runner(job_in(Path(folder), base_url, half), disk=disk).run())
    sys.exit(report.exit_code)


if __name__ == "__main__":
    main()
