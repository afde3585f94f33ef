"""How a step names its store: by its settings, or by the name they have under `stores:`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ValidationInfo, WrapValidator
from pydantic_core import PydanticCustomError

from tidemill.config.subschemas import Also
from tidemill.config.wording.suggest import list_names, suggest
from tidemill.stores.store import Store
from tidemill.stores.table import AnyStore


def _from_name(value: Any, handler: Any, info: ValidationInfo) -> Any:
    if not isinstance(value, str):
        return handler(value)
    named: Mapping[str, Store] = (info.context or {}).get("stores", {})
    if value in named:
        return named[value]
    known = f"stores: {list_names(named)}" if named else "name it there: stores: {docs: {type: lancedb, path: …}}"
    message = "there is no store `{name}` under `stores:`"
    raise PydanticCustomError("store_name", message, {"name": value, "hint": suggest(value, named) or known})


StoreRef = Annotated[AnyStore, WrapValidator(_from_name), Also({"type": "string"})]
"""A store's settings, or the name of one of the job's `stores`; holds the settings."""
