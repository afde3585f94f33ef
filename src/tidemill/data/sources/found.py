"""What is found where a dataset is: an output folder as its manifest says, a folder of files, or one file."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, cast

import orjson

from tidemill.data.files import AnyPath, RemotePath, find_local, is_url, parse_path, stat_file, strip_local
from tidemill.data.files.folders import describe_absence, find_kind, iter_files, name_special
from tidemill.data.formats.table import FORMATS, find_format, get_format
from tidemill.data.sources.manifests import Manifests
from tidemill.data.sources.versions import MANIFEST, check_no_version, load_version, split_name, split_version
from tidemill.errors import ConfigError, DataError, ResourceError, StateError

_SEALED = ("parquet", "jsonl")
_STAMPED_BYTES = 4096


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files of a dataset as they were when it was looked for.

    Attributes:
        path: the folder, or the one file.
        format: of the files.
        names: of the files, in order.
        sizes: rows of each, as a manifest tells; None counts them on first use.
        version: of an output folder, the hash of what the manifest lists; else empty.
    """

    path: AnyPath
    format: str
    names: tuple[str, ...]
    sizes: tuple[int, ...] | None = None
    version: str = ""

    @property
    def folder(self) -> AnyPath:
        """Where the files are."""
        return self.path if self.path.name not in self.names else self.path.parent

    def locate(self) -> list[Path]:
        """The files, each as a format is given it."""
        return [locate(self.folder, name) for name in self.names]

    def iter_outputs(self) -> Iterator[tuple[AnyPath, str]]:
        """The output folder that they are of, with its version; also of one file that is a part of it."""
        if self.version:
            yield self.path, self.version
        elif self.path != self.folder:
            output = Manifests(self.folder).find_output(self.path.name)
            yield from () if output is None else (output,)

    def iter_stamps(self) -> Iterator[str]:
        """A checksum of no file, of the first, of the first two and so on, the last one of all.

        It is of the files' names, sizes, and of their first and last 4 KiB; of files elsewhere, of their names, sizes
        and versions.
        """
        crc = 0
        yield f"{crc:08x}"
        for name in self.names:
            crc = _stamp_file(self.folder / name, zlib.crc32(name.encode(), crc))
            yield f"{crc:08x}"


def find_dataset(text: str, folder: Path | None, storage_options: Mapping[str, Any]) -> FoundFiles:
    """The files of a dataset at `text`, a local path or an address that fsspec opens.

    An output folder is read as its manifest says; `PATH@HASH` reads an earlier version of one. Of any other folder the
    files of one known format are taken, sorted by name.

    Args:
        folder: where a relative path starts; None for the current one.

    Raises:
        ConfigError: the format cannot be a dataset; says why.
        DataError: there is nothing at that path, or no such version.
        ResourceError: it cannot be asked about.
        StateError: the manifest is not one that this version reads.
    """
    place, version = locate_dataset(text, storage_options, folder)
    kind = find_kind(place)
    local = find_local(place)
    got = name_special(local) if local else None
    if kind is None or got or (local and not local.exists()):
        raise DataError(f"expected a folder or a file, got `{place}`, {got or describe_absence(place)}")
    if kind == "file":
        return FoundFiles(place, _find_name(place), (place.name,))
    manifest = load_version(place, version)
    if manifest is not None:
        return _follow_manifest(place, manifest)
    if version:
        raise DataError(
            f"expected an output folder, of which there are versions, got a folder without {MANIFEST}", where=str(place)
        )
    return _find_files(place)


def locate_dataset(
    path: str | PathLike[str], storage_options: Mapping[str, Any] | None = None, folder: Path | None = None
) -> tuple[AnyPath, str]:
    """Where a dataset is, and the version that `PATH@HASH` asks for; what is there under the whole name comes first.

    Raises:
        DataError: there is an output folder in front of the `@`, and no hash behind it; names the versions there are.
        StateError: its manifest cannot be read.
    """
    whole = os.fspath(path)
    place = _find_place(whole, storage_options, folder)
    text, name = split_name(whole)
    if text == whole or find_kind(place) is not None:
        return place, ""
    before = _find_place(text, storage_options, folder)
    version = split_version(whole)[1]
    if not version:
        check_no_version(before, name)
    return (before, version) if version else (place, "")


def _find_place(text: str, storage_options: Mapping[str, Any] | None, folder: Path | None) -> AnyPath:
    text = strip_local(text)
    if not is_url(text):
        return Path(os.path.abspath((folder or Path()) / Path(text).expanduser()))
    return cast(RemotePath, parse_path(text, storage_options)).clean()


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


def _follow_manifest(folder: AnyPath, manifest: Mapping[str, Any]) -> FoundFiles:
    where = str(folder / MANIFEST)
    try:
        parts = [(part["name"], part["rows"]) for part in manifest["parts"]]
        file_format = manifest["format"]
    except (LookupError, TypeError) as error:
        raise StateError(f"expected the manifest of a run: {error!r}", where=where) from error
    if file_format not in _SEALED:
        raise StateError(f"expected parts in {' or '.join(_SEALED)}, got {file_format!r}", where=where)
    names, rows = tuple(name for name, _ in parts), tuple(rows for _, rows in parts)
    return FoundFiles(folder, file_format, names, rows, manifest["hash"])


def _find_files(folder: AnyPath) -> FoundFiles:
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
    return FoundFiles(folder, name, tuple(names))


def _find_name(path: AnyPath) -> str:
    file_format = find_format(path.name)
    if file_format is None:
        suffixes = ", ".join(suffix for each in FORMATS for suffix in each.suffixes)
        raise ConfigError(f"expected a file that ends in {suffixes}, got `{path.name}`", where=str(path.parent))
    file_format.open_rows(locate(path.parent, path.name))
    return file_format.name
