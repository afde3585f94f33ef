"""`Local`: a collection in Qdrant's local mode, which blocks, in a thread of its own.

In a process those that have one folder open share its client, since Qdrant lets a folder have only one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import orjson
from qdrant_client import models
from qdrant_client.local.qdrant_local import QdrantLocal

from tidemill.errors import PermanentCallError, ResourceError
from tidemill.resources.worker import WorkerThread
from tidemill.stores.lifetime import finish
from tidemill.stores.qdrant.door import Answer
from tidemill.stores.qdrant.settings import MEMORY, Qdrant

T = TypeVar("T")

_MANY: Final = 1 << 62

_shared: dict[str, _Client] = {}
_lock = threading.RLock()
"""Guards `_shared`, and who uses each client in it: loops of several threads may open a folder, and close it, and the
collector may come while one does."""


class _QdrantLocal(QdrantLocal):
    """Does not warn of how many points there are, as the documentation does, and leaves no file open where it fails."""

    LARGE_DATA_THRESHOLD = _MANY

    def __init__(self, location: str) -> None:
        try:
            super().__init__(location)
        except BaseException:
            self.close()
            raise


class _Client:
    """The client of a place, and the one thread that it is used in."""

    def __init__(self, place: str) -> None:
        self.place = place
        self.thread = WorkerThread("qdrant")
        self.users = 0
        self._client: QdrantLocal | None = None

    def use(self, fn: Callable[[QdrantLocal], T]) -> T:
        """What `fn` gives of the client, in the thread."""
        if self._client is None:
            self._client = _QdrantLocal(self.place)
        return fn(self._client)

    def leave(self) -> None:
        """Close the client if nobody uses it any more; in the thread, so that whoever opens the place next waits."""
        with _lock:
            if self._release():
                self._close()
                self.thread.close(wait=False)

    def abandon(self) -> None:
        """The same for somebody who cannot wait: the collector."""
        with _lock:
            if self._release():
                self.thread.close(wait=False, last=self._close)

    def _release(self) -> bool:
        """Whether nobody uses it any more."""
        self.users -= 1
        if not self.users:
            del _shared[self.place]
        return not self.users

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()


class Local:
    """See `Door`. May be used in any loop."""

    def __init__(self, settings: Qdrant) -> None:
        path = str(settings.path)
        self._place: Final = path if path == MEMORY else str(Path(path).resolve())
        self._collection: Final = settings.collection
        self._client: _Client | None = None

    def __del__(self) -> None:
        if self._client is not None:
            self._client.abandon()

    async def open(self) -> None:
        with _lock:
            client = _shared.get(self._place)
            if client is None:
                client = _shared[self._place] = _Client(self._place)
            client.users += 1
        self._client = client
        await self._run(lambda opened: None)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await finish(client.thread.run(client.leave))

    async def describe(self) -> Answer | None:
        def describe(client: QdrantLocal) -> Answer | None:
            if not client.collection_exists(self._collection):
                return None
            return client.get_collection(self._collection).model_dump(mode="json")

        return await self._run(describe)

    async def create(self, body: Mapping[str, Any]) -> None:
        settings = models.CreateCollection.model_validate(body)

        def create(client: QdrantLocal) -> None:
            if not client.collection_exists(self._collection):
                client.create_collection(self._collection, settings.vectors, metadata=settings.metadata)

        await self._run(create)

    async def index_field(self, body: Mapping[str, Any]) -> None:
        """Has no index to make: the local mode looks at every point."""

    async def upsert(self, body: bytes) -> None:
        def upsert(client: QdrantLocal) -> None:
            points = [models.PointStruct.model_construct(**point) for point in orjson.loads(body)["points"]]
            client.collections[self._collection].LARGE_DATA_THRESHOLD = _MANY  # or it warns
            client.upsert(self._collection, points)

        await self._run(upsert)

    async def query(self, body: bytes) -> Sequence[Sequence[Answer]]:
        def query(client: QdrantLocal) -> Sequence[Sequence[Answer]]:
            requests = models.QueryRequestBatch.model_validate_json(body).searches
            found = client.query_batch_points(self._collection, requests)
            return [[dict(point) for point in each.points] for each in found]

        return await self._run(query)

    async def retrieve(self, body: Mapping[str, Any]) -> Sequence[Answer]:
        def retrieve(client: QdrantLocal) -> Sequence[Answer]:
            found = client.retrieve(
                self._collection, body["ids"], with_payload=body["with_payload"], with_vectors=body["with_vector"]
            )
            return [dict(point) for point in found]

        return await self._run(retrieve)

    async def count(self, body: Mapping[str, Any]) -> int:
        asked = models.CountRequest.model_validate(body)
        return await self._run(lambda client: client.count(self._collection, asked.filter).count)

    async def delete(self, body: Mapping[str, Any]) -> None:
        points = models.PointIdsList.model_validate(body)
        await self._run(lambda client: client.delete(self._collection, points))

    async def _run(self, fn: Callable[[QdrantLocal], T]) -> T:
        """What `fn` gives of the client. Cancelling stops the waiting; what has begun goes on in its thread."""
        assert self._client is not None  # it is open, as `OpenedStore` sees to
        try:
            return await self._client.thread.run(self._client.use, fn)
        except RuntimeError as error:
            if "already accessed" not in str(error):
                raise
        except (ValueError, KeyError, sqlite3.Error, OSError) as error:
            message = f"Qdrant's local mode failed: {type(error).__name__}: {error}"
            raise PermanentCallError(message, where=self._place, of="run") from None
        raise ResourceError(
            "another process has the folder open, and Qdrant's local mode lets one have it",
            where=self._place,
            hint="end that one, or use a server: `url`",
        )
