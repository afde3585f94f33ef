"""The `embed` step: put the vector of each record's text into a column; many records share a request."""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import orjson
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from tidemill.calls.wire import Request, Response, Usage
from tidemill.config.paths import KeyPath
from tidemill.config.types.templates import Template
from tidemill.config.wording.words import describe_value
from tidemill.data.records.columns import missing_column, no_columns
from tidemill.errors import DataError
from tidemill.models.formats.embeddings import EmbeddingEndpoint, Vectors
from tidemill.models.model import Model, Params
from tidemill.models.steps.calling import Ask, CallNode, hook_run
from tidemill.protocols import Record

BYTES_PER_TOKEN = 3
"""What a token is taken for in `batch_tokens`: fewer bytes than most texts have, so that a batch is not too large."""


class Vector:
    """The annotation of a column of vectors: float32, of one length."""


class Embed(CallNode):
    """Put the vector that `model` gives for a text of the record into the column `into`.

    Records that come up together go out in one request, each with a row of its own in the ledger. A model of this
    process computes them together: there is no row, no limit and no price, and what was not sealed is computed again.

    Attributes:
        model: an embedding model: a `tm.model(…)`, or its name; `local/minilm` and `local/FOLDER` run in this process.
        column: the column of the text.
        text: in its place, a Jinja template over the record's columns.
        into: the column of the vector.
        dimensions: how long the vectors are to be; by default as the model has them.
        batch_size: the most records in one request, or batch.
        batch_tokens: the most tokens in one, as three bytes each; a longer text goes alone. In this process padding
            counts as well.
        params: put into every request's body as it is.
    """

    kind = "embed"

    model: Model
    column: str | None = None
    text: Template | None = None
    into: str = "embedding"
    dimensions: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=128, ge=1, le=2_048)
    batch_tokens: int = Field(default=100_000, ge=1)
    params: Params = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        if (self.column is None) == (self.text is None):
            given = "neither" if self.column is None else "both"
            message = "expected `column`, or `text` in its place, got {given}"
            raise PydanticCustomError("text", message, {"given": given})
        own = ("model", "input", "dimensions")
        for key in {**self.params, **self.model.params}:
            if key in own:
                path = ("params", key) if key in self.params else ("model",)
                message = "`params` must not set `{key}`, which the step itself sets"
                raise PydanticCustomError("params_key", message, {"key": key, "path": path})
        if not self.runs_here and (self.model.is_local or self.model.speaks != "openai"):
            message = "expected a model with an embeddings endpoint in OpenAI's format, got `{name}`"
            context = {
                "name": self.model.model,
                "path": ("model",),
                "hint": "for example openai/text-embedding-3-small, or local/minilm in this process",
            }
            raise PydanticCustomError("embedding_model", message, context)
        if self.runs_here and (self.params or self.model.params):
            message = "expected none: `{name}` runs in this process and is sent no request"
            path = ("params",) if self.params else ("model",)
            context = {"name": self.model.model, "path": path, "hint": "how it is loaded is the model's `load`"}
            raise PydanticCustomError("params_key", message, context)
        meant = [name for name in ("price", "limits") if name in self.model.model_fields_set]
        if self.runs_here and meant:
            message = "expected no `{field}`: `{name}` runs in this process, costs nothing and is never asked"
            context = {"field": meant[0], "name": self.model.model, "path": ("model",), "hint": "leave it out"}
            raise PydanticCustomError("local_model", message, context)
        return self

    @property
    def runs_here(self) -> bool:
        """Whether its model runs in this process: then nothing is asked outside."""
        return self.model.makes_vectors_here

    def iter_calls(self) -> Iterator[tuple[str, KeyPath, CallNode]]:
        """Itself, unless its model runs in this process."""
        if not self.runs_here:
            yield "", (), self

    def find_model(self) -> Model:
        """The model it asks."""
        return self.model

    def find_params(self) -> Mapping[str, Any]:
        """Its `params`."""
        return self.params

    def column_types(self) -> dict[str, Any]:
        """The column of its vectors."""
        return {self.into: Vector}

    def iter_templates(self) -> Iterator[tuple[KeyPath, Template]]:
        """Its template, if it has one."""
        if self.text is not None:
            yield ("text",), self.text

    def iter_columns(self) -> Iterator[tuple[KeyPath, str]]:
        """The column of the text, if it names one."""
        if self.column is not None:
            yield ("column",), self.column


