"""The steps of a stream that look at one record."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from pydantic import BaseModel

from tidemill.agents.agent import Agent
from tidemill.agents.step import RunAgent
from tidemill.calls.limits import Limits
from tidemill.data.nodes.node import Node, OnError
from tidemill.data.nodes.single import (
    Catch,
    Drop,
    Filter,
    FlatMap,
    Map,
    Observe,
    Rename,
    Select,
    Split,
    Tokenize,
    Unbatch,
    WithColumns,
)
from tidemill.models.model import Model
from tidemill.models.steps.branches import Gather
from tidemill.models.steps.call import Call
from tidemill.models.steps.embed import Embed
from tidemill.models.steps.generate import Generate
from tidemill.models.steps.predict import Predict
from tidemill.stream.functions import OfRecord

if TYPE_CHECKING:
    from tidemill.stream.stream import Stream

On = Literal["threads", "processes", "async"]
"""What calls a function for several records at once."""

T = TypeVar("T")
U = TypeVar("U")


class RecordSteps(ABC, Generic[T]):
    """Each method gives a new stream with one step more."""

    __slots__ = ()

    @abstractmethod
    def _append(self, kind: type[Node], **fields: Any) -> Stream[Any]: ...

    @overload
    def map(
        self,
        fn: OfRecord[T, Awaitable[U]],
        *,
        concurrency: int = ...,
        on: On | None = ...,
        ordered: bool = ...,
        name: str | None = ...,
        on_error: OnError | None = ...,
    ) -> Stream[U]: ...
    @overload
    def map(
        self,
        fn: OfRecord[T, U],
        *,
        concurrency: int = ...,
        on: On | None = ...,
        ordered: bool = ...,
        name: str | None = ...,
        on_error: OnError | None = ...,
    ) -> Stream[U]: ...

    def map(
        self,
        fn: OfRecord[T, Any],
        *,
        concurrency: int = 1,
        on: On | None = None,
        ordered: bool = True,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[Any]:
        """Replace each record by `fn(record)`, with `concurrency` records in flight: started, and not given yet.

        The place of a record that is given is taken by the next one at once: whoever stops after `k` records has had
        `k + concurrency` of them started, no more and no fewer. The caller's context variables and torch gradient mode
        go along, to processes the mode alone.

        Order: kept, unless `ordered=False`.   Memory: at most `concurrency` records in flight.
        Failure: the record's, at its place, as `on_error` says: `raise`; `skip`, counted in the iterator's `losses`;
        `quarantine`, which a job sets aside and plain iteration raises with the record kept (`error.record`), for a
        `catch`. By default iteration raises and a run quarantines. Any exception is one but `KeyboardInterrupt`,
        `SystemExit` and a cancellation, which pass through. A worker process that dies is replaced and its record tried
        once more.
        Resume: exact; a record in flight at the checkpoint runs again. After `ordered=False` the set is exact, the
        sequence is not. In a job not behind a call, and in order.

        Args:
            on: `threads`, for a function that waits, or computes without the interpreter's lock; `processes`, for one
                that computes in Python, pickled by name; `async`, for a coroutine function. By default threads,
                of a coroutine function `async`.
            ordered: whether results come in the order of the records, or as they are finished.
        """
        return self._append(Map, fn=fn, concurrency=concurrency, on=on, ordered=ordered, name=name, on_error=on_error)

    def with_columns(
        self, *, name: str | None = None, on_error: OnError | None = None, **columns: OfRecord[T, Any]
    ) -> Stream[T]:
        """Add columns, each the value of its function of the record as it came in.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(WithColumns, columns=columns, name=name, on_error=on_error)

    def filter(self, fn: OfRecord[T, object], *, name: str | None = None, on_error: OnError | None = None) -> Stream[T]:
        """Keep the records for which `fn(record)` is true; the others are counted as dropped.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Filter, fn=fn, name=name, on_error=on_error)

    def flat_map(
        self, fn: OfRecord[T, Iterable[U]], *, name: str | None = None, on_error: OnError | None = None
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
        self, fn: OfRecord[T, object], *, name: str | None = None, on_error: OnError | None = None
    ) -> Stream[T]:
        """Call `fn(record)` for what it does (log, count); the record stays as it is.

        Order: kept.   Memory: one record.   Failure: as `map`.
        Resume: exact; records read again by a resume are observed again.
        """
        return self._append(Observe, fn=fn, name=name, on_error=on_error)

    def tokenize(
        self,
        tokenizer: OfRecord[str, Any] | str | PathLike[str],
        *,
        column: str = "text",
        into: str = "input_ids",
        append_eos: bool | int | str = False,
        max_tokens: int | None = None,
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[T]:
        """Put the token ids of the text in `column` into the column `into`.

        Order: kept.   Memory: one record.   Failure: as `map`.   Resume: exact.

        Args:
            tokenizer: a function from a text to its ids (a list, or `{"input_ids": …}` as those of transformers give),
                or a `tokenizers` JSON file, which needs `tidemill[tokenizers]`. A file's content belongs to the
                pipeline; the truncation and padding it may ask for are left out.
            append_eos: end with this token, by id or text, unless the tokenizer did; True takes its `eos_token_id`.
            max_tokens: keep so many ids: the first, and special ones at the end.
        """
        given = {"tokenizer": tokenizer, "column": column, "into": into}
        return self._append(
            Tokenize, **given, append_eos=append_eos, max_tokens=max_tokens, name=name, on_error=on_error
        )

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

    def unbatch(self, *, name: str | None = None, on_error: OnError | None = None) -> Stream[Any]:
        """Take batches apart again: lists, dicts of columns, Arrow tables.

        Order: kept.   Memory: one batch.   Failure: as `map`.   Resume: exact.
        """
        return self._append(Unbatch, name=name, on_error=on_error)

    def catch(
        self,
        on_error: Literal["skip", "quarantine"] | None = None,
        *,
        to: str | PathLike[str] | None = None,
        name: str | None = None,
    ) -> Stream[T]:
        """Keep failures of the source and of all steps in front from ending the iteration.

        They are counted in the iterator's `losses`. A failing record goes to the file `to` whole, with step, place and
        cause; `tidemill.replay(to)` gives such records again. What fails as a whole (a file that is gone, a foreign
        state, a full disk) is raised all the same.

        Order: kept.   Memory: one record.   Failure: caught.
        Resume: exact; the file then holds each failure once. Not in a job, which has a quarantine of its own.

        Args:
            on_error: `skip` passes over and counts, `quarantine` needs `to`; by default what `to` says.
            to: the file that failing records go to.
        """
        return self._append(Catch, on_error=on_error, to=None if to is None else os.fspath(to), name=name)

    def generate(
        self,
        model: Model | str,
        prompt: str | Mapping[str, str] | None = None,
        *,
        output: type[BaseModel] | None = None,
        into: str = "reply",
        max_tokens: int | Mapping[str, str] | None = None,
        **options: Any,
    ) -> Stream[T]:
        """Ask `model` about each record and put its reply into the column `into`.

        Order: kept.   Memory: the records of the window (a few times the calls in flight).
        Failure: the record's after retries and re-asks, as `on_error` says; credentials, an unknown model, a dead
        endpoint and a spent budget end the iteration or stop the run.
        Resume: in a run no committed call is sent again; in iteration calls in flight are made again.

        Args:
            model: a `tm.model(…)` or its name.
            prompt: a Jinja template over the record's columns, or `{"file": path}`; or give `messages`.
            output: a Pydantic model that the reply must be of; the column then holds its JSON form.
            into: the column.
            max_tokens: the most tokens a reply may have, or `{"column": name}` of the column that says so.
            **options: the other fields of `tidemill.models.steps.generate.Generate`: `system`, `messages`, `examples`,
                `images`, `n`, `temperature`, `top_p`, `seed`, `stop`, `stream`, `params`, `max_reasks`, `name`,
                `on_error`.
        """
        given = {"model": model, "prompt": prompt, "output": output, "into": into, "max_tokens": max_tokens}
        return self._append(Generate, **given, **options)

    def agent(
        self,
        agent: Agent,
        prompt: str | Mapping[str, str] | None = None,
        *,
        into: str = "answer",
        concurrency: int = 64,
        transcript: str | None = None,
        **options: Any,
    ) -> Stream[T]:
        """Have `agent` answer each record and put its answer into the column `into`.

        Order: kept.   Memory: the records of the window, and the conversations of `concurrency` of them.
        Failure: a tool's is told to the model; an agent that ends without an answer fails the record, or lands it with
        null as `on_limit` says; all else as `generate`.
        Resume: in a run each reply and each result of a tool is kept by itself: an agent goes on behind the last of
        them. A tool that was being called is called again, with the same key; in iteration all of a record is made
        again.

        Args:
            agent: a `tm.Agent(…)`.
            prompt: a Jinja template over the record's columns, or `{"file": path}`; or give `messages`.
            into: the column.
            concurrency: records that agents work on at once.
            transcript: a column for the whole run, as JSON text.
            **options: the other fields of `tidemill.agents.step.RunAgent`: `messages`, `on_limit`, `deps`, `name`,
                `on_error`.
        """
        given = {"agent": agent, "prompt": prompt, "into": into, "concurrency": concurrency, "transcript": transcript}
        return self._append(RunAgent, **given, **options)

    def embed(
        self,
        model: Model | str,
        column: str | None = None,
        *,
        text: str | Mapping[str, str] | None = None,
        into: str = "embedding",
        dimensions: int | None = None,
        **options: Any,
    ) -> Stream[T]:
        """Put the vector that `model` gives for a text of each record into the column `into`.

        Records that come up together go out in one request: once it is full, or no other can join it.

        Order: kept.   Memory: the records of the window (a few times those in flight), 32 bytes for each number.
        Failure: as `generate`; of a request that is refused for one text, that text's record fails alone.
        Resume: as `generate`: each record's vector is kept as its own.

        Args:
            model: an embedding model: a `tm.model(…)` or its name.
            column: the column of the text.
            text: in its place, a Jinja template over the record's columns.
            into: the column of the vector, a list of floats; in Parquet `list<float>` of 32 bits and one length.
            dimensions: how long the vectors are to be; by default as the model has them.
            **options: the other fields of `tidemill.models.steps.embed.Embed`: `batch_size`, `batch_tokens`, `params`,
                `name`, `on_error`.
        """
        given = {"model": model, "column": column, "text": text, "into": into, "dimensions": dimensions}
        return self._append(Embed, **given, **options)

    def predict(
        self,
        model: Callable[..., Any] | str | None = None,
        column: str | None = None,
        *,
        load: Callable[..., Any] | str | None = None,
        into: str = "prediction",
        batch: int = 32,
        **options: Any,
    ) -> Stream[T]:
        """Put what `model`, run in this process, gives for each record into the column `into`.

        Records that come up together go through the model together: once a batch is full, or no other record can join
        it. The model is called as `model(x)`, in evaluation mode and without gradients, in a thread of its own; while
        it computes, the next batch is made ready and copied to its device, and the last one is taken apart.

        Order: kept.   Memory: the records of five batches for each device; two batches on the device.
        Failure: the record's; of a batch that the model fails at, or has no room for, halves are tried, down to the
        record that is to blame. A model that cannot be loaded, a lost device, and outputs that are not one for each
        record end the iteration or stop the run.
        Resume: exact; what was under way is computed again, in a run what was not sealed.

        Args:
            model: a torch module, or any function of a batch of inputs.
            column: the column of the input; without one the records themselves are.
            load: in the place of `model`, a function that gives it, called when the first record comes.
            into: the column of the result.
            batch: the most records in a batch.
            **options: the other fields of `tidemill.models.steps.predict.Predict`: `prepare`, `finish`, `pad`,
                `batch_tokens`, `devices`, `inference`, `name`, `on_error`.
        """
        given = {"model": model, "load": load, "column": column, "into": into, "batch": batch}
        return self._append(Predict, **given, **options)

    def call(
        self,
        fn: Callable[..., Any],
        *,
        into: str = "result",
        columns: Sequence[str] | None = None,
        limits: Limits | None = None,
        retry_on: Sequence[type[Exception]] = (),
        name: str | None = None,
        on_error: OnError | None = None,
    ) -> Stream[T]:
        """Give each record to `fn`, which asks the outside, and put what it gives, as JSON, into the column `into`.

        For a database, an HTTP API, a search: a coroutine function, or a plain one, which is called in a thread. It
        goes through the one engine as a model's calls do: `limits` bound it, failures that may pass are tried again
        behind a breaker, a budget's `calls` counts it. A parameter `key` gets the call's key, for idempotency.

        Order: kept.   Memory: the records of the window (a few times the calls in flight).
        Failure: the record's, as `on_error` says; a breaker open too long and a spent budget end the iteration or stop
        the run.
        Resume: in a run what `fn` gave is kept, and it is never called for that again; one under way at a crash is
        called again, so what it does outside is done at least once. In iteration calls in flight are made again.

        Args:
            fn: a function of the record.
            into: the column.
            columns: the record that `fn` gets has these columns only; then no other makes the call a different one.
            limits: how many are under way at once, how many begin a minute, how often and how long each is tried.
            retry_on: exceptions worth another attempt, besides TransientCallError, ConnectionError and TimeoutError.
        """
        given = {"fn": fn, "into": into, "columns": None if columns is None else tuple(columns)}
        bounds = {} if limits is None else {"limits": limits}
        return self._append(Call, **given, **bounds, retry_on=tuple(retry_on), name=name, on_error=on_error)

    def gather(
        self, *, name: str | None = None, on_error: OnError | None = None, **branches: Node | Mapping[str, Any]
    ) -> Stream[T]:
        """Make several calls of each record at once, and put what each gives into the column of its name.

        Order: kept.   Memory: the records of the window (a few times the calls in flight).
        Failure: of any branch the record's; the first ends the others. Else as `generate` and `call`.
        Resume: as `generate`: each branch's calls are kept as its own.

        Args:
            branches: a `generate` or a `call` for each column: `user={"call": look_up}`,
                `label={"generate": {"model": fast, "prompt": "…"}}`, or their nodes.
        """
        return self._append(Gather, branches=branches, name=name, on_error=on_error)
