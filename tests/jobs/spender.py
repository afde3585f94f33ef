"""Jobs under a budget in processes of their own, to be killed: `python spender.py` runs one for each line it reads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workbench import label, make_job, make_model

from tidemill.calls.limits import Limits, Price
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.spec.job import JobSpec
from tidemill.resources.bridge import Bridge

CONCURRENCY = 8
PRICE = Price(100, 400)
"""Dear enough for a budget in dollars to be one that a reader can follow."""


class Spender:
    """One of the processes, under way or over."""

    def __init__(self, pid: int, read_line: Callable[[], str]) -> None:
        self._pid = pid
        self._read_line = read_line
        self._code: int | None = None

    def wait(self) -> int:
        """Its exit code, once it has one; less than 0 of one that was killed."""
        if self._code is None:
            self._code = int(self._read_line())
        return self._code

    def kill(self) -> None:
        """SIGKILL, unless it is over."""
        if self._code is None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self.wait()


class Spenders:
    """Starts the processes, one at a time: forks of one that has imported everything, which takes longer than a job."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    @contextmanager
    def start(self, folder: Path, base_url: str, budget: Mapping[str, float]) -> Iterator[Spender]:
        """The job's process; it is dead when the block ends."""
        assert self._process.stdin is not None
        print(json.dumps([str(folder), base_url, budget]), file=self._process.stdin, flush=True)
        spender = Spender(int(self._read_line()), self._read_line)
        try:
            yield spender
        finally:
            spender.kill()

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextmanager
def open_spenders() -> Iterator[Spenders]:
    """What starts them, in a process of its own, which ends with the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, text=True) as process:
        yield Spenders(process)


def job_in(folder: Path, base_url: str, budget: Mapping[str, Any]) -> JobSpec:
    """The job over `records.jsonl` in `folder`."""
    limits = Limits(concurrency=CONCURRENCY, attempt_timeout_s=0.5, max_attempts=20)
    model = make_model(base_url=base_url, limits=limits, price=PRICE)
    return make_job(folder, [label(model=model)], sink={"segment": SegmentLimits(records=40)}, budget=budget)


def spend(folder: str, base_url: str, budget: Mapping[str, float]) -> int:
    """The exit code of the job, run in this process."""
    with Bridge() as bridge:
        return bridge.run(Runner(job_in(Path(folder), base_url, budget)).run()).exit_code


def main() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(spend(*json.loads(line)))
        say(pid)
        _, status = os.waitpid(pid, 0)
        say(os.waitstatus_to_exitcode(status))


def say(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
