"""`Lifeline`: what a command hangs on that is to end, with all it started, when this process says so or is gone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import Any

from tidemill.resources import keeper


class Lifeline:
    """This process's end of a pipe whose other end a command's keeper holds (`keeper.py`). Threads: any.

    Once it is cut or closed, or this process has ended, SIGKILL included, the keeper ends the command and all it
    started. Forks of this process let go of it, or the command would live as long as they do.

    Args:
        end: this process's end.
    """

    def __init__(self, end: FileIO) -> None:
        self._end = end
        self._lock = threading.Lock()  # guards that nothing is written to a number that is another file's by then
        close_in_forks(end)

    def cut(self) -> None:
        """Have the command ended; never waits. Cutting it again does nothing."""
        with self._lock:
            if not self._end.closed:
                with contextlib.suppress(BrokenPipeError):  # the command has ended by itself
                    self._end.write(b".")
                self._end.close()


def close_in_forks(end: FileIO) -> None:
    """Have forks of this process leave `end` to it, since the other side is to see when it ends."""
    _ends.add(end)


def keep(command: Sequence[str], fd: int, *, grace_s: float = 0.0, folder: Path | None = None) -> list[str]:
    """The command that runs `command` under a keeper.

    Args:
        fd: what it hangs on, the keeper's number of a pipe's end: of a `Lifeline`'s, or 2 for standard error, where
            this process alone can read what comes there.
        grace_s: seconds that the command gets between SIGTERM and SIGKILL; 0 for SIGKILL at once.
        folder: removed where this process dies while the command runs.
    """
    removed = "" if folder is None else str(folder)
    return [sys.executable, "-I", "-S", keeper.__file__, str(fd), f"{grace_s:g}", removed, *command]


def start_kept(
    command: Sequence[str], *, grace_s: float = 0.0, folder: Path | None = None, **options: Any
) -> tuple[subprocess.Popen[bytes], Lifeline]:
    """The keeper of a command that now starts, and what the command hangs on.

    The keeper ends as the command does, once all it started is gone: with its exit code, with 128 and the number of the
    signal that ended it, or with 127 where there is no such program.

    Args:
        grace_s, folder: as `keep`.
        options: as `subprocess.Popen` takes them.

    Raises:
        OSError: no process could be started.
    """
    reader, writer = os.pipe()
    lifeline = Lifeline(FileIO(writer, "w"))
    try:
        kept = keep(command, reader, grace_s=grace_s, folder=folder)
        process = subprocess.Popen(kept, bufsize=0, pass_fds=[reader], start_new_session=True, **options)
    except BaseException:
        lifeline.cut()
        raise
    finally:
        os.close(reader)
    return process, lifeline


_ends: weakref.WeakSet[FileIO] = weakref.WeakSet()


def _close_all() -> None:
    for end in _ends:
        end.close()
    _ends.clear()


os.register_at_fork(after_in_child=_close_all)
