"""`Door`: what a collection is asked, whoever has it. Bodies and answers are those of Qdrant's REST API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Answer = Mapping[str, Any]
"""A JSON object, as the API describes it."""


class Door(Protocol):
    """One collection. Each method raises a `CallError` where it was not answered."""

    async def open(self) -> None:
        """Get hold of what has the collection."""
        ...

    async def close(self) -> None:
        """Let it go, also where `open` failed."""
        ...

    async def describe(self) -> Answer | None:
        """The collection (`CollectionInfo`); None where there is none."""
        ...

    async def create(self, body: Mapping[str, Any]) -> None:
        """Make the collection (`CreateCollection`), unless somebody else has just done so."""
        ...

    async def index_field(self, body: Mapping[str, Any]) -> None:
        """Have records found by a field (`CreateFieldIndex`)."""
        ...

    async def upsert(self, body: bytes) -> None:
        """Put points in (`PointsList`), which are there for good once this returns."""
        ...

    async def query(self, body: bytes) -> Sequence[Sequence[Answer]]:
        """The points (`ScoredPoint`) for each query (`QueryRequestBatch`)."""
        ...

    async def retrieve(self, body: Mapping[str, Any]) -> Sequence[Answer]:
        """The points (`Record`) there are of those ids (`PointRequest`)."""
        ...

    async def count(self, body: Mapping[str, Any]) -> int:
        """How many points there are (`CountRequest`)."""
        ...

    async def delete(self, body: Mapping[str, Any]) -> None:
        """Take points out (`PointIdsList`)."""
        ...
