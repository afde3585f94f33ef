"""`OpenedStore`: what every opened store does alike, so that each has only its own way of holding records."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from tidemill.config.wording.words import describe_value
from tidemill.errors import DataError
from tidemill.protocols import Filter, Match, Upserted, Vectors
from tidemill.resources.threads import Threads
from tidemill.stores.apart import put_apart
from tidemill.stores.batch import Batch, check_id, read_batch, read_ids
from tidemill.stores.filters import Comparison, parse_filter
from tidemill.stores.lifetime import Lifetime, finish
from tidemill.stores.store import Store
from tidemill.stores.vectors import Matrix, read_queries

LOOP_RECORDS = 256
"""Records that are checked, or made of what was found, in the loop: about a millisecond. More are in a thread."""

MOST_THREADS = 4
"""Of one store: they are made as they are needed."""


class OpenedStore(ABC):
    """A store in use: `tidemill.protocols.VectorStore`, checked, counted and closed here; see there for the contract.

    What derives from it holds the records. It is given nothing that is not well, nothing before it was opened or after
    it was closed, and nothing from another loop; what it raises is as the protocol says. Each of its operations may be
    cancelled, and gives back then what it took.

    Args:
        settings: the store's.
        name: what messages call it: where it is, without a credential.
    """

    def __init__(self, settings: Store, name: str) -> None:
        self.settings = settings
        self.name = name
        self._lifetime = Lifetime(name)
        self._threads = Threads(f"store {name}", lambda: MOST_THREADS)

    def __del__(self) -> None:
        self._threads.close()  # of a store that nobody closed, of which its lifetime warns

    async def __aenter__(self) -> Self:
        self._lifetime.begin()
        try:
            await self._open()
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave()

    async def upsert(
        self, ids: Sequence[str], vectors: Vectors, payloads: Sequence[Mapping[str, Any]] | None = None
    ) -> Sequence[Upserted]:
        with self._lifetime.use():
            keys = read_ids(ids)
            refuse = None if type(self)._refuse is OpenedStore._refuse else self._refuse
            if len(keys) > LOOP_RECORDS:
                batch = await self._threads.run(read_batch, keys, vectors, payloads, self.settings, refuse)
            else:
                batch = read_batch(keys, vectors, payloads, self.settings, refuse)
            if batch.ids:
                await put_apart(batch, self._put)
            return batch.outcomes

    async def search(
        self, vectors: Vectors, k: int, filter: Filter | None = None, *, with_vectors: bool = False
    ) -> Sequence[Sequence[Match]]:
        with self._lifetime.use():
            _check_k(k)
            comparisons = parse_filter(filter, self.settings.fields)
            queries = read_queries(vectors, self.settings)
            return await self._search(queries, k, comparisons, with_vectors) if len(queries) else []

    async def fetch(self, ids: Sequence[str], *, with_vectors: bool = False) -> Sequence[Match | None]:
        with self._lifetime.use():
            asked = read_ids(ids)
            found = await self._fetch(wanted, with_vectors) if (wanted := _keep_known(asked)) else {}
            return [found.get(key) for key in asked]

    async def delete(self, ids: Sequence[str]) -> int:
        with self._lifetime.use():
            wanted = _keep_known(read_ids(ids))
            return await self._delete(wanted) if wanted else 0

    async def count(self, filter: Filter | None = None) -> int:
        with self._lifetime.use():
            return await self._count(parse_filter(filter, self.settings.fields))

    async def flush(self) -> None:
        with self._lifetime.use():
            await self._flush()

    async def _leave(self) -> None:
        self._lifetime.check_loop()
        try:
            await self._lifetime.drain()
        finally:
            try:
                await finish(self._close())
            finally:
                self._threads.close()
                self._lifetime.end()

    @abstractmethod
    async def _open(self) -> None:
        """Make the store where it is not, and check that one that is there is as the settings say.

        Raises:
            StateError: it is of other dimensions, of another metric, or made with other fields.
        """

    @abstractmethod
    async def _close(self) -> None:
        """Give back all that is held, also where opening it failed half-way; nothing is in flight.

        It is waited for whatever is cancelled, so it takes a bounded time.
        """

    @abstractmethod
    async def _put(self, batch: Batch) -> None:
        """Have a batch stored, durably; it is not empty, and has each id once."""

    @abstractmethod
    async def _search(
        self, queries: Matrix, k: int, comparisons: Sequence[Comparison], with_vectors: bool
    ) -> list[list[Match]]:
        """For each query the records nearest to it, of those that all comparisons let pass."""

    @abstractmethod
    async def _fetch(self, ids: list[str], with_vectors: bool) -> dict[str, Match]:
        """The records there are, by their ids, of which each is asked for once."""

    @abstractmethod
    async def _delete(self, ids: list[str]) -> int:
        """Take the records out; how many there were. Each id is given once."""

    @abstractmethod
    async def _count(self, comparisons: Sequence[Comparison]) -> int:
        """How many records all comparisons let pass."""

    @abstractmethod
    async def _flush(self) -> None:
        """Build the indexes, merge small files."""

    def _refuse(self, key: str, payload: bytes) -> str:
        """Why this store cannot take an id and a payload's JSON that others can; empty where it can."""
        return ""


def _check_k(k: Any) -> None:
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise DataError(f"expected a number of records from 1 on, got {describe_value(k)}", where="k")


def _keep_known(ids: Sequence[str]) -> list[str]:
    """Each id once, in order, without those that no record can have."""
    for number, key in enumerate(ids):
        if not isinstance(key, str):
            raise DataError(check_id(key), where=f"ids[{number}]")
    return [key for key in dict.fromkeys(ids) if not check_id(key)]
