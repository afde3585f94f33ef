"""`Stream`: a source and the steps over it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from tidemill.calls.limits import Budget
from tidemill.config.loading import load_config
from tidemill.config.model import Settings
from tidemill.data.async_iteration import BLOCK_RECORDS, AsyncRecords
from tidemill.data.flow import Flow, show_source
from tidemill.data.iteration import Records, check_state, describe_pipeline, start_state
from tidemill.data.nodes.hooks import StepHooks, bind_hooks, pad_hooks
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Catch
from tidemill.data.sources.rows import is_dataset
from tidemill.data.steps.providing import provide
from tidemill.job import Job
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.jobs.live.iteration import iterate_all, join_calls
from tidemill.jobs.live.trial import Trial, run_trials
from tidemill.jobs.running.report import Report
from tidemill.jobs.spec.job import JobSpec, MaxErrors, RunOptions, Sink
from tidemill.pipeline import Pipeline, make_pipeline
from tidemill.protocols import Source, State
from tidemill.stores.steps.provided import to_resources
from tidemill.stream.across_steps import AcrossSteps
from tidemill.stream.call_steps import CallSteps
from tidemill.stream.endings import Endings
from tidemill.stream.joins import Joins
from tidemill.stream.keeping_steps import KeepingSteps
from tidemill.stream.record_steps import RecordSteps

T = TypeVar("T")


class _Written(Settings):
    """What `write` adds to the steps, under the names of a job file."""

    sink: Sink
    budget: Budget | None
    max_errors: MaxErrors
    run: RunOptions


class Stream(RecordSteps[T], CallSteps[T], AcrossSteps[T], KeepingSteps[T], Joins[T], Endings[T], Generic[T]):
    """A lazy sequence of records: a source and the steps over it. Frozen; every method gives a new stream.

    Nothing is read until it is iterated, previewed, saved or written. Two streams are equal when they say the same.
    Steps that came in a `Pipeline` keep its hooks, as they are when an iteration begins; equality, pickles, states and
    jobs know nothing of them.

    Memory: flat, whatever the length.
    """

    __slots__ = ("_hooks", "_nodes", "_source")

    def __init__(self, source: Source, nodes: Sequence[Node] = (), hooks: Sequence[StepHooks] = ()) -> None:
        self._source = source
        self._nodes = tuple(nodes)
        self._hooks = tuple(hooks)

    def __iter__(self) -> Iterator[T]:
        return self.iterate()

    def iterate(self, state: State | None = None) -> Records:
        """An iterator from the start, or from a `state()` of an earlier one; its own `state()` is exact.

        Raises:
            StateError: the state belongs to another pipeline or source; names what changed.
        """
        return iterate_all(self._source, self._nodes, state, folder=Path(), hooks=self._hooks)

    def __aiter__(self) -> AsyncRecords[T]:
        return self.aiterate()

    def aiterate(self, state: State | None = None) -> AsyncRecords[T]:
        """An asynchronous iterator, from the start or from a `state()` of an earlier one of either kind.

        `async for record in stream` is short for it. A thread reads blocks of up to 256 records, of what is slow
        fewer, and behind a call one by one; functions run in that thread, not in the loop.

        Order: that of `iterate`.   Memory: a block.   Failure: as of `iterate`, at its place.
        Resume: exact; reads at most 256 records again.

        Raises:
            StateError: the state belongs to another pipeline; names what changed.
        """
        description = describe_pipeline(self._source, self._nodes)
        if state is None:
            state = start_state(description)
        else:
            check_state(state, description)
        nodes = bind_hooks(self._nodes, self._hooks)
        quiet = [node.model_copy(update={"to": None}) if isinstance(node, Catch) else node for node in nodes]
        open_at = partial(iterate_all, self._source, folder=Path(), describe=partial(list, description))
        return AsyncRecords(
            lambda at: open_at(nodes, at),
            lambda at: open_at(quiet, at),
            state,
            block_records=1 if any(node.calls for node in self._nodes) else BLOCK_RECORDS,
        )

    def preview(self, count: int = 3, *, call: bool = True) -> list[Trial]:
        """The first records with every request, reply, parsed value, token count and cost; nothing is written.

        Args:
            call: False shows the first request of each record and sends none.
        """
        return run_trials(self._source, self._nodes, count, folder=Path(), call=call)

    def write(
        self,
        path: str | PathLike[str],
        *,
        budget: Budget | None = None,
        limit: int | None = None,
        max_errors: float = 0.05,
        format: str = "parquet",  # noqa: A002 - the word of the job file
        schema: type[BaseModel] | None = None,
        segment: SegmentLimits | None = None,
        run_dir: str | PathLike[str] | None = None,
        fresh: bool = False,
        reuse: str | None = None,
        retry: bool = False,
        progress: bool | None = None,
    ) -> Report:
        """Run the stream as a durable job into the folder `path`; run it again after a crash and it goes on.

        Works inside a running event loop. The first Ctrl-C seals what is finished, the second ends at once; both are
        resumable and return the report.

        Args:
            budget: the most that may be spent over the life of the run.
            limit: end after this many records of the source half; a later run with more goes on.
            max_errors: quarantined records at which the run stops: below 1 a ratio, else a count.
            format: `parquet` or `jsonl`.
            schema: a Pydantic model of whole records, for the output's columns.
            segment: when a finished stretch is sealed.
            run_dir: the run folder, by default `.run` in the output folder.
            fresh: delete this run's own output and run folder first.
            reuse: an earlier run whose replies are used where nothing changed; `none` goes on without the one named
                before.
            retry: try the quarantined and skipped records again instead of reading on.
            progress: show it; by default when the error output is a terminal.

        Raises:
            ConfigError: the job cannot run; everything wrong at once. Nothing was called or written.
            StateError: the folder belongs to another job or run, or runs now; says what differs.
        """
        job = self.job(
            path, budget=budget, max_errors=max_errors, format=format, schema=schema, segment=segment, run_dir=run_dir
        )
        return job.run(limit=limit, fresh=fresh, reuse=reuse, retry=retry, progress=progress)

    def job(
        self,
        path: str | PathLike[str],
        *,
        budget: Budget | None = None,
        max_errors: float = 0.05,
        format: str = "parquet",  # noqa: A002 - the word of the job file
        schema: type[BaseModel] | None = None,
        segment: SegmentLimits | None = None,
        run_dir: str | PathLike[str] | None = None,
    ) -> Job:
        """The job that `write` runs, as an object: to check, to run, to turn into a job file."""
        sink = {"path": str(path), "format": format, "schema": schema, "segment": segment or SegmentLimits()}
        run = {"dir": None if run_dir is None else str(run_dir)}
        written = load_config(_Written, {"sink": sink, "budget": budget, "max_errors": max_errors, "run": run})
        spec = JobSpec(
            source=self._source,
            steps=self._nodes,
            sink=written.sink,
            budget=written.budget,
            max_errors=written.max_errors,
            run=written.run,
        )
        return Job(spec)

    def provide(self, **resources: Any) -> Stream[T]:
        """Have the functions of the steps so far called with resources, by the names of their parameters.

        A function that has a parameter of a resource's name, behind its first, is given what entering the resource
        gave. Each worker opens one of its own before its first record, for all its steps, and closes it on every way
        out, the last opened first: an iteration, a thread, a process or a loop of a parallel `map`, a run of a job. An
        async one needs a step that is awaited. What a step has it keeps.

        Order, memory: the steps'.   Failure: a resource that cannot be opened or closed is a `ResourceError` that names
        it; a run stops before it has called anything, and can go on.   Resume: no part of fingerprints and states.

        Args:
            resources: each a function or class that gives a context manager when it is called without arguments (a
                `functools.partial` has some), or a `tidemill.data.entering.resource.Resource`, as a job file has them;
                or the settings of a vector store, which is then shared with the steps that use it.

        Raises:
            ConfigError: one is neither, or no step so far takes it.
        """
        return make_stream(self._source, provide(self._nodes, to_resources(resources)), self._hooks)

    @property
    def source(self) -> Source:
        """Where the records come from."""
        return self._source

    @property
    def pipeline(self) -> Pipeline:
        """The steps alone, as one callable; hooks of the pipelines it was piped through are called in it too."""
        return make_pipeline(self._nodes, self._hooks)

    @property
    def flow(self) -> Flow:
        """The source and the steps as one thing; steps from the first call on are part of its source."""
        return join_calls(self._source, self._nodes, folder=Path(), hooks=self._hooks)

    def __or__(self, pipeline: Pipeline) -> Stream[Any]:
        if not isinstance(pipeline, Pipeline):
            return NotImplemented
        nodes = (*self._nodes, *pipeline.nodes)
        return make_stream(self._source, nodes, (*pad_hooks(self._hooks, len(self._nodes)), *pipeline.hooks))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self._source, self._nodes) == (other._source, other._nodes)

    def __hash__(self) -> int:
        return hash(self.pipeline.fingerprint)

    def __repr__(self) -> str:
        return f"<Stream: {self._show()}>"

    def _show(self) -> str:
        return " | ".join([show_source(self._source), *self.pipeline.step_names])

    def _arrange(self, arrange: Callable[[tuple[Node, ...]], tuple[Node, ...]]) -> Stream[Any]:
        return make_stream(self._source, arrange(self._nodes))

    def _append(self, kind: type[Node], **fields: Any) -> Stream[Any]:
        given = {key: value for key, value in fields.items() if value is not None}
        return self._add(load_config(kind, given))

    def _add(self, node: Node) -> Stream[Any]:
        return make_stream(self._source, (*self._nodes, node), self._hooks)

    def __getstate__(self) -> Any:
        return self._source, self._nodes

    def __setstate__(self, state: Any) -> None:
        self._source, self._nodes = state
        self._hooks = ()


def make_stream(source: Source, nodes: Sequence[Node] = (), hooks: Sequence[StepHooks] = ()) -> Stream[Any]:
    """The stream of `source` behind `nodes`: a `Dataset` where its records have numbers."""
    if is_dataset(source, nodes):
        from tidemill.stream.dataset import Dataset

        return Dataset(source, nodes, hooks)
    return Stream(source, nodes, hooks)
