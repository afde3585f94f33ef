"""Where an output comes from: its versions, the run and models that made it, and so on for what it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any

from tidemill.data.files import AnyPath
from tidemill.data.sources.found import locate_dataset
from tidemill.data.sources.versions import EMPTY, find_kept, load_version
from tidemill.errors import DataError, TidemillError


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an output folder.

    Attributes:
        dataset: the folder.
        hash: the content hash; 64 hex digits.
        rows: how many records it has; None where nothing tells any more.
        saved_at: when it was first at rest, UTC; None while its run goes on, or was killed and is not run again yet,
            where it has no rows, and where `_versions` was deleted.
        run_id: of the run that made it.
        source: what its run reads, as its fingerprint has it.
        steps: the names of its run's steps, in order.
        models: each with its step and what its tokens cost, as they were then.
        stores: the vector stores that its steps read or wrote.
        earlier: what it grew from, the latest first, each without what is before it.
        parents: the versions that its run read, each with all of this.
        latest: the content hash that the folder has now, where it went on since; else None.
        fault: why nothing more is known; else empty.
    """

    dataset: str
    hash: str
    rows: int | None = None
    saved_at: str | None = None
    run_id: str | None = None
    source: Mapping[str, Any] | None = None
    steps: tuple[str, ...] = ()
    models: tuple[Mapping[str, Any], ...] = ()
    stores: tuple[Mapping[str, Any], ...] = ()
    earlier: tuple[Version, ...] = ()
    parents: tuple[Version, ...] = ()
    latest: str | None = None
    fault: str = ""


def trace_lineage(path: str | PathLike[str]) -> Version:
    """The version of an output folder, as `OUT` or `OUT@HASH` names it, and all that it comes from.

    Raises:
        DataError: there is no output folder, or no such version of it.
        StateError: a manifest cannot be read.
    """
    folder, version = locate_dataset(path)
    current = load_version(folder)
    manifest = load_version(folder, version) if version else current
    if current is None or manifest is None:
        hint = "lineage is of what a job wrote; name its output folder or its job file"
        raise DataError("expected an output folder, got a place without a manifest", where=str(folder), hint=hint)
    return _trace(folder, manifest, current["hash"], frozenset())


def _trace(folder: AnyPath, found: Mapping[str, Any], latest: str, below: frozenset[tuple[str, str]]) -> Version:
    manifest = find_kept(folder, found["hash"]) or found
    here = below | {(str(folder), manifest["hash"])}
    config = manifest.get("config", {})
    return Version(
        str(folder),
        manifest["hash"],
        manifest["rows"],
        manifest.get("saved_at"),
        manifest["run_id"],
        config.get("source"),
        tuple(step["name"] for step in config.get("steps", ())),
        tuple(manifest.get("models", ())),
        tuple(manifest.get("stores", ())),
        tuple(_iter_earlier(folder, manifest)),
        tuple(_trace_parent(parent, here) for parent in manifest.get("parents", ())),
        None if manifest["hash"] == latest else latest,
    )


def _trace_parent(parent: Mapping[str, Any], below: frozenset[tuple[str, str]]) -> Version:
    """A version that a run read; with the reason where it is not there any more."""
    dataset, content = parent["dataset"], parent["hash"]
    if (dataset, content) in below:
        return Version(dataset, content, fault="is read by its own run")
    try:
        folder, _ = locate_dataset(dataset)
        current = load_version(folder)
        if content == EMPTY and current is not None and current["hash"] != EMPTY:  # of which no manifest is kept
            return Version(dataset, content, 0, latest=current["hash"])
        manifest = load_version(folder, content)
    except TidemillError as error:  # also of a place that cannot be asked about from here
        return Version(dataset, content, fault=error.message)
    if current is None or manifest is None:
        return Version(dataset, content, fault="is not there any more")
    return _trace(folder, manifest, current["hash"], below)


def _iter_earlier(folder: AnyPath, manifest: Mapping[str, Any]) -> Iterator[Version]:
    """What a version grew from, step by step back."""
    passed = {manifest["hash"]}
    while (content := manifest.get("previous")) and content not in passed:
        passed.add(content)
        kept = find_kept(folder, content)
        if kept is None:
            yield Version(str(folder), content, fault="is not there any more")
            return
        yield Version(str(folder), content, kept["rows"], kept.get("saved_at"), kept["run_id"])
        manifest = kept