@dataclass(frozen=True, slots=True)
class Embedding:
    """One text's vector.

    Attributes:
        vector: float32 numbers.
        usage: the text's part of the tokens its request was billed for, None when the server did not say.
    """

    vector: array[float]
    usage: Usage | None = None

    is_cut: ClassVar[bool] = False
    first_token_s: ClassVar[float | None] = None

    def describe(self) -> str:
        """The vector as a person reads it: its length and how it begins."""
        start = ", ".join(f"{number:.4g}" for number in self.vector[:4])
        return f"{len(self.vector)} numbers: {start}{', …' if len(self.vector) > 4 else ''}"

    def to_row(self) -> list[Any]:
        """The vector as the JSON list the ledger and the call archive keep: base64 of float32, little-endian."""
        return [
            b64encode(_little_endian(self.vector).tobytes()).decode(),
            None if self.usage is None else self.usage.input_tokens,
        ]

    @classmethod
    def from_row(cls, row: list[Any]) -> Embedding:
        """The vector of `to_row`."""
        text, tokens = row
        return cls(_little_endian(array("f", b64decode(text))), None if tokens is None else Usage(tokens, 0))


class Embedder:
    """Runs one `Embed` node against one endpoint, and joins its records' shares. Holds no state between records."""

    def __init__(self, node: Embed, endpoint: EmbeddingEndpoint) -> None:
        self._node = node
        self._endpoint = endpoint
        self._hooked = hook_run(self._run, node.bound_hooks)
        options = {"dimensions": node.dimensions, "params": {**node.model.params, **node.params}}
        head = {"model": node.model.name, **{name: value for name, value in options.items() if value}}
        self._head = orjson.dumps(head)[:-1] + b',"input":'

    def run(self, record: Record, ask: Ask) -> Awaitable[Record]:
        """`record` with its vector in its column; the step's hooks are called around it.

        Raises:
            DataError: the record has no such text.
            CallError: as `ask` raises it.
        """
        return self._hooked(record, ask)

    async def _run(self, record: Record, ask: Ask) -> Record:
        embedding: Embedding = await ask(0, self.build_request(record))
        return {**record, self._node.into: embedding.vector.tolist()}

    def build_request(self, record: Record) -> Request:
        """The record's share of a request: what tells its call from others, whatever it is sent with.

        Raises:
            DataError: the record has no such text.
        """
        return Request("embed:", {}, self._head + orjson.dumps(find_text(self._node, record)) + b"}", 0)

    def join(self, shares: Sequence[Request]) -> Request:
        """The request for the vectors of all `shares`."""
        return self._endpoint.build_request([orjson.loads(share.body)["input"] for share in shares])

    def decode(self, response: Response) -> Vectors:
        """The vectors in the response to a request of `join`.

        Raises:
            TransientCallError, PermanentCallError: it has none.
        """
        return self._endpoint.parse_reply(response)

    def measure(self, share: Request) -> int:
        """The tokens a share is taken for."""
        return (len(share.body) - len(self._head)) // BYTES_PER_TOKEN + 1

    def reply(self, value: array[float], usage: Usage | None) -> Embedding:
        """The reply of one share."""
        return Embedding(value, usage)


def find_text(node: Embed, record: Record) -> str:
    """The text of `record` that `node` wants a vector of.

    Raises:
        DataError: there is none, or it is empty.
    """
    text, where = _read_text(node, record)
    if not isinstance(text, str):
        raise DataError(f"expected a text, got {describe_value(text)}", where=where)
    if not text:  # one alone has the whole batch answered 400
        message = "expected a text, got an empty one, of which no endpoint gives a vector"
        raise DataError(message, where=where, hint="leave such records out in front: filter")
    return text


def _read_text(node: Embed, record: Record) -> tuple[Any, str]:
    """What stands in place of the text, and where that is."""
    if node.text is not None:
        return node.text.render(record), "`text`"
    column = node.column or ""
    if not isinstance(record, dict):
        raise no_columns(record)
    if column not in record:
        raise missing_column(column, record)
    return record[column], f"column `{column}`"


def _little_endian(vector: array[float]) -> array[float]:
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return vector
