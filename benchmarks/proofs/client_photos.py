"""Decodes every image of a folder at its full size, and tells what it held; see `image_memory.py`."""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import tidemill as tm
from children import peak_rss_mb, rss_mb, tell


def main(folder: str, workers: int) -> None:
    photos = tm.read(folder)
    next(iter(photos.decode_image(size=(8, 8))))  # what is imported is not what is measured
    held, started = rss_mb(), time.perf_counter()
    shapes = {record["image"].shape for record in photos.decode_image(concurrency=workers)}
    tell(
        shapes=[list(shape) for shape in shapes],
        grown_mb=peak_rss_mb() - held,
        wall_s=time.perf_counter() - started,
        images=sum(1 for _ in photos),
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
