"""What a file may have besides the values themselves: `include` at its top, and `${…}` in place of scalars."""

from __future__ import annotations

from typing import Any

from tidemill.config.subschemas import JsonSchema, map_schemas

_NAME = "interpolation"
_TAKEN: JsonSchema = {  # a description would stand in front of the key's own where an editor shows that
    "$comment": "A text with `${…}`, whose value is found elsewhere: `${env:NAME}`, `${other.key}`, `${file:path}`.",
    "type": "string",
    "pattern": r"\$\{",
}
_TAKE: JsonSchema = {"$ref": f"#/$defs/{_NAME}"}

_INCLUDE: JsonSchema = {
    "description": "Other files, whose values stand where this one has none of its own.",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}
_ABOUT = frozenset({"description", "deprecated", "default", "examples", "writeOnly", "readOnly"})
"""Keywords that say something of a value and allow or forbid none."""

_FREE_FORMATS = frozenset({"path", "file-path", "directory-path", "password", "binary"})
"""Formats of Pydantic's that no validator of JSON Schema knows: any text is of them."""


def take_file(schema: JsonSchema) -> JsonSchema:
    """The schema of a file whose values are of `schema`; choices and keys are offered as before."""
    taken: JsonSchema = map_schemas(schema, lambda part: _take_interpolation(_drop_null(part)))
    if taken.get("type") == "object":
        taken["properties"] = taken.get("properties", {})
        taken["properties"].setdefault("include", _INCLUDE)
    return {**taken, "$defs": {**taken.get("$defs", {}), _NAME: _TAKEN}}


def _drop_null(schema: JsonSchema) -> JsonSchema:
    """`schema` without null for its default, which an editor would write out for a key that is left out as well."""
    return {key: value for key, value in schema.items() if key != "default" or value is not None}


def _take_interpolation(schema: JsonSchema) -> JsonSchema:
    """`schema` with `${…}` as one more alternative; its own alternatives have it once, behind them all."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            members = [member for each in schema[key] for member in _unwrap(each)]
            needs = any(each not in schema[key] for each in members) and not any(map(_is_text, members))
            rest = {name: value for name, value in schema.items() if name not in (key, "discriminator")}
            return {**rest, "anyOf": [*members, _TAKE] if needs else members}
    if not _is_scalar(schema) or _is_text(schema):
        return schema
    about = {key: value for key, value in schema.items() if key in _ABOUT}
    return {**about, "anyOf": [{key: value for key, value in schema.items() if key not in _ABOUT}, _TAKE]}


def _unwrap(schema: Any) -> list[Any]:
    is_wrapped = isinstance(schema, dict) and schema.keys() == {"anyOf"} and schema["anyOf"][-1] == _TAKE
    return list(schema["anyOf"][:-1]) if is_wrapped else [schema]


def _is_scalar(schema: JsonSchema) -> bool:
    return schema.get("type") in ("string", "integer", "number", "boolean") or "enum" in schema or "const" in schema


def _is_text(schema: Any) -> bool:
    """Whether any text is of `schema`."""
    if not isinstance(schema, dict) or schema.get("type") != "string":
        return not schema or schema is True
    return schema.keys() - _ABOUT <= {"type", "format"} and schema.get("format") in (None, *_FREE_FORMATS)
