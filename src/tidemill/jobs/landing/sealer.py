"""Sealing: a cut becomes files that stand, then one ledger transaction, then the manifest.

A crash anywhere in between leaves either the old state and some files the ledger does not know, which the next
run removes, or the new state.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from tidemill.disk import Disk
from tidemill.jobs.landing.stretch import Cut, Failed
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.ledger.rows import FailedRow
from tidemill.jobs.ledger.segments import write_calls
from tidemill.jobs.records.counts import EMITTED, IN, PASSED, QUARANTINED, Counts
from tidemill.jobs.records.outcomes import Failure

if TYPE_CHECKING:
    from tidemill.jobs.landing.sinks import PartWriter


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
            info["calls"] = {**self._write(path, lambda file: write_calls(file, body)), "rows": len(cut.calls)}
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
                landed = cut.landed[index]
                misfits[index] = Failed(
                    landed.part, landed.ordinal, landed.order, Failure(sink, error, landed.record, path=landed.path)
                )

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
            for part, ordinal, order, failure in failed:
                outcome = "skipped" if failure.step in self._skipping else "quarantined"
                row = FailedRow.from_failure(part, ordinal, failure, self._names[failure.step], outcome, order=order)
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
