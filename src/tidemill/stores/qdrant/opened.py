"""`OpenedQdrant`: a collection in use, of a server or of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from tidemill.calls.credentials import label_endpoint
from tidemill.errors import PermanentCallError, StateError
from tidemill.protocols import Match
from tidemill.stores.batch import Batch
from tidemill.stores.filters import Comparison
from tidemill.stores.opened import LOOP_RECORDS, OpenedStore
from tidemill.stores.qdrant.door import Answer, Door
from tidemill.stores.qdrant.filters import name_key, render_filter
from tidemill.stores.qdrant.points import (
    DISTANCES,
    KEPT,
    SCHEMAS,
    iter_bodies,
    name_point,
    read_match,
    render_vector,
)
from tidemill.stores.qdrant.server import Server
from tidemill.stores.qdrant.settings import Qdrant
from tidemill.stores.vectors import Matrix

IDS: Final = 1_000
"""Ids that go in one request."""
QUERIES: Final = 64
"""Queries of a search that go in one request."""
_MATCHES: Final = 2_000
"""Records that one request is to find at most, as long as it has more than one query: some 5 ms to read."""
_PAUSES_S: Final = (0.05, 2.0)
"""How often `flush` looks whether the collection is indexed: the first pause, which doubles, and the longest."""


class OpenedQdrant(OpenedStore):
    """A collection of Qdrant. See `OpenedStore`; belongs to one loop."""

    settings: Qdrant

    def __init__(self, settings: Qdrant) -> None:
        place = settings.path if settings.url is None else label_endpoint(settings.url)
        super().__init__(settings, f"{place} collection `{settings.collection}`")
        self._opened: Door | None = None

    @property
    def _door(self) -> Door:
        assert self._opened is not None  # it is open, as `OpenedStore` sees to
        return self._opened

    async def _open(self) -> None:
        local = self.settings.url is None
        self._opened = await self._threads.run(_make_local, self.settings) if local else Server(self.settings)
        await self._door.open()
        info = await self._door.describe()
        if info is None:
            await self._door.create(self._render_collection())
            info = await self._door.describe() or {}
        self._check(info)
        indexed = info.get("payload_schema") or {}
        for field, kind in self.settings.fields.items():
            held = indexed.get(name_key(field))
            if held is None:
                await self._door.index_field({"field_name": name_key(field), "field_schema": SCHEMAS[kind]})
            elif held.get("data_type") != SCHEMAS[kind]:
                raise self._error(
                    f"the field `{field}` is indexed as `{held.get('data_type')}`, and the settings say `{kind}`",
                    "declare it as what it is, or name another `collection`",
                )

    async def _close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    async def _put(self, batch: Batch) -> None:
        bodies = iter_bodies(batch, self.settings.metric, self.settings.batch_bytes)
        while True:
            # A body is as many points as its bytes allow: more than a loop should wait for.
            body = await self._threads.run(next, bodies, None) if len(batch.ids) > LOOP_RECORDS else next(bodies, None)
            if body is None:
                return
            await self._door.upsert(body)

    async def _search(
        self, queries: Matrix, k: int, comparisons: Sequence[Comparison], with_vectors: bool
    ) -> list[list[Match]]:
        condition = render_filter(comparisons)
        if condition is None:
            return [[] for _ in queries]
        graph = self.settings.index
        asked = {"limit": k, "with_payload": KEPT, "with_vector": with_vectors}
        if condition:
            asked["filter"] = condition
        if graph.ef_search is not None:
            asked["params"] = {"hnsw_ef": max(graph.ef_search, k)}
        rest = orjson.dumps(asked)[1:]
        found: list[list[Match]] = []
        for some in _iter_slices(queries, max(1, min(QUERIES, _MATCHES // k))):
            searches = b",".join(b'{"query":%b,%b' % (render_vector(query), rest) for query in some)
            answers = await self._door.query(b'{"searches":[%b]}' % searches)
            found += [[read_match(point, self.settings.metric) for point in points] for points in answers]
        return found

    async def _fetch(self, ids: list[str], with_vectors: bool) -> dict[str, Match]:
        found: dict[str, Match] = {}
        for some in _iter_slices(ids, IDS):
            asked = {"ids": list(map(name_point, some)), "with_payload": KEPT, "with_vector": with_vectors}
            for point in await self._door.retrieve(asked):
                match = read_match(point, self.settings.metric, score=1.0)
                found[match.id] = match
        return found

    async def _delete(self, ids: list[str]) -> int:
        found = 0
        for some in _iter_slices(ids, IDS):
            points = list(map(name_point, some))
            found += await self._door.count({"filter": {"must": [{"has_id": points}]}, "exact": True})
            await self._door.delete({"points": points})
        return found

    async def _count(self, comparisons: Sequence[Comparison]) -> int:
        condition = render_filter(comparisons)
        if condition is None:
            return 0
        return await self._door.count({"exact": True, **({"filter": condition} if condition else {})})

    async def _flush(self) -> None:
        """Wait until Qdrant has indexed what there is, which it does by itself."""
        pause_s, longest_s = _PAUSES_S
        while True:
            info = await self._door.describe() or {}
            if info.get("status") == "red" or isinstance(info.get("optimizer_status"), dict):
                said = f"status {info.get('status')}, optimizer {info.get('optimizer_status')}"
                raise PermanentCallError(f"Qdrant cannot index the collection: {said}", where=self.name, of="run")
            if info.get("status") != "yellow":
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)

    def _render_collection(self) -> dict[str, Any]:
        graph = self.settings.index
        return {
            "vectors": {"size": self.settings.dimensions, "distance": DISTANCES[self.settings.metric]},
            "hnsw_config": {"m": graph.m, "ef_construct": graph.ef_construct},
        }

    def _check(self, info: Answer) -> None:
        """Check that the collection is as the settings say."""
        vectors = info.get("config", {}).get("params", {}).get("vectors") or {}
        size, distance = vectors.get("size"), vectors.get("distance")
        if size is None:
            raise self._error("the collection has several vectors a record, or none", "name another `collection`")
        if size != self.settings.dimensions:
            raise self._error(
                f"the collection holds vectors of {size} numbers, and the settings say {self.settings.dimensions}",
                f"set `dimensions: {size}`, or name another `collection`",
            )
        if distance != DISTANCES[self.settings.metric]:
            names = [name for name, each in DISTANCES.items() if each == distance]
            there = names[0] if names else distance
            hint = f"set `metric: {there}`, or name another `collection`" if names else "name another `collection`"
            raise self._error(
                f"the collection is searched by `{there}`, and the settings say `{self.settings.metric}`", hint
            )

    def _error(self, message: str, hint: str) -> StateError:
        return StateError(message, where=self.name, hint=hint)


def _make_local(settings: Qdrant) -> Door:
    """The local mode, whose package takes two seconds to import."""
    from tidemill.stores.qdrant.local import Local

    return Local(settings)


def _iter_slices(items: Any, size: int) -> Iterator[Any]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
