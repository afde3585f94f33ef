"""`import tidemill` in a fresh process: how long, and what else it brought in."""

from __future__ import annotations

import sys
import time

started = time.perf_counter()
import tidemill  # noqa: E402, F401 - the import is what is measured

taken = time.perf_counter() - started
loaded = set(sys.modules)

from children import tell  # noqa: E402 - after the clock stopped

HEAVY = ("torch", "pyarrow", "httptools", "ray")

if __name__ == "__main__":
    tell(wall_s=taken, modules=len(loaded), heavy=sorted(loaded.intersection(HEAVY)))
