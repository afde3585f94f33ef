"""What a figure was measured on."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("tidemill", "httptools", "aiohttp", "uvloop", "orjson", "pydantic", "pyarrow")


def describe_machine(folder: Path, packages: Sequence[str] = PACKAGES) -> str:
    """Processor, system, versions, and what an fsync costs in `folder`."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"machine: {os.cpu_count()} cores, {find_processor()}, {platform.system()} {platform.release()}; "
        f"an fsync takes {measure_fsync(folder) * 1e3:.2f} ms; "
        f"load {os.getloadavg()[0]:.1f}\nversions: Python {platform.python_version()}, {versions}"
    )


def find_processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or sys.platform
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def measure_fsync(folder: Path, times: int = 30) -> float:
    """Seconds to append 4 KiB to a file in `folder` and sync it, median."""
    folder.mkdir(parents=True, exist_ok=True)
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(times):
            started = time.perf_counter()
            file.write(b"\0" * 4096)
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)
