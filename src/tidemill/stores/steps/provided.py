"""Stores as resources: a step's function that has a parameter of a store's name is given that store, open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tidemill.data.entering.opener import Opener
from tidemill.data.entering.resource import Resource, find_name_fault
from tidemill.data.nodes.node import Node
from tidemill.data.steps.providing import find_openers
from tidemill.protocols import VectorStore
from tidemill.stores.steps.opened import OpenStores, SharedStore
from tidemill.stores.store import Store

_STORE, _FOLDER = "store", "folder"


@asynccontextmanager
async def open_store(store: Store, folder: Path = Path()) -> AsyncIterator[VectorStore]:
    """The store of these settings, open, where no other step of the worker has it."""
    async with store.within(folder).open() as opened:
        yield opened


@asynccontextmanager
async def _hold_shared(store: SharedStore) -> AsyncIterator[VectorStore]:
    """A store that all steps of a worker share, and that is closed behind the last of them."""
    store.is_filled = True  # as far as can be told of a function
    yield await store.get()


def make_store_openers(stores: Mapping[str, Store], folder: Path) -> dict[str, Opener]:
    """How workers open each of `stores`, for functions that have a parameter of its name.

    Args:
        folder: what relative paths start from.
    """
    return {
        name: Opener(name, open_store, {_STORE: store, _FOLDER: folder})
        for name, store in stores.items()
        if find_name_fault(name) is None
    }


def to_resources(given: Mapping[str, Any]) -> dict[str, Any]:
    """What Python code gives as resources, the settings of stores among them."""
    return {
        name: Resource(use=open_store, **{_STORE: each}) if isinstance(each, Store) else each
        for name, each in given.items()
    }


def find_store(opener: Opener) -> Store | None:
    """The settings of the store that a resource is, None where it is another."""
    store = opener.arguments.get(_STORE) if opener.use is open_store else None
    return store if isinstance(store, Store) else None


def share_stores(nodes: Sequence[Node], stores: OpenStores) -> list[Node]:
    """The steps, their functions given those of `stores` that other steps use, in place of ones of their own."""
    shared = {
        id(opener): Opener(opener.name, partial(_hold_shared, stores.find(store)), {})
        for opener in find_openers(nodes)
        if (store := find_store(opener)) is not None
    }
    return [_share(node, shared) for node in nodes] if shared else list(nodes)


def _share(node: Node, shared: Mapping[int, Opener]) -> Node:
    if node.inner:
        return node.with_inner([_share(each, shared) for each in node.inner])
    if not any(id(each) in shared for each in node.openers.values()):
        return node
    return node.with_openers({name: shared.get(id(each), each) for name, each in node.openers.items()})
