"""Local files mapped into memory, privately: what is written there stays in this process."""

from __future__ import annotations

import mmap
import os
import platform
from pathlib import Path

from tidemill.errors import ResourceError

# `mmap.MAP_NORESERVE` is there from Python 3.13 on; the number is Linux's for these machines. Without it the system
# counts the file as memory that might be written, and refuses one larger than the machine has.
_NO_RESERVE = 0x4000 if platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64") else 0


class PrivateMapping(mmap.mmap):
    """Bytes of a file in memory. A tensor over them may be written: the file and other processes see nothing of it."""


def map_private(path: Path, start: int, stop: int) -> tuple[PrivateMapping, int]:
    """The bytes from `start` to `stop`, which the file has, and where in the mapping the first of them stands.

    Unmapped once nothing holds it. The file must not be cut meanwhile: the system ends a process that reads behind its
    end.

    Raises:
        ResourceError: the file cannot be opened.
    """
    first = start - start % mmap.ALLOCATIONGRANULARITY
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            mapping = PrivateMapping(
                descriptor,
                stop - first,
                flags=mmap.MAP_PRIVATE | _NO_RESERVE,
                prot=mmap.PROT_READ | mmap.PROT_WRITE,
                offset=first,
            )
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ResourceError(f"cannot be mapped into memory: {cause}", where=str(path)) from error
    return mapping, start - first
