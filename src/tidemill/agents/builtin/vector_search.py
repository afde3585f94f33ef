"""`vector_search`: what a vector store holds near a question."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from tidemill.agents.tools.options import ToolOptions
from tidemill.agents.tools.schemas import schema_signature
from tidemill.agents.tools.tool import Tool
from tidemill.calls.engine import Engine
from tidemill.calls.http.transport import HttpTransport
from tidemill.config.model import Config
from tidemill.config.objects.descriptions import describe_value
from tidemill.config.roles import Runtime
from tidemill.config.wording.suggest import suggest
from tidemill.errors import DataError
from tidemill.models.endpoints import make_embedding_endpoint
from tidemill.models.lanes import OpenModels
from tidemill.models.model import Model
from tidemill.models.steps.batching import Batching
from tidemill.models.steps.embed import Embed, Embedder, Embedding
from tidemill.models.torch.texts.embedding import EmbeddingPredictor
from tidemill.protocols import VectorStore
from tidemill.resources.scope import Scope
from tidemill.stores.filters import parse_filter
from tidemill.stores.steps.marks import hide_mark
from tidemill.stores.steps.reference import StoreRef
from tidemill.stores.store import FieldKind, Store

MAX_COUNT = 50

_KINDS: Mapping[FieldKind, str] = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_QUERY, _VECTOR = "query", "vector"

Embedded = Callable[[str], Awaitable[Sequence[float]]]
"""Gives the vector of a text."""


class VectorSearch(Config):
    """The search of one store, as a tool; opened with the first run of an agent that has it, closed with its scope.

    Attributes:
        store: the settings of a store.
        model: the embedding model that the store's vectors are of.
        count: how many are found where the model does not say.
        filter: what they have to have, whatever the model asks for.
        by: fields of the store that the model may ask for one value of.
        columns: of the payloads, those that the model is told; by default all.
        name: as the model sees it.
        description: what the model is told it finds.
        folder: what relative paths, and `.env`, are looked for from.
    """

    store: StoreRef
    model: Model
    count: int = Field(default=5, ge=1, le=MAX_COUNT)
    filter: dict[str, Any] | None = None
    by: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = Field(default=None, min_length=1)
    name: str = Field(default="vector_search", pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")
    description: str = Field(default="Find texts that are about what is asked, the nearest first.", min_length=1)
    folder: Annotated[Path, Runtime()] = Path()

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        try:
            parse_filter(self.filter, self.store.fields)
        except DataError as error:
            context = {"text": error.message, "path": tuple(error.where.split(".")), "hint": error.hint}
            raise PydanticCustomError("filter", "{text}", context) from None
        for place, name in enumerate(self.by):
            hint = suggest(name, self.store.fields) or "declare it under the store's `fields`"
            if name not in self.store.fields:
                message = "the store has no field `{name}` to filter by"
                raise PydanticCustomError("filter", message, {"name": name, "path": ("by", place), "hint": hint})
            if name in (self.filter or {}) or name in (_QUERY, "count"):
                message = "`{name}` is fixed, or has a meaning of its own"
                raise PydanticCustomError("filter", message, {"name": name, "path": ("by", place)})
        self._describe_embedding()
        return self

    @asynccontextmanager
    async def open(self) -> AsyncIterator[list[Tool]]:
        """The tool, its store open. Belongs to one loop.

        Raises:
            ConfigError, ResourceError: the model cannot be asked: a key, a package or a file is missing.
            StateError: the store is of other dimensions.
        """
        async with Scope() as scope:
            embed = await self._open_embedding(scope)
            store = await scope.enter_async(self.store.within(self.folder).open(), name="store")
            yield [self._make_tool(partial(self._search, store, embed))]

    def describe_result(self) -> Mapping[str, Any]:
        """The store, the model and what is told of it, without credentials."""
        told = {name: describe_value(getattr(self, name)) for name in type(self).model_fields if name != "folder"}
        return {"vector_search": {name: value for name, value in told.items() if value is not None}}

    def _make_tool(self, search: Callable[..., Awaitable[Any]]) -> Tool:
        options = ToolOptions(idempotent=True, retries=2, shows_errors=True)
        signature = schema_signature(self._make_schema())
        identity = self.describe_result()
        return Tool(
            self.name, self.description, signature, search, options, is_async=True, runs_here=True, identity=identity
        )

    def _make_schema(self) -> dict[str, Any]:
        count = {"type": "integer", "minimum": 1, "maximum": MAX_COUNT, "default": self.count}
        query = {"type": "string", "minLength": 1, "maxLength": 8_000, "description": "What to look for, in words."}
        fields = {
            name: {"type": _KINDS[self.store.fields[name]], "description": f"Only those whose {name} is this."}
            for name in self.by
        }
        properties = {_QUERY: query, "count": {**count, "description": "How many to find at most."}, **fields}
        return {"type": "object", "properties": properties, "required": [_QUERY], "additionalProperties": False}

    async def _search(
        self, store: VectorStore, embed: Embedded, /, *, query: str, count: int | None = None, **asked: Any
    ) -> list[dict[str, Any]]:
        vector = await embed(query)
        (matches,) = await store.search([vector], count or self.count, {**(self.filter or {}), **asked})
        return [{"id": match.id, "score": round(match.score, 4), **self._tell(match.payload)} for match in matches]

    def _tell(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value for name, value in hide_mark(payload).items() if self.columns is None or name in self.columns
        }

    def _describe_embedding(self) -> Embed:
        return Embed(model=self.model, column=_QUERY, into=_VECTOR, batch_size=1)

    async def _open_embedding(self, scope: Scope) -> Embedded:
        """What gives the vector of a text; the model is loaded, or asked, by the first one."""
        node = self._describe_embedding()
        if node.runs_here:
            predictor = EmbeddingPredictor(node, self.name, self.folder)
            scope.defer_async(predictor.close, name=self.name)
            return partial(_embed, lambda record: predictor.run(record, _ask_nobody))
        engine = Engine(HttpTransport(), rng=random.Random())
        scope.defer_async(engine.close, name="engine")
        model = OpenModels(engine, scope, self.folder, send=True).find(self.model)
        embedder = Embedder(node, make_embedding_endpoint(self.model, model.headers, dimensions=None, params={}))
        batching = Batching(model.lane, embedder, most=node.batch_size, most_size=node.batch_tokens)
        scope.defer_async(batching.close, name=self.name)

        async def ask(number: int, request: Any, send: Any = None, decode: Any = None) -> Embedding:
            reply: Embedding = await batching.call(request, embedder.decode)
            return reply

        return partial(_embed, lambda record: embedder.run(record, ask))


def vector_search(
    store: Store,
    model: Model | str,
    *,
    count: int = 5,
    filter: Mapping[str, Any] | None = None,
    by: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    name: str = "vector_search",
    description: str | None = None,
) -> VectorSearch:
    """A tool that finds what a store holds near a question; nothing is opened before an agent that has it runs.

    The model gives a query, a count of at most 50, and a value of each field of `by` that it wants; it is told id,
    score and payload of each record, the nearest first. What an embedding model that is asked elsewhere costs is in no
    budget; one of this process (`local/minilm`) costs nothing.

    Args:
        store: the settings of a store.
        model: the embedding model that the store's vectors are of.
        count: how many are found where the model does not say.
        filter: what they have to have, whatever the model asks for: a customer's own, say.
        by: fields of the store that the model may ask for one value of.
        columns: of the payloads, those that the model is told; by default all.
        name: as the model sees it.
        description: what the model is told it finds.

    Raises:
        ConfigError: an argument cannot be used.
    """
    given: dict[str, Any] = {
        "store": store,
        "model": model,
        "count": count,
        "filter": None if filter is None else dict(filter),
        "by": tuple(by),
        "columns": None if columns is None else tuple(columns),
        "name": name,
    }
    return VectorSearch(**given, **({} if description is None else {"description": description}))


async def _embed(run: Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]], text: str) -> Sequence[float]:
    vector: Sequence[float] = (await run({_QUERY: text}))[_VECTOR]
    return vector


async def _ask_nobody(number: int, request: Any, send: Any = None, decode: Any = None) -> Any:
    raise AssertionError("a model of this process is asked nothing")
