"""A vector store in memory, by the protocol alone, which can be slow, fail and say what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from tidemill.errors import TransientCallError
from tidemill.protocols import Filter, Match, Upserted, Vectors
from tidemill.stores.filters import parse_filter
from tidemill.stores.store import Store


class Shelf(Store):
    """One shelf for each `place`; what happened to all of them stands in `shelves`."""

    place: str = "one"
    opens_slowly: int = 0
    fails: int = 0
    hangs: int = 0

    shelves: ClassVar[dict[str, ShelfStore]] = {}

    def open(self) -> ShelfStore:
        known = self.shelves.get(self.place)
        if known is None:
            known = self.shelves[self.place] = ShelfStore(self)
        return known


class ShelfStore:
    """What a shelf holds.

    Attributes:
        upserts: the ids of each upsert, in the order they began.
        searches, flushes, opened, closed: how many there were.
        before_upsert: awaited with the ids of each upsert before they are there.
        before_search: awaited with the vectors of each search before it looks.
        before_flush: awaited before each flush.
    """

    def __init__(self, settings: Shelf) -> None:
        self.settings = settings
        self.held: dict[str, tuple[list[float], Mapping[str, Any]]] = {}
        self.upserts: list[list[str]] = []
        self.searches = self.flushes = self.opened = self.closed = 0
        self.opens_slowly = settings.opens_slowly
        self.fails = settings.fails
        self.hangs = settings.hangs
        self.before_upsert: Callable[[Sequence[str]], Any] | None = None
        self.before_search: Callable[[Vectors], Any] | None = None
        self.before_flush: Callable[[], Any] | None = None

    async def __aenter__(self) -> ShelfStore:
        if self.opens_slowly:
            self.opens_slowly -= 1
            await asyncio.Event().wait()
        self.opened += 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed += 1

    async def upsert(
        self, ids: Sequence[str], vectors: Vectors, payloads: Sequence[Mapping[str, Any]] | None = None
    ) -> list[Upserted]:
        await self._misbehave()
        self.upserts.append(list(ids))
        if self.before_upsert is not None:
            await self.before_upsert(ids)
        outcomes: list[Upserted] = []
        for key, vector, payload in zip(ids, vectors, payloads or [{}] * len(ids), strict=True):
            if len(vector) != self.settings.dimensions:
                outcomes.append(Upserted(key, "refused", f"expected {self.settings.dimensions} numbers"))
            else:
                stored = Upserted(key, "stored")
                outcomes = [Upserted(key, "superseded") if each == stored else each for each in outcomes]
                self.held[key] = (list(vector), payload)
                outcomes.append(stored)
        return outcomes

    async def search(
        self, vectors: Vectors, k: int, filter: Filter | None = None, *, with_vectors: bool = False
    ) -> list[list[Match]]:
        await self._misbehave()
        self.searches += len(vectors)
        if self.before_search is not None:
            await self.before_search(vectors)
        comparisons = parse_filter(filter, self.settings.fields)
        passing = {key: each for key, each in self.held.items() if all(asked.passes(each[1]) for asked in comparisons)}
        return [
            sorted(
                (
                    Match(key, sum(a * b for a, b in zip(vector, held, strict=True)), payload)
                    for key, (held, payload) in passing.items()
                ),
                key=lambda match: -match.score,
            )[:k]
            for vector in vectors
        ]

    async def fetch(self, ids: Sequence[str], *, with_vectors: bool = False) -> list[Match | None]:
        return [Match(key, 1.0, self.held[key][1]) if key in self.held else None for key in ids]

    async def delete(self, ids: Sequence[str]) -> int:
        return sum(self.held.pop(key, None) is not None for key in ids)

    async def count(self, filter: Filter | None = None) -> int:
        return len(self.held)

    async def flush(self) -> None:
        if self.before_flush is not None:
            await self.before_flush()
        self.flushes += 1

    async def _misbehave(self) -> None:
        if self.hangs:
            self.hangs -= 1
            await asyncio.Event().wait()
        if self.fails:
            self.fails -= 1
            raise TransientCallError("the shelf is being dusted")
