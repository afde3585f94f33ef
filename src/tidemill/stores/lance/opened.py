"""`LanceStore`: an opened table of LanceDB."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from tidemill.config.secrets import say_cause
from tidemill.disk import Disk
from tidemill.errors import CallError, PermanentCallError, StateError, TransientCallError
from tidemill.protocols import Match
from tidemill.stores.batch import Batch
from tidemill.stores.filters import Comparison
from tidemill.stores.gathering import Gathering
from tidemill.stores.lance.making import make_folder
from tidemill.stores.lance.rows import SETTINGS, describe_store, make_schema, make_table, read_found, read_hits
from tidemill.stores.lance.sql import render_filter, render_ids
from tidemill.stores.lance.syncing import Syncing, drop_empty_versions
from tidemill.stores.lifetime import finish
from tidemill.stores.opened import LOOP_RECORDS, OpenedStore
from tidemill.stores.vectors import Matrix

if TYPE_CHECKING:
    from tidemill.stores.lance.settings import LanceDB

RECORDS_TOGETHER = 20_000
"""Records of several upserts that go into one version of the table."""

QUERIES_TOGETHER = 256
"""Vectors of several searches that share one pass over the table."""

SEARCHES = 2
"""Passes at once: one has its results made into matches while the other is under way."""

VERSIONS_BEFORE_MERGE = 500
"""Versions written until small files are merged without being asked: each upsert makes one, and searches open all."""

KEEP_ALL = timedelta(days=36_500)
"""For how long versions stand while what takes their place is not on the disk yet."""

MERGE_TRIES = 5
"""Lance gives a merge of files up where a record changed meanwhile; upserts and deletes it tries again by itself."""

_INDEXES = {"ivf_flat": ("IvfFlat", "IvfFlat"), "ivf_pq": ("IvfPq", "IvfPq"), "hnsw_sq": ("HnswSq", "IvfHnswSq")}
"""What LanceDB calls an index: as the class that it is asked for by, and in a table's list of them."""
_LATER = ("conflict", "concurrent", "timed out", "timeout", "Resource temporarily")
"""What LanceDB says of an operation that may go well when it is tried again: it has no classes of errors of its own."""
_FULL = ("No space left", "Too many open")
"""What it says where that takes somebody who makes room."""


@dataclass(frozen=True, slots=True)
class _Query:
    """What searches have to have in common to be made together."""

    k: int
    filter: str
    with_vectors: bool


