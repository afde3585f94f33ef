"""Process-wide switches for the length of a run, put back afterwards."""

from __future__ import annotations

import contextlib
import gc
import resource
import signal
import threading
from collections.abc import Iterator
from types import FrameType

# Measured at 2,000 calls in flight: the collector's default thresholds cost a third of the loop's time.
GC_THRESHOLDS = (50_000, 20, 20)

_lock = threading.Lock()  # guards _users and what was so before the first of them
_users = 0
_before = (0, 0, 0)
_froze = False


@contextlib.contextmanager
def calm_gc() -> Iterator[None]:
    """A garbage collector that looks less often and leaves what stands now alone; nested and in threads, counted.

    Where something is frozen already, that is left as it is.
    """
    global _users, _before, _froze
    with _lock:
        if _users == 0:
            _before = gc.get_threshold()
            _froze = gc.get_freeze_count() == 0
            if _froze:
                gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                gc.set_threshold(*_before)
                if _froze:
                    gc.unfreeze()


_file_lock = threading.Lock()  # guards _file_users and the limit that was set before the first of them
_file_users = 0
_file_limit = (0, 0)


@contextlib.contextmanager
def more_open_files() -> Iterator[None]:
    """As many open files as the system lets this process have; nested and in threads, counted.

    A connection is a file: the usual limit of 1,024 would end 2,000 calls in flight.
    """
    global _file_users, _file_limit
    with _file_lock:
        if _file_users == 0:
            _file_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
            with contextlib.suppress(ValueError, OSError):  # a system may not let it be what it says is possible
                resource.setrlimit(resource.RLIMIT_NOFILE, (_file_limit[1], _file_limit[1]))
        _file_users += 1
    try:
        yield
    finally:
        with _file_lock:
            _file_users -= 1
            if _file_users == 0:
                resource.setrlimit(resource.RLIMIT_NOFILE, _file_limit)


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is."""


def find_exit_code(interrupt: type[KeyboardInterrupt]) -> int:
    """What a command ends with that `interrupt` stopped: 143 for SIGTERM, else 130."""
    return 143 if issubclass(interrupt, Terminated) else 130


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """For the length of the block, SIGTERM raises in the main thread what Ctrl-C would; put back afterwards.

    Outside of the main thread, where signals cannot be handled, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
