"""Where a file is: a local path, or an address with what it takes to open it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from tidemill.config.secrets import mask
from tidemill.data.files.query import is_web, show_query, split_query

_LOCAL = ("file", "local")


@dataclass(frozen=True)
class RemotePath:
    """A file on a file system of fsspec, or a local one whose name does not tell its codec.

    Shown without credentials. Pickles; the file system is opened anew in the other process.

    Attributes:
        url: `s3://bucket/key`, say, without a query; a local path only beside a `codec`.
        options: what fsspec is given to open the file system, `storage_options` elsewhere.
        codec: the codec it is packed with, `none` for none; None lets the suffix say.
        query: what an address of the web has behind its question mark.
    """

    url: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False)
    codec: str | None = None
    query: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        """The last component."""
        return posixpath.basename(self.url)

    @property
    def suffix(self) -> str:
        """The last suffix of the name, its dot included."""
        return PurePosixPath(self.name).suffix

    @property
    def is_web(self) -> bool:
        """Whether it is a file of an HTTP server."""
        return is_web(self.url)

    @property
    def address(self) -> str:
        """What it is asked for by, credentials and all; not to be shown."""
        return f"{self.url}?{self.query}" if self.query else self.url

    @property
    def parent(self) -> RemotePath:
        """The folder around it."""
        head, _, _ = self.url.rpartition("/")
        return replace(self, url=head + "//" if head.endswith(":/") else head)

    @property
    def local(self) -> Path | None:
        """The path of a local file."""
        return None if is_url(self.url) else Path(self.url)

    def clean(self) -> RemotePath:
        """The same without slashes that say nothing: doubled ones, and those at its end."""
        if not is_url(self.url):
            return self
        protocol, parts = split_url(self.url)
        return replace(self, url=f"{protocol}://{'/'.join(parts)}")

    def __truediv__(self, name: str) -> RemotePath:
        return replace(self, url=posixpath.join(self.url, name))

    def __str__(self) -> str:
        return mask(self.url + show_query(self.query))


AnyPath = Path | RemotePath


def split_url(url: str) -> tuple[str, list[str]]:
    """Protocol and path components of an address.

    >>> split_url("s3://bucket/folder/a.jsonl")
    ('s3', ['bucket', 'folder', 'a.jsonl'])
    """
    protocol, rest = url.split("://", 1)
    return protocol, [part for part in rest.split("/") if part]


def strip_local(text: str) -> str:
    """`text` without the protocol of local files.

    >>> strip_local("file:///data/a.jsonl")
    '/data/a.jsonl'
    """
    protocol, found, rest = text.partition("://")
    return rest if found and protocol in _LOCAL else text


def is_url(text: str) -> bool:
    """Whether `text` is an address, not a local path."""
    return "://" in text


def parse_path(
    path: str | os.PathLike[str] | AnyPath, options: Mapping[str, Any] | None = None, codec: str | None = None
) -> AnyPath:
    """The path that `path` names; an address of a local file becomes a plain path."""
    if isinstance(path, RemotePath):
        return path
    text = strip_local(os.fspath(path))
    if is_web(text):
        url, query = split_query(text)
        return RemotePath(url, options or {}, codec, query)
    if is_url(text):
        return RemotePath(text, options or {}, codec)
    return Path(text) if codec is None else RemotePath(text, codec=codec)


def find_local(path: AnyPath) -> Path | None:
    """The local path of a file, None for one elsewhere."""
    return path if isinstance(path, Path) else path.local
