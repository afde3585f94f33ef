"""`OpenedQdrant`: a collection in use, of a server or of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from tidemill.calls.credentials import label_endpoint
from tidemill.errors import PermanentCallError
from tidemill.protocols import Match
from tidemill.stores.batch import Batch
from tidemill.stores.filters import Comparison
from tidemill.stores.opened import LOOP_RECORDS, OpenedStore
from tidemill.stores.qdrant.door import Door
from tidemill.stores.qdrant.filters import render_filter
from tidemill.stores.qdrant.made import (
    check_collection,
    check_point,
    is_doubtful,
    list_unindexed,
    render_collection,
)
from tidemill.stores.qdrant.points import KEPT, iter_bodies, name_point, read_match, render_vector
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
            await self._door.create(render_collection(self.settings))
            info = await self._door.describe() or {}
        check_collection(info, self.settings, self.name)
        if is_doubtful(info):
            await self._check_first()
        for index in list_unindexed(info, self.settings):
            await self._door.index_field(index)

    async def _check_first(self) -> None:
        """Check that one of the points, whichever it is, is a record."""
        body = orjson.dumps({"searches": [{"limit": 1, "with_payload": KEPT}]})
        for point in (await self._door.query(body))[0]:
            check_point(point.get("payload"), self.name)

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


def _make_local(settings: Qdrant) -> Door:
    """The local mode, whose package takes two seconds to import."""
    from tidemill.stores.qdrant.local import Local

    return Local(settings)


def _iter_slices(items: Any, size: int) -> Iterator[Any]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
