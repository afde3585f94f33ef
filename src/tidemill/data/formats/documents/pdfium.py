"""PDFium, of which one process may make one call at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

from tidemill.packages import missing_package

_LOCK: Final = Lock()
"""Held in each call of PDFium."""
_LEFT: Final[deque[Any]] = deque()
"""Documents to be closed once the call ends that is being made."""


@contextmanager
def calling_pdfium() -> Iterator[Any]:
    """The package, for calls of this thread alone; what else is closed meanwhile is so at the end of them.

    Raises:
        ResourceError: `pypdfium2` is not installed.
    """
    try:
        import pypdfium2
    except ImportError as error:
        raise missing_package("reading PDF", "pypdfium2", "pdf", error) from error
    try:
        with _LOCK:
            yield pypdfium2
    finally:
        _close_left()


def close_document(document: Any) -> None:
    """Close it without waiting: whoever does may be the collector of garbage, in the midst of a call of this thread."""
    _LEFT.append(document)
    _close_left()


def _close_left() -> None:
    while _LEFT and _LOCK.acquire(blocking=False):  # else whoever holds it does this behind its call
        try:
            while _LEFT:
                _LEFT.popleft().close()
        finally:
            _LOCK.release()
