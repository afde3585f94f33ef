"""One sitting of a run: everything it holds open, wired together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from tidemill.calls.budget import NOTHING, BudgetLedger, Spend
from tidemill.calls.engine import Engine
from tidemill.calls.meter import Meter
from tidemill.config.types.durations import show_duration
from tidemill.data.nodes.keeping import place_folders
from tidemill.data.nodes.node import Node
from tidemill.errors import BudgetError, ConfigError, ResourceError
from tidemill.jobs.landing.errors import ErrorCount
from tidemill.jobs.landing.lander import Lander
from tidemill.jobs.ledger.journal import Journal
from tidemill.jobs.ledger.replies import LedgerReplies
from tidemill.jobs.ledger.run import OpenRun
from tidemill.jobs.opening.passes import SOURCE_PASS, RunPass, begin_retry
from tidemill.jobs.opening.reuse import end_reuse, open_reuse
from tidemill.jobs.opening.untouched import holds_nothing, note_untouched
from tidemill.jobs.reading.reader import Reader
from tidemill.jobs.reading.retry import RetryReader
from tidemill.jobs.records.chunk import CHUNK_RECORDS, Chunk
from tidemill.jobs.records.counts import count_outcomes, describe_steps
from tidemill.jobs.records.outcomes import describe_error
from tidemill.jobs.running.report import (
    Report,
    add_unreleased,
    describe_calls,
    explain_breach,
    explain_outage,
    explain_reason,
)
from tidemill.jobs.running.request import RunRequest, Surroundings
from tidemill.jobs.running.status import RUNNING, SHOWN_ERROR, Status
from tidemill.jobs.running.tuning import Tuning, show_limits, tune_lanes
from tidemill.jobs.spec.job import JobSpec
from tidemill.jobs.window.entering import EnteredSteps
from tidemill.jobs.window.limits import WindowLimits
from tidemill.jobs.window.opening import count_slots, count_workers, open_steps
from tidemill.jobs.window.steps import IndexStep, PredictStep, WindowStep
from tidemill.jobs.window.window import Window
from tidemill.models.model import Model, describe_prices
from tidemill.models.steps.calling import CallNode
from tidemill.resources.memory import peak_rss_bytes
from tidemill.resources.scope import Scope
from tidemill.resources.timing.latency import collecting
from tidemill.resources.timing.timings import Timings
from tidemill.resources.worker import WorkerThread
from tidemill.stores.steps.marks import Marks
from tidemill.stores.steps.opened import OpenStores

logger = logging.getLogger(__name__)

NOTHING_TO_DO = "already finished, nothing to do"
NOTHING_TO_RETRY = "nothing stands in quarantine, nothing to do"

BUILT = "built"
"""Where the ledger has the number that the next segment took when the indexes of the run's stores were last built."""

READER_CLOSE_S = 1.0
"""How long a run that ends waits for its source to return."""


