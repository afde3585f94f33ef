"""The stores that a file names by their `type`, and those that other packages bring."""

from __future__ import annotations

from typing import Annotated, Final

from tidemill.config.types.functions import to_import_path
from tidemill.config.unions.plugins import Plugins
from tidemill.stores.lance.settings import LanceDB
from tidemill.stores.pgvector.settings import PgVector
from tidemill.stores.qdrant.settings import Qdrant
from tidemill.stores.store import Store

STORES: Final[dict[str, type[Store]]] = {"lancedb": LanceDB, "pgvector": PgVector, "qdrant": Qdrant}
"""Those that come along, by the names that files call them."""

AnyStore = Annotated[Store, Plugins("tidemill.stores", default="lancedb", **STORES)]
"""A store as a field of a `Config`: `{type: lancedb, path: …}`, an entry point of `tidemill.stores`, an import path."""


def name_store(store: Store) -> str:
    """What a file calls a store of these settings: its name here, or the import path of its class."""
    names = {cls: name for name, cls in STORES.items()}
    return names.get(type(store)) or to_import_path(type(store))
