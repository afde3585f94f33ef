"""Clients as processes of their own, and what each tells on its last line. Standard library only."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def run_child(script: str, *arguments: object, python: str | Path = sys.executable) -> dict[str, Any]:
    """What `script` told on its last line.

    Raises:
        SystemExit: it failed; its output is in the message.
    """
    with start_child(script, *arguments, python=python) as process:
        return finish_child(process)


def start_child(script: str, *arguments: object, python: str | Path = sys.executable) -> subprocess.Popen[str]:
    """`script` of this folder, running."""
    command = [str(python), str(HERE / script), *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish_child(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the process told on its last line, once it has ended; fails as `run_child` does."""
    out, err = process.communicate()
    if process.returncode:
        shown = " ".join(map(str, process.args)) if isinstance(process.args, Sequence) else str(process.args)
        raise SystemExit(f"{shown}\nended with code {process.returncode}:\n{out}{err}")
    told: dict[str, Any] = json.loads(out.splitlines()[-1])
    return told


@contextlib.contextmanager
def open_server(script: str, *arguments: object) -> Iterator[int]:
    """A server of this folder in a process of its own, which ends with its standard input; gives its port."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()


def tell(**values: object) -> None:
    """Print what was measured as the last line of a client."""
    print(json.dumps(values), flush=True)


def cpu_s() -> float:
    """CPU seconds of this process so far, all threads, user and system; those of children that have ended as well."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_rss_mb() -> float:
    """The most memory this process has held, in MiB.

    From `/proc` where there is one: `ru_maxrss` also counts what the parent held when it started this process.
    """
    held = _read_status("VmHWM")
    if held is not None:
        return held
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale


def rss_mb() -> float:
    """The memory this process holds now, in MiB; where there is no `/proc`, the most it has held."""
    held = _read_status("VmRSS")
    return peak_rss_mb() if held is None else held


def _read_status(name: str) -> float | None:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) / 2**10


def raise_file_limit() -> int:
    """Open as many files as the system lets this process; gives the number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
