"""A process that is killed again and again among what its steps keep on disk gives each record once."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from kept_victim import STEPS, make, read_given

VICTIM = Path(__file__).with_name("kept_victim.py")
KILLS = 2


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_process_goes_on_where_it_was(step: str, tmp_path: Path) -> None:
    """Its state and its folder are all that is left; it gives what a process gives that holds all in memory."""
    expected = list(make(step, tmp_path / "whole"))
    rng = random.Random(step)
    for _ in range(KILLS):
        with subprocess.Popen([sys.executable, VICTIM, step, tmp_path], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.read(rng.randrange(1, len(expected) // KILLS - 10))
            process.kill()
    subprocess.run([sys.executable, VICTIM, step, tmp_path], check=True, stdout=subprocess.DEVNULL)
    assert [record for record, _ in read_given(tmp_path / "given")] == expected
