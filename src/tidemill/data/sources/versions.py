"""Versions of an output folder: each is a manifest under the hash of what it lists, and stays readable."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from tidemill.data.files import AnyPath, open_random
from tidemill.data.files.folders import find_kind, iter_files
from tidemill.errors import DataError, StateError

MANIFEST = "_manifest.json"
MANIFEST_VERSION = 1
VERSIONS = "_versions"
"""The folder of the earlier manifests, within the output folder."""

_PART = re.compile(r"part-\d{5,}\.(parquet|jsonl)(\.\w+)?")
_AT_VERSION = re.compile(r"(?P<path>.+)@(?P<version>[0-9a-fA-F]{4,64})", re.DOTALL)
_AT_ANYTHING = re.compile(r"(?P<path>.+)@(?P<name>[^@/]*)", re.DOTALL)
_SHOWN = 12
_SUFFIX = ".json"


def hash_parts(parts: Sequence[Mapping[str, Any]]) -> str:
    """The content hash of an output: SHA-256 of its parts' own, in order; 64 hex digits.

    It depends on no name, place or time: equal bytes in the same order have the same one.
    """
    return hashlib.sha256("\n".join(part["sha256"] for part in parts).encode()).hexdigest()


EMPTY = hash_parts(())
"""The content hash of an output without a row, the same for all."""


def is_part_name(name: str) -> bool:
    """Whether a run names the parts of its output so, or what it has not finished writing.

    >>> is_part_name("part-00001.parquet"), is_part_name("part-00000-0b3e.c000.parquet")
    (True, False)
    """
    return name.startswith("part-") and _PART.fullmatch(name) is not None


def shorten(version: str) -> str:
    """A version as a person reads it, which names it as well.

    >>> shorten("3f2a91c0" * 8)
    '3f2a91c03f2a'
    """
    return version[:_SHOWN]


def split_version(text: str) -> tuple[str, str]:
    """The path and the version in `PATH@HASH`, its digits in lower case; an empty version where there is none.

    >>> split_version("out/clean@3F2A91c0")
    ('out/clean', '3f2a91c0')
    >>> split_version("s3://me@host/data")
    ('s3://me@host/data', '')
    """
    matched = _AT_VERSION.fullmatch(text)
    return (text, "") if matched is None else (matched["path"], matched["version"].lower())


def split_name(text: str) -> tuple[str, str]:
    """The path and what stands behind its last `@`, whatever it is; empty where there is none.

    >>> split_name("out/clean@latest"), split_name("s3://me@host/data")
    (('out/clean', 'latest'), ('s3://me@host/data', ''))
    """
    matched = _AT_ANYTHING.fullmatch(text)
    return (text, "") if matched is None else (matched["path"], matched["name"])


def parse_manifest(data: bytes, where: AnyPath) -> dict[str, Any]:
    """A manifest of this version of Tidemill; an older run's, which has no hash, gets it.

    Raises:
        StateError: it is none.
    """
    try:
        manifest: dict[str, Any] = orjson.loads(data)
        version = manifest["version"]
        if version != MANIFEST_VERSION:
            raise StateError(
                f"expected a manifest of version {MANIFEST_VERSION}, got {version}",
                where=str(where),
                hint="read it with the version of tidemill that wrote it",
            )
        return {"hash": hash_parts(manifest["parts"]), **manifest}
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError) as error:
        raise StateError(f"expected the manifest of a run: {error!r}", where=str(where)) from error


def load_version(folder: AnyPath, version: str = "") -> dict[str, Any] | None:
    """The manifest of an output folder as it is now, or of an earlier version by the first digits of its hash.

    None where the folder has no manifest.

    Raises:
        DataError: there is no such version, or there are several; names those that there are.
        StateError: a manifest cannot be read.
    """
    path = folder / MANIFEST
    if find_kind(path) != "file":
        return None
    current = parse_manifest(_read(path), path)
    if not version or current["hash"].startswith(version):
        return current
    names = list(_iter_versions(folder))
    found = [name for name in names if name.startswith(version)]
    if len(found) == 1:
        path = folder / VERSIONS / f"{found[0]}{_SUFFIX}"
        return parse_manifest(_read(path), path)
    message = f"expected one version that begins with {version}, found {len(found) or 'none'}"
    raise DataError(message, where=str(folder), hint=_show_known(current, names))


def check_no_version(folder: AnyPath, name: str) -> None:
    """Check that `folder` is no output, of which `name` is no version.

    Raises:
        DataError: it is one; names the versions that there are.
        StateError: its manifest cannot be read.
    """
    current = load_version(folder)
    if current is not None:
        message = f"expected a version behind `@`, the first 4 to 64 hex digits of its hash, got `{name}`"
        raise DataError(message, where=str(folder), hint=_show_known(current, list(_iter_versions(folder))))


def find_kept(folder: AnyPath, version: str) -> dict[str, Any] | None:
    """The manifest that was kept for a whole content hash, with the time when it was; None where there is none."""
    path = folder / VERSIONS / f"{version}{_SUFFIX}"
    return parse_manifest(_read(path), path) if find_kind(path) == "file" else None


def _show_known(current: Mapping[str, Any], names: Sequence[str]) -> str:
    return f"there are {', '.join(shorten(name) for name in dict.fromkeys([current['hash'], *names]))}"


def _iter_versions(folder: AnyPath) -> Iterator[str]:
    """The hashes under which there are manifests, sorted."""
    place = folder / VERSIONS
    if find_kind(place) == "folder":
        yield from sorted(name.removesuffix(_SUFFIX) for name in iter_files(place) if name.endswith(_SUFFIX))


def _read(path: AnyPath) -> bytes:
    with open_random(path) as file:
        return file.read()
