"""Cores that never halt, for what would otherwise measure how fast a virtual machine's cores wake up."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

_SPIN = "import os\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\nprint(flush=True)\nwhile True: pass"


@contextlib.contextmanager
def keep_awake() -> Iterator[None]:
    """Keep every core of this machine busy with a process that runs only while nothing else would (Linux)."""
    with contextlib.ExitStack() as stack:
        for core in os.sched_getaffinity(0):
            process = stack.enter_context(
                subprocess.Popen([sys.executable, "-S", "-c", _SPIN], stdout=subprocess.PIPE, text=True)
            )
            stack.callback(process.kill)
            os.sched_setaffinity(process.pid, {core})
            assert process.stdout is not None
            process.stdout.readline()
        yield
