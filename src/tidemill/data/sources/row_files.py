"""Files whose records have numbers, as a source: an output folder, a folder of files, or one file."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, cast

import orjson

from tidemill.data.files import AnyPath, RemotePath, find_local, parse_path, stat_file
from tidemill.data.files.folders import find_kind, iter_files, name_special
from tidemill.data.formats.format import Rows
from tidemill.data.formats.table import FORMATS, find_format, get_format
from tidemill.data.rows.files import FileRows
from tidemill.data.sources.rows import RowSource
from tidemill.data.sources.storage import register_secrets
from tidemill.data.sources.versions import MANIFEST, load_version, split_version
from tidemill.errors import ConfigError, DataError, ResourceError, StateError

_SEALED = ("parquet", "jsonl")
_STAMPED_BYTES = 4096


class RowFiles(RowSource):
    """Files of one format in a folder, local or on any file system of fsspec.

    Attributes:
        path: the folder, or the one file.
        names: of the files, in order.
        sizes: rows of each, as a manifest tells; None counts them on first use.
        version: of an output folder, the hash of what the manifest lists; else empty.
        is_pinned: whether it is that version for good, and not what the folder holds when it is opened.
    """

    def __init__(
        self,
        path: AnyPath,
        file_format: str,
        names: tuple[str, ...],
        sizes: tuple[int, ...] | None,
        columns: tuple[str, ...] | None = None,
        *,
        version: str = "",
        is_pinned: bool = False,
    ) -> None:
        self.path = path
        self.names = names
        self.sizes = sizes
        self.version = version
        self.is_pinned = is_pinned
        self._format = file_format
        self._columns = columns
        self._stamp: str | None = None

    @property
    def folder(self) -> AnyPath:
        """Where the files are."""
        return self.path if self.path.name not in self.names else self.path.parent

    def open_rows(self) -> Rows:
        open_file = partial(get_format(self._format).open_rows, columns=self._columns)
        return FileRows([locate(self.folder, name) for name in self.names], open_file, self.sizes)

    def narrow(self, columns: tuple[str, ...]) -> RowSource:
        if "columns" not in get_format(self._format).takes or not set(columns) < set(self.rows.columns()):
            return self
        version, is_pinned = self.version, self.is_pinned
        return RowFiles(self.path, self._format, self.names, self.sizes, columns, version=version, is_pinned=is_pinned)

    def stamp(self) -> str:
        """A checksum of the files' names, sizes, and of their first and last 4 KiB; worked out once.

        Of files elsewhere, of their names, sizes and versions.
        """
        if self._stamp is None:
            crc = 0
            for name in self.names:
                crc = _stamp_file(self.folder / name, zlib.crc32(name.encode(), crc))
            self._stamp = f"{crc:08x}"
        return self._stamp

    def describe(self) -> dict[str, Any]:
        return {"dataset": self._name()}

    def show(self) -> str:
        return f"dataset({self._name()!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowFiles) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _name(self) -> str:
        return f"{self.path}@{self.version}" if self.is_pinned else str(self.path)

    def _key(self) -> tuple[str, tuple[str, ...], tuple[str, ...] | None]:
        return self._name(), self.names, self._columns


def find_row_files(path: str | PathLike[str], storage_options: Mapping[str, Any] | None = None) -> RowFiles:
    """The files of a dataset at `path`, a local one or an address that fsspec opens.

    An output folder is read as its manifest says; `PATH@HASH` reads an earlier version of one. Of any other folder the
    files of one known format are taken, sorted by name.

    Raises:
        ConfigError: the format cannot be a dataset; says why.
        DataError: there is nothing at `path`, or no such version.
        ResourceError: it cannot be asked about.
        StateError: the manifest is not one that this version reads.
    """
    register_secrets(storage_options or {})
    place, version = locate_dataset(path, storage_options)
    kind = find_kind(place)
    local = find_local(place)
    got = name_special(local) if local else None
    if kind is None or got or (local and not local.exists()):
        raise DataError(f"expected a folder or a file, got `{place}`, {got or 'where there is nothing'}")
    if kind == "file":
        return RowFiles(place, _find_name(place), (place.name,), None)
    manifest = load_version(place, version)
    if manifest is not None:
        return _follow_manifest(place, manifest, is_pinned=bool(version))
    if version:
        raise DataError(
            f"expected an output folder, of which there are versions, got a folder without {MANIFEST}", where=str(place)
        )
    return _find_files(place)


def locate_dataset(path: str | PathLike[str], storage_options: Mapping[str, Any] | None = None) -> tuple[AnyPath, str]:
    """Where a dataset is, and the version that `PATH@HASH` asks for; what is there under the whole name comes first."""
    place = _find_place(path, storage_options)
    text, version = split_version(str(path))
    if version and find_kind(place) is None:
        return _find_place(text, storage_options), version
    return place, ""


def _find_place(path: str | PathLike[str], storage_options: Mapping[str, Any] | None) -> AnyPath:
    place = parse_path(path, storage_options)
    return place.expanduser().absolute() if isinstance(place, Path) else place.clean()


def locate(folder: AnyPath, name: str) -> Path:
    """A file in `folder` as a format is given it, which hands it on to `data.files` as it is, local or not."""
    return cast(Path, folder / name)


def _stamp_file(path: AnyPath, crc: int) -> int:
    local = find_local(path)
    try:
        if local is None:
            return zlib.crc32(orjson.dumps(stat_file(path)), crc)
        with open(local, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            crc = zlib.crc32(file.read(_STAMPED_BYTES), zlib.crc32(str(size).encode(), crc))
            file.seek(max(0, size - _STAMPED_BYTES))
            return zlib.crc32(file.read(), crc)
    except (OSError, ResourceError):
        return zlib.crc32(b"gone", crc)  # told when a row of it is asked for


def _follow_manifest(folder: AnyPath, manifest: Mapping[str, Any], *, is_pinned: bool) -> RowFiles:
    where = str(folder / MANIFEST)
    try:
        parts = [(part["name"], part["rows"]) for part in manifest["parts"]]
        file_format = manifest["format"]
    except (LookupError, TypeError) as error:
        raise StateError(f"expected the manifest of a run: {error!r}", where=where) from error
    if file_format not in _SEALED:
        raise StateError(f"expected parts in {' or '.join(_SEALED)}, got {file_format!r}", where=where)
    names, rows = tuple(name for name, _ in parts), tuple(rows for _, rows in parts)
    return RowFiles(folder, file_format, names, rows, version=manifest["hash"], is_pinned=is_pinned)


def _find_files(folder: AnyPath) -> RowFiles:
    found: dict[str, list[str]] = {}
    for name in iter_files(folder):
        file_format = find_format(name)
        local = find_local(folder / name)
        is_file = local is None or local.is_file()
        if file_format is not None and is_file and not name.startswith((".", "_")):
            found.setdefault(file_format.name, []).append(name)
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
        get_format(name).open_rows(locate(folder, each))  # says why, if it cannot be
    return RowFiles(folder, name, tuple(names), None)


def _find_name(path: AnyPath) -> str:
    file_format = find_format(path.plain_name if isinstance(path, RemotePath) else path.name)
    if file_format is None:
        suffixes = ", ".join(suffix for each in FORMATS for suffix in each.suffixes)
        raise ConfigError(f"expected a file that ends in {suffixes}, got `{path.name}`", where=str(path.parent))
    file_format.open_rows(locate(path.parent, path.name))
    return file_format.name
