"""Vector stores: those that come along, and what one of somebody else's is made of.

Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.stores.batch import Batch as Batch
    from tidemill.stores.filters import Comparison as Comparison
    from tidemill.stores.lance.settings import LanceDB as LanceDB
    from tidemill.stores.opened import OpenedStore as OpenedStore
    from tidemill.stores.pgvector.settings import PgVector as PgVector
    from tidemill.stores.qdrant.settings import Qdrant as Qdrant
    from tidemill.stores.store import Store as Store
    from tidemill.stores.table import AnyStore as AnyStore

_HOMES = {
    "batch": "Batch",
    "filters": "Comparison",
    "lance.settings": "LanceDB",
    "opened": "OpenedStore",
    "pgvector.settings": "PgVector",
    "qdrant.settings": "Qdrant",
    "store": "Store",
    "table": "AnyStore",
}
_HOME_OF = {name: f"tidemill.stores.{home}" for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - computed from the table above


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
