"""Goes through a tar archive, or decodes a folder of images, in one of several ways; see `images.py`."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from children import cpu_s, peak_rss_mb, rss_mb, tell

SIDE = 224


def iter_webdataset(path: str) -> Iterator[Any]:
    import webdataset

    yield from webdataset.WebDataset(path, shardshuffle=False)


def iter_webdataset_decoded(path: str) -> Iterator[Any]:
    import webdataset

    yield from webdataset.WebDataset(path, shardshuffle=False).decode()


def iter_tarfile(path: str) -> Iterator[Any]:
    """What one writes by hand: a member is a record."""
    import tarfile

    import orjson

    with tarfile.open(path) as archive:
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            yield orjson.loads(file.read())
            archive.members = []  # type: ignore[attr-defined]  # else it keeps each of them


def iter_tidemill(path: str) -> Iterable[Any]:
    import tidemill as tm

    return tm.read(path)


def decode_by_hand(path: Path, side: int | None) -> Any:
    """Pillow at its best: drafted, one resize out of the middle of the image, an array."""
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        if side is None:
            return np.array(image.convert("RGB"))
        scale = max(side / image.width, side / image.height)
        image.draft("RGB", (int(image.width * scale * 2), int(image.height * scale * 2)))
        part = min(image.size)  # a square in the middle
        left, top = (image.width - part) / 2, (image.height - part) / 2
        box = (left, top, left + part, top + part)
        resized = image.resize((side, side), Image.Resampling.BICUBIC, box, reducing_gap=2.0)
        return np.array(resized.convert("RGB"))


def iter_pillow(folder: str, side: int | None, workers: int) -> Iterator[Any]:
    """A pool of threads with a window of as many images."""
    from concurrent.futures import Future, ThreadPoolExecutor

    with ThreadPoolExecutor(workers) as pool:
        window: deque[Future[Any]] = deque()
        for path in sorted(Path(folder).iterdir()):
            window.append(pool.submit(decode_by_hand, path, side))
            if len(window) > workers:
                yield window.popleft().result()
        while window:
            yield window.popleft().result()


def iter_decoded(folder: str, side: int | None, workers: int) -> Iterator[Any]:
    import tidemill as tm

    size = None if side is None else (side, side)
    return (record["image"] for record in tm.read(folder).decode_image(size=size, concurrency=workers))


ARCHIVES: dict[str, Callable[[str], Iterable[Any]]] = {
    "webdataset": iter_webdataset,
    "webdataset, decoded": iter_webdataset_decoded,
    "tarfile": iter_tarfile,
    "tidemill": iter_tidemill,
}
DECODERS: dict[str, Callable[[str, int | None, int], Iterable[Any]]] = {
    "pillow in threads": iter_pillow,
    "tidemill": iter_decoded,
}


def main(way: str, path: str, side: str, workers: int) -> None:
    if workers:
        items = DECODERS[way](path, None if side == "whole" else int(side), workers)
    else:
        items = ARCHIVES[way](path)
    iterator = iter(items)
    first = next(iterator)  # what is imported is not what is measured
    del first
    held, cpu, started = rss_mb(), cpu_s(), time.perf_counter()
    count = sum(1 for _ in iterator)
    tell(
        records=count,
        cpu_s=cpu_s() - cpu,
        wall_s=time.perf_counter() - started,
        peak_rss_mb=peak_rss_mb(),
        grown_mb=peak_rss_mb() - held,
    )


if __name__ == "__main__":
    way, place, side, workers = sys.argv[1:]
    main(way, place, side, int(workers))
