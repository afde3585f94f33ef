"""Objects on a real S3 server, by the hundred thousand: how soon the first record comes, and what it takes to hold.

    python benchmarks/proofs/s3_listing.py                  # 100,000 objects: about two minutes
    python benchmarks/proofs/s3_listing.py --objects 5000

Fails when a bound is broken.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from machine import describe_machine  # noqa: E402 - beside the folder of this script
from tables import Target  # noqa: E402
from workload import WORK  # noqa: E402

FIRST_S = 5.0
GROWTH_MB = 100.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=int, default=100_000)
    objects = parser.parse_args().objects
    print(describe_machine(WORK, ("tidemill", "s3fs", "aiobotocore", "moto")), flush=True)
    found = measure(objects)
    print(
        f"\n{objects:,} objects on S3 (moto): {found['names']:,} names listed in {found['list_s']:.1f} s, "
        "in pages of 1,000"
    )
    targets = [
        Target("first record", f"{found['first_s']:.2f} s", f"within {FIRST_S:.0f} s", found["first_s"] <= FIRST_S),
        Target(
            "growth once s3fs is imported, 100 records read and all names listed",
            f"{found['growth_mb']:.0f} MB",
            f"under {GROWTH_MB:.0f} MB",
            found["growth_mb"] < GROWTH_MB,
        ),
        Target("names", f"{found['names']:,}", f"{objects:,}", found["names"] == objects),
    ]
    print("\n".join(map(str, targets)))
    if not all(target.met for target in targets):
        sys.exit("BROKEN: " + ", ".join(target.name for target in targets if not target.met))


def measure(objects: int) -> dict[str, Any]:
    """What the client says, a server of so many objects beside it."""
    server = subprocess.Popen(
        [sys.executable, HERE / "s3_server.py", str(objects)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with server:
        assert server.stdout is not None
        started = time.perf_counter()
        port = server.stdout.readline().strip()
        print(f"server filled in {time.perf_counter() - started:.0f} s", flush=True)
        if not port:
            sys.exit("the S3 server did not start")
        done = subprocess.run(
            [sys.executable, HERE / "client_s3.py", port], stdout=subprocess.PIPE, text=True, check=True
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


if __name__ == "__main__":
    main()
