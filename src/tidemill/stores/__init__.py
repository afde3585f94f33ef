"""Vector stores: those that come along, and what one of somebody else's is made of.

Names are loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.exports import export

if TYPE_CHECKING:
    from tidemill.stores.batch import Batch as Batch
    from tidemill.stores.filters import Comparison as Comparison
    from tidemill.stores.lance.settings import LanceDB as LanceDB
    from tidemill.stores.opened import OpenedStore as OpenedStore
    from tidemill.stores.pgvector.settings import PgVector as PgVector
    from tidemill.stores.qdrant.settings import Qdrant as Qdrant
    from tidemill.stores.store import Store as Store
    from tidemill.stores.table import AnyStore as AnyStore

__all__, __getattr__, __dir__ = export(
    __name__,
    {
        "batch": "Batch",
        "filters": "Comparison",
        "lance.settings": "LanceDB",
        "opened": "OpenedStore",
        "pgvector.settings": "PgVector",
        "qdrant.settings": "Qdrant",
        "store": "Store",
        "table": "AnyStore",
    },
)
