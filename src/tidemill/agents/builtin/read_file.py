"""`read_file` and `list_files`: texts below one folder."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from tidemill.agents.builtin.files import Root, split_path
from tidemill.agents.tools.decorator import tool
from tidemill.agents.tools.refusal import RefusalError
from tidemill.agents.tools.tool import Tool

MAX_LINES = 2_000
MAX_CHARS = 20_000
MAX_READ = 16 << 20
MAX_ENTRIES = 500


@dataclass(frozen=True, slots=True)
class FileText:
    """What a call of `read_file` gives.

    Attributes:
        path: of the file, below the folder.
        text: the lines asked for, as they stand.
        start_line: the number of the first, from 1.
        lines: how many they are.
        total_lines: of the whole file, None where it is longer than is read.
        next_line: where the file goes on, None at its end.
        is_cut: whether the last line was too long to be given whole.
    """

    path: str
    text: str
    start_line: int
    lines: int
    total_lines: int | None
    next_line: int | None = None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Listed:
    """What stands in a folder: `kind` is `file`, `folder`, `link` or `other`; `size_bytes` is a file's."""

    path: str
    kind: str
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """What a call of `list_files` gives; `is_cut` where there is more than that."""

    entries: list[Listed]
    is_cut: bool = False


def read_file(root: str | os.PathLike[str], *, max_bytes: int = MAX_READ, name: str = "read_file") -> Tool:
    """A tool that reads texts below one folder, some lines at a time.

    No path leads out of the folder: not by `..`, not as an absolute one, and not by a symbolic link, which is not
    followed wherever it leads, even one put there in the same moment. Pipes and devices are not opened. Bytes that
    are no UTF-8 text are refused.

    Args:
        root: the folder.
        max_bytes: of a file, from its beginning, that are looked at.
        name: as the model sees it.

    Raises:
        ConfigError: `root` is no folder.
    """
    below = Root(root)

    def read(
        path: Annotated[str, Field(min_length=1, max_length=1_000, description="Relative to the folder: `a/b.txt`.")],
        start_line: Annotated[int, Field(ge=1, description="The first line to read.")] = 1,
        max_lines: Annotated[int, Field(ge=1, le=MAX_LINES, description="Lines to read at most.")] = 500,
    ) -> FileText:
        """Read a text file, some of its lines at a time."""
        with below.open_file(path) as number:
            size = os.fstat(number).st_size
            data = _read_bytes(number, max_bytes)
        lines = io.StringIO(_decode(data, path, is_whole=size <= max_bytes), newline="\n").readlines()
        if start_line > max(len(lines), 1):
            raise RefusalError(f"`{path}` has {len(lines):,} lines", hint="begin at one of them")
        return _cut(FileText(path, "", start_line, 0, len(lines) if size <= max_bytes else None), lines, max_lines)

    made: Tool = tool(read, name=name, shows_errors=True, idempotent=True)
    return replace(made, identity={"builtin": "read_file", "root": str(below.folder), "max_bytes": max_bytes})


def list_files(root: str | os.PathLike[str], *, name: str = "list_files") -> Tool:
    """A tool that lists what stands below one folder; see `read_file`.

    Args:
        root: the folder.
        name: as the model sees it.

    Raises:
        ConfigError: `root` is no folder.
    """
    below = Root(root)

    def list_(
        path: Annotated[str, Field(max_length=1_000, description="A folder, relative; empty for the topmost.")] = "",
    ) -> Listing:
        """List the files and folders in a folder, in the order of their names."""
        with below.open_folder(path) as number:
            names = sorted(os.listdir(number))
            entries = [_describe(number, entry, split_path(path)) for entry in names[:MAX_ENTRIES]]
        return Listing([each for each in entries if each is not None], is_cut=len(names) > MAX_ENTRIES)

    made: Tool = tool(list_, name=name, shows_errors=True, idempotent=True)
    return replace(made, identity={"builtin": "list_files", "root": str(below.folder)})


def _read_bytes(number: int, most: int) -> bytes:
    """The beginning of a file; it may grow or shrink meanwhile."""
    pieces, left = [], most
    while left and (piece := os.read(number, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _decode(data: bytes, path: str, *, is_whole: bool) -> str:
    if b"\0" in data:
        raise RefusalError(f"`{path}` is no text: it has bytes of 0 in it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        if not is_whole and exc.start >= len(data) - 3:  # cut in the middle of a character
            return data[: exc.start].decode("utf-8-sig")
        raise RefusalError(f"`{path}` is no UTF-8 text: byte {exc.start:,} is none of one") from None


def _cut(found: FileText, lines: list[str], max_lines: int) -> FileText:
    """The lines from `start_line` on that fit; at least a part of the first."""
    start = found.start_line - 1
    taken: list[str] = []
    size = 0
    for line in lines[start : start + max_lines]:
        size += len(line)
        if size > MAX_CHARS and taken:
            break
        taken.append(line)
    text = "".join(taken)
    after = start + len(taken)
    return replace(
        found,
        text=text[:MAX_CHARS],
        lines=len(taken),
        next_line=after + 1 if after < len(lines) else None,
        is_cut=len(text) > MAX_CHARS,
    )


def _describe(folder: int, name: str, names: list[str]) -> Listed | None:
    try:
        status = os.lstat(name, dir_fd=folder)
    except OSError:  # gone meanwhile
        return None
    path = os.fsencode("/".join([*names, name])).decode(errors="replace")
    kinds: list[tuple[Any, str]] = [(stat.S_ISREG, "file"), (stat.S_ISDIR, "folder"), (stat.S_ISLNK, "link")]
    kind = next((kind for is_kind, kind in kinds if is_kind(status.st_mode)), "other")
    return Listed(path, kind, status.st_size if kind == "file" else None)
