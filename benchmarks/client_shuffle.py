"""A global shuffle of so many indices, gone through without holding them; see `streams.py`."""

from __future__ import annotations

import sys
import time
from itertools import islice

from children import cpu_s, peak_rss_mb, rss_mb, tell
from tidemill.data.order import Permutation


def main(size: int, taken: int) -> None:
    assert sum(Permutation(5_000, seed=1)) == sum(range(5_000))  # what Arrow loads once is not the shuffle's
    held_mb = rss_mb()
    wall, cpu = time.perf_counter(), cpu_s()
    count = total = 0
    for index in islice(Permutation(size, seed=1), taken):
        count += 1
        total += index
    wall, cpu = time.perf_counter() - wall, cpu_s() - cpu
    tell(indices=count, total=total, wall_s=wall, cpu_s=cpu, grown_mb=peak_rss_mb() - held_mb)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
