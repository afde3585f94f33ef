"""Patterns of file names: what they match, and where the folders that they leave open begin."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tidemill.data.files.folders import find_kind
from tidemill.data.files.path import AnyPath, RemotePath, is_url, split_url, strip_local
from tidemill.data.files.query import is_web, show_query, split_query

_WEB = ("http", "https")  # a question mark begins the query of such an address
_PARTITION = re.compile(r"[^=/._][^=/]*=.*")


@dataclass(frozen=True)
class Pattern:
    """A pattern as it is looked for.

    Attributes:
        text: as it was written, an address of the web without its query.
        root: the folder in front of the first component with a wildcard; of a file or folder named outright the one
            around it, or itself.
        components: what names below `root` must match, each a pattern of one name or `**`; none of a whole folder.
        kind: `names` matches names, `file` is one file, `folder` is all of a folder.
    """

    text: str
    root: AnyPath
    components: tuple[str, ...]
    kind: str

    def matches(self, name: str) -> bool:
        """Whether a file of this name below `root` is one of the pattern's."""
        parts = name.split("/")
        if self.kind == "file":
            return tuple(parts) == self.components
        if self.kind == "folder":
            return not parts[-1].startswith((".", "_")) and all(map(is_partition, parts[:-1]))
        return len(self.components) in self._reach(parts)

    def enters(self, name: str) -> bool:
        """Whether files below the folder of this name may match."""
        parts = name.split("/")
        if self.kind == "folder":
            return is_partition(parts[-1])
        return any(place < len(self.components) for place in self._reach(parts))

    def locate(self, name: str) -> AnyPath:
        """The file of a name below `root`; what the name of an address has behind a question mark is no part of it."""
        root = self.root
        return root / (name.partition("?")[0] if isinstance(root, RemotePath) and root.is_web else name)

    @property
    def is_deep(self) -> bool:
        """Whether files in folders below `root` may match."""
        return self.kind == "folder" or len(self.components) > 1 or "**" in self.components

    @property
    def prefix(self) -> str:
        """What every name that matches begins with."""
        if self.kind == "folder":
            return ""
        first = self.components[0]
        if self.kind == "file":
            return first
        wild = re.search(r"[*?[]", first)
        return first[: wild.start()] if wild else first + "/"

    def _reach(self, parts: list[str]) -> frozenset[int]:
        """How many of the components may be used up by `parts`; hidden names match only where they are named."""
        places = self._open({0})
        for part in parts:
            hidden = part.startswith(".")
            after: set[int] = set()
            for place in places:
                component = self.components[place] if place < len(self.components) else None
                if component == "**":
                    after.update(() if hidden else (place,))
                elif component is not None and (not hidden or component[0] == ".") and fnmatchcase(part, component):
                    after.add(place + 1)
            places = self._open(after)
        return places

    def _open(self, places: set[int]) -> frozenset[int]:
        """`places` and those behind any `**` there, which may stand for no folder."""
        found = set(places)
        for place in sorted(places):
            while place < len(self.components) and self.components[place] == "**":
                place += 1
                found.add(place)
        return frozenset(found)


def is_partition(name: str) -> bool:
    """Whether a folder of this name holds the records that have one value: `key=value`."""
    return _PARTITION.fullmatch(name) is not None


def open_pattern(text: str, folder: Path, options: dict[str, Any], codec: str | None) -> Pattern:
    """The pattern written as `text`; a file or folder that has just this name comes before its wildcards.

    Args:
        folder: where relative ones start.
        options: what remote file systems are opened with.
        codec: what files are packed with, whatever their suffix.
    """
    text = strip_local(text)
    if is_url(text):
        return _open_remote(text, options, codec)
    text = os.path.expanduser(text)
    whole = folder / text
    kind = find_kind(whole)
    if kind == "folder":
        return Pattern(text, _locate(whole, codec), (), "folder")
    parts = Path(os.path.abspath(whole)).parts
    wild = next((number for number, part in enumerate(parts) if _is_wild(part, number, folder)), None)
    if kind == "file" or wild is None:
        return Pattern(text, _locate(Path(*parts[:-1]), codec), parts[-1:], "file")
    return Pattern(text, _locate(Path(*parts[:wild]), codec), parts[wild:], "names")


def _is_wild(part: str, number: int, folder: Path) -> bool:
    """Whether a component of a whole path is a pattern: those of the folder it started at are none."""
    start = Path(os.path.abspath(folder)).parts
    return glob.has_magic(part) and start[number : number + 1] != (part,)


def _locate(folder: Path, codec: str | None) -> AnyPath:
    folder = Path(os.path.abspath(folder))
    return folder if codec is None else RemotePath(str(folder), codec=codec)


def tell_apart(patterns: Sequence[Pattern]) -> list[Pattern]:
    """The patterns, with the addresses numbered that would be shown as one and may lead to other files."""
    told: list[Pattern] = []
    seen: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for pattern in patterns:
        root = pattern.root
        if pattern.kind == "file" and isinstance(root, RemotePath) and root.is_web:
            queries = seen.setdefault((root.url, pattern.components), [])
            queries += [root.query] if root.query not in queries else []
            number = queries.index(root.query)
            (name,) = pattern.components
            if number:
                pattern = replace(pattern, components=(f"{name}{'&' if '?' in name else '?'}{number + 1}",))
        told.append(pattern)
    return told


def _open_remote(text: str, options: dict[str, Any], codec: str | None) -> Pattern:
    query = ""
    if is_web(text):
        text, query = split_query(text)
    protocol, parts = split_url(text)
    wild = next((number for number, part in enumerate(parts) if _is_wild_key(protocol, part)), None)
    if wild is not None:
        root = f"{protocol}://{'/'.join(parts[:wild])}"
        return Pattern(text, RemotePath(root, options, codec, query), tuple(parts[wild:]), "names")
    whole = RemotePath(f"{protocol}://{'/'.join(parts)}", options, codec, query)
    if text.endswith("/") or (protocol not in _WEB and find_kind(whole) == "folder"):
        return Pattern(text, whole, (), "folder")
    shown = show_query(query).replace("/", "%2F")  # which would part it
    return Pattern(text, whole.parent, (whole.name + shown,), "file")


def _is_wild_key(protocol: str, part: str) -> bool:
    return glob.has_magic(part) if protocol not in _WEB else "*" in part
