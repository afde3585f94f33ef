"""Running a job: from an opened run to a sealed one, whatever ends it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress

from tidemill.calls.wire import Transport
from tidemill.config.types.durations import show_duration
from tidemill.disk import Disk
from tidemill.errors import ResourceError
from tidemill.jobs.ledger.segments import build_manifest
from tidemill.jobs.opening.run import open_run
from tidemill.jobs.running.control import Orders, take_orders
from tidemill.jobs.running.report import EXIT_CODES, Report, explain_start, is_told, save_report
from tidemill.jobs.running.request import RunRequest, Surroundings
from tidemill.jobs.running.sitting import Sitting
from tidemill.jobs.running.status import RUNNING, Status, StatusBoard, describe_outage
from tidemill.jobs.spec.job import JobSpec
from tidemill.jobs.window.window import Window
from tidemill.resources.scope import Scope

logger = logging.getLogger(__name__)

TICK_S = 1.0


class Runner:
    """Runs one job once. `run` belongs to one loop; `stop` may be called from that loop while it goes on.

    Args:
        job: what to run.
        request: how.
        disk: the door to durable operations.
        transport: makes what requests go through; HTTP by default.
        rng: where jitter comes from.
        on_status: told how far the run is, about once a second and at the end.
        on_note: told in a line where the run goes on, once it is open; that an endpoint is out of order, and answers
            again; and that the run was asked to stop from outside.
    """

    def __init__(
        self,
        job: JobSpec,
        request: RunRequest = RunRequest(),  # noqa: B008 - frozen
        *,
        disk: Disk | None = None,
        transport: Callable[[], Transport] | None = None,
        rng: random.Random | None = None,
        on_status: Callable[[Status], None] = lambda status: None,
        on_note: Callable[[str], None] = lambda note: None,
    ) -> None:
        self.job = job
        self.request = request
        self._surroundings = Surroundings(disk or Disk(), transport or _http_transport, rng or random.Random())
        self._on_status = on_status
        self._on_note = on_note
        self._window: Window | None = None
        self._opening: asyncio.Task[Window] | None = None
        self._stops = 0
        self._stopped_with = EXIT_CODES["stopped"]

    def stop(self, times: int = 1, *, exit_code: int = EXIT_CODES["stopped"]) -> None:
        """Once: start nothing new, give calls in flight the grace period, seal. Twice: end at once. Both resumable.

        Args:
            exit_code: what the report says that the command ends with, if nothing else has ended the run before.
        """
        self._stops = max(self._stops, times)
        self._stopped_with = exit_code
        if self._window is not None:
            self._window.stop(now=self._stops > 1)
        elif self._opening is not None and self._stops > 1:
            self._opening.cancel()

    async def run(self) -> Report:
        """Run until the source ends, or something ends the run; what is finished is sealed.

        Raises:
            ConfigError, DataError, StateError: the run cannot begin; nothing was called.
        """
        disk, loop = self._surroundings.disk, asyncio.get_running_loop()
        started_at = loop.time()
        async with Scope() as scope:
            run = open_run(self.job, scope, disk, fresh=self.request.fresh, retry=self.request.retry)
            sitting = await Sitting.open(self.job, self.request, run, self._surroundings, scope)
            board = StatusBoard(run.folder)
            start = explain_start(run, sitting.sealed_before, is_retry=self.request.retry)
            logger.info("run %s opened in %s: %s", run.info["run_id"], run.folder.run, start or "new")
            if start:
                self._on_note(start)
            error: BaseException | None = None
            try:
                try:
                    window = await self._open_window(sitting)
                    if window is not None:
                        with self._deadline(sitting, started_at):
                            await self._work(sitting, window, board)
                        sitting.note_built()
                    if not self._stops:
                        sitting.end_reuse()
                finally:
                    await sitting.close()
            except Exception as exc:  # noqa: BLE001 - what ended the run is told in the report, which says how to go on
                error = exc
            outcome, reason = sitting.find_outcome(error, stopped=self._stops > 0)
            code = self._stopped_with if outcome == "stopped" else EXIT_CODES[outcome]
            report = sitting.report(outcome, reason, exit_code=code)
            with suppress(OSError, ResourceError):  # of a full disk; then the folder is the unmended job's alone
                sitting.note_untouched()
            with suppress(OSError):  # of a full disk; the next sitting keeps it before it adds to it
                run.folder.keep_version(disk, build_manifest(run.info, run.segments))
            status = sitting.describe(outcome, report.reason)
            is_known = not sitting.has_worked and is_told(report, run.folder)
            if is_known or save_report(report, run.folder, disk):
                board.remove()
            else:
                board.keep(status)
            logger.info("run %s: %s%s", report.run_id, outcome, f": {report.reason}" if report.reason else "")
            self._on_status(status)
        return report

    async def _open_window(self, sitting: Sitting) -> Window | None:
        """The window; None where the run was to end at once while what its steps take was being opened."""
        self._opening = opening = asyncio.create_task(sitting.open_window())
        if self._stops > 1:
            opening.cancel()
        try:
            await asyncio.wait([opening])
        except asyncio.CancelledError:
            opening.cancel()
            await asyncio.wait([opening])
            raise
        return None if opening.cancelled() else opening.result()

    @contextmanager
    def _deadline(self, sitting: Sitting, started_at: float) -> Iterator[None]:
        """Within it the run stops when the budget's deadline has passed."""
        budget = self.job.budget
        if budget is None or budget.deadline is None:
            yield
            return
        timer = asyncio.get_running_loop().call_at(started_at + budget.deadline, self._expire, sitting, budget.deadline)
        try:
            yield
        finally:
            timer.cancel()

    def _expire(self, sitting: Sitting, deadline_s: float) -> None:
        if self._stops:
            return
        sitting.expire(deadline_s)
        grace = f"calls in flight get {self.job.run.grace_s:g} s"
        self._on_note(f"the budget's deadline of {show_duration(deadline_s)} has passed: {grace}")

    async def _work(self, sitting: Sitting, window: Window, board: StatusBoard) -> None:
        self._window = window
        ticks = asyncio.create_task(self._tick(sitting, board))
        try:
            if self._stops:
                window.stop(now=self._stops > 1)
            if sitting.lander.errors.find_breach() is None:
                await window.run()
        finally:
            ticks.cancel()
            sitting.reader.stop()
            try:
                if self._stops < 2:
                    await sitting.lander.finish()
            finally:
                await sitting.lander.abandon()

    async def _tick(self, sitting: Sitting, board: StatusBoard) -> None:
        known: set[str] = set()
        while True:
            status = sitting.describe(RUNNING)
            known = self._note_outages(status, known)
            board.publish(status)
            self._on_status(status)
            await asyncio.sleep(TICK_S)
            self._obey(sitting, take_orders(sitting.run.folder))
            sitting.lander.tick()

    def _note_outages(self, status: Status, known: AbstractSet[str]) -> set[str]:
        """Tell of the endpoints that are newly out of order, and of those `known` to be that answer again."""
        now = {outage["endpoint"]: outage for outage in status.outages}
        for endpoint in now.keys() - known:
            self._on_note(f"{endpoint} is out of order, calls wait: {describe_outage(now[endpoint])}")
        for endpoint in known - now.keys():
            self._on_note(f"{endpoint} answers again")
        return set(now)

    def _obey(self, sitting: Sitting, orders: Orders) -> None:
        """Go by other limits; and stop as so many signals would, if that is more than what has come so far."""
        for tuning in orders.tunings:
            for note in sitting.tune(tuning):
                logger.info("%s", note)
                self._on_note(note)
        stops = orders.stops
        if stops > self._stops:
            grace = f"calls in flight get {self.job.run.grace_s:g} s" if stops == 1 else "at once"
            logger.info("asked to stop by control.json: %s", grace)
            self._on_note(f"stopping, as `tidemill stop` asked: {grace}")
            self.stop(stops)


def _http_transport() -> Transport:
    from tidemill.calls.http.transport import HttpTransport

    return HttpTransport()
