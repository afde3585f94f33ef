"""Files named by patterns, as a source."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field, PrivateAttr, field_validator
from pydantic_core import PydanticCustomError

from tidemill.config.model import Config
from tidemill.config.numbers import check_int64
from tidemill.data.formats.format import MAX_LINE_BYTES
from tidemill.data.formats.jsonl import JSONL, open_jsonl, parse_line
from tidemill.data.nodes.node import OnError
from tidemill.data.reader import PartReader
from tidemill.errors import DataError
from tidemill.protocols import Growth, State

SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
"""Of files that are read as JSON Lines without being told to."""


class Read(Config):
    """Files of JSON Lines, plain or gzip, as a source; making one touches nothing.

    A pattern takes `*`, `?`, `[…]` and `**`. The files that match it are the parts, sorted; a list of patterns
    keeps its order, and a file stands where it matched first. A part is named by its path from the folder all
    patterns share: the parts of `reviews/*.jsonl` are `a.jsonl`, `b.jsonl`.

    Attributes:
        path: one pattern or several; relative ones start at the job file's folder, else the current one.
        format: `jsonl` reads files of any suffix; None asks for one of `SUFFIXES`.
        on_error: what a corrupt line gets; None takes the run's default (`quarantine`; iteration raises).
        max_line_bytes: a longer line is an error; it is passed over without being held in memory.
    """

    path: str | tuple[str, ...]
    format: Literal["jsonl"] | None = None
    on_error: OnError | None = None
    max_line_bytes: int = Field(default=MAX_LINE_BYTES, gt=0)

    _folder: Path | None = PrivateAttr(default=None)

    _check_int64 = field_validator("max_line_bytes")(check_int64)

    @field_validator("path", mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, (list, tuple)):
            return tuple(os.fspath(each) if isinstance(each, os.PathLike) else each for each in value)
        return value

    @field_validator("path")
    @classmethod
    def _check_path(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        patterns = (value,) if isinstance(value, str) else value
        if not patterns or not all(patterns):
            raise PydanticCustomError("source_path", "expected a path or pattern, got none")
        for pattern in patterns:
            if "://" in pattern:
                message = "expected a path or pattern of local files, got `{pattern}`"
                raise PydanticCustomError("source_path", message, {"pattern": pattern})
        return value

    def model_post_init(self, context: Any) -> None:
        folder = context.get("folder") if isinstance(context, Mapping) else None
        self._folder = None if folder is None else Path(folder)

    def parts(self) -> Sequence[str]:
        """The names of the files that match, in reading order.

        Raises:
            DataError: a pattern matches no file, a file's name is not UTF-8, or its format is not known by its suffix.
        """
        folder = self._shared_folder()
        names: dict[str, None] = {}
        for pattern in self._patterns():
            matches = _match(self._start(), pattern)
            if not matches:
                raise _no_match(self._start(), pattern)
            found = sorted(PurePosixPath(os.path.relpath(path, folder)).as_posix() for path in matches)
            names.update(dict.fromkeys(found))
        for name in names:
            _check_name(name)
            if self.format is None:
                _check_suffix(folder / name)
        return tuple(names)

    def open_part(self, part: str, state: State | None = None) -> PartReader:
        """The records of one file, from its start or from `state`.

        Raises:
            ResourceError: the file cannot be opened.
            StateError: the file was edited before `state`.
        """
        return open_jsonl(self._shared_folder() / part, state, max_line_bytes=self.max_line_bytes)

    def decode_record(self, raw: bytes) -> Any:
        """The record on a line that was refused before.

        Raises:
            DataError: it is still not a record.
        """
        return parse_line(raw)

    def compare_part(self, part: str, state: State) -> Growth:
        """Whether the file, up to `state`, is as it was."""
        return JSONL.compare(self._shared_folder() / part, state)

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """Bytes of the file as it lies on the disk that the records before `state` take, and its size."""
        try:
            return state.get("read", state["crc"][0]) if state else 0, (self._shared_folder() / part).stat().st_size
        except OSError:
            return None

    def would_read(self, path: Path) -> bool:
        """Whether a file of this path, were it there, would be one of the parts."""
        wanted = Path(os.path.abspath(path)).parts
        start = glob.escape(str(self._start()))
        return any(_would_match(Path(os.path.abspath(Path(start, each))).parts, wanted) for each in self._patterns())

    def show(self) -> str:
        """The source in a line, as its user would write it."""
        return f"read({self.path!r})"

    def describe(self) -> dict[str, Any]:
        """The source as JSON, paths as they were written."""
        return {"read": self.model_dump(mode="json", exclude_none=True)}

    def _patterns(self) -> tuple[str, ...]:
        patterns = (self.path,) if isinstance(self.path, str) else self.path
        return tuple(os.path.expanduser(pattern) for pattern in patterns)

    def _start(self) -> Path:
        return self._folder or Path.cwd()

    def _shared_folder(self) -> Path:
        folders = [os.path.abspath(_fixed_folder(self._start(), pattern)) for pattern in self._patterns()]
        return Path(os.path.commonpath(folders))


def _match(folder: Path, pattern: str) -> list[str]:
    """The files one pattern names; a file of just that name comes before the pattern's wildcards."""
    if (folder / pattern).is_file():
        return [str(folder / pattern)]
    absolute = Path(glob.escape(str(folder))) / pattern
    return [path for path in glob.iglob(str(absolute), recursive=True) if os.path.isfile(path)]


def _would_match(pattern: Sequence[str], path: Sequence[str]) -> bool:
    """Whether glob would find `path` by `pattern`, both in components; hidden names only where they are named."""
    if not pattern or not path:
        return not pattern and not path
    first, rest = pattern[0], pattern[1:]
    is_hidden = path[0].startswith(".")
    if first == "**":
        return _would_match(rest, path) or (not is_hidden and _would_match(pattern, path[1:]))
    if is_hidden and not first.startswith("."):
        return False
    return fnmatchcase(path[0], first) and _would_match(rest, path[1:])


def _fixed_folder(folder: Path, pattern: str) -> Path:
    """The folder in front of the first component with a wildcard, or around a file named outright."""
    path = Path(pattern)
    fixed = path.parent
    if not (folder / path).is_file():
        for parent in path.parents:
            if glob.has_magic(parent.name):
                fixed = parent.parent
    return folder / fixed


def _no_match(folder: Path, pattern: str) -> DataError:
    if (folder / pattern).is_dir():
        hint = f"name its files: `{pattern.rstrip('/')}/*.jsonl`"
        return DataError(f"expected files, got the folder `{pattern}`", hint=hint)
    fixed = _fixed_folder(folder, pattern)
    if not fixed.is_dir():
        return DataError(f"no file matches `{pattern}`: there is no folder `{os.path.abspath(fixed)}`")
    rest = (folder / pattern).relative_to(fixed)
    return DataError(f"no file matches `{rest}` in the folder `{os.path.abspath(fixed)}`")


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode(errors="backslashreplace")
        raise DataError(f"expected file names in UTF-8, got `{shown}`", hint="rename the file") from None


def _check_suffix(path: Path) -> None:
    if path.name.endswith(SUFFIXES):
        return
    hint = f"say format: jsonl if each line is one JSON object; known by their suffix are {', '.join(SUFFIXES)}"
    if path.suffix == ".parquet":
        hint = f"open it as a dataset: tidemill.dataset({str(path)!r})"
    raise DataError("expected JSON Lines, got a file of another suffix", where=str(path), hint=hint)
