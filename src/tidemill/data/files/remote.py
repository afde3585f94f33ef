"""Files of the file systems that fsspec knows: object stores, HTTP, memory and more.

Imported when the first address is opened, for fsspec's sake.
"""

from __future__ import annotations

import contextlib
import functools
import io
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, cast

import fsspec

from tidemill.config.secrets import say_cause
from tidemill.data.files.elsewhere import FileElsewhere
from tidemill.data.files.path import RemotePath
from tidemill.data.files.web import WebFile, find_web_absence, stat_web
from tidemill.errors import ConfigError, ResourceError, TidemillError
from tidemill.protocols import State

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_AHEAD_BYTES = 4 * 1024 * 1024
"""Fetched at a time by a reader that goes through a file: one request for many blocks."""

_RANDOM_BYTES = 1024 * 1024
_WRITE_PART_BYTES = 16 * 1024 * 1024  # S3 takes 10,000 parts of at least 5 MiB: files up to 156 GiB
_EXTRAS = {"s3": "s3", "s3a": "s3"}
_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5", "generation", "VersionId", "version_id", "LastModified")
_VERSIONS_TIME = ("last_modified", "mtime", "updated", "modified", "created")


def open_filesystem(path: RemotePath) -> tuple[Any, str]:
    """The file system of an address, and the path of the file there.

    Raises:
        ConfigError: fsspec has no such file system, the package it needs is missing, or it refuses its options.
    """
    protocol = path.url.split("://", 1)[0]
    try:
        filesystem = fsspec.filesystem(protocol, **path.options)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        hint = f'pip install "tidemill[{extra}]"' if extra else str(error)
        raise ConfigError(f"`{protocol}://` needs a package that is missing", where=str(path), hint=hint) from error
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"the file system `{protocol}` cannot be opened: {say_cause(error)}",
            where=str(path),
            hint="see the fsspec documentation for what its storage_options may be",
        ) from error
    return filesystem, cast(str, filesystem._strip_protocol(path.url))


@contextlib.contextmanager
def explaining(path: RemotePath, verb: str = "read") -> Iterator[None]:
    """What a file system raises becomes a `ResourceError` that names the file."""
    try:
        yield
    except TidemillError:
        raise
    except Exception as error:
        raise ResourceError(f"cannot be {verb}: {_explain(error)}", where=str(path)) from error


def _explain(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, PermissionError):
        return f"access is denied ({say_cause(error)})"
    return say_cause(error)


class RemoteFile(FileElsewhere):
    """A file elsewhere, open for reading; blocks are fetched ahead, one request at a time.

    Memory: twice `block_bytes`.

    Raises:
        ResourceError: the file cannot be opened or read, or was exchanged meanwhile where that is told.
    """

    _file: Any = None

    def __init__(self, path: RemotePath, block_bytes: int = READ_AHEAD_BYTES) -> None:
        self._path = path
        with explaining(path):
            filesystem, name = open_filesystem(path)
            filesystem.invalidate_cache(name)
            self._file = filesystem.open(name, "rb", block_size=block_bytes)
            info = getattr(self._file, "details", None)  # what opening it has found out, where it has
            if not isinstance(info, Mapping):
                info = filesystem.info(name)
        self._stamp = _make_stamp(filesystem, name, info)

    def state(self, size_bytes: int) -> State:
        """That so many bytes were read of this version."""
        return {"end": size_bytes, **self._stamp}

    def readinto(self, buffer: WriteableBuffer) -> int:
        with explaining(self._path), memoryview(buffer) as view:
            if self._file.tell() != self._position:  # files in memory are one object for all that open them
                self._file.seek(self._position)
            data = self._file.read(len(view))
            view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _find_size(self) -> int:
        with explaining(self._path):
            return int(self._file.seek(0, io.SEEK_END))

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()


def open_ahead(path: RemotePath) -> RemoteFile | WebFile:
    """The file for reading on from some place."""
    return WebFile(path) if path.is_web else RemoteFile(path)


def open_remote(path: RemotePath) -> BinaryIO:
    """The file for reading at any place, a mebibyte at a time."""
    raw = WebFile(path, _RANDOM_BYTES) if path.is_web else RemoteFile(path, _RANDOM_BYTES)
    return cast(BinaryIO, io.BufferedReader(raw, _RANDOM_BYTES if path.is_web else io.DEFAULT_BUFFER_SIZE))


