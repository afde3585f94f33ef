"""Reading a file, or going on in the middle of it: how long until the next record."""

from __future__ import annotations

import json
import sys
import time

import tidemill as tm
from children import peak_rss_mb, tell


def main(path: str, position: str) -> None:
    """Go to a position: `@N`, the one behind N records, or a state."""
    stream = tm.read(path)
    if position.startswith("@"):
        records = stream.iterate()
        for _ in range(int(position[1:])):
            next(records)
        tell(state=records.state())
        records.close()
        return
    started = time.perf_counter()
    records = stream.iterate(json.loads(position))
    record = next(records)
    taken = time.perf_counter() - started
    records.close()
    tell(wall_s=taken, id=record["id"], peak_rss_mb=peak_rss_mb())


if __name__ == "__main__":
    main(*sys.argv[1:])
