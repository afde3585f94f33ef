"""Files of one row, each with the check of the one before it, so that the check of the last names all of them.

A file begins with the check of the one before and its own, which follows from that and what stands behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import IO

from tidemill.data.kept.folder import KeptFolder

_CHECK_BYTES = 16
HEAD_BYTES = 2 * _CHECK_BYTES
"""Where what a file holds begins."""


def write_checked(folder: KeptFolder, name: str, blocks: Iterable[bytes], before: str) -> str:
    """Write a file; gives its check.

    Args:
        before: the check of the file before it, empty for the first.
    """
    prior = bytes.fromhex(before).ljust(_CHECK_BYTES, b"\0")
    seen = hashlib.blake2b(prior, digest_size=_CHECK_BYTES)
    with folder.create_file(name) as file:
        file.write(bytes(HEAD_BYTES))
        for block in blocks:
            seen.update(block)
            file.write(block)
        file.seek(0)
        file.write(prior + seen.digest())
    return seen.hexdigest()


def open_checked(folder: KeptFolder, name: str, before: str | None, buffer_bytes: int) -> tuple[IO[bytes], str]:
    """A file, read up to where what it holds begins, and its check.

    Args:
        before: the check of the file before it, where that is known.

    Raises:
        StateError: it is gone, or stands behind another one.
    """
    try:
        file = open(folder.path / name, "rb", buffering=buffer_bytes)  # noqa: SIM115 - whoever asks for it closes it
    except FileNotFoundError:
        raise folder.lost(name) from None
    head = file.read(HEAD_BYTES)
    if before is not None and head[:_CHECK_BYTES] != bytes.fromhex(before):
        file.close()
        raise folder.lost(name)
    return file, head[_CHECK_BYTES:].hex()
