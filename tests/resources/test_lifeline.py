"""Commands that hang on this process: ended politely or at once, with all they started."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tidemill.resources.lifeline import Lifeline, keep, start_kept

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
LEAVING = f"""
import subprocess, sys, signal
left = subprocess.Popen([sys.executable, "-c", {DEAF!r}], stdout=subprocess.PIPE, start_new_session=True)
left.stdout.readline()
print(left.pid, flush=True)
signal.pause()
"""


@contextmanager
def kept(command: Sequence[str], grace_s: float) -> Iterator[tuple[subprocess.Popen[bytes], Lifeline]]:
    process, lifeline = start_kept(command, grace_s=grace_s, stdout=subprocess.PIPE)
    with process:
        try:
            yield process, lifeline
        finally:
            lifeline.cut()


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def test_a_command_that_has_hardly_begun_goes_at_sigterm() -> None:
    """It is not lost between the fork and the program, which would cost the grace period."""
    for _ in range(5):
        with kept(["sleep", "600"], 600.0) as (process, lifeline):
            lifeline.cut()
            assert process.wait() == 143


@pytest.mark.parametrize("grace_s", [0.0, 0.1])
def test_one_that_takes_no_notice_is_killed(grace_s: float) -> None:
    with kept([sys.executable, "-c", DEAF], grace_s) as (process, lifeline):
        read_line(process)
        lifeline.cut()
        lifeline.cut()  # which does nothing
        assert process.wait() == 137


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
@pytest.mark.parametrize("grace_s", [0.0, 600.0])
def test_sigterm_to_its_keeper_ends_it_too(grace_s: float) -> None:
    """With what left its session; somebody else ends the processes of this one, say."""
    with kept([sys.executable, "-c", LEAVING], grace_s) as (process, _):
        left = psutil.Process(int(read_line(process)))
        process.terminate()
        assert process.wait() == (143 if grace_s else 137)
        assert not left.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
def test_a_folder_goes_with_a_parent_whose_end_the_command_saw_first(tmp_path: Path) -> None:
    """A command that reads from its parent may end before its keeper hears of that; here the command's own child holds
    the other end, which is closed by the time all of it is gone."""
    folder = tmp_path / "folder"
    folder.mkdir()
    lifeline, other = os.pipe()
    command = keep(["sh", "-c", "sleep 600 &"], lifeline, folder=folder)
    with subprocess.Popen(command, stdout=other, pass_fds=[lifeline]) as process:
        os.close(other)
        assert process.wait() == 0
    os.close(lifeline)
    assert not folder.exists()
