"""Hundreds of photographs of 24 megapixels, decoded whole: what a stream of them holds.

    python benchmarks/proofs/image_memory.py                # 500 images, twice: about five minutes
    python benchmarks/proofs/image_memory.py --images 20

Fails when a bound is broken.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from children import run_child  # noqa: E402 - beside the folder of this script
from images import make_photos  # noqa: E402
from machine import describe_machine  # noqa: E402
from tables import Target  # noqa: E402
from workload import WORK  # noqa: E402

HEIGHT, WIDTH = 4000, 6000
DISTINCT = 4
DECODED_MB = HEIGHT * WIDTH * 3 / 2**20
"""Of an image's array; as Pillow holds it, it is a third more."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    images = parser.parse_args().images
    print(describe_machine(WORK, ("tidemill", "pillow", "numpy")), flush=True)
    folder = link_photos(images)
    broken = []
    for workers in (1, 2):
        found = run_child("proofs/client_photos.py", folder, workers)
        if found["images"] != images or found["shapes"] != [[HEIGHT, WIDTH, 3]]:
            sys.exit(f"MISSING: {found}")
        most = 3 * workers * DECODED_MB
        held = found["grown_mb"]
        name = f"{images} images of 24 megapixels, {workers} at once, {found['wall_s']:.0f} s: growth"
        target = Target(
            name,
            f"{held:.0f} MB, {held / DECODED_MB / workers:.2f} images a worker",
            f"under {most:.0f} MB",
            held < most,
        )
        print(target, flush=True)
        if not target.met:
            broken.append(name)
    if broken:
        sys.exit("BROKEN: " + ", ".join(broken))


def link_photos(count: int) -> Path:
    """A folder of so many images; of files, a few."""
    made = sorted(make_photos(DISTINCT, HEIGHT, WIDTH).glob("*.jpg"))
    folder = WORK / "images" / f"{count}-links"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        path = folder / f"{number:04d}.jpg"
        if not path.exists():
            path.hardlink_to(made[number % DISTINCT])
    return folder


if __name__ == "__main__":
    main()
