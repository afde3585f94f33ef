"""Datasets: records on disk with a length, an index and slices."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, overload

import orjson

from tidemill.data.formats.jsonl import JSONL
from tidemill.errors import ConfigError, DataError, StateError
from tidemill.protocols import Record

MANIFEST = "_manifest.json"
MANIFEST_VERSION = 1

MAX_OPEN_PARTS = 4
"""Parts held open at a time; of Parquet each holds one row group in memory."""

_FORMATS = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}


class Dataset(Sequence[Record]):
    """The records of an output folder or of files, as a `Sequence`: `len(data)`, `data[7]`, `data[-1]`, iteration.

    A slice is a dataset too, a view that copies nothing. Parts are opened when a record of theirs is asked for.
    It pickles to its folder and the names and sizes of its parts; in the other process they are opened anew.

    Memory: at most `MAX_OPEN_PARTS` row groups, one more for each iteration; of JSON Lines 8 bytes a record.
    Threads and forked processes may share one.
    """

    def __init__(self, parts: _Parts, rows: range | None = None) -> None:
        self._parts = parts
        self._chosen = rows

    def __len__(self) -> int:
        return len(self._rows())

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Dataset: ...
    def __getitem__(self, index: int | slice) -> Record | Dataset:
        rows = self._rows()
        if isinstance(index, slice):
            return Dataset(self._parts, rows[index])
        try:
            row = rows[index]
        except IndexError:
            raise IndexError(f"index {index} is out of range: there are {len(rows):,} records") from None
        except TypeError:
            raise TypeError(f"expected an integer or a slice as index, got {type(index).__name__}") from None
        return self._parts.read_row(row)

    def __iter__(self) -> Iterator[Record]:
        rows = self._rows()
        if rows.step == 1:
            return self._parts.iter_rows(rows.start, rows.stop)
        return map(self._parts.read_row, rows)

    def __repr__(self) -> str:
        columns = ", ".join(self.columns) or "none"
        return f"<Dataset: {len(self):,} records, columns {columns}, in {self._parts.folder}>"

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, as the first part has them."""
        return self._parts.columns()

    def _rows(self) -> range:
        if self._chosen is None:
            self._chosen = range(self._parts.count_rows())
        return self._chosen


def dataset(path: str | PathLike[str]) -> Dataset:
    """The dataset in an output folder, a folder of files, or one file: Parquet, or JSON Lines that is not compressed.

    An output folder is read as its manifest says. Of any other folder the `*.parquet` or the `*.jsonl` files are
    taken, sorted by name.

    Raises:
        ConfigError: the format cannot be a dataset; says why.
        DataError: there is nothing at `path`.
        StateError: the manifest is not one that this version reads.
    """
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        manifest = place / MANIFEST
        return Dataset(_load_parts(manifest) if manifest.is_file() else _find_parts(place))
    if not place.exists():
        raise DataError(f"expected a folder or a file, got `{path}`, where there is nothing")
    return Dataset(_Parts(place, _find_format(place), (place.name,), None))


class _Part(Protocol):
    """One file: what a format's module gives."""

    def count_rows(self) -> int: ...
    def columns(self) -> tuple[str, ...]: ...
    def read_row(self, index: int) -> Record: ...
    def iter_rows(self, start: int, stop: int) -> Iterator[Record]: ...
    def release(self) -> None: ...


