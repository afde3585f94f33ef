"""What keeps records on disk holds no more of them than it was given memory for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

MEMORY_MIB = 8

STEPS = {
    "sort": 'stream.sort("key", dir=folder, memory=memory)',
    "dedupe": 'stream.dedupe("text", dir=folder)',
    "join": 'stream.join(stream, "at", suffix="_other", dir=folder, memory=memory)',
    "group_by": 'stream.group_by("key", dir=folder, memory=memory).agg(last=("last", "text"))',
    "cache": "stream.cache(folder, part_bytes=memory)",
}

HELD = """
import random, sys, threading
from pathlib import Path
import tidemill as tm

def make(count):
    chosen = random.Random(1)
    for at in range(count):
        yield {"key": chosen.randrange(count), "at": at, "text": f"{at:06} " * 85}

def run(count):
    stream, folder, memory = tm.from_iterable(lambda: make(count)), Path(sys.argv[1], f"{count}"), sys.argv[3]
    for _ in eval(sys.argv[2]):
        pass

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

def watch():
    while not done.wait(0.002):
        seen.append(held())

run(500)
seen, done = [held()], threading.Event()
watching = threading.Thread(target=watch)
watching.start()
try:
    run(60_000)
finally:
    done.set()
    watching.join()
print(max(seen) - seen[0])
"""
"""Prints the KiB held at most; not of files that are mapped, whose pages the system takes as it needs them."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells what a process holds")
@pytest.mark.parametrize("step", STEPS)
def test_what_is_kept_is_not_held(step: str, tmp_path: Path) -> None:
    """Sixty thousand records of 600 characters, which take 35 to 46 MiB where memory has no bound: 6 to 12 are held."""
    command = [sys.executable, "-c", HELD, str(tmp_path), STEPS[step], f"{MEMORY_MIB}MiB"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 3 * MEMORY_MIB * 1024
