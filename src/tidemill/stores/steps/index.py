"""The `index` step: put each record's vector and payload into a store, under an id of the record's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from tidemill.calls.limits import Limits
from tidemill.config.paths import KeyPath
from tidemill.config.roles import Runtime
from tidemill.config.types.templates import Template
from tidemill.models.steps.calling import CallNode
from tidemill.stores.steps.reference import StoreRef

UPSERTS = Limits.model_validate({"concurrency": 4})
"""Batches on their way at once: more would wait in the store, which writes one after another or shares its pool."""


class Index(CallNode):
    """Put each record into `store`, and let it pass unchanged.

    Exactly once in effect: what a crash left unsealed is put in again, under the same ids. Of several records with one
    id the last in source order stands, in whatever order they came, by `retry` too, and the others are counted as
    superseded. For that a run keeps the record's place in its source in the payload, under the key `_tidemill`.

    Attributes:
        store: the settings of a store, or the name of one under `stores`.
        id: a Jinja template over the record's columns, which gives the record's id in the store.
        vector: the column of the vector.
        payload: the columns that are stored along with it; by default all but the vector's.
        batch_size: the most records in one upsert.
        limits: how many upserts are under way at once, how often and how long each is tried.
    """

    kind = "index"

    store: StoreRef
    id: Template = Template("{{ id }}")
    vector: str = "embedding"
    payload: tuple[str, ...] | None = None
    batch_size: Annotated[int, Runtime()] = Field(default=256, ge=1, le=10_000)
    limits: Annotated[Limits, Runtime()] = UPSERTS

    def iter_calls(self) -> Iterator[tuple[str, KeyPath, CallNode]]:
        """None: an upsert is no call of a record, since it may be made again."""
        yield from ()

    def iter_templates(self) -> Iterator[tuple[KeyPath, Template]]:
        yield ("id",), self.id

    def iter_columns(self) -> Iterator[tuple[KeyPath, str]]:
        yield ("vector",), self.vector
        for position, name in enumerate(self.payload or ()):
            yield ("payload", position), name