class _Parts:
    """The parts of a dataset and its views, opened when used, the least recently used one let go of."""

    def __init__(self, path: Path, file_format: str, names: tuple[str, ...], rows: tuple[int, ...] | None) -> None:
        self.path = path
        self.folder = path if path.is_dir() else path.parent
        self._format = file_format
        self._names = names
        self._rows = rows  # of each part; None until they were counted
        self._prepare()

    def _prepare(self) -> None:
        self._ends: list[int] | None = None
        self._parts: dict[int, _Part] = {}
        self._recent: OrderedDict[int, None] = OrderedDict()
        self._lock = Lock()  # guards the two above

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name in _PICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._prepare()

    def count_rows(self) -> int:
        """The number of rows of all parts; opens them only when no manifest says."""
        ends = self._row_ends()
        return ends[-1] if ends else 0

    def columns(self) -> tuple[str, ...]:
        """The columns of the first part."""
        return self._open(0).columns() if self._names else ()

    def read_row(self, row: int) -> Record:
        """One row, counted over all parts."""
        number, start = self._locate(row)
        return self._open_checked(number).read_row(row - start)

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        """The rows from `start` to `stop`, part by part."""
        while start < stop:
            number, first = self._locate(start)
            last = min(self._row_ends()[number], stop)
            yield from self._open_checked(number).iter_rows(start - first, last - first)
            start = last

    def _locate(self, row: int) -> tuple[int, int]:
        """The part that holds a row, and that part's first row."""
        ends = self._row_ends()
        number = bisect_right(ends, row)
        return number, ends[number - 1] if number else 0

    def _row_ends(self) -> list[int]:
        if self._ends is None:
            if self._rows is None:
                self._rows = tuple(self._open(number).count_rows() for number in range(len(self._names)))
            self._ends = list(accumulate(self._rows))
        return self._ends

    def _open_checked(self, number: int) -> _Part:
        part = self._open(number)
        if self._rows is not None and part.count_rows() != self._rows[number]:
            raise StateError(
                f"expected {self._rows[number]:,} records, got {part.count_rows():,}: the file changed",
                where=str(self.folder / self._names[number]),
                hint="open the dataset anew",
            )
        return part

    def _open(self, number: int) -> _Part:
        with self._lock:
            part = self._parts.get(number)
            if part is None:
                self._parts[number] = part = _make_part(self._format, self.folder / self._names[number])
            self._recent[number] = None
            self._recent.move_to_end(number)
            if len(self._recent) > MAX_OPEN_PARTS:
                self._parts[self._recent.popitem(last=False)[0]].release()
        return part


_PICKLED = ("path", "folder", "_format", "_names", "_rows")


def _make_part(file_format: str, path: Path) -> _Part:
    if file_format == "jsonl":
        return JSONL.open_rows(path)
    from tidemill.data.formats.parquet import ParquetPart

    return ParquetPart(path)


def _load_parts(path: Path) -> _Parts:
    try:
        manifest = orjson.loads(path.read_bytes())
        version = manifest["version"]
        if version != MANIFEST_VERSION:
            raise StateError(
                f"expected a manifest of version {MANIFEST_VERSION}, got {version}",
                where=str(path),
                hint="read it with the version of tidemill that wrote it",
            )
        parts = [(part["name"], part["rows"]) for part in manifest["parts"]]
        file_format = manifest["format"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise StateError(f"expected the manifest of a run: {error!r}", where=str(path)) from error
    if file_format not in _FORMATS.values():
        raise StateError(f"expected parts in parquet or jsonl, got {file_format!r}", where=str(path))
    return _Parts(path.parent, file_format, tuple(name for name, _ in parts), tuple(rows for _, rows in parts))


def _find_parts(folder: Path) -> _Parts:
    found: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in _FORMATS and path.is_file():
            found.setdefault(_FORMATS[path.suffix], []).append(path.name)
    if len(found) > 1:
        raise ConfigError(
            "expected files of one format, got Parquet and JSON Lines side by side",
            where=str(folder),
            hint="name one file, or put them in folders of their own",
        )
    if not found:
        packed = next(iter(sorted(folder.glob("*.gz"))), None)
        if packed is not None:
            _find_format(packed)
        raise DataError(f"no {MANIFEST}, *.parquet or *.jsonl in the folder `{folder}`")
    ((file_format, names),) = found.items()
    return _Parts(folder, file_format, tuple(names), None)


def _find_format(path: Path) -> str:
    if path.suffix == ".gz":
        raise ConfigError(
            "a gzip file cannot be a dataset: its text can only be read from the start, so it has no index",
            where=str(path),
            hint=f"stream it with tidemill.read({str(path)!r}), or write it to Parquet first",
        )
    if path.suffix not in _FORMATS:
        raise ConfigError(
            f"expected a file that ends in {', '.join(_FORMATS)}, got `{path.name}`", where=str(path.parent)
        )
    return _FORMATS[path.suffix]
