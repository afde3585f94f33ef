"""The files of sealed segments: read back, listed in the manifest, told by their names, removed."""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from tidemill.data.sources.versions import MANIFEST_VERSION, hash_parts
from tidemill.disk import TEMP_SUFFIX, Disk
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.rows import FailedRow

_PART_NAME = re.compile(rf"part-(\d{{5,}})\.(parquet|jsonl|jsonl\.zst)({re.escape(TEMP_SUFFIX)})?")


def write_calls(file: BinaryIO, body: bytes) -> None:
    """Write a call archive: its lines, compressed."""
    import pyarrow as pa

    with pa.CompressedOutputStream(pa.PythonFile(cast(io.IOBase, file), "w"), "zstd") as stream:
        stream.write(body)


def iter_calls(path: Path) -> Iterator[bytes]:
    """The lines of a call archive."""
    import pyarrow as pa

    with pa.CompressedInputStream(pa.OSFile(str(path), "r"), "zstd") as stream:
        yield from io.BufferedReader(cast(io.RawIOBase, stream))


def iter_failed(folder: RunFolder, segment: Mapping[str, Any], *, standing: bool = False) -> Iterator[FailedRow]:
    """The quarantine rows of a segment; with `standing`, only those no retry has taken up."""
    part = segment.get("quarantine")
    if part is None:
        return
    first = part["retired"] if standing else 0
    with open(folder.quarantine_part(segment["number"]), "rb") as lines:
        for position, line in enumerate(lines):
            if position >= first:
                yield FailedRow.from_line(line)


def build_manifest(run: Mapping[str, Any], segments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of a run: the parts readers follow, what they are made of, and which quarantine rows stand."""
    parts = [segment["output"] for segment in segments if "output" in segment]
    quarantine = [segment["quarantine"] for segment in segments if "quarantine" in segment]
    content = hash_parts(parts)
    return {
        "version": MANIFEST_VERSION,
        "hash": content,
        "previous": next((version for version in reversed(run.get("versions", ())) if version != content), None),
        "parents": run.get("parents", []),
        "models": run.get("models", []),
        "stores": run.get("stores", []),
        "config": run["description"],
        "run_id": run["run_id"],
        "fingerprint": run["fingerprint"],
        "run_folder": run["run_folder"],
        "format": run["format"],
        "rows": sum(part["rows"] for part in parts),
        "parts": parts,
        "quarantine": [
            {"name": part["name"], "rows": part["rows"], "retired": part["retired"]}
            for part in quarantine
            if part["rows"] > part["retired"]
        ],
    }


def next_number(segments: Iterable[Mapping[str, Any]]) -> int:
    """The number of the segment that is sealed next, or was being sealed when the run died."""
    return 1 + max((segment["number"] for segment in segments), default=0)


def remove_unsealed(folder: RunFolder, disk: Disk, segments: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Remove the files of the segment that was being sealed when the run died; gives what was removed."""
    return _remove_parts(folder, disk, {}, next_number(segments))


def remove_segments(folder: RunFolder, disk: Disk, segments: Sequence[Mapping[str, Any]]) -> list[Path]:
    """Remove the files of these segments, and of the one that was being sealed; gives what was removed."""
    names = {
        kind: {segment[kind]["name"] for segment in segments if kind in segment}
        for kind in ("output", "quarantine", "calls")
    }
    return _remove_parts(folder, disk, names, next_number(segments))


def _remove_parts(folder: RunFolder, disk: Disk, names: Mapping[str, Collection[str]], number: int) -> list[Path]:
    removed = []
    folders = {"output": folder.output, "quarantine": folder.run / "quarantine", "calls": folder.run / "calls"}
    for kind, parent in folders.items():
        for path in sorted(parent.glob("part-*")):
            if path.name in names.get(kind, ()) or find_number(path.name) == number:
                disk.remove(path)
                removed.append(path)
    return removed


def find_number(name: str) -> int | None:
    """The segment whose file this is by its name, finished or not; None when it is no name that a run gives."""
    matched = _PART_NAME.fullmatch(name)
    return None if matched is None else int(matched[1])
