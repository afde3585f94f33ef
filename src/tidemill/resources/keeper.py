"""Runs a command for a parent process, and ends it with all it started when it ends or the parent says so or is gone.

A program of its own, run by its path with the standard library alone: `keeper.py LIFELINE GRACE FOLDER COMMAND…`.
LIFELINE is the number of a pipe's end; a byte from the parent, or that the other end is closed, as it is however the
parent dies, SIGKILL included, ends the command, and so does SIGTERM to this process. The command's group then gets
SIGTERM, and what is left SIGKILL once the command has ended, GRACE seconds later at most; at once where GRACE is 0.
FOLDER, if it is not empty, is removed where the parent has died and cannot do so itself.

LIFELINE may be the command's standard error: a pipe that nobody reads from any more tells whoever writes to it so.

On Linux what the command started is found also where it left its group, since the orphans of this process's descendants
become its own children (prctl(2), PR_SET_CHILD_SUBREAPER); elsewhere its group ends.
"""

import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable

_LETTING_GO_S = 1.0
"""What a parent that dies may take until its end of the lifeline is closed; a command that reads from it may have seen
that first, and ended. One that lives says so, by a byte, as soon as it hears of the command's end."""

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h


def main() -> int:
    """The command's exit code; 128 and its number for a signal, 127 where it cannot be started."""
    lifeline, grace_s, folder, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]
    if lifeline < 3:
        lifeline = os.dup(lifeline)  # the command has that one itself
    os.set_inheritable(lifeline, False)
    signals = _open_signals()
    prctl = _find_prctl()
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    pid = _start(command, prctl)
    os.closerange(0, 3)  # the command has them: whoever reads what it writes sees its end
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)  # and POLLHUP or POLLERR, which are always told
    poll.register(signals, select.POLLIN)
    code, is_told = None, False
    while code is None and not is_told:
        ready = [number for number, _ in poll.poll()]
        is_told = lifeline in ready or signal.SIGTERM in os.read(signals, 4096)
        code = _reap(pid)
    if code is None and grace_s:
        code = _terminate(pid, grace_s, signals)
    killed = _kill(pid)
    if folder and _has_lost_parent(lifeline, 0.0 if is_told else _LETTING_GO_S):
        import shutil  # for this alone

        shutil.rmtree(folder, ignore_errors=True)
    return killed if code is None else code


def _open_signals() -> int:
    """A pipe's end that gets the number of each SIGCHLD and SIGTERM."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    return reader


def _find_prctl() -> Callable[[int, int], object]:
    """The system's `prctl`; where there is none, something that does nothing."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            prctl: Callable[[int, int], object] = ctypes.CDLL(None).prctl
            return prctl
    return lambda option, value: None


def _start(command: list[str], prctl: Callable[[int, int], object]) -> int:
    keeper = os.getpid()
    mask = signal.pthread_sigmask(
        signal.SIG_BLOCK, [signal.SIGTERM]
    )  # or one that comes now would be lost in the child
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        with contextlib.suppress(OSError):  # the child has done it, and runs its command already
            os.setpgid(pid, pid)
        return pid
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == keeper:  # else it died before it was asked to say so
            os.execvp(command[0], command)
    except OSError as exc:
        os.write(2, f"{command[0]}: {exc.strerror}\n".encode(errors="backslashreplace"))
    os._exit(127)


def _reap(command: int) -> int | None:
    """Take the ends of children, orphans that were adopted included; the command's exit code if it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            code = _read_code(command, *ended, code)
    return code


def _terminate(command: int, grace_s: float, signals: int) -> int | None:
    """The command's exit code, if it ends at SIGTERM within `grace_s`."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of the group is left
        os.killpg(command, signal.SIGTERM)
    ends_at = time.monotonic() + grace_s
    poll = select.poll()
    poll.register(signals, select.POLLIN)
    while (code := _reap(command)) is None and (left_s := ends_at - time.monotonic()) > 0:
        if poll.poll(left_s * 1000):
            os.read(signals, 4096)
    return code


def _kill(command: int) -> int:
    """The command's exit code: its group is killed and, until there is none, the children that others' deaths bring."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of the group is left
        os.killpg(command, signal.SIGKILL)
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in _list_children(command):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            code = _read_code(command, *os.waitpid(-1, 0), code)
    return 0 if code is None else code


def _read_code(command: int, pid: int, status: int, known: int | None) -> int | None:
    """The exit code in `status` if it is of the command, which keeps its own where it ended in front of a signal."""
    if pid != command:
        return known
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _list_children(command: int) -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # a system without it: what was adopted is not known
        return [command]


def _has_lost_parent(lifeline: int, wait_s: float) -> bool:
    """Whether the other end is closed, within `wait_s`, and no byte came before."""
    ready, _, _ = select.select([lifeline], [], [], wait_s)
    return bool(ready) and not os.read(lifeline, 1)


if __name__ == "__main__":
    sys.exit(main())
