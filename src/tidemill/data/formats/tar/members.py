"""The members of a tar archive, one by one."""

from __future__ import annotations

from typing import NamedTuple

from tidemill.data.files import BLOCK_BYTES
from tidemill.data.formats.tar.archive import Archive, TarEnd
from tidemill.data.formats.tar.headers import (
    BLOCK,
    DIRECTORY,
    GNU_LINK,
    GNU_NAME,
    GNU_SPARSE,
    PAX,
    PAX_GLOBAL,
    REGULAR,
    WITHOUT_DATA,
    ZEROS,
    Header,
    has_extension,
    parse_header,
    parse_pax,
)

MAX_NAME_BYTES = 1024 * 1024
"""Of an extended header or a long name; a longer one is no name."""

_END_MARK_BLOCKS = 2
"""Of zeros; one alone may be a header that was lost."""


class Member(NamedTuple):
    """A member whose bytes come next.

    Attributes:
        start: where its first header begins.
        name: as the archive has it.
        size: of its bytes.
        kind: the type flag.
        problem: why it is none that may be read; empty when it is.
        is_first: whether it is the first one behind an end mark, of another archive then.
    """

    start: int
    name: bytes
    size: int
    kind: int
    problem: str
    is_first: bool = False


def read_member(archive: Archive, *, is_part: bool = False) -> Member | None:
    """The next member; None at the end of the archive. Its bytes are to be gone past, by `skip_filled` or `take`.

    Args:
        is_part: whether the bytes are a stretch of an archive, which ends without its mark.

    Raises:
        TarEnd: the archive is cut or corrupt here.
    """
    zeros = 0
    while (block := archive.take(BLOCK)) == ZEROS:
        zeros += 1
    if not block and (zeros or is_part):
        return None
    is_first = zeros >= _END_MARK_BLOCKS
    try:
        member = _read_headers(archive, block)
    except TarEnd as end:
        end.is_behind = is_first
        raise
    return member._replace(is_first=True) if is_first else member


def _read_headers(archive: Archive, block: bytes) -> Member:
    """The member whose first header, or what there is of it, is in `block`."""
    start = archive.position - len(block)
    name: bytes | None = None
    size: int | None = None
    problem = ""
    while True:
        header = _parse(block, start)
        if header.kind in (PAX, PAX_GLOBAL, GNU_NAME, GNU_LINK):
            fields, wrong = _read_extension(archive, header, start)
            name, size = fields.get(b"path", name), _size_of(fields, start, size)
            problem = problem or wrong or _find_sparse(fields)
            block = archive.take(BLOCK)
            continue
        size = header.size if size is None else size
        if header.kind == GNU_SPARSE:
            problem = problem or "it is sparse"
            _skip_sparse_map(archive, block, start)
        problem = problem or _find_problem(header)
        if header.kind in WITHOUT_DATA or header.kind == DIRECTORY:
            size = 0
        return Member(start, header.name if name is None else name, size, header.kind, problem)


def take_filled(archive: Archive, size: int, start: int) -> bytes:
    """The bytes of a member, of `size`, and past what fills them up.

    Raises:
        TarEnd: they are not all there.
    """
    filling = -size % BLOCK
    if size <= BLOCK_BYTES:
        data = archive.take(size + filling)
        is_whole = len(data) == size + filling
        data = data[:size]
    else:  # without another copy of it
        data = archive.take(size)
        is_whole = len(data) == size and archive.skip(filling) == filling
    if not is_whole:
        raise TarEnd(f"it is cut: {len(data):,} of the {size:,} bytes of a member are there", start)
    return data


def skip_filled(archive: Archive, size: int, start: int) -> None:
    """Past the bytes of a member, of `size`, and what fills them up.

    Raises:
        TarEnd: they are not all there.
    """
    whole = size + -size % BLOCK
    skipped = archive.skip(whole)
    if skipped < whole:
        raise TarEnd(f"it is cut: {min(skipped, size):,} of the {size:,} bytes of a member are there", start)


def _parse(block: bytes, start: int) -> Header:
    if len(block) < BLOCK:
        what = f"{len(block)} bytes of a header are there" if block else "it ends without its end mark"
        raise TarEnd(f"it is cut: {what}", start)
    try:
        return parse_header(block)
    except ValueError as error:
        raise TarEnd(f"there is no header of a member: {error}", start) from None


def _read_extension(archive: Archive, header: Header, start: int) -> tuple[dict[bytes, bytes], str]:
    """What a header says of the member behind it, as the fields of pax name it, and what is wrong with that."""
    if header.size > MAX_NAME_BYTES:
        skip_filled(archive, header.size, start)
        return {}, f"its name takes {header.size:,} bytes"
    data = take_filled(archive, header.size, start)
    if header.kind == GNU_NAME:
        return {b"path": data.partition(b"\0")[0]}, ""
    if header.kind != PAX:
        return {}, ""  # where a link leads to, or what is said of no one member
    try:
        return parse_pax(data), ""
    except ValueError as error:
        return {}, str(error)


def _size_of(fields: dict[bytes, bytes], start: int, size: int | None) -> int | None:
    said = fields.get(b"size")
    if said is None:
        return size
    if not said.isdigit():
        raise TarEnd(f"there is no header of a member: its size is {said[:20]!r}", start)
    return int(said)


def _find_sparse(fields: dict[bytes, bytes]) -> str:
    return "it is sparse" if any(name.startswith(b"GNU.sparse.") for name in fields) else ""


def _skip_sparse_map(archive: Archive, block: bytes, start: int) -> None:
    """Past the blocks that a sparse member's header is gone on with."""
    is_extended = has_extension(block, 482)
    while is_extended:
        block = archive.take(BLOCK)
        if len(block) < BLOCK:
            raise TarEnd("it is cut: a header is not whole", start)
        is_extended = has_extension(block, 504)


def _find_problem(header: Header) -> str:
    if header.kind in REGULAR or header.kind in (DIRECTORY, GNU_SPARSE):
        return ""
    if header.kind in WITHOUT_DATA:
        return f"it is {WITHOUT_DATA[header.kind]}, which is not followed"
    return f"it is of an unknown kind, {bytes([header.kind])!r}"
