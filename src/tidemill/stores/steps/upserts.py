"""`Upserts`: what puts batches of records into a store, so that the last of one id stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import msgspec
import orjson

from tidemill.calls.wire import Request, Response, Usage
from tidemill.errors import TransientCallError
from tidemill.protocols import Upserted, VectorStore
from tidemill.stores.steps.marks import Marks, Order
from tidemill.stores.steps.opened import SharedStore

_FORGOTTEN_FROM = 10_000
"""Ids that are remembered before those are looked for that nothing earlier can come for."""


class Row(NamedTuple):
    """One record to put in."""

    order: Order
    id: str
    vector: Any
    payload: Mapping[str, Any]


class Upsert(Request, frozen=True):
    """A request of a store: to put in `rows`."""

    rows: tuple[Row, ...] = ()


class Build(Request, frozen=True):
    """A request of a store: to have what was put in found at full speed, however long that takes."""


@dataclass(frozen=True, slots=True)
class UpsertedBatch:
    """What became of a batch's records, in order; a `calls.outgoing.Reply` that cost no tokens.

    Attributes:
        replaced: how many of those that are stored took the place of another of the run's, stored by an earlier upsert.
    """

    values: Sequence[Upserted]
    replaced: int = 0

    usage: ClassVar[Usage] = Usage(0, 0)
    is_cut: ClassVar[bool] = False
    first_token_s: ClassVar[float | None] = None


class Upserts:
    """A transport whose requests are upserts, and at their end to build the indexes. Belongs to one loop.

    Of an id no two upserts are under way at once, and a record never replaces a later one: what has landed is known by
    its place in the source as long as an earlier record may come. In a retry the store is asked, by the marks that it
    has: what has landed was put in by earlier sittings.

    Args:
        marks: those of the run; None where it is none, and nothing of it is tried again.

    Attributes:
        find_oldest: gives the number of the oldest record that is still on its way.
        is_owed: whether earlier sittings put records in for which no index was built.
    """

    def __init__(self, store: SharedStore, marks: Marks | None) -> None:
        self._store = store
        self._marks = marks
        self._landed: dict[str, Order] = {}
        self._under_way: dict[str, asyncio.Event] = {}
        self._forgets_from = _FORGOTTEN_FROM
        self.find_oldest: Callable[[], int] = lambda: 0
        self.is_owed = False

    @property
    def is_due(self) -> bool:
        """Whether there may be records for which no index was built."""
        return self.is_owed or self._store.is_open

    async def send(self, request: Request, timeout_s: float) -> Response:
        """What became of each of the rows, as `parse_upserted` reads it; of none where indexes are built.

        Raises:
            CallError: the store's, or none within `timeout_s`, which a build may take longer than.
        """
        if isinstance(request, Build):
            async with self._store.use(timeout_s) as store:
                pass
            await store.flush()
            return _render(UpsertedBatch([]))
        assert isinstance(request, Upsert)
        async with self._store.use(timeout_s) as store:
            ids = {row.id for row in request.rows}
            while events := [self._under_way[key] for key in ids if key in self._under_way]:
                await events[0].wait()
            with self._hold(ids):
                return _render(await self._put(store, request.rows))

    async def close(self) -> None:
        """Nothing: the store is the scope's."""

    async def _put(self, store: VectorStore, rows: Sequence[Row]) -> UpsertedBatch:
        """Upsert the rows that nothing later took the place of, the last of one id last."""
        outcomes = [Upserted(row.id, "superseded") for row in rows]
        places = sorted(range(len(rows)), key=lambda place: rows[place].order)
        landed = await self._find_landed(store, rows)
        replaced = 0
        due = [place for place in places if landed.get(rows[place].id, rows[place].order) <= rows[place].order]
        if due:
            ids, vectors, payloads = zip(*(rows[place][1:] for place in due), strict=True)
            found = await store.upsert(ids, list(vectors), payloads)
            for place, became in zip(due, found, strict=True):
                outcomes[place] = became
                if became.kind == "stored":
                    replaced += landed.get(rows[place].id, rows[place].order) < rows[place].order
                    landed[rows[place].id] = rows[place].order
        self._forget()
        return UpsertedBatch(outcomes, replaced)

    async def _find_landed(self, store: VectorStore, rows: Sequence[Row]) -> dict[str, Order]:
        """Where the records stand that landed under the ids of these, as far as an earlier one may come."""
        if self._marks is None or not self._marks.are_compared:
            return self._landed
        found = await store.fetch(list({row.id for row in rows}))
        placed = [(match.id, self._marks.find(match.payload)) for match in found if match is not None]
        return {key: order for key, order in placed if order is not None}

    @contextmanager
    def _hold(self, ids: set[str]) -> Iterator[None]:
        """Keep others from putting in these ids."""
        done = asyncio.Event()
        self._under_way.update(dict.fromkeys(ids, done))
        try:
            yield
        finally:
            for key in ids:
                del self._under_way[key]
            done.set()

    def _forget(self) -> None:
        """Let go of the ids for which nothing earlier can come."""
        if len(self._landed) >= self._forgets_from:
            oldest = self.find_oldest()
            self._landed = {key: order for key, order in self._landed.items() if order[0] >= oldest}
            self._forgets_from = max(_FORGOTTEN_FROM, 2 * len(self._landed))


def _render(batch: UpsertedBatch) -> Response:
    return Response(200, {}, msgspec.json.encode({"values": batch.values, "replaced": batch.replaced}))


def parse_upserted(response: Response) -> UpsertedBatch:
    """What became of a batch's records.

    Raises:
        TransientCallError: the response is none of `Upserts.send`.
    """
    try:
        told = orjson.loads(response.body)
        return UpsertedBatch([Upserted(**each) for each in told["values"]], told["replaced"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise TransientCallError(f"expected what became of each record: {error!r}") from error
