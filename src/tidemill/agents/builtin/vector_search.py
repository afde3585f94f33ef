"""`vector_search`: what a vector store holds near a question."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import msgspec.structs
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from tidemill.agents.tools.options import ToolOptions
from tidemill.agents.tools.schemas import schema_signature
from tidemill.agents.tools.tool import Tool
from tidemill.calls.budget import Pricing
from tidemill.calls.lane import Lane
from tidemill.calls.wire import Response, Tally
from tidemill.config.model import Settings
from tidemill.config.objects.descriptions import describe_value, fingerprint_json
from tidemill.config.roles import Runtime
from tidemill.config.wording.suggest import suggest
from tidemill.errors import ConfigError, DataError, TransientCallError
from tidemill.models.endpoints import make_embedding_endpoint
from tidemill.models.formats.embeddings import Vectors
from tidemill.models.model import Model
from tidemill.models.steps.embed import Embed, Embedder
from tidemill.models.torch.texts.embedding import EmbeddingPredictor
from tidemill.models.torch.texts.location import find_vector_size
from tidemill.protocols import Match
from tidemill.resources.scope import Scope
from tidemill.stores.filters import parse_filter
from tidemill.stores.steps.marks import hide_mark
from tidemill.stores.steps.opened import SharedStore
from tidemill.stores.steps.reference import StoreRef
from tidemill.stores.store import FieldKind, Store, identify_store

if TYPE_CHECKING:
    from tidemill.agents.tools.ways import Meter, ToolWays

MAX_COUNT = 50

_KINDS: Mapping[FieldKind, str] = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
_QUERY, _VECTOR = "query", "vector"

Embedded = Callable[[str, "Meter | None"], Awaitable[Sequence[float]]]
"""Gives the vector of a text, what it takes held against budgets."""


class VectorSearch(Settings):
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
    async def open(self, ways: ToolWays) -> AsyncIterator[list[Tool]]:
        """The tool, its store open. Belongs to one loop.

        Args:
            ways: how its model is asked, where that is elsewhere.

        Raises:
            ConfigError, ResourceError: the model cannot be asked: a key, a package or a file is missing; or it makes
                vectors of another length.
            StateError: the store is of other dimensions.
        """
        if (misfit := self.find_misfit()) is not None:
            raise ConfigError(misfit[0], hint=misfit[1])
        async with Scope() as scope:
            embed = self._open_embedding(scope, ways)
            store = ways.stores.find_placed(self.store.within(self.folder))
            await store.get()
            yield [self._make_tool(partial(self._search, store, embed))]

    def find_misfit(self) -> tuple[str, str] | None:
        """Why nothing can be found, as message and hint: the vectors of its model are not as long as the store's.

        None as far as that is known, from the files of a model of this process.
        """
        size = find_vector_size(self.model, self.folder)
        if size is None or size == self.store.dimensions:
            return None
        held, hint = self.store.dimensions, f"dimensions: {size}"
        return f"the model of `{self.name}` makes vectors of {size} numbers, and its store's have {held}", hint

    def list_models(self) -> tuple[Model, ...]:
        """Its embedding model, where that is not in this process."""
        return () if self.model.makes_vectors_here else (self.model,)

    def describe_result(self) -> Mapping[str, Any]:
        """The store, the model and what is told of it, without credentials."""
        told = {name: describe_value(getattr(self, name)) for name in type(self).model_fields if name != "folder"}
        return {"vector_search": {name: value for name, value in told.items() if value is not None}}

    def _make_tool(self, search: Callable[..., Awaitable[Any]]) -> Tool:
        options = ToolOptions(idempotent=True, retries=2, shows_errors=True)
        signature = schema_signature(self._make_schema())
        return Tool(
            self.name,
            self.description,
            signature,
            search,
            options,
            is_async=True,
            runs_here=True,
            identity=self.describe_result(),
            stamp=fingerprint_json([identify_store(self.store.within(self.folder)), self.describe_result()])[:16],
            meters=bool(self.list_models()),
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
        self,
        store: SharedStore,
        embed: Embedded,
        meter: Meter | None = None,
        /,
        *,
        query: str,
        count: int | None = None,
        **asked: Any,
    ) -> list[dict[str, Any]]:
        vector = await embed(query, meter)
        opened = await store.get()
        (matches,) = await opened.search([vector], count or self.count, {**(self.filter or {}), **asked})
        if not matches:
            await store.refuse_empty()
        return [self._tell(match) for match in matches]

    def _tell(self, match: Match) -> dict[str, Any]:
        """What the model is told of a record; a column of its payload does not hide what is its own."""
        own = {"id": match.id, "score": round(match.score, 4)}
        told = {name: value for name, value in hide_mark(match.payload).items() if self._is_told(name)}
        return own | told | own

    def _is_told(self, column: str) -> bool:
        return self.columns is None or column in self.columns

    def _describe_embedding(self) -> Embed:
        return Embed(model=self.model, column=_QUERY, into=_VECTOR, batch_size=1)

    def _open_embedding(self, scope: Scope, ways: ToolWays) -> Embedded:
        """What gives the vector of a text; the model is loaded, or asked, by the first one."""
        node = self._describe_embedding()
        if node.runs_here:
            predictor = EmbeddingPredictor(node, self.name, self.folder)
            scope.defer_async(predictor.close, name=self.name)
            return partial(_embed_here, predictor)
        model = ways.models.find(self.model)
        endpoint = make_embedding_endpoint(self.model, model.headers, dimensions=None, params={})
        pricing = Pricing(self.model.lane_price)
        return Asking(Embedder(node, endpoint), model.lane, pricing, Tally(f"{ways.label}/{self.name}/embed")).embed


class Asking:
    """Asks a model elsewhere for the vector of a text.

    Args:
        lane: how it is asked.
        pricing: what it costs.
        tally: under what it is counted.
    """

    def __init__(self, embedder: Embedder, lane: Lane, pricing: Pricing, tally: Tally) -> None:
        self._embedder = embedder
        self._lane = lane
        self._pricing = pricing
        self._tally = tally

    async def embed(self, text: str, meter: Meter | None) -> Sequence[float]:
        """The vector of `text`, the attempts for it held by `meter`.

        Raises:
            CallError: as the lane raises it.
        """
        request = self._embedder.join([self._embedder.build_request({_QUERY: text})])
        held = None if meter is None else meter(self._lane.send, self._pricing)

        def decode(response: Response) -> Vectors:
            try:
                vectors = self._embedder.decode(response)
                if len(vectors.values) != 1:
                    raise TransientCallError(f"expected the vector of one text, got {len(vectors.values)}")
            except BaseException:
                if held is not None:
                    held.settle(None)
                raise
            if held is not None:
                held.settle(vectors.usage)
            return vectors

        counted = msgspec.structs.replace(request, tally=self._tally)
        found = await self._lane.call(counted, decode, send=None if held is None else held.send)
        vector: Sequence[float] = found.values[0].tolist()
        return vector


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
    score and payload of each record, the nearest first. What an embedding model that is asked elsewhere costs is in the
    budgets of the agent and of the job; one of this process (`local/minilm`) costs nothing.

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


async def _embed_here(predictor: EmbeddingPredictor, text: str, meter: Meter | None) -> Sequence[float]:
    vector: Sequence[float] = (await predictor.run({_QUERY: text}, _ask_nobody))[_VECTOR]
    return vector


async def _ask_nobody(number: int, request: Any, send: Any = None, decode: Any = None) -> Any:
    raise AssertionError("a model of this process is asked nothing")
