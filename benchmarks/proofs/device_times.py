"""What a profiler tells of host and device, beside what both of them clocked themselves: within 2 %.

    python benchmarks/proofs/device_times.py                  # about a quarter of a minute

The device is a process that does queued work in real time and clocks each piece. It runs apart from the host, as an
accelerator does: launches return at once, events are stamped as it comes to them. Fails beyond the bound.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

import tidemill as tm  # noqa: E402
from machine import describe_machine  # noqa: E402 - beside the folder of this script
from tables import Target, render_table  # noqa: E402
from tidemill.resources.devices import Memory  # noqa: E402
from workload import WORK  # noqa: E402

MAX_ERROR = 0.02
BLOCKS = 10


class ProcessDevice:
    """A device that is a process: it sleeps as long as each piece of work takes."""

    name = "process:0"

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=work_off, args=(theirs,))
        self._process.start()
        self._waiting: deque[QueuedEvent | None] = deque()  # what the process will tell of next

    def launch(self, seconds: float) -> None:
        """Queue work that takes so long."""
        self._waiting.append(None)
        self._pipe.send(seconds)

    def record(self) -> QueuedEvent:
        event = QueuedEvent(self)
        self._waiting.append(event)
        self._pipe.send(0.0)
        return event

    def synchronize(self) -> None:
        event = self.record()
        while not event.at_ns:
            self.read_one()

    def read_all(self) -> None:
        """Take what the process has told so far."""
        while self._pipe.poll():
            self.read_one()

    def read_one(self) -> None:
        at_ns, event = self._pipe.recv(), self._waiting.popleft()
        if event is not None:
            event.at_ns = at_ns

    def empty_cache(self) -> None: ...

    def read_memory(self) -> Memory:
        return Memory(0, 0)

    def reset_peak(self) -> None: ...

    def close(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


class QueuedEvent:
    """A point in the queue, and when the device came to it: 0 while that is not known."""

    def __init__(self, device: ProcessDevice) -> None:
        self._device = device
        self.at_ns = 0

    def is_done(self) -> bool:
        self._device.read_all()
        return self.at_ns > 0

    def measure_since(self, earlier: QueuedEvent) -> float:
        return (self.at_ns - earlier.at_ns) / 1e9


def work_off(pipe: Connection) -> None:
    """The device's side: does what comes, and tells when each piece was done, by the clock that all processes share."""
    while (seconds := pipe.recv()) is not None:
        time.sleep(seconds)
        pipe.send(time.perf_counter_ns())


class Truth:
    """Seconds that host and device clock a block to take themselves."""

    def __init__(self, device: ProcessDevice) -> None:
        self._device = device

    def __enter__(self) -> Self:
        self._first, self._begun_ns = self._device.record(), time.perf_counter_ns()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended_ns, self._last = time.perf_counter_ns(), self._device.record()

    @property
    def host_s(self) -> float:
        return (self._ended_ns - self._begun_ns) / 1e9

    @property
    def device_s(self) -> float:
        self._device.synchronize()
        return self._last.measure_since(self._first)


def run_ahead(device: ProcessDevice) -> None:
    """The host launches faster than the device works."""
    for _ in range(10):
        time.sleep(0.001)
        device.launch(0.008)


def compute_on_the_host(device: ProcessDevice) -> None:
    """The device waits for the host."""
    for _ in range(4):
        time.sleep(0.02)
        device.launch(0.001)


def take_turns(device: ProcessDevice) -> None:
    """Both have about as much to do, and the host waits in between."""
    for _ in range(4):
        device.launch(0.01)
        time.sleep(0.01)
        device.synchronize()


def keep_busy(device: ProcessDevice) -> None:
    """The host computes while the device works."""
    device.launch(0.1)
    until_ns = time.perf_counter_ns() + 50_000_000
    while time.perf_counter_ns() < until_ns:
        pass


WORKS: tuple[Callable[[ProcessDevice], None], ...] = (run_ahead, compute_on_the_host, take_turns, keep_busy)


def main() -> None:
    print(describe_machine(WORK, ("tidemill",)), flush=True)
    device = ProcessDevice()
    try:
        device.synchronize()  # it has started
        errors = {work.__name__: measure(work, device) for work in WORKS}
    finally:
        device.close()
    head = [f"{BLOCKS} blocks, median", "host", "device", "elapsed", "batches on the device"]
    rows = [[name, *(f"{error:+.2%}" for error in found)] for name, found in errors.items()]
    print(f"\nwhat the profiler tells, beside what host and device clocked\n{render_table(head, rows)}")
    worst = max(abs(error) for found in errors.values() for error in found)
    target = Target("the furthest off", f"{worst:.2%}", f"within {MAX_ERROR:.0%}", worst <= MAX_ERROR)
    print(target)
    if not target.met:
        sys.exit(f"BROKEN: {target.name}")


def measure(work: Callable[[ProcessDevice], None], device: ProcessDevice) -> tuple[float, ...]:
    """How far the profiler's figures are off, as ratios: of the host, the device, both, and a batch on the device.

    Medians over the blocks: where others use the processors as well, the device is kept from stamping at times.
    """
    errors = []
    for _ in range(BLOCKS):
        prof = tm.InferenceProfiler(work, device=device, warmup=0)
        with prof, Truth(device) as block:
            work(device)
        batched = tm.InferenceProfiler(work, device=device, warmup=0)
        with batched, batched.batch(), Truth(device) as batch:
            work(device)
        times = batched.report().batches.device
        assert times is not None
        told = prof.host_s, prof.device_s, prof.elapsed_s, times.total_s
        clocked = block.host_s, block.device_s, max(block.host_s, block.device_s), batch.device_s
        errors.append([one / other - 1 for one, other in zip(told, clocked, strict=True)])
    return tuple(map(statistics.median, zip(*errors, strict=True)))


if __name__ == "__main__":
    main()
