"""Sealing: a cut becomes files that stand, then one ledger transaction, then the manifest.

A crash anywhere in between leaves either the old state and some files the ledger does not know, which the next
run removes, or the new state.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from tidemill.data.dataset import MANIFEST_VERSION
from tidemill.disk import TEMP_SUFFIX, Disk
from tidemill.jobs.landing.sinks import PartWriter
from tidemill.jobs.landing.stretch import Cut, Failed
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.rows import FailedRow
from tidemill.jobs.records.counts import EMITTED, IN, PASSED, QUARANTINED, Counts
from tidemill.jobs.records.outcomes import Failure

_PART_NAME = re.compile(rf"part-(\d{{5,}})\.(parquet|jsonl|jsonl\.zst)({re.escape(TEMP_SUFFIX)})?")


@dataclass(frozen=True, slots=True)
class SealedFiles:
    """The files of one segment as they stand, and what could not be written into them.

    `info` is what the ledger keeps: names, rows, bytes and checksums, and which identities the calls are of.
    """

    info: dict[str, Any]
    counts: Counts
    misfits: int


class Sealer:
    """Writes the files of segments. Used by one thread at a time."""

    def __init__(
        self,
        folder: RunFolder,
        disk: Disk,
        writer: PartWriter,
        names: Sequence[str],
        skipping: frozenset[int],
    ) -> None:
        self._folder = folder
        self._disk = disk
        self._writer = writer
        self._names = names
        self._skipping = skipping

    def write_segment(self, number: int, run_pass: int, cut: Cut) -> SealedFiles:
        """The output, quarantine and call files of segment `number`, durable.

        A record the sink cannot take moves to quarantine, at the step `sink`.

        Raises:
            OSError: the disk is full or gone; nothing of the segment counts then.
        """
        info: dict[str, Any] = {"number": number, "pass": run_pass, "roots": cut.roots, "ranges": cut.ranges}
        misfits = self._write_output(number, cut, info)
        failed = [*cut.failed, *misfits.values()]
        if failed:
            self._write_quarantine(number, failed, info)
        if cut.calls:
            path = self._folder.call_part(number)
            self._disk.make_folder(path.parent)
            body = b"\n".join(cut.calls)
            info["calls"] = {**self._write(path, lambda file: _write_zstd(file, body)), "rows": len(cut.calls)}
            self._disk.sync_folder(path.parent)
        self._count_sink(cut, len(misfits))
        return SealedFiles(info, cut.counts, len(misfits))

    def _write_output(self, number: int, cut: Cut, info: dict[str, Any]) -> dict[int, Failed]:
        """The output part, if any record landed; the records that do not fit, by index."""
        if not cut.landed:
            return {}
        path = self._folder.output_part(number, self._writer.suffix)
        misfits: dict[int, Failed] = {}
        sink = len(self._names) - 1

        def write(file: BinaryIO) -> None:
            for index, error in self._writer.write_part(file, [landed.record for landed in cut.landed]).items():
                part, ordinal, child, record = cut.landed[index]
                misfits[index] = Failed(part, ordinal, Failure(sink, error, record, path=child))

        written = self._write(path, write)
        rows = len(cut.landed) - len(misfits)
        if rows:
            info["output"] = {**written, "rows": rows}
        else:
            self._disk.remove(path)
        self._disk.sync_folder(path.parent)
        return misfits

    def _write_quarantine(self, number: int, failed: Sequence[Failed], info: dict[str, Any]) -> None:
        path = self._folder.quarantine_part(number)
        self._disk.make_folder(path.parent)

        def write(file: BinaryIO) -> None:
            for part, ordinal, failure in failed:
                outcome = "skipped" if failure.step in self._skipping else "quarantined"
                row = FailedRow.from_failure(part, ordinal, failure, self._names[failure.step], outcome)
                file.write(row.to_line())

        info["quarantine"] = {**self._write(path, write), "rows": len(failed), "retired": 0}
        self._disk.sync_folder(path.parent)

    def _count_sink(self, cut: Cut, misfits: int) -> None:
        sink = cut.counts[-1]
        sink[IN] += len(cut.landed)
        sink[PASSED] += len(cut.landed) - misfits
        sink[EMITTED] += len(cut.landed) - misfits
        sink[QUARANTINED] += misfits

    def _write(self, path: Path, write: Callable[[BinaryIO], None]) -> dict[str, Any]:
        with self._disk.create_file(path) as file:
            hashed = _HashingFile(file)
            write(cast(BinaryIO, hashed))
        return {"name": path.name, "bytes": hashed.size_bytes, "sha256": hashed.digest.hexdigest()}


class _HashingFile(io.RawIOBase):
    """A file being written, its size and checksum counted on the way."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.digest.update(data)
        written = self._file.write(data)
        self.size_bytes += written
        return written

    def tell(self) -> int:
        return self.size_bytes


def _write_zstd(file: BinaryIO, body: bytes) -> None:
    with pa.CompressedOutputStream(pa.PythonFile(cast(io.IOBase, file), "w"), "zstd") as stream:
        stream.write(body)


def iter_calls(path: Path) -> Iterator[bytes]:
    """The lines of a call archive."""
    with pa.CompressedInputStream(pa.OSFile(str(path), "r"), "zstd") as stream:
        yield from io.BufferedReader(cast(io.RawIOBase, stream))


def build_manifest(run: Mapping[str, Any], segments: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The manifest of a run: the parts readers follow, and which quarantine rows still stand."""
    parts = [segment["output"] for segment in segments if "output" in segment]
    quarantine = [segment["quarantine"] for segment in segments if "quarantine" in segment]
    return {
        "version": MANIFEST_VERSION,
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
