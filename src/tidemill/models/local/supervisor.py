"""Runs a command for a parent process, and ends it with all it started when that says so or is gone.

A program of its own, run by its path with the standard library alone. Its standard input is a pipe from the parent: a
byte, or the end that comes however the parent dies, SIGKILL included, ends the command. That needs no feature of one
system, and reaches the processes that the command starts, as a signal on a parent's death does not.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    """The command's exit code; 128 and its number for a signal, 127 where it cannot be started."""
    grace_s, *command = sys.argv[1:]
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    except OSError as exc:
        sys.stderr.write(f"{command[0]}: {exc.strerror}\n")
        return 127
    threading.Thread(target=_end_when_told, args=(child, float(grace_s)), daemon=True).start()
    code = child.wait()
    _signal(child, signal.SIGKILL)  # what it left behind
    return code if code >= 0 else 128 - code


def _end_when_told(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    os.read(0, 1)
    _signal(child, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)
    _signal(child, signal.SIGKILL)


def _signal(child: "subprocess.Popen[bytes]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of the group is left
        os.killpg(child.pid, number)


if __name__ == "__main__":
    sys.exit(main())