class Sitting:
    """Everything one `run` holds open, wired together."""

    def __init__(
        self, job: JobSpec, request: RunRequest, run: OpenRun, surroundings: Surroundings, timings: Timings
    ) -> None:
        self.job = job
        self.request = request
        self.run = run
        self.surroundings = surroundings
        self.timings = timings
        self.sealed_before = run.sealed.get(SOURCE_PASS, 0)
        self.meter = Meter.from_dict(saved) if (saved := run.ledger.load_meta("meter")) else Meter()
        self.estimate = run.ledger.load_meta("estimate") or request.estimate
        self.run_pass = begin_retry(run) if request.retry else RunPass()
        self.ledger_thread = WorkerThread("ledger")
        self.reader_thread = WorkerThread("reader")
        self.started = time.monotonic()
        self._read_before = 0
        self._first_segment = run.next_segment
        self.window: Window | None = None
        self.steps: Sequence[WindowStep] = ()
        self.lander: Lander
        self.reader: Reader | RetryReader
        self.replies: LedgerReplies
        self.journal: Journal
        self.engine: Engine
        self._scope: Scope
        self._entered = EnteredSteps()
        self._has_built = False
        self._owes_build = bool(run.segments) and run.ledger.load_meta(BUILT) != run.next_segment
        self._unreleased: list[BaseException] = []
        self._expired: BudgetError | None = None
        self._tuned: list[dict[str, Any]] = []

    @classmethod
    async def open(
        cls, job: JobSpec, request: RunRequest, run: OpenRun, surroundings: Surroundings, scope: Scope
    ) -> Sitting:
        """The sitting; nothing is read, called or entered yet."""
        # First: threads and tasks are made with this task's context variables.
        timings = scope.enter(collecting(Timings(), is_on=job.run.latency))
        sitting = cls(job, request, run, surroundings, timings)
        sitting._scope = scope
        scope.defer(lambda: sitting.reader_thread.close(wait=False), name="reader thread")
        scope.defer(sitting.ledger_thread.close, name="ledger thread")
        source_half, record_half = job.halves
        sitting.journal = Journal(
            run.ledger,
            sitting.ledger_thread,
            run_pass=sitting.run_pass.number,
            slots=count_slots(record_half),
            totals=sitting.save_meter,
            in_flight=lambda: sitting.meter.in_flight,
        )
        sitting.engine = sitting.make_engine()
        # A retry reuses nothing: what it tries again would be given the very replies that failed.
        old = None if request.retry else open_reuse(run, request.reuse, scope, surroundings.disk)
        sitting.replies = LedgerReplies(run.ledger.iter_frames(sitting.run_pass.number), sitting.journal, old)
        sitting.reader = sitting.make_reader(source_half)
        place = sitting.reader.measure()
        sitting._read_before = place[0] if place else 0
        sitting.lander = sitting.make_lander()
        scope.defer(sitting.lander.close, name="sealing thread")
        return sitting

    async def open_window(self) -> Window:
        """The window, steps entered and models opened, nothing read or called yet.

        Raises:
            ResourceError: a step cannot be entered, or a resource that one takes cannot be opened.
        """
        job = self.job
        source_half, record_half = job.halves
        slots, workers = count_slots(record_half), count_workers(record_half)
        first = len(source_half) + 1
        names = job.names[first:-1]
        stores = OpenStores(self._scope, job.folder)
        self.steps = open_steps(
            await self._entered.enter(record_half, names, stores),
            names,
            first=first,
            engine=self.engine,
            scope=self._scope,
            folder=job.folder,
            marks=Marks(self.run.info["run_id"], are_compared=self.request.retry),
            stores=stores,
        )
        for step in self._iter_indexing():
            step.upserts.is_owed = self._owes_build
        self.window = Window(
            self.next_chunk,
            self.steps,
            WindowLimits(workers=workers, records=max(2_000, 8 * slots, 2 * workers), grace_s=job.run.grace_s),
            self.lander.deliver,
            store=self.replies,
            first_number=self.run.sealed.get(self.run_pass.number, 0),
            skipping=self.policies("skip"),
            paused=self.lander.is_behind,
            thread=self._entered.thread,
        )
        self.lander.on_stop = self.window.stop
        self.lander.on_room = self.window.make_room
        return self.window

    async def next_chunk(self) -> Chunk | None:
        """The next chunk read, no larger than what its records come to, and how fast they finish, allows."""
        self.reader.result_bytes = self.lander.result_bytes
        self.reader.due_records = self.lander.due_records
        return await self.reader_thread.run(self.reader.next_chunk)

    def make_engine(self) -> Engine:
        budget = None
        if self.job.budget is not None and self.job.budget.bounds_spending:
            lease = self.run.ledger.load_meta("lease")
            leased = Spend.from_dict(lease) if lease else NOTHING
            budget = BudgetLedger(self.job.budget, leased.widen(self._count_spent()))
        return Engine(
            self.surroundings.transport(),
            rng=self.surroundings.rng,
            budget=budget,
            commit_lease=self.journal.commit_lease,
            meter=self.meter,
        )

    def _count_spent(self) -> Spend:
        """What the far side reported so far: more than was leased where an earlier sitting had no budget."""
        meter = self.meter
        sent = meter.attempts - meter.failures["connection"]
        return Spend(sent, meter.input_tokens + meter.output_tokens, meter.pico_usd)

    def make_reader(self, source_half: Sequence[Node]) -> Reader | RetryReader:
        run, job, limit = self.run, self.job, self.request.limit
        source_half = place_folders(source_half, run.folder.kept)
        chunk_records = min(CHUNK_RECORDS, job.sink.segment.records)
        if self.request.retry:
            return RetryReader(
                run.folder,
                run.segments,
                job.source,
                source_half,
                upto=self.run_pass.upto,
                totals=run.totals,
                steps=len(job.names),
                chunk_records=chunk_records,
            )
        done = run.sealed.get(SOURCE_PASS, 0)
        return Reader(
            job.source,
            source_half,
            run.parts,
            totals=run.totals,
            steps=len(job.names),
            limit=None if limit is None else limit - done,
            chunk_records=chunk_records,
            disk=self.surroundings.disk,
        )

    def make_lander(self) -> Lander:
        from tidemill.jobs.landing.sinks import make_writer  # loads pyarrow, which reading a stream does not need

        run, job = self.run, self.job
        called = [node.column_types() for node in job.steps if isinstance(node, CallNode)]
        outputs = {name: kind for types in called for name, kind in types.items() if kind is not None}
        writer = make_writer(job.sink.format, job.sink.record_schema, outputs, run.ledger.load_meta("schema"))
        errors = ErrorCount(
            job.max_errors,
            job.names,
            first=len(job.halves[0]) + 1,
            skipping=self.policies("skip"),
            only_at_end=self.request.retry,
        )
        errors.recount(run.counts)
        return Lander(
            run,
            self.run_pass.number,
            writer,
            retried=self.run_pass.upto,
            names=job.names,
            skipping=self.policies("skip"),
            raising=self.policies("raise"),
            limits=job.sink.segment,
            errors=errors,
            disk=self.surroundings.disk,
            ledger_thread=self.ledger_thread,
            meta=self.save_meter,
        )

    def tune(self, tuning: Tuning) -> list[str]:
        """Go by other limits from now on; what changed, a line a lane. One that cannot be taken is logged."""
        lanes = self.engine.lanes
        try:
            changed = tune_lanes(lanes, tuning)
        except ConfigError as exc:
            logger.warning("%s: `tune` cannot be taken: %s", self.run.folder.control, exc)
            return []
        after_s = round(time.monotonic() - self.started, 1)
        self._tuned += [{"after_s": after_s, "model": label, **tuning.limits} for label in changed]
        if self.window is not None:
            self.window.widen(sum(lane.limits.slots for lane in lanes.values()))
        return [f"{label} goes on with {tuning}, as `tidemill tune` asked" for label in changed]

    def expire(self, deadline_s: float) -> None:
        """Start nothing new, since the budget's deadline has passed; the sitting then ends for that reason."""
        self._expired = BudgetError(
            f"the budget's deadline has passed, {show_duration(deadline_s)} from the start of this sitting",
            hint="what is finished is kept; run it again and it goes on, with as much time again",
        )
        if self.window is not None:
            self.window.stop()

    @property
    def before(self) -> int:
        """Records done in earlier sittings: sealed ones, and those whose replies were all committed then."""
        return self.sealed_before + self.lander.recalled

    def policies(self, policy: str) -> list[int]:
        """The places in the counts of the steps whose `on_error` is `policy`."""
        given = [getattr(self.job.source, "on_error", None), *(node.on_error for node in self.job.steps)]
        return [index for index, on_error in enumerate(given) if on_error == policy]

    def save_meter(self) -> dict[str, Any]:
        return {"meter": self.meter.to_dict(), "estimate": self.estimate}

    async def close(self) -> None:
        """End the reader, the engine and the journal, and leave the steps; what is committed is durable."""
        try:
            with suppress(TimeoutError):  # a source that blocks keeps its thread, and what it holds open
                async with asyncio.timeout(READER_CLOSE_S):
                    await self.reader_thread.run(self.reader.close)
        except ResourceError as error:  # of its steps one could not be left: told with how the sitting ended
            self._unreleased.append(error)
        finally:
            try:
                await self.engine.close()
            finally:
                try:
                    await self._entered.leave()
                finally:
                    await self.journal.drain()

    def find_outcome(self, error: BaseException | None, *, stopped: bool) -> tuple[str, BaseException | str | None]:
        """How the sitting ended, and why; what could not be released is told, whatever else ended it."""
        outcome, reason = self._find_outcome(error, stopped=stopped)
        return add_unreleased(outcome, reason, [*self._unreleased, *self._entered.failures])

    def _find_outcome(self, error: BaseException | None, *, stopped: bool) -> tuple[str, BaseException | str | None]:
        error = error or self.lander.raised or self._expired
        if error is not None:
            return ("raised" if error is self.lander.raised else "failed"), error
        breach = self.lander.breach or self.lander.errors.find_breach(at_end=not stopped)
        if breach is not None:
            return "errors", self._explain_breach(breach)
        if stopped:
            return "stopped", "; ".join(map(explain_outage, self.engine.find_outages())) or None
        limit = self.request.limit
        is_reached = not self.request.retry and limit is not None and self.run.sealed.get(SOURCE_PASS, 0) >= limit
        if is_reached and self.run.parts:  # else the source was at its end already
            return "limit", None
        return "finished", None if self.has_worked else NOTHING_TO_RETRY if self.request.retry else NOTHING_TO_DO

    def _explain_breach(self, breach: str) -> str:
        failure, cause = self.lander.errors.last_failure, ""
        if failure is not None:
            described = describe_error(failure.error)
            message = described["message"].splitlines()[0][:SHOWN_ERROR]
            cause = f"`{self.job.names[failure.step]}`: {described['type']}: {message}"
        return explain_breach(
            breach,
            cause,
            failed=self.lander.errors.failed,
            quarantined=count_outcomes(self.run.counts)["quarantined"],
            output=str(self.run.folder.output),
        )

    @property
    def has_worked(self) -> bool:
        """Whether anything came of this sitting."""
        return self.run.next_segment > self._first_segment or self._has_built

    def note_built(self) -> None:
        """Note durably that the indexes of its stores were built for all that is sealed, where they were."""
        if self.window is not None and self.window.has_built and any(self._iter_indexing()):
            self.run.ledger.save_meta({BUILT: self.run.next_segment})
            self._has_built = self._owes_build

    def note_untouched(self) -> None:
        """Note durably that nothing is done, where nothing is: sealed, answered, billed, or put into a store."""
        meter = self.meter
        is_billed = meter.input_tokens or meter.output_tokens or meter.unknown_usage
        if (
            is_billed
            or any(step.upserts.is_due for step in self._iter_indexing())
            or not holds_nothing(self.run.ledger)
        ):
            return
        note_untouched(self.run, self.surroundings.disk)

    def _iter_indexing(self) -> Iterator[IndexStep]:
        return (step for step in self.steps if isinstance(step, IndexStep))

    def end_reuse(self) -> None:
        """Note that the earlier run may go, when the source was read and sealed to its end."""
        if not self.request.retry and self._find_outcome(None, stopped=False)[0] == "finished":
            end_reuse(self.run)

    def describe(self, state: str, reason: str = "") -> Status:
        """How far the run is, now; `reason` says why it ended."""
        return Status(
            state=state,
            outcomes=self.lander.count_outcomes() if state == RUNNING else count_outcomes(self.run.counts),
            done=self.sealed_before + self.lander.finished,
            before=self.before,
            total=self._estimate_total(),
            in_flight=self.meter.in_flight,
            calls=self.meter.calls,
            attempts=self.meter.attempts,
            input_tokens=self.meter.input_tokens,
            output_tokens=self.meter.output_tokens,
            usd=self.meter.usd,
            elapsed_s=time.monotonic() - self.started,
            recalled=self.replies.recalled,
            reason=reason,
            details=describe_calls(self.meter),
            limits=show_limits(self.engine.lanes),
            tuned=list(dict.fromkeys(entry["model"] for entry in self._tuned)),
            outages=[outage._asdict() for outage in self.engine.find_outages()] if state == RUNNING else (),
            latency=self.timings.to_dict(),
        )

    def _estimate_total(self) -> int | None:
        """Records there will be in all: the limit's number, else as many as the source's size lets expect."""
        if self.request.limit is not None and not self.request.retry:
            return self.request.limit
        place = self.reader.measure()
        if place is None or not place[0] or self.window is None or not self.window.admitted:
            return None
        read, size = place
        share = (size - self._read_before) / max(1, read - self._read_before)
        return self.sealed_before + round(self.window.admitted * share)

    def _find_models(self) -> list[Model]:
        return [model for node in self.job.steps if isinstance(model := getattr(node, "model", None), Model)]

    def report(self, outcome: str, reason: BaseException | str | None, *, exit_code: int) -> Report:
        """What the run came to."""
        run = self.run
        return Report(
            run_id=run.info["run_id"],
            outcome=outcome,
            reason=explain_reason(reason),
            exit_code=exit_code,
            output=str(run.folder.output),
            run_folder=str(run.folder.run),
            records=count_outcomes(run.counts),
            steps=describe_steps(run.counts, self.job.names),
            done=run.sealed.get(SOURCE_PASS, 0),
            before=self.sealed_before if self.request.retry else self.before,
            recalled=self.replies.recalled,
            reused=self.replies.reused,
            estimate=self.estimate,
            calls={**describe_calls(self.meter), "prices": describe_prices(self._find_models())},
            tuned=self._tuned,
            compute={step.name: step.predictor.describe() for step in self.steps if isinstance(step, PredictStep)},
            elapsed_s=time.monotonic() - self.started,
            peak_rss_bytes=peak_rss_bytes(),
            latency=self.timings.to_dict(),
            passed_over=self.reader.count_passed_over() if isinstance(self.reader, Reader) else {},
        )
