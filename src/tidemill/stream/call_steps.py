"""The steps of a stream that call: models, agents, functions, stores; a job's record half begins with the first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel

from tidemill.agents.agent import Agent
from tidemill.agents.step import RunAgent
from tidemill.calls.limits import Limits
from tidemill.data.nodes.node import Node, OnError
from tidemill.models.model import Model
from tidemill.models.steps.branches import Gather
from tidemill.models.steps.call import Call
from tidemill.models.steps.embed import Embed
from tidemill.models.steps.generate import Generate
from tidemill.models.steps.predict import Predict
from tidemill.protocols import Filter
from tidemill.stores.steps.index import Index
from tidemill.stores.steps.search import Search
from tidemill.stores.store import Store

if TYPE_CHECKING:
    from tidemill.stream.stream import Stream

T = TypeVar("T")


class CallSteps(ABC, Generic[T]):
    """Each method gives a new stream with one step more."""

    __slots__ = ()

    @abstractmethod
    def _append(self, kind: type[Node], **fields: Any) -> Stream[Any]: ...

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

    def index(
        self,
        store: Store,
        *,
        id: str = "{{ id }}",  # noqa: A002 - the word of the job file
        vector: str = "embedding",
        payload: Sequence[str] | None = None,
        **options: Any,
    ) -> Stream[T]:
        """Put each record's vector and payload into `store`, under an id of its own; the record stays as it is.

        Records that come up together go in together. At the end the store is flushed: its indexes are built.

        Order: kept; of several records with one id the last stands.   Memory: the records of the window.
        Failure: the record's, where the store cannot take it; a store that is gone ends the iteration or stops the run.
        Resume: exactly once in effect: in a run what was not sealed is put in again, under the same ids.

        Args:
            store: the settings of a store: `LanceDB(path="index", dimensions=384)`.
            id: a Jinja template over the record's columns.
            vector: the column of the vector.
            payload: the columns that are stored along with it; by default all but the vector's.
            **options: the other fields of `tidemill.stores.steps.index.Index`: `batch_size`, `limits`, `name`,
                `on_error`.
        """
        given = {"store": store, "id": id, "vector": vector, "payload": None if payload is None else tuple(payload)}
        return self._append(Index, **given, **options)

    def search(
        self,
        store: Store,
        *,
        vector: str = "embedding",
        k: int = 5,
        filter: Filter | None = None,
        into: str = "matches",
        **options: Any,
    ) -> Stream[T]:
        """Put the `k` records of `store` that are nearest to each record's vector into the column `into`.

        Each is `{"id": …, "score": …, "payload": …}`, nearest first, the score the greater the nearer.

        Order: kept.   Memory: the records of the window (a few times the searches in flight).
        Failure: the record's, as `call`.
        Resume: in a run what was found is kept, and not searched for again; in iteration it is.

        Args:
            store: the settings of a store.
            vector: the column of the vector.
            k: how many; fewer where there are fewer.
            filter: what they have to have, by field, as the store's own `search` takes it; `{"column": name}` stands
                for the record's own value.
            into: the column.
            **options: the other fields of `tidemill.stores.steps.search.Search`: `limits`, `name`, `on_error`.
        """
        given = {"store": store, "vector": vector, "k": k, "filter": filter, "into": into}
        return self._append(Search, **given, **options)
