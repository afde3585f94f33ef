"""Landing: what the window delivers is collected, judged, and sealed segment by segment beside the running calls."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from tidemill.disk import Disk
from tidemill.jobs.landing.errors import ErrorCount
from tidemill.jobs.landing.sealer import Sealer
from tidemill.jobs.landing.stretch import Cut, SegmentLimits, Stretch
from tidemill.jobs.ledger.database import SealRecord, explain_disk
from tidemill.jobs.ledger.run import OpenRun
from tidemill.jobs.ledger.segments import build_manifest
from tidemill.jobs.records.counts import (
    add_counts,
    check_counts,
    count_outcomes,
)
from tidemill.jobs.records.outcomes import Failure
from tidemill.jobs.records.root import Mark, Root
from tidemill.resources.worker import WorkerThread

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from tidemill.jobs.landing.sinks import PartWriter

_landed_of, _dropped_of, _recalled_of, _size_of = map(attrgetter, ("landed", "dropped", "recalled", "size_bytes"))


class Lander:
    """Collects what the window delivers and seals it. Belongs to one loop.

    Args:
        run: the open run; its counts, segments and sealed numbers move with each seal.
        run_pass: the pass the records belong to; a retry's takes up the rows of segments up to number `retried`.
        names: the steps as counted.
        skipping, raising: steps whose failures are skipped, or stop the run.
        ledger_thread: where the ledger is written.
        meta: gives what is saved along with each seal (the meter's counts).

    Attributes:
        finished: records that came to their end in this sitting; all replies of `recalled` ones were there already.
        result_bytes: what one record comes to, about; a moving average.
    """

    def __init__(
        self,
        run: OpenRun,
        run_pass: int,
        writer: PartWriter,
        *,
        retried: int,
        names: Sequence[str],
        skipping: Collection[int],
        raising: Collection[int],
        limits: SegmentLimits,
        errors: ErrorCount,
        disk: Disk,
        ledger_thread: WorkerThread,
        meta: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._run = run
        self._pass = run_pass
        self._retried = retried
        self._writer = writer
        self._names = names
        self._skipping = frozenset(skipping)
        self._raising = frozenset(raising)
        self._sealer = Sealer(run.folder, disk, writer, names, self._skipping)
        self._disk = disk
        self._ledger_thread = ledger_thread
        self._seal_thread = WorkerThread("seal")
        self._meta = meta
        self._loop = asyncio.get_running_loop()
        self._stretch = Stretch(len(names), limits, self._loop.time())
        self._sealing: asyncio.Task[None] | None = None
        self._new: list[Root] = []
        self.errors = errors
        self.breach: str | None = None
        self.raised: BaseException | None = None
        self.failure: BaseException | None = None
        self.finished = 0
        self.recalled = 0
        self.result_bytes = 0
        self._unsealed = dict.fromkeys(("landed", "skipped", "quarantined"), 0)
        self.on_stop: Callable[[], None] = lambda: None
        self.on_room: Callable[[], None] = lambda: None

    def deliver(self, entry: Root | Mark) -> None:
        """Take over what finished next in source order."""
        if self.raised is not None:
            return  # what comes after a record that stops the run is left for the next run, as the record itself is
        if isinstance(entry, Mark):
            self._count()
            self.errors.note_chunk(entry.chunk.counts)
            self._stop_on_breach()
            self._stretch.add_mark(entry)
            if self._stretch.is_full:
                self.start_seal()
            else:
                self.tick()
        elif entry.failures:
            self._count()
            if not self._is_raised(entry):
                self._new.append(entry)
                self._count()
        else:
            if not self._new:
                self._loop.call_soon(self._count)
            self._new.append(entry)

    @property
    def due_records(self) -> int:
        """How many records may be read together, so that none waits for the others longer than it may to be sealed."""
        return self._stretch.due_records(self._loop.time())

    def is_behind(self) -> bool:
        """Whether a whole segment waits for the one being sealed: reading pauses meanwhile."""
        return self._stretch.is_full

    def tick(self) -> None:
        """Seal what has waited long enough; called now and then."""
        if self._stretch.is_old(self._loop.time()):
            self.start_seal()

    def start_seal(self) -> None:
        """Seal what is ready, unless a seal is under way."""
        if self._sealing is None and self.failure is None:
            self._sealing = self._loop.create_task(self._seal_ready())

    async def finish(self) -> None:
        """Seal everything that is ready.

        Raises:
            ResourceError, StateError: a segment could not be sealed; what the ledger knows stands.
        """
        self._count()
        while self.failure is None and (self._sealing is not None or self._stretch.has_ready):
            self.start_seal()
            if self._sealing is not None:
                await asyncio.wait({self._sealing})
        if self.failure is not None:
            raise self.failure

    def count_outcomes(self) -> dict[str, int]:
        """Records by outcome over the life of the run, those not sealed yet among them."""
        outcomes = count_outcomes(self._run.counts)
        return {name: number + self._unsealed.get(name, 0) for name, number in outcomes.items()}

    async def abandon(self) -> None:
        """Leave a seal that is under way where it is: the next run removes what it wrote."""
        if self._sealing is not None:
            self._sealing.cancel()
            await asyncio.wait({self._sealing})

    def close(self) -> None:
        """End the sealing thread."""
        self._seal_thread.close()

    def _is_raised(self, root: Root) -> bool:
        """Whether the record failed at a step that stops the run."""
        for failure in root.failures:
            if failure.step in self._raising:
                self.raised = failure.error
                self.on_stop()
                return True
        return False

    def _count(self) -> None:
        """Take what was delivered in this turn of the loop into the counts: many records at once, or one that failed.

        Each alone would cost three times as much.
        """
        roots, self._new = self._new, []
        if not roots:
            return
        landed = sum(map(len, map(_landed_of, roots)))
        failures = roots[0].failures
        self.errors.note(landed + sum(map(_dropped_of, roots)), failures, roots[0].chunk.counts)
        self._stop_on_breach()
        self.finished += len(roots)
        self.recalled += sum(root.recalled == len(root.rows) for root in filter(_recalled_of, roots))
        mean_bytes = sum(map(_size_of, roots)) // len(roots)
        self.result_bytes += (mean_bytes - self.result_bytes) * min(len(roots), 8) // 8
        self._note_unsealed(landed, failures, 1)
        self._stretch.add_roots(roots, self._loop.time())

    def _stop_on_breach(self) -> None:
        if self.errors.failed and self.breach is None:
            self.breach = self.errors.find_breach()
            if self.breach is not None:
                self.on_stop()

    def _note_unsealed(self, landed: int, failures: Iterable[Failure], sign: int) -> None:
        self._unsealed["landed"] += sign * landed
        for failure in failures:
            self._unsealed["skipped" if failure.step in self._skipping else "quarantined"] += sign

    async def _seal_ready(self) -> None:
        try:
            await self._seal(self._stretch.cut())
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # noqa: BLE001 - kept: `finish` raises it, and the run stops now
            self.failure = explain_disk(exc) if isinstance(exc, OSError) else exc
            self.on_stop()
        finally:
            self._sealing = None
        if self.failure is None:
            if self._stretch.is_full:
                self.start_seal()
            self.on_room()

    async def _seal(self, cut: Cut) -> None:
        run = self._run
        number = run.next_segment
        files = await self._seal_thread.run(self._sealer.write_segment, number, self._pass, cut)
        counts = [list(row) for row in run.counts]
        add_counts(counts, files.counts)
        check_counts(counts, self._names)
        sealed = {**run.sealed, self._pass: cut.next_number} if cut.roots else run.sealed
        updated = self._retire(cut.roots)
        meta: dict[str, Any] = {
            **self._meta(),
            "counts": counts,
            "sealed": {str(key): value for key, value in sealed.items()},
            "schema": self._writer.save_schema(),
        }
        if cut.totals is not None:
            meta["source"] = {"ordinal": cut.totals.ordinal, "taken": cut.totals.taken}
        record = SealRecord(
            number,
            files.info,
            {segment["number"]: segment for segment in updated},
            list(cut.positions.values()),
            meta,
            self._pass,
            sealed.get(self._pass, 0),
        )
        await self._ledger_thread.run(run.ledger.seal, record)
        logger.info("sealed segment %d: %d records landed, %d failed", number, len(cut.landed), len(cut.failed))
        run.counts, run.sealed = counts, sealed
        self._note_unsealed(len(cut.landed), (failed.failure for failed in cut.failed), -1)
        by_number = {segment["number"]: segment for segment in [*run.segments, *updated, files.info]}
        run.segments = [by_number[key] for key in sorted(by_number)]
        manifest = build_manifest(run.info, run.segments)
        await self._seal_thread.run(run.folder.save_manifest, self._disk, manifest)
        if self._pass == 0:
            self.errors.note_misfits(files.misfits)
        else:
            self.errors.recount(counts)
        self._stop_on_breach()

    def _retire(self, roots: int) -> list[dict[str, Any]]:
        """The segments whose oldest quarantine rows `roots` retried records have taken up, as they are then."""
        updated: list[dict[str, Any]] = []
        if self._pass == 0:
            return updated
        for segment in self._run.segments:
            part = segment.get("quarantine")
            if part is None or segment["number"] > self._retried:
                continue
            taken = min(roots, part["rows"] - part["retired"])
            if taken:
                roots -= taken
                updated.append({**segment, "quarantine": {**part, "retired": part["retired"] + taken}})
        return updated
