"""The files that patterns name, in reading order, found as they are asked for."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tidemill.data.files.folders import describe_absence, find_kind, iter_files, name_special
from tidemill.data.files.path import AnyPath, RemotePath, find_local, split_url
from tidemill.data.sources.manifests import Manifests
from tidemill.data.sources.pattern import Pattern, tell_apart
from tidemill.data.sources.versions import MANIFEST, split_name
from tidemill.errors import DataError, StateError


class Listing:
    """The files of several patterns, each named by its path from the folder that all patterns share.

    They come pattern by pattern, sorted within one, and a file where it matched first. Nothing is kept: names are
    found as they are asked for. In an output folder, of what is named as a part only those count that its manifest
    names: a killed run may have left others there. A file that is named outright always counts.
    """

    def __init__(self, patterns: Sequence[Pattern], is_known: Callable[[str], bool]) -> None:
        self._patterns = patterns = tell_apart(patterns)
        self._is_known = is_known  # which files of a folder named as a whole can be read
        self.root = _share([pattern.root for pattern in patterns])
        self._before = [_relate(pattern.root, self.root) for pattern in patterns]
        self._manifests = Manifests(self.root)

    def locate(self, name: str) -> AnyPath:
        """The file of this name."""
        root = self.root
        if isinstance(root, RemotePath) and root.is_web:  # each pattern has a query of its own
            for number, pattern in enumerate(self._patterns):
                if self._has(number, name):
                    return pattern.locate(name.removeprefix(self._before[number]))
        return root / name

    def find(self, name: str) -> Pattern | None:
        """The first pattern that matches a file of this name."""
        return next((self._patterns[number] for number in range(len(self._patterns)) if self._has(number, name)), None)

    def find_output(self, name: str) -> tuple[AnyPath, str] | None:
        """The output folder that the file of this name is a part of, with its version; None where it is none."""
        return self._manifests.find_output(name)

    def would_have(self, path: Path) -> bool:
        """Whether a local file of this path, were it there, would be one of them."""
        wanted = os.path.abspath(path)
        for pattern in self._patterns:
            root = find_local(pattern.root)
            if root is not None and Path(wanted).is_relative_to(root):
                name = Path(wanted).relative_to(root).as_posix()
                if self._has_below(pattern, name):
                    return True
        return False

    def iter_names(self, start: str | None = None) -> Iterator[str]:
        """The names, from `start` on.

        Raises:
            DataError: a pattern matches no file, or a file's name is not UTF-8.
            ResourceError: a folder cannot be listed.
            StateError: the manifest of an output folder cannot be read, or a part is gone that it names.
        """
        begun = start is None
        for number, pattern in enumerate(self._patterns):
            first = ""
            if not begun:
                if not self._has(number, start or ""):
                    continue
                begun, first = True, (start or "").removeprefix(self._before[number])
            found, leftover = bool(first), ""
            for name in self._iter_whole(number, self._iter_pattern(pattern, first), first):
                if self._passes_over(number, name):
                    leftover = name
                    continue
                found = True
                if not any(
                    self._has(earlier, name) for earlier in range(number) if not self._passes_over(earlier, name)
                ):
                    _check_name(name)
                    yield name
            if not found:
                raise _no_match(pattern, leftover)

    def _iter_whole(self, number: int, below: Iterator[str], start: str) -> Iterator[str]:
        """The names of a pattern's files, given those below its root; of parts none is left out that is sealed.

        Args:
            start: what `below` starts from.

        Raises:
            StateError: a part that the manifest names and the pattern matches is not there.
        """
        before = self._before[number]
        awaited: dict[str, list[str]] = {}  # by their folder, the last one first
        for name in map(before.__add__, below):
            parts = self._manifests.find_parts(name) if self._patterns[number].kind != "file" else None
            if parts:
                folder = name[: len(name) - len(posixpath.basename(name))]
                if folder not in awaited:
                    sealed = (folder + part for part in parts)
                    awaited[folder] = sorted(
                        (part for part in sealed if part >= before + start and self._has(number, part)), reverse=True
                    )
                while awaited[folder] and awaited[folder][-1] <= name:
                    self._check_there(awaited[folder].pop(), name)
            yield name
        for left in awaited.values():
            for part in reversed(left):
                self._check_there(part, "")

    def _check_there(self, part: str, come_to: str) -> None:
        """Check that a part is there: it is the file come to, or was sealed since the files were listed."""
        if part != come_to and find_kind(self.locate(part)) != "file":
            raise StateError(
                f"the part `{posixpath.basename(part)}` is gone, which the manifest beside it names",
                where=str(self.locate(part)),
                hint="put it back; what else is there can be read by its name",
            )

    def _passes_over(self, number: int, name: str) -> bool:
        return self._patterns[number].kind != "file" and self._manifests.is_leftover(name)

    def _has(self, number: int, name: str) -> bool:
        before = self._before[number]
        return name.startswith(before) and self._has_below(self._patterns[number], name.removeprefix(before))

    def _has_below(self, pattern: Pattern, name: str) -> bool:
        return pattern.matches(name) and (pattern.kind != "folder" or self._is_known(name))

    def _iter_pattern(self, pattern: Pattern, start: str) -> Iterator[str]:
        if pattern.kind == "file":
            is_there = find_kind(pattern.locate(pattern.components[0])) == "file"
            return iter(pattern.components if is_there else ())
        enters = pattern.enters if pattern.is_deep else None
        names = iter_files(pattern.root, prefix=pattern.prefix, start=start, enters=enters)
        return (name for name in names if self._has_below(pattern, name))


def _share(roots: Sequence[AnyPath]) -> AnyPath:
    """The folder that all `roots` are in."""
    first = roots[0]
    if find_local(first) is not None:
        shared = os.path.commonpath([str(find_local(root)) for root in roots])
        return RemotePath(shared, codec=first.codec) if isinstance(first, RemotePath) else Path(shared)
    assert isinstance(first, RemotePath)
    protocol, common = split_url(first.url)
    for root in roots[1:]:
        _, parts = split_url(str(root.url) if isinstance(root, RemotePath) else str(root))
        same = next((at for at, pair in enumerate(zip(common, parts, strict=False)) if pair[0] != pair[1]), None)
        common = common[: min(len(common), len(parts)) if same is None else same]
    return RemotePath(f"{protocol}://{'/'.join(common)}", first.options, first.codec)


def _relate(folder: AnyPath, shared: AnyPath) -> str:
    """What the names below `folder` have in front, seen from `shared`."""
    local, start = find_local(folder), find_local(shared)
    if local is not None and start is not None:
        before = posixpath.relpath(str(local), str(start))
        return "" if before == "." else before + "/"
    assert isinstance(folder, RemotePath)
    assert isinstance(shared, RemotePath)
    parts = split_url(folder.url)[1][len(split_url(shared.url)[1]) :]
    return "".join(part + "/" for part in parts)


def _no_match(pattern: Pattern, leftover: str) -> DataError:
    shown = str(pattern.root)
    if leftover:
        return DataError(
            f"no file matches that a manifest names; the last of the others is `{leftover}`",
            where=shown,
            hint="what a killed run was writing is passed over: run its job again, and it goes on",
        )
    if pattern.kind == "folder":
        return DataError("expected files of a known format in the folder, got none", where=shown)
    rest = "/".join(pattern.components)
    if pattern.kind == "file" and isinstance(pattern.root, RemotePath) and pattern.root.is_web:
        place = pattern.locate(rest)
        return DataError(f"expected a file, got `{place}`, {describe_absence(place)}")
    local = find_local(pattern.root)
    special = name_special(local / rest) if local is not None and pattern.kind == "file" else None
    if special is not None:
        return DataError(
            f"expected a file, got {special}: it can be read just once, and from no place in the middle",
            where=str(pattern.root / rest),
            hint="give tidemill.from_iterable a function that opens and reads it",
        )
    if find_local(pattern.root) is not None and find_kind(pattern.root) != "folder":
        return DataError(f"no file matches `{pattern.text}`: there is no folder `{shown}`")
    before, version = split_name(rest)
    is_output = bool(version) and pattern.kind == "file" and find_kind(pattern.root / before / MANIFEST) == "file"
    hint = "a version of an output is opened by tidemill.dataset, in a job by source: {dataset: …}" if is_output else ""
    return DataError(f"no file matches `{rest}` in the folder `{shown}`", hint=hint)


def _check_name(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name).decode(errors="backslashreplace")
        raise DataError(f"expected file names in UTF-8, got `{shown}`", hint="rename the file") from None
