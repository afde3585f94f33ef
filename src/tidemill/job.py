"""`Job`: a job file or a stream's job as an object to check, try and run."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import ClassVar

from tidemill.data.iteration import Records
from tidemill.jobs.live.estimate import Estimate, estimate_calls
from tidemill.jobs.live.iteration import iterate_all
from tidemill.jobs.live.sampling import SampleLimits
from tidemill.jobs.live.trial import Trial, run_trials
from tidemill.jobs.opening.refusal import check_opening
from tidemill.jobs.running.inspect import measure_run
from tidemill.jobs.running.progress import run_with_progress
from tidemill.jobs.running.report import Report
from tidemill.jobs.running.request import RunRequest
from tidemill.jobs.spec.dump import dump_job
from tidemill.jobs.spec.file import load_job_file
from tidemill.jobs.spec.job import JobSpec
from tidemill.jobs.spec.written import JobFile
from tidemill.pipeline import Pipeline
from tidemill.protocols import State


class Job:
    """A job: source, steps, sink. Frozen; equal by fingerprint.

    Attributes:
        spec: the job as data.
    """

    __slots__ = ("spec",)

    __file_form__: ClassVar[type[JobFile]] = JobFile
    """What it is in a file, as `tm.json_schema` describes it."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec

    @property
    def pipeline(self) -> Pipeline:
        """The steps, as one callable."""
        return Pipeline(self.spec.steps, folder=self.spec.folder)

    @property
    def fingerprint(self) -> str:
        """A hex digest of what decides the result."""
        return self.spec.fingerprint

    def check(self) -> None:
        """Check all that can be known before a call, what lies in the job's folders included.

        Raises:
            ConfigError: everything wrong, each with its place. Nothing was called or written.
        """
        check_opening(self.spec.renew())

    def iterate(self, state: State | None = None) -> Records:
        """Its records in plain iteration, from the start or from a `state()`; nothing is written."""
        spec = self.spec.renew()
        return iterate_all(spec.source, spec.steps, state, folder=spec.folder)

    def preview(self, count: int = 3, *, call: bool = True) -> list[Trial]:
        """The first records with every request and reply; with `call=False` nothing is sent."""
        spec = self.spec.renew()
        return run_trials(spec.source, spec.steps, count, folder=spec.folder, call=call)

    def estimate(
        self, *, limit: int | None = None, records: int = 200, seconds: float = 2.0, seed: int = 0
    ) -> Estimate:
        """What its calls will come to, as of `Stream.estimate`; what its own run has measured so far is gone by."""
        limits = SampleLimits(records, seconds, seed)
        spec, measured = self.spec.renew(), measure_run(self.spec.folders)
        return estimate_calls(
            spec.source, spec.steps, folder=spec.folder, limits=limits, limit=limit, measured=measured
        )

    def run(
        self,
        *,
        limit: int | None = None,
        fresh: bool = False,
        reuse: str | None = None,
        retry: bool = False,
        progress: bool | None = None,
    ) -> Report:
        """Run it durably; after a crash or a stop, running it again goes on.

        Works inside a running event loop. The first Ctrl-C seals what is finished, the second ends at once; both are
        resumable and return the report.

        Args:
            limit: end after this many records of the source half; a later run with more goes on.
            fresh: delete this run's own output and run folder first.
            reuse: an earlier run whose replies are used where nothing changed; `none` goes on without the one named
                before.
            retry: try the quarantined and skipped records again instead of reading on.
            progress: show it; by default when the error output is a terminal.

        Raises:
            ConfigError: the job cannot run; everything wrong at once. Nothing was called or written.
            StateError: its folders belong to another job or run, or it runs now; says what differs.
        """
        request = RunRequest(limit=limit, fresh=fresh, reuse=reuse, retry=retry)
        return run_with_progress(self.spec.renew(), request, show=progress)

    def to_yaml(self) -> str:
        """The text of a job file that says the same.

        Raises:
            ConfigError: it holds something a file cannot name: an iterable source, a lambda.
        """
        return dump_job(self.spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Job) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"<Job: {' | '.join(self.spec.names[:-1])} to {self.spec.sink.path!r}>"


def load_job(path: str | PathLike[str], overrides: str | Sequence[str] = ()) -> Job:
    """The job in a YAML, TOML or JSON file.

    Args:
        path: the file; its folder is importable and what its relative paths start from.
        overrides: `key.path=value` or `@file`, one or several, over what the file says.

    Raises:
        ConfigError: anything wrong in it, all at once, each with its place.
    """
    return Job(load_job_file(Path(path), [overrides] if isinstance(overrides, str) else overrides))
