"""The stores that steps use: each opened once, by the first record that needs it, and closed with the scope."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tidemill.calls.wire import AttemptTimeoutError
from tidemill.errors import DataError
from tidemill.protocols import VectorStore
from tidemill.resources.scope import Scope
from tidemill.stores.store import Store


class SharedStore:
    """One store of several steps. Belongs to one loop.

    Attributes:
        settings: what is opened.
        is_filled: whether the same steps may put records in, so that an empty one is no mistake.
    """

    def __init__(self, settings: Store) -> None:
        self.settings = settings
        self.is_filled = False
        self._store: VectorStore | None = None
        self._opening = asyncio.Lock()

    @property
    def is_open(self) -> bool:
        """Whether somebody asked for it."""
        return self._store is not None

    async def get(self) -> VectorStore:
        """The store, opened by whoever asks first.

        Raises:
            ResourceError, StateError, CallError: it cannot be: its package, its place, its dimensions.
        """
        if self._store is None:
            async with self._opening:
                if self._store is None:
                    self._store = await self.settings.open().__aenter__()
        return self._store

    @asynccontextmanager
    async def use(self, timeout_s: float) -> AsyncIterator[VectorStore]:
        """The store for one attempt, which may take so long, opening it included where it is the first.

        Raises:
            AttemptTimeoutError: it took longer.
        """
        bound = asyncio.timeout(timeout_s)
        try:
            async with bound:
                yield await self.get()
        except TimeoutError as error:
            if not bound.expired():
                raise
            raise AttemptTimeoutError(f"the store gave nothing within {timeout_s:g} s") from error

    async def refuse_empty(self) -> None:
        """Tell a store that holds nothing from one in which nothing was found: most likely it is at another place.

        Raises:
            DataError: it holds no record, and the same steps put none in.
        """
        if self.is_filled or await (await self.get()).count():
            return
        place, name = self.settings.find_place()
        raise DataError(
            f"the store holds no record to find: {name}{' in ' if place else ''}{place}",
            hint="put records in first, or see whether those are at another place",
        )

    async def close(self) -> None:
        """Close it, if it was opened."""
        store, self._store = self._store, None
        if store is not None:
            await store.__aexit__(None, None, None)


class OpenStores:
    """The stores of a job's steps, those of equal settings once.

    Args:
        scope: closes them.
        folder: what relative paths of settings start from.
    """

    def __init__(self, scope: Scope, folder: Path) -> None:
        self._folder = folder
        self._shared: list[SharedStore] = []
        scope.defer_async(self._close, name="stores")

    def find(self, settings: Store) -> SharedStore:
        """The store of these settings; it is opened when it is used."""
        return self.find_placed(settings.within(self._folder))

    def find_placed(self, placed: Store) -> SharedStore:
        """The store of settings whose paths start where they are to already."""
        known = next((each for each in self._shared if each.settings == placed), None)
        if known is None:
            known = SharedStore(placed)
            self._shared.append(known)
        return known

    async def _close(self) -> None:
        async with Scope() as scope:
            for each in self._shared:
                scope.defer_async(each.close, name=type(each.settings).__name__)