class LanceStore(OpenedStore):
    """Vectors in a folder, by LanceDB's async client: nothing of it runs in the loop.

    Upserts and searches that come while others are under way go together: one version of the table, one pass over it.
    What one upsert wrote is brought to the disk while the next one is written.
    """

    settings: LanceDB

    def __init__(self, settings: LanceDB) -> None:
        super().__init__(settings, str(settings.path / settings.table))
        self._schema = make_schema(settings)
        self._connection: Any = None
        self._table: Any = None
        self._syncing: Syncing | None = None
        self._writing = asyncio.Lock()  # guards what changes records and merges files: one at a time does not conflict
        self._flushing = asyncio.Lock()  # guards what indexes are built from, which a merge of files would take away
        self._versions = 0
        self._puts: Gathering[Batch, None] = Gathering(self._put_together, most=RECORDS_TOGETHER, slots=1)
        self._syncs: Gathering[None, None] = Gathering(self._sync_together, most=0, slots=1)
        self._searches: Gathering[tuple[_Query, Matrix], list[list[Match]]] = Gathering(
            self._search_together, most=QUERIES_TOGETHER, slots=SEARCHES
        )

    async def _open(self) -> None:
        path = self.settings.path
        folder, disk = path / f"{self.settings.table}.lance", Disk()
        await self._threads.run(drop_empty_versions, folder, disk)
        lancedb = await self._threads.run(importlib.import_module, "lancedb")
        with self._explained():
            if self.settings.sync:
                await self._threads.run(disk.make_folder, path)
            self._connection = await lancedb.connect_async(path, read_consistency_interval=timedelta(0))
            if self.settings.table not in await self._list_tables():
                await finish(make_folder(folder, self._schema, self._threads, disk if self.settings.sync else None))
            self._table = await self._connection.open_table(self.settings.table)
            schema = await self._table.schema()
        _check_schema(schema, self.settings, self.name)
        if self.settings.sync:
            self._syncing = await self._threads.run(Syncing, folder, disk)

    async def _list_tables(self) -> list[str]:
        names: list[str] = []
        page = await self._connection.list_tables()
        names += page.tables
        while page.page_token:
            page = await self._connection.list_tables(page_token=page.page_token)
            names += page.tables
        return names

    async def _close(self) -> None:
        for gathering in (self._puts, self._syncs, self._searches):
            await gathering.close()
        if self._table is not None:
            self._table.close()
        if self._connection is not None:
            self._connection.close()
        self._table = self._connection = None

    async def _put(self, batch: Batch) -> None:
        await self._puts.ask(batch, weight=len(batch.ids))
        await self._sync()

    async def _put_together(self, batches: Sequence[Batch]) -> Sequence[None]:
        many = sum(len(batch.ids) for batch in batches) > LOOP_RECORDS
        rows = await self._threads.run(make_table, batches, self._schema) if many else make_table(batches, self._schema)
        async with self._writing:
            with self._explained():
                # By the index of ids Lance would not find that another writer puts in the same id: two would be there.
                merge = self._table.merge_insert("id").use_index(False)
                await merge.when_matched_update_all().when_not_matched_insert_all().execute(rows)
            await self._count_version()
        return [None] * len(batches)

    async def _count_version(self) -> None:
        """Merge small files where a new version makes them many, unless indexes are being built from them."""
        self._versions += 1
        if self._versions >= VERSIONS_BEFORE_MERGE and not self._flushing.locked():
            with suppress(CallError):  # what was asked for has landed; the next version tries again
                await self._merge_files()

    async def _sync(self) -> None:
        """Bring to the disk all that has been written, where the settings say so."""
        if self._syncing is not None:
            await self._syncs.ask(None, weight=0)

    async def _sync_together(self, asked: Sequence[None]) -> Sequence[None]:
        assert self._syncing is not None
        with self._explained():
            await self._threads.run(self._syncing.sync)
        return asked

    async def _merge_files(self) -> None:
        """Merge small files; again where other writers were quicker, as they may be for ever.

        Raises:
            TransientCallError: they were each time.
        """
        keep = timedelta(seconds=self.settings.keep_versions)
        for tries_left in reversed(range(MERGE_TRIES)):
            try:
                if self._syncing is not None:  # or the power could take the new files, with the old ones gone already
                    await self._optimize(KEEP_ALL)
                    await self._sync()
                await self._optimize(keep)
                break
            except TransientCallError:
                if not tries_left:
                    raise
        self._versions = 0

    async def _optimize(self, keep: timedelta) -> None:
        with self._explained():
            await self._table.optimize(cleanup_older_than=keep)

    async def _search(
        self, queries: Matrix, k: int, comparisons: Sequence[Comparison], with_vectors: bool
    ) -> list[list[Match]]:
        key = _Query(k, render_filter(comparisons), with_vectors)
        return await self._searches.ask((key, queries), weight=len(queries), key=key)

    async def _search_together(self, asked: Sequence[tuple[_Query, Matrix]]) -> Sequence[list[list[Match]]]:
        key = asked[0][0]
        vectors = [vector for _, matrix in asked for vector in matrix]
        query = self._table.query().nearest_to(vectors if len(vectors) > 1 else vectors[0])
        query = query.distance_type(self.settings.metric).limit(key.k)
        query = query.maximum_nprobes(0)  # in front of the least, which it is compared with: it is 20 at first
        query = query.minimum_nprobes(self.settings.nprobes)
        if self.settings.index in ("ivf_pq", "hnsw_sq"):
            query = query.refine_factor(self.settings.refine)
        if key.filter:
            query = query.where(key.filter)
        with self._explained():
            found = await query.select(["id", "payload", *["vector"] * key.with_vectors, "_distance"]).to_arrow()
        hits = await self._read(read_hits, found, len(vectors), self.settings.metric)
        answers, start = [], 0
        for _, matrix in asked:
            answers.append(hits[start : start + len(matrix)])
            start += len(matrix)
        return answers

    async def _fetch(self, ids: list[str], with_vectors: bool) -> dict[str, Match]:
        matches: dict[str, Match] = {}
        columns = ["id", "payload", *["vector"] * with_vectors]
        for filter in render_ids(ids):
            with self._explained():
                found = await self._table.query().where(filter).select(columns).to_arrow()
            matches |= await self._read(read_found, found)
        return matches

    async def _read(self, read: Any, found: pa.Table, *more: Any) -> Any:
        """What `read` makes of a table, beside the loop where that takes long."""
        if len(found) > LOOP_RECORDS:
            return await self._threads.run(read, found, *more)
        return read(found, *more)

    async def _delete(self, ids: list[str]) -> int:
        deleted = 0
        for filter in render_ids(ids):
            async with self._writing:
                with self._explained():
                    deleted += (await self._table.delete(filter)).num_deleted_rows
                await self._count_version()
        await self._sync()
        return deleted

    async def _count(self, comparisons: Sequence[Comparison]) -> int:
        with self._explained():
            count: int = await self._table.count_rows(render_filter(comparisons) or None)
        return count

    async def _flush(self) -> None:
        async with self._flushing:
            async with self._writing:
                await self._merge_files()
            with self._explained():
                await self._build_indexes()
        await self._sync()

    async def _build_indexes(self) -> None:
        if await self._table.count_rows() < self.settings.index_above:
            return
        kinds = importlib.import_module("lancedb.index")
        indexed = {column: index for index in await self._table.list_indices() for column in index.columns}
        if "id" not in indexed:
            await self._table.create_index("id", config=kinds.BTree())
        held, wanted = indexed.get("vector"), self.settings.index
        if wanted == "none":
            if held is not None:
                await self._table.drop_index(held.name)
        elif held is None or held.index_type != _INDEXES[wanted][1]:  # in place of another kind, in one version
            kind = getattr(kinds, _INDEXES[wanted][0])
            config = kind(distance_type=self.settings.metric, num_partitions=self.settings.partitions)
            await self._table.create_index("vector", config=config)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What LanceDB raises, by who can do something about it: the one edge where its errors are told apart."""
        try:
            yield
        except (ValueError, RuntimeError, OSError, pa.ArrowException) as error:
            failure = _explain(error, self.name)
        else:
            return
        raise failure


def _explain(error: Exception, name: str) -> CallError:
    text, said = say_cause(error, max_chars=500), str(error)
    if any(each in said for each in _FULL):
        hint = "make room on the disk, or let the process have more files open (`ulimit -n`)"
        return TransientCallError(f"LanceDB could not do it now: {text}", where=name, hint=hint, of="run")
    if isinstance(error, TimeoutError) or any(each in said for each in _LATER):
        return TransientCallError(f"LanceDB could not do it now: {text}", where=name)
    return PermanentCallError(f"LanceDB failed: {text}", where=name, of="run")


def _check_schema(schema: pa.Schema, settings: LanceDB, name: str) -> None:
    """Check that a table that is there is the one that the settings mean."""
    told = (schema.metadata or {}).get(SETTINGS)
    if told is None:
        hint = "name another `table`, which is made then"
        raise StateError("the table was not made by Tidemill", where=name, hint=hint)
    held, wanted = orjson.loads(told), describe_store(settings)
    differences = [
        f"{key} {_show(held.get(key))}, not {_show(wanted[key])}" for key in wanted if held.get(key) != wanted[key]
    ]
    if differences:
        hint = "write the settings it was made with, or name another `table`"
        raise StateError(f"the table was made with {'; '.join(differences)}", where=name, hint=hint)


def _show(value: Any) -> str:
    return orjson.dumps(value).decode()
