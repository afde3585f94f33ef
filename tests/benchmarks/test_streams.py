"""Each row of the stream benchmarks goes through all of its records; the figures are for the reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "streams.py"


@pytest.mark.parametrize("row", ["jsonl", "growth", "generated", "shuffle"])
def test_a_row_misses_nothing(row: str) -> None:
    """It ends well only when every way gave every record, and ours a state."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--small", "--only", row],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "(target " in done.stdout
