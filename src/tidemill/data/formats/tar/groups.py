"""The records of a tar archive: members that stand side by side, of one name in front of the suffix."""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.data.formats.tar.archive import Archive, TarEnd
from tidemill.data.formats.tar.headers import DIRECTORY
from tidemill.data.formats.tar.members import Member, read_member, skip_filled, take_filled


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
    ending: TarEnd | None = None
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
            if group is None or group.key != key or member.is_first:
                if group is not None:
                    yield group
                group = Group(key, member.start, member.start, [])
            _add(group, archive, member, suffix, limit)
    except TarEnd as end:
        ending = end
    yield from _finish(group, ending)


def _finish(group: Group | None, ending: TarEnd | None) -> Iterator[Group]:
    """The last record where it is known to be whole; else the archive ends where that began."""
    if group is not None:
        if ending is None or ending.is_behind:
            yield group
        else:
            ending.offset, ending.key = group.start, group.key
    if ending is not None:
        raise ending


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