def stat_remote(path: RemotePath) -> dict[str, Any]:
    """Size and version, asked for anew."""
    if path.is_web:
        return stat_web(path)
    with explaining(path):
        filesystem, name = open_filesystem(path)
        filesystem.invalidate_cache(name)
        return _make_stamp(filesystem, name, filesystem.info(name))


def _make_stamp(filesystem: Any, name: str, info: Mapping[str, Any]) -> dict[str, Any]:
    known = (info.get(key) for key in (*_VERSIONS, *_VERSIONS_TIME))
    version = next((str(value) for value in known if value not in (None, "", "null")), None)
    return {"size": info.get("size"), "version": version or filesystem.ukey(name)}


@contextlib.contextmanager
def create_remote(path: RemotePath) -> Iterator[BinaryIO]:
    """A new file, there whole when the block ends well, or not at all.

    The file system is an instance of its own: a transaction is all that is open on one.
    """
    protocol = path.url.split("://", 1)[0]
    own = RemotePath(path.url, {**path.options, "skip_instance_cache": True})
    filesystem, name = open_filesystem(own)
    with explaining(path, "written"):
        if protocol not in _EXTRAS:
            filesystem.makedirs(filesystem._parent(name), exist_ok=True)
        transaction = filesystem.transaction
        transaction.start()
        file = filesystem.open(name, "wb", block_size=_WRITE_PART_BYTES)
    try:
        yield cast(BinaryIO, file)
        with explaining(path, "written"):
            file.close()
    except BaseException:
        with contextlib.suppress(Exception):  # the block's error is what counts
            file.close()
        transaction.complete(commit=False)
        raise
    with explaining(path, "written"):
        transaction.complete(commit=True)


def find_remote_kind(path: RemotePath) -> Literal["file", "folder"] | None:
    """What stands at an address; None for nothing."""
    if path.is_web:
        return None if find_web_absence(path) else "file"
    with explaining(path):
        filesystem, name = open_filesystem(path)
        filesystem.invalidate_cache(name)
        try:
            return "folder" if filesystem.info(name)["type"] == "directory" else "file"
        except FileNotFoundError:
            return None


def list_remote(folder: RemotePath) -> list[tuple[str, bool]]:
    """The names in a folder, each with whether it is a folder; none when there is no such folder."""
    with explaining(folder, "listed"):
        filesystem, name = open_filesystem(folder)
        filesystem.invalidate_cache(name)
        try:
            entries = filesystem.ls(name, detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
    names = ((str(entry["name"]).rstrip("/").rpartition("/")[2], entry["type"] == "directory") for entry in entries)
    return [entry for entry in names if entry[0]]


KeyPager = Callable[[str, str, bool], Iterator[str]]
"""Gives the names below a folder that begin with a prefix, from a start on, those in folders below it too or not."""


def find_key_pager(root: RemotePath) -> KeyPager | None:
    """What lists the keys below `root` page by page; None where the file system cannot."""
    if root.url.split("://", 1)[0] not in _EXTRAS:
        return None
    filesystem, name = open_filesystem(root)
    return functools.partial(_iter_s3_keys, root, filesystem, name)


def _iter_s3_keys(root: RemotePath, filesystem: Any, name: str, prefix: str, start: str, deep: bool) -> Iterator[str]:
    """The names of objects in key order (UTF-8, which is the order of the strings), 1,000 a request.

    s3fs itself only lists everything at once.
    """
    bucket, _, folder = name.partition("/")
    folder = folder.rstrip("/") + "/" if folder else ""
    request = {"Bucket": bucket, "Prefix": folder + prefix}
    if not deep:
        request["Delimiter"] = "/"
    if start:
        if find_remote_kind(root / start) == "file":  # S3 lists what is behind a key
            yield start
        request["StartAfter"] = folder + start
    while True:
        with explaining(root, "listed"):
            try:
                page = filesystem.call_s3("list_objects_v2", **request)
            except FileNotFoundError:  # there is no such bucket
                return
        for entry in page.get("Contents", ()):
            if not entry["Key"].endswith("/"):
                yield entry["Key"].removeprefix(folder)
        if not page.get("IsTruncated"):
            return
        request["ContinuationToken"] = page["NextContinuationToken"]
