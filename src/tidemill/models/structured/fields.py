"""The fields that a parsed reply has."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, RootModel

from tidemill.config.coercion.adapters import make_adapter
from tidemill.config.subschemas import inline_root


def find_fields(annotation: Any) -> list[str] | None:
    """The names in the JSON form of `annotation`; None where it may have others, or is no object."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _find_in_model(annotation)
    schema = inline_root(make_adapter(annotation).json_schema(mode="serialization"))
    if schema.get("type") != "object" or "properties" not in schema or schema.get("additionalProperties"):
        return None
    return list(schema["properties"])


def _find_in_model(model: type[BaseModel]) -> list[str] | None:
    is_free = model.model_config.get("extra") == "allow" or model.__pydantic_decorators__.model_serializers
    if is_free or issubclass(model, RootModel):
        return None
    by_alias = model.model_config.get("serialize_by_alias")
    fields = {name: field for name, field in model.model_fields.items() if not field.exclude}
    names = [(field.serialization_alias if by_alias else None) or name for name, field in fields.items()]
    computed = model.model_computed_fields
    return names + [(field.alias if by_alias else None) or name for name, field in computed.items()]
