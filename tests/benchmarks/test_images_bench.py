"""The rows of the image benchmark go through all of their records; the figures are for the reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "images.py"


def test_decoding_misses_nothing() -> None:
    """It ends well only when both ways gave every image. The row of archives installs a peer, which no test does."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--small", "--only", "decode"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "(target at most 1.1x)" in done.stdout
