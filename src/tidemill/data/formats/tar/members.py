"""Going through a tar archive: its members one by one, and those of one name in front of the suffix together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, Protocol

from isal.isal_zlib import adler32

from tidemill.data.files import BLOCK_BYTES, TextFile
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
    find_adler,
    has_extension,
    parse_header,
    parse_pax,
)

MAX_NAME_BYTES = 1024 * 1024
"""Of an extended header or a long name; a longer one is no name."""

RATIO_FROM_BYTES = 1024 * 1024 * 1024
"""An archive that has unpacked to more may be a bomb, of zeros say."""


_ENDS_NUMBER = b"\0 "


class TarEnd(Exception):  # noqa: N818 - where an archive ends; its reader makes an error of it
    """What lies behind cannot be read.

    Attributes:
        offset: where the record begins that could not be read whole, else the header.
        key: of that record.
        hint: the next step, empty when there is none.
    """

    def __init__(self, message: str, offset: int, hint: str = "") -> None:
        super().__init__(message)
        self.offset = offset
        self.hint = hint
        self.key = b""


class Archive(Protocol):
    """The bytes of an archive, in order.

    Attributes:
        position: where the next byte stands.
    """

    position: int

    def take(self, size: int) -> bytes:
        """The next bytes; fewer at the end."""
        ...

    def skip(self, size: int) -> int:
        """Go past the next bytes, and return how many there were."""
        ...

    def iter_simple(self) -> Iterator[tuple[int, int, bytes, bytes, bytes]]:
        """The next members, as `start, end, key, suffix, body`, as far as they can be had without a closer look."""
        ...


class TextArchive:
    """An archive as it is read, unpacked, in blocks.

    Args:
        text: what stands at `position`.
        max_ratio: how many times its size the archive may unpack to, behind `RATIO_FROM_BYTES`.
    """

    def __init__(self, text: TextFile, position: int, max_ratio: int) -> None:
        self.position = position
        self._max_ratio = max_ratio
        self._text = text
        self._block = b""
        self._at = 0

    def take(self, size: int) -> bytes:
        start, stop = self._at, self._at + size
        if stop <= len(self._block):
            self._at = stop
            self.position += size
            return self._block[start:stop]
        pieces = [self._block[start:]]
        lacking = size - len(pieces[0])
        self._at = len(self._block)
        while lacking and self._read():
            self._at = min(lacking, len(self._block))
            pieces.append(self._block[: self._at])
            lacking -= self._at
        self.position += size - lacking
        return b"".join(pieces)

    def skip(self, size: int) -> int:
        left = size
        while left and (self._at < len(self._block) or self._read()):
            step = min(left, len(self._block) - self._at)
            self._at += step
            self.position += step
            left -= step
        return size - left

    def iter_simple(self) -> Iterator[tuple[int, int, bytes, bytes, bytes]]:
        """The next members, as `start, end, key, suffix, body`, while they are whole in the block and nothing unusual.

        In one loop, at a third of what `read_member` takes, which reads what this leaves.
        """
        block = self._block
        while (at := self._at) + BLOCK <= len(block):
            header = block[at : at + BLOCK]
            nul = header.find(b"\0")
            name = header[:nul]
            base = name.rfind(b"/") + 1
            dot = name.find(b".", base)
            try:
                size, expected = int(header[124:135], 8), find_adler(header[148:156])
            except ValueError:
                return
            after = at + BLOCK + size + (-size & (BLOCK - 1))
            if (
                adler32(header) & 0xFFFF != expected
                or header[156] not in REGULAR
                or header[135] not in _ENDS_NUMBER
                or header[345]  # a prefix
                or not base < dot < nul - 1 < 100
                or name[0] in b"./"
                or b".." in name
                or not at < after <= len(block)
            ):
                return
            start, self._at = self.position, after
            self.position = start + after - at
            yield start, self.position, name[:dot], name[dot + 1 :], block[at + BLOCK : at + BLOCK + size]

    def _read(self) -> bool:
        self._block, self._at = self._text.read(), 0
        if self.position > RATIO_FROM_BYTES and self._text.ratio() > self._max_ratio:
            hint = "raise max_unpacked_ratio if such archives are meant"
            raise TarEnd(f"it unpacks to more than {self._max_ratio:,} times its size", self.position, hint)
        return bool(self._block)


class FileArchive:
    """An archive in a file that can be gone through by leaps.

    Args:
        size: of the file.
        start: where in an archive it begins.
    """

    def __init__(self, file: BinaryIO, size: int, start: int = 0) -> None:
        self.position = start
        self._file = file
        self._start = start
        self._end = start + size

    def take(self, size: int) -> bytes:
        data = self._file.read(size)
        self.position += len(data)
        return data

    def skip(self, size: int) -> int:
        stop = min(self.position + size, self._end)
        skipped = stop - self.position
        self._file.seek(stop - self._start)
        self.position = stop
        return skipped

    def iter_simple(self) -> Iterator[tuple[int, int, bytes, bytes, bytes]]:
        return iter(())


class Member(NamedTuple):
    """A member whose bytes come next.

    Attributes:
        start: where its first header begins.
        name: as the archive has it.
        size: of its bytes.
        kind: the type flag.
        problem: why it is none that may be read; empty when it is.
    """

    start: int
    name: bytes
    size: int
    kind: int
    problem: str


def read_member(archive: Archive, *, is_part: bool = False) -> Member | None:
    """The next member; None at the end of the archive. Its bytes are to be gone past, by `skip_filled` or `take`.

    Args:
        is_part: whether the bytes are a stretch of an archive, which ends without its mark.

    Raises:
        TarEnd: the archive is cut or corrupt here.
    """
    ends_well = is_part
    while (block := archive.take(BLOCK)) == ZEROS:
        ends_well = True
    start = archive.position - len(block)
    if not block and ends_well:
        return None
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


class Group:
    """The members of one record.

    Attributes:
        key: what their names have in front of the suffix.
        start: where the first one's header begins.
        end: where the last one's bytes end, filled up.
        members: the suffix, bytes and start of each; none of a record with a problem.
        size: of all members' bytes.
        problem: what is wrong with the record, empty when nothing is.
        problem_at: where that member begins.
        hint: the next step, empty when there is none.
    """

    problem = hint = ""
    problem_at = 0

    def __init__(
        self, key: bytes, start: int, end: int, members: list[tuple[bytes, bytes, int]], size: int = 0
    ) -> None:
        self.key = key
        self.start = start
        self.end = end
        self.members = members
        self.size = size

    def fail_size(self, limit: int) -> None:
        """Let the record be too large."""
        problem = f"expected at most {limit:,} bytes in a record, got {self.size:,} or more"
        self.fail(problem, self.start, "raise max_line_bytes if such records are meant")

    def fail(self, problem: str, start: int, hint: str = "") -> None:
        """Let the record have this problem, unless it has one; its bytes are let go of."""
        self.members.clear()
        if not self.problem:
            self.problem, self.problem_at, self.hint = problem, start, hint


def iter_groups(archive: Archive, limit: int | None, *, is_part: bool = False) -> Iterator[Group]:
    """The records, each once it is known to be whole; names that begin with a dot, and folders, are passed over.

    Args:
        limit: bytes of a record; of one that has more none are held. None reads no bytes of any.
        is_part: as of `read_member`.

    Raises:
        TarEnd: the archive is cut or corrupt, at the record that it ends in.
    """
    group: Group | None = None
    most = limit or 0
    try:
        while True:
            for start, after, key, suffix, body in archive.iter_simple():
                if group is None or group.key != key:
                    if group is not None:
                        yield group
                    group = Group(key, start, after, [(suffix, body, start)], len(body))
                else:
                    group.size += len(body)
                    group.end = after
                    group.members.append((suffix, body, start))
                if group.size > most or group.problem:
                    group.fail_size(most)
            member = read_member(archive, is_part=is_part)
            if member is None:
                break
            key, suffix = split_name(member.name)
            if member.kind == DIRECTORY or not key:
                skip_filled(archive, member.size, member.start)
                continue
            if group is None or group.key != key:
                if group is not None:
                    yield group
                group = Group(key, member.start, member.start, [])
            _add(group, archive, member, suffix, limit)
    except TarEnd as end:
        _locate(end, group)
        raise
    if group is not None:
        yield group


def _locate(end: TarEnd, group: Group | None) -> None:
    """Let an archive end where the record began that is not known to be whole."""
    if group is not None:
        end.offset, end.key = group.start, group.key


def _add(group: Group, archive: Archive, member: Member, suffix: bytes, limit: int | None) -> None:
    group.size += member.size
    problem = member.problem or _check_name(member.name, suffix)
    if problem:
        group.fail(f"member `{show_name(member.name)}`: {problem}", member.start)
    elif limit is not None and group.size > limit:
        group.fail_size(limit)
    if group.problem or limit is None:
        skip_filled(archive, member.size, member.start)
    else:
        group.members.append((suffix, take_filled(archive, member.size, member.start), member.start))
    group.end = archive.position


def split_name(name: bytes) -> tuple[bytes, bytes]:
    """The key and suffix of a member's name: what stands around the first dot of its last component.

    The key is empty of a name that is passed over; `./` in front is no part of it.

    >>> split_name(b"./train/0001.seg.png")
    (b'train/0001', b'seg.png')
    """
    while name.startswith(b"./"):
        name = name[2:]
    base = name.rfind(b"/") + 1
    dot = name.find(b".", base)
    if dot < 0:
        return name, b""
    return (name[:dot], name[dot + 1 :]) if dot > base else (b"", b"")


def _check_name(name: bytes, suffix: bytes) -> str:
    """Why a member of this name is none of a record; empty when it is one."""
    if name.startswith(b"/") or (b".." in name and b".." in name.split(b"/")):
        return "its name leads out of the archive"
    if not suffix:
        return "expected a name with a suffix, which says its column"
    return ""


def show_name(name: bytes) -> str:
    """A member's name for an error."""
    return name[:200].decode(errors="backslashreplace")
