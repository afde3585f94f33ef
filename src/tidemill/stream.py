"""`Stream`: the fluent face of a pipeline over a source. Its methods only append nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, cast, overload

from pydantic import BaseModel

from tidemill.calls.limits import Budget
from tidemill.config.loading import load_config
from tidemill.config.model import Config
from tidemill.data.formats.jsonl import save_jsonl
from tidemill.data.iteration import Records
from tidemill.data.nodes.across import Batch, Every, Repeat, Sample, Shard, Shuffle, Skip, Sliding, Take
from tidemill.data.nodes.node import Node, OnError
from tidemill.data.nodes.single import Drop, Filter, FlatMap, Map, Observe, Rename, Select, Split, Unbatch, WithColumns
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.read import Read
from tidemill.job import Job
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.jobs.live.iteration import iterate_all
from tidemill.jobs.live.trial import Trial, run_trials
from tidemill.jobs.running.report import Report
from tidemill.jobs.spec.job import JobSpec, MaxErrors, RunOptions, Sink
from tidemill.models.generate import Generate
from tidemill.models.model import Model
from tidemill.pipeline import Pipeline
from tidemill.protocols import State

T = TypeVar("T")
U = TypeVar("U")


class _Written(Config):
    """What `write` adds to the steps, under the names of a job file."""

    sink: Sink
    budget: Budget | None
    max_errors: MaxErrors
    run: RunOptions


class Stream(Generic[T]):
    """A lazy sequence of records: a source and the steps over it. Frozen; every method gives a new stream.

    Nothing is read until it is iterated, previewed, saved or written. Two streams are equal when they say the same.

    Memory: flat, whatever the length.
    """

    __slots__ = ("_nodes", "_source")

    def __init__(self, source: Read | FromIterable, nodes: Sequence[Node] = ()) -> None:
        self._source = source
        self._nodes = tuple(nodes)

    @overload
    def map(
        self, fn: Callable[[T], Awaitable[U]], *, name: str | None = ..., on_error: OnError | None = ...
    ) -> Stream[U]: ...
    @overload
    def map(self, fn: Callable[[T], U], *, name: str | None = ..., on_error: OnError | None = ...) -> Stream[U]: ...

    def map(self, fn: Callable[[T], Any], *, name: str | None = None, on_error: OnError | None = None) -> Stream[Any]:
        """Replace each record by `fn(record)`; behind a call `fn` may be a coroutine function.

        Order: kept.   Memory: one record.
        Failure: the record's, as `on_error` says (iteration raises, a run quarantines).
        Resume: exact.
        """
        return self._append(Map, fn=fn, name=name, on_error=on_error)

    def with_columns(
        self, *, name: str | None = None, on_error: OnError | None = None, **columns: Callable[[T], Any]
    ) -> Stream[T]:
        """Add columns, each the value of its function of the record as it came in.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(WithColumns, columns=columns, name=name, on_error=on_error)

    def filter(
        self, fn: Callable[[T], object], *, name: str | None = None, on_error: OnError | None = None
    ) -> Stream[T]:
        """Keep the records for which `fn(record)` is true; the others are counted as dropped.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Filter, fn=fn, name=name, on_error=on_error)

    def flat_map(
        self, fn: Callable[[T], Iterable[U]], *, name: str | None = None, on_error: OnError | None = None
    ) -> Stream[U]:
        """Replace each record by every one of `fn(record)`; an empty iterable drops it.

        Order: kept.   Memory: one record; before the first call children are made lazily, after it all of one
        record at once.   Failure: as `map`; children given before it stay.   Resume: exact.
        """
        return cast("Stream[U]", self._append(FlatMap, fn=fn, name=name, on_error=on_error))

    def select(self, *columns: str, name: str | None = None, on_error: OnError | None = None) -> Stream[T]:
        """Keep these columns, in this order; a record that lacks one fails.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Select, columns=columns, name=name, on_error=on_error)

    def rename(
        self, columns: Mapping[str, str], *, name: str | None = None, on_error: OnError | None = None
    ) -> Stream[T]:
        """Give columns other names, old to new; a record that lacks one fails.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Rename, columns=dict(columns), name=name, on_error=on_error)

    def drop(self, *columns: str, name: str | None = None, on_error: OnError | None = None) -> Stream[T]:
        """Leave these columns out; a record that lacks one fails.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Drop, columns=columns, name=name, on_error=on_error)

    def observe(
        self, fn: Callable[[T], object], *, name: str | None = None, on_error: OnError | None = None
    ) -> Stream[T]:
        """Call `fn(record)` for what it does (log, count); the record stays as it is.

        Order: kept.   Memory: one record.   Failure: as `map`.
        Resume: exact; records read again by a resume are observed again.
        """
        return self._append(Observe, fn=fn, name=name, on_error=on_error)

    def take(self, count: int, *, name: str | None = None) -> Stream[T]:
        """Keep the first `count` records; what is behind them is not read, and no call is made for it.

        Order: kept.   Memory: one record.   Failure: none.   Resume: exact. In a job only before the first call.
        """
        return self._append(Take, count=count, name=name)

    def skip(self, count: int, *, name: str | None = None) -> Stream[T]:
        """Pass over the first `count` records.

        Order: kept.   Memory: one record.   Failure: none.   Resume: exact. Not in a job.
        """
        return self._append(Skip, count=count, name=name)

    def every(self, count: int, *, offset: int = 0, name: str | None = None) -> Stream[T]:
        """Keep one record of every `count`, beginning with the one numbered `offset`.

        Order: kept.   Memory: one record.   Failure: none.   Resume: exact. Not in a job.
        """
        return self._append(Every, count=count, offset=offset, name=name)

    def sample(self, ratio: float, *, seed: int = 0, name: str | None = None) -> Stream[T]:
        """Keep about `ratio` (0-1) of the records, each chosen by its number and `seed`.

        Order: kept.   Memory: one record.   Failure: none.   Resume: exact. Not in a job.
        """
        return self._append(Sample, ratio=ratio, seed=seed, name=name)

    def shard(
        self, rank: int, world: int, *, even: Literal["drop", "pad"] | None = None, name: str | None = None
    ) -> Stream[T]:
        """Keep the records of one rank of `world`: every `world`-th, beginning with the one numbered `rank`.

        Together the ranks give each record once. Their numbers differ by one at most; `even="drop"` leaves out the
        last records that do not go round, `even="pad"` goes through the last round again from its start.

        Order: kept.   Memory: one record, of `even` one round.   Failure: none.   Resume: exact. Not in a job.
        """
        return self._append(Shard, rank=rank, world=world, even=even, name=name)

    def split(self, by: str | None = None, *, seed: int = 0, **ratios: float) -> dict[str, Stream[T]]:
        """Streams that share the records out: `split("id", train=0.9, test=0.1)["test"]`.

        A record's share follows from its value in the column `by` (all of the record without one) and `seed` alone: it
        stays where it is when the data grows, and records of one value stay together.

        Order: kept.   Memory: one record.   Failure: the record's, when it has no such column or no JSON form.
        Resume: exact.

        Args:
            by: the column that decides.
            ratios: names of the shares and how much each gets; they need not sum to 1.
        """
        return {
            share: self._append(Split, by=by, seed=seed, ratios=tuple(ratios.values()), share=number, name=None)
            for number, share in enumerate(ratios)
        }

    def batch(
        self,
        size: int | None = None,
        *,
        size_bytes: int | None = None,
        tokens: int | None = None,
        length_of: str = "input_ids",
        form: Literal["records", "columns", "arrow", "numpy"] = "records",
        drop_last: bool = False,
        name: str | None = None,
    ) -> Stream[Any]:
        """Gather records into batches of `size`, or as many as `size_bytes` or padded `tokens` hold.

        Order: kept.   Memory: one batch.
        Failure: records whose columns do not go together fail their batch; iteration goes on with the next.
        Resume: exact; reads at most a batch and 1,024 records again. Not in a job.

        Args:
            size_bytes: of the records as JSON; a larger record stands alone.
            tokens: lengths of the column `length_of`, each counted as the longest of its batch.
            form: the list of `records`, a dict of `columns` (lists), an `arrow` table, or a dict of `numpy` arrays
                (numbers `(batch, …)` in their own dtype, everything else as objects).
            drop_last: leave out a last batch that is not full.
        """
        bounds = {"size": size, "size_bytes": size_bytes, "tokens": tokens}
        return self._append(Batch, **bounds, length_of=length_of, form=form, drop_last=drop_last, name=name)

    def unbatch(self, *, name: str | None = None, on_error: OnError | None = None) -> Stream[Any]:
        """Take batches apart again: lists, dicts of columns, Arrow tables.

        Order: kept.   Memory: one batch.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Unbatch, name=name, on_error=on_error)

    def sliding(self, size: int, *, step: int = 1, name: str | None = None) -> Stream[list[T]]:
        """Lists of `size` records in a row, each beginning `step` records after the last; only whole ones.

        Order: kept.   Memory: `size` records.   Failure: none.
        Resume: exact; reads at most `size` and 1,024 records again. Not in a job.
        """
        return cast("Stream[list[T]]", self._append(Sliding, size=size, step=step, name=name))

    def shuffle(self, seed: int = 0, *, buffer: int = 10_000, name: str | None = None) -> Stream[T]:
        """Give the records block by block, the `buffer` records of each in an order that follows from `seed`.

        In front of a `repeat` each epoch has orders of its own.

        Order: a function of `seed`, epoch and number.   Memory: one block.   Failure: none.
        Resume: exact; reads one block again. Not in a job.
        """
        return self._append(Shuffle, seed=seed, buffer=buffer, name=name)

    def repeat(self, epochs: int | None = None, *, start: int = 0, name: str | None = None) -> Stream[T]:
        """Go through all in front of it `epochs` times, without end by default; what shuffles there does so anew.

        The first of them is number `start`: `repeat(1, start=2)` gives the third epoch alone.

        Order: that of each epoch.   Memory: one record.   Failure: none.   Resume: exact, within the epoch. Not in a
        job.
        """
        return self._append(Repeat, epochs=epochs, start=start, name=name)

    def generate(
        self,
        model: Model | str,
        prompt: str | Mapping[str, str],
        *,
        output: type[BaseModel] | None = None,
        into: str = "reply",
        max_tokens: int | None = None,
        **options: Any,
    ) -> Stream[T]:
        """Ask `model` about each record and put its reply into the column `into`.

        Order: kept.   Memory: the records of the window (a few times the calls in flight).
        Failure: the record's after retries and re-asks, as `on_error` says; credentials, an unknown model, a dead
        endpoint and a spent budget end the iteration or stop the run.
        Resume: in a run no committed call is sent again; in iteration calls in flight are made again.

        Args:
            model: a `tm.model(…)` or its name.
            prompt: a Jinja template over the record's columns, or `{"file": path}`.
            output: a Pydantic model that the reply must be of; the column then holds its JSON form.
            into: the column.
            max_tokens: the most tokens a reply may have.
            **options: the other fields of `tidemill.models.generate.Generate`: `system`, `temperature`, `top_p`,
                `seed`, `stop`, `params`, `max_reasks`, `name`, `on_error`.
        """
        given = {"model": model, "prompt": prompt, "output": output, "into": into, "max_tokens": max_tokens}
        return self._append(Generate, **given, **options)

    def __iter__(self) -> Iterator[T]:
        return self.iterate()

    def iterate(self, state: State | None = None) -> Records:
        """An iterator from the start, or from a `state()` of an earlier one; its own `state()` is exact.

        Raises:
            StateError: the state belongs to another pipeline or source; names what changed.
        """
        return iterate_all(self._source, self._nodes, state, folder=Path())

    def preview(self, count: int = 3, *, call: bool = True) -> list[Trial]:
        """The first records with every request, reply, parsed value, token count and cost; nothing is written.

        Args:
            call: False shows the first request of each record and sends none.
        """
        return run_trials(self._source, self._nodes, count, folder=Path(), call=call)

    def save(self, path: str | PathLike[str]) -> int:
        """Write the records as JSON lines to one file, gzip by suffix, whole or not at all; gives their number.

        Not a job: nothing is resumed.
        """
        return save_jsonl(self, Path(path))

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

    @property
    def source(self) -> Read | FromIterable:
        """Where the records come from."""
        return self._source

    @property
    def pipeline(self) -> Pipeline:
        """The steps alone, as one callable."""
        return Pipeline(self._nodes)

    def __or__(self, pipeline: Pipeline) -> Stream[Any]:
        return Stream(self._source, (*self._nodes, *pipeline.nodes))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self._source, self._nodes) == (other._source, other._nodes)

    def __hash__(self) -> int:
        return hash(self.pipeline.fingerprint)

    def __repr__(self) -> str:
        return f"<Stream: {' | '.join([_show_source(self._source), *self.pipeline.step_names])}>"

    def _append(self, kind: type[Node], **fields: Any) -> Stream[T]:
        given = {key: value for key, value in fields.items() if value is not None}
        return Stream(self._source, (*self._nodes, load_config(kind, given)))


def read(path: str | PathLike[str] | Sequence[str | PathLike[str]], **options: Any) -> Stream[dict[str, Any]]:
    """The records of files as a stream; touches nothing until it is iterated.

    Args:
        path: a file, a pattern (`*`, `?`, `[…]`, `**`) or several.
        **options: `format`, `on_error`, `max_line_bytes`; see `tidemill.data.sources.read.Read`.

    Raises:
        ConfigError: an option is wrong. A pattern that matches nothing is told when it is read.
    """
    return Stream(load_config(Read, {"path": path, **options}))


def from_iterable(iterable: Iterable[T] | Callable[[], Iterable[T]]) -> Stream[T]:
    """The items of an iterable, or of what a function returns, as a stream.

    An iterator can be gone through once; give the function that makes it where the stream is iterated again.
    """
    return Stream(load_config(FromIterable, {"iterable": iterable}))


def _show_source(source: Read | FromIterable) -> str:
    if isinstance(source, Read):
        return f"read({source.path!r})"
    return f"from_iterable({type(source.iterable).__name__})"
