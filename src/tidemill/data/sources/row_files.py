"""Files whose records have numbers, as a source: an output folder, a folder of files, or one file."""

from __future__ import annotations

import os
import zlib
from os import PathLike
from pathlib import Path
from typing import Any

import orjson

from tidemill.data.files.folders import name_special
from tidemill.data.formats.format import Rows
from tidemill.data.formats.table import FORMATS, find_format, get_format
from tidemill.data.rows.files import FileRows
from tidemill.data.sources.rows import RowSource
from tidemill.errors import ConfigError, DataError, StateError

MANIFEST = "_manifest.json"
MANIFEST_VERSION = 1

_SEALED = ("parquet", "jsonl")
_STAMPED_BYTES = 4096


class RowFiles(RowSource):
    """Files of one format in a folder.

    Attributes:
        path: the folder, or the one file.
        names: of the files, in order.
        sizes: rows of each, as a manifest tells; None counts them on first use.
    """

    def __init__(self, path: Path, file_format: str, names: tuple[str, ...], sizes: tuple[int, ...] | None) -> None:
        self.path = path
        self.names = names
        self.sizes = sizes
        self._format = file_format
        self._stamp: str | None = None

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self.path if self.path.name not in self.names else self.path.parent

    def open_rows(self) -> Rows:
        return FileRows([self.folder / name for name in self.names], get_format(self._format).open_rows, self.sizes)

    def stamp(self) -> str:
        """A checksum of the files' names, sizes, and of their first and last 4 KiB; worked out once."""
        if self._stamp is None:
            crc = 0
            for name in self.names:
                crc = _stamp_file(self.folder / name, zlib.crc32(name.encode(), crc))
            self._stamp = f"{crc:08x}"
        return self._stamp

    def describe(self) -> dict[str, Any]:
        return {"dataset": str(self.path)}

    def show(self) -> str:
        return f"dataset({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowFiles) and (self.path, self.names) == (other.path, other.names)

    def __hash__(self) -> int:
        return hash((self.path, self.names))


def find_row_files(path: str | PathLike[str]) -> RowFiles:
    """The files of a dataset at `path`.

    An output folder is read as its manifest says. Of any other folder the files of one known format are taken, sorted
    by name.

    Raises:
        ConfigError: the format cannot be a dataset; says why.
        DataError: there is nothing at `path`.
        StateError: the manifest is not one that this version reads.
    """
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        manifest = place / MANIFEST
        return _load_manifest(manifest) if manifest.is_file() else _find_files(place)
    if not place.is_file():
        got = name_special(place)
        raise DataError(f"expected a folder or a file, got `{path}`, {f'{got}' if got else 'where there is nothing'}")
    return RowFiles(place, _find_name(place), (place.name,), None)


def _stamp_file(path: Path, crc: int) -> int:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            crc = zlib.crc32(file.read(_STAMPED_BYTES), zlib.crc32(str(size).encode(), crc))
            file.seek(max(0, size - _STAMPED_BYTES))
            return zlib.crc32(file.read(), crc)
    except OSError:
        return zlib.crc32(b"gone", crc)  # told when a row of it is asked for


def _load_manifest(path: Path) -> RowFiles:
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
    if file_format not in _SEALED:
        raise StateError(f"expected parts in {' or '.join(_SEALED)}, got {file_format!r}", where=str(path))
    return RowFiles(path.parent, file_format, tuple(name for name, _ in parts), tuple(rows for _, rows in parts))


def _find_files(folder: Path) -> RowFiles:
    found: dict[str, list[str]] = {}
    for path in sorted(folder.iterdir()):
        file_format = find_format(path.name)
        if file_format is not None and path.is_file() and not path.name.startswith((".", "_")):
            found.setdefault(file_format.name, []).append(path.name)
    if len(found) > 1:
        raise ConfigError(
            f"expected files of one format, got {' and '.join(sorted(found))} side by side",
            where=str(folder),
            hint="name one file, or put them in folders of their own",
        )
    if not found:
        raise DataError(f"no {MANIFEST} and no file of a known format in the folder `{folder}`")
    ((name, names),) = found.items()
    for each in names:
        get_format(name).open_rows(folder / each)  # says why, if it cannot be
    return RowFiles(folder, name, tuple(names), None)


def _find_name(path: Path) -> str:
    file_format = find_format(path.name)
    if file_format is None:
        suffixes = ", ".join(suffix for each in FORMATS for suffix in each.suffixes)
        raise ConfigError(f"expected a file that ends in {suffixes}, got `{path.name}`", where=str(path.parent))
    file_format.open_rows(path)
    return file_format.name
