"""The JSON Schema of a tagged union."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.config.shapes.shape import Shape
from tidemill.config.shapes.tags import HAS_FIELD, Tag

JsonSchema = dict[str, Any]

_IMPORT_PATH = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*$"

_open: ContextVar[frozenset[tuple[Tag, str]]] = ContextVar("_open", default=frozenset())
"""The members that are being written: one may hold the union it is of."""


def write_union(schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
    """One of the members, each with its tag, which only the default's need not say.

    Of an open union, also those that its finder knows, and any mapping whose tag is an import path.
    """
    shape = Shape.of(schema)
    tag = shape.tag
    if schema["type"] == "nullable" or tag is None:
        return handler(schema)
    choices = shape.core["choices"]
    written = [_write_member(tag, name, choice, handler) for name, choice in choices.items()]
    if tag.finder is not None:
        names = [name for name in tag.finder.iter_names() if name not in choices]
        written += [_write_found(tag, name, handler) for name in names]
        written.append(_write_free(tag, {"type": "string", "pattern": _IMPORT_PATH, "description": _DESCRIPTION}))
    return {"oneOf": written}


_DESCRIPTION = "An import path, `module:name`."


def _write_member(tag: Tag, name: Any, schema: Any, handler: GetJsonSchemaHandler) -> JsonSchema:
    is_default = name == tag.default
    written = handler(schema)
    try:
        written = handler.resolve_ref_schema(written)
    except LookupError:  # it is written later: it holds the union it is of, or stands behind one that does
        return _refer(tag, name, written) if schema["metadata"][HAS_FIELD] else _write_free(tag, {"const": name})
    properties = dict(written.get("properties", {}))
    own = {key: value for key, value in properties.pop(tag.key, {}).items() if key not in ("default", "enum")}
    own |= {"const": name, "default": name} if is_default else {"const": name}
    required = [each for each in written.get("required", []) if each != tag.key]
    return {
        **written,
        "properties": {tag.key: own, **properties},
        "required": required if is_default else [tag.key, *required],
    }


def _refer(tag: Tag, name: Any, reference: JsonSchema) -> JsonSchema:
    """A member by reference: its own schema has the tag's key."""
    required = {} if name == tag.default else {"required": [tag.key]}
    return {**reference, "properties": {tag.key: {"const": name}}, **required}


def _write_found(tag: Tag, name: str, handler: GetJsonSchemaHandler) -> JsonSchema:
    """A member that is loaded for this; one that cannot be, and one within itself, has just its name."""
    active = _open.get()
    if tag.finder is None or (tag, name) in active:
        return _write_free(tag, {"const": name})
    try:
        found = Shape.of(tag.finder.find_schema(name, None))
    except PydanticCustomError:
        return _write_free(tag, {"const": name})
    token = _open.set(active | {(tag, name)})
    try:
        return _write_member(tag, name, found.members[name].schema, handler)
    finally:
        _open.reset(token)


def _write_free(tag: Tag, value: JsonSchema) -> JsonSchema:
    """A mapping with this tag and any other keys."""
    required = [] if value.get("const", ...) == tag.default else [tag.key]
    return {"type": "object", "properties": {tag.key: value}, "required": required, "additionalProperties": True}
