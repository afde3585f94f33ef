"""What a record of a tar archive and a decoded image cost, against WebDataset and Pillow in threads by hand.

    python benchmarks/images.py                  # some two minutes
    python benchmarks/images.py --quick
    python benchmarks/images.py --only tar

Each client is a process of its own; rounds are interleaved and every ratio is the median over the rounds, of CPU time.
WebDataset has a virtual environment of its own. Fails when a record is missing, never because something was slow.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from children import run_child
from client_images import SIDE
from machine import describe_machine
from peers import make_peer
from stream_rows import Results, render_results, speed_ratio
from tables import Target
from workload import WORK, make_text

TAR_LEAST = 8.0
DECODE_LEAST = 1 / 1.1
WORKERS = 2


@dataclass(frozen=True)
class Setting:
    """How large the rows are.

    Attributes:
        rounds: how often each client runs.
        records: members of the archive, each a record of some 470 bytes of JSON.
        images: images of each folder.
        height, width: of each.
    """

    rounds: int = 5
    records: int = 50_000
    images: int = 24
    height: int = 3000
    width: int = 4000


QUICK = Setting(rounds=3, records=10_000, images=8)
SMALL = Setting(rounds=1, records=500, images=3, height=300, width=400)


def make_tar(records: int, suffix: str) -> Path:
    """An archive of members of this suffix, made once."""
    path = WORK / "images" / f"{records}-{suffix}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        with tarfile.open(unfinished, "w") as archive:
            for number in range(records):
                body = json.dumps({"id": number, "text": make_text(number)}).encode()
                member = tarfile.TarInfo(f"{number:09d}.{suffix}")
                member.size = len(body)
                archive.addfile(member, io.BytesIO(body))
        unfinished.rename(path)
    return path


def make_photos(count: int, height: int, width: int) -> Path:
    """A folder of JPEGs with as much detail as photographs have, made once."""
    folder = WORK / "images" / f"{count}-{width}x{height}"
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:04d}.jpg"
        if not path.exists():
            coarse = rng.integers(256, size=(height // 8, width // 8, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
            unfinished = path.with_suffix(".tmp")
            image.save(unfinished, "JPEG", quality=90)
            unfinished.rename(path)
    return folder


def measure_tar(setting: Setting) -> list[str]:
    """Archives of small records, gone through: JSON that is parsed, and the same bytes left as they are."""
    peer = make_peer("webdataset")
    faults = []
    for suffix, floor in (("json", "webdataset, decoded"), ("bin", "webdataset")):
        path = make_tar(setting.records, suffix)
        results: dict[str, list[dict[str, float]]] = {floor: [], "tarfile": [], "tidemill": []}
        for _ in range(setting.rounds):
            for name, found in results.items():
                python = peer if name == floor else Path(sys.executable)
                found.append(run_child("client_images.py", name, path, "-", 0, python=python))
        print(f"\ntar, {setting.records:,} records of 470 bytes, .{suffix}, median of {setting.rounds}")
        print(render_results(results, floor))
        ratio = speed_ratio(results, "tidemill", floor)
        met = ratio >= TAR_LEAST
        print(Target("tidemill, of webdataset's speed", f"{ratio:.1f}x", f"at least {TAR_LEAST:.0f}x", met), flush=True)
        faults += check_counts(results, setting.records - 1)
    return faults


def measure_decode(setting: Setting) -> list[str]:
    """A folder of photographs, to a size and whole."""
    folder = make_photos(setting.images, setting.height, setting.width)
    faults = []
    for side in (str(SIDE), "whole"):
        results: dict[str, list[dict[str, float]]] = {"pillow in threads": [], "tidemill": []}
        for _ in range(setting.rounds):
            for name, found in results.items():
                found.append(run_child("client_images.py", name, folder, side, WORKERS))
        megapixels = setting.height * setting.width / 1e6
        shown = f"to {side} × {side}" if side != "whole" else "whole"
        made = f"{setting.images} JPEGs of {megapixels:.0f} megapixels"
        print(f"\n{made} {shown}, {WORKERS} threads, median of {setting.rounds}")
        print(render_results(results, "pillow in threads"))
        ratio = speed_ratio(results, "tidemill", "pillow in threads")
        print(
            Target("tidemill, CPU of Pillow's", f"{1 / ratio:.2f}x", "at most 1.1x", ratio >= DECODE_LEAST), flush=True
        )
        faults += check_counts(results, setting.images - 1)
    return faults


def check_counts(results: Results, expected: int) -> list[str]:
    """What is missing."""
    return [
        f"{name}: {found['records']:,} records, not {expected:,}"
        for name, each in results.items()
        for found in each
        if found["records"] != expected
    ]


ROWS: dict[str, Callable[[Setting], Sequence[str]]] = {"tar": measure_tar, "decode": measure_decode}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="less of everything")
    size.add_argument("--small", action="store_true", help="what a test can wait for; no figure means anything")
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW", help=", ".join(ROWS))
    given = parser.parse_args()
    setting = QUICK if given.quick else SMALL if given.small else Setting()
    print(describe_machine(WORK, ("tidemill", "pillow", "numpy")), flush=True)
    faults = [f"{name}: {fault}" for name in given.only for fault in ROWS[name](setting)]
    if faults:
        sys.exit("\n".join(["MISSING:", *faults]))


if __name__ == "__main__":
    main()
