"""Local files mapped into memory, privately: what is written there stays in this process."""

from __future__ import annotations

import mmap
import platform
from pathlib import Path
from typing import BinaryIO

from tidemill.data.files.part import check_whole
from tidemill.errors import ResourceError

# `mmap.MAP_NORESERVE` is there from Python 3.13 on; the number is Linux's for these machines. Without it the system
# counts the file as memory that might be written, and refuses one larger than the machine has.
_NO_RESERVE = 0x4000 if platform.system() == "Linux" and platform.machine() in ("x86_64", "aarch64") else 0


class PrivateMapping(mmap.mmap):
    """Bytes of a file in memory. A tensor over them may be written: the file and other processes see nothing of it."""


def map_private(file: BinaryIO, path: Path, start: int, stop: int) -> tuple[PrivateMapping, int]:
    """The bytes of an open file from `start` to `stop`, and where in the mapping the first of them stands.

    Unmapped once nothing holds it; the file may be closed before. It must not be cut meanwhile: the system ends a
    process that reads behind its end.

    Args:
        path: of the file, for errors.

    Raises:
        ResourceError: the file was cut, or cannot be mapped.
    """
    first = start - start % mmap.ALLOCATIONGRANULARITY
    check_whole(file, path, stop)
    try:
        mapping = PrivateMapping(
            file.fileno(),
            stop - first,
            flags=mmap.MAP_PRIVATE | _NO_RESERVE,
            prot=mmap.PROT_READ | mmap.PROT_WRITE,
            offset=first,
        )
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ResourceError(f"cannot be mapped into memory: {cause}", where=str(path)) from error
    return mapping, start - first
