"""What a file may have besides the values themselves: `include`, and `${…}` in place of any value."""

from __future__ import annotations

from typing import Any

from tidemill.config.subschemas import JsonSchema, map_inner

_NAME = "interpolation"
_TAKEN: JsonSchema = {  # a description would stand in front of the key's own where an editor shows that
    "$comment": "A text with `${…}`, whose value is found elsewhere: `${env:NAME}`, `${other.key}`, `${file:path}`.",
    "type": "string",
    "pattern": r"\$\{",
}
_TAKE: JsonSchema = {"$ref": f"#/$defs/{_NAME}"}

_INCLUDE = "include"
_FILES: JsonSchema = {
    "description": "Other files, whose values stand where this one has none of its own.",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
}
_ABOUT = frozenset({"description", "deprecated", "default", "examples", "writeOnly", "readOnly"})
"""Keywords that say something of a value and allow or forbid none."""

_KINDS = frozenset({"type", "enum", "const"})

_FREE_FORMATS = frozenset({"path", "file-path", "directory-path", "password", "binary"})
"""Formats of Pydantic's that no validator of JSON Schema knows: any text is of them."""


def take_file(schema: JsonSchema) -> JsonSchema:
    """The schema of a file whose values are of `schema`; choices and keys are offered as before.

    With an `include` no key is required at the top; keys `x-…` and `$schema` there may hold anything. A section that
    an included file completes is taken for incomplete: what it lacks is not known here.
    """
    taken = map_inner(schema, _take_any)
    if taken.get("type") == "object" and _INCLUDE not in taken.get("properties", {}):
        taken["properties"] = {**taken.get("properties", {}), _INCLUDE: _FILES}
        taken["patternProperties"] = {**taken.get("patternProperties", {}), r"^x-|^\$schema$": {}}
        if required := taken.pop("required", None):
            taken |= {"if": {"required": [_INCLUDE]}, "else": {"required": required}}
    return {**taken, "$defs": {**taken.get("$defs", {}), _NAME: _TAKEN}}


def _take_any(schema: JsonSchema) -> JsonSchema:
    return _take_interpolation(_take_include(_drop_null(schema)))


def _take_include(schema: JsonSchema) -> JsonSchema:
    """`schema`, where it is a section of known keys, with `include` too, which is offered at the top alone."""
    if schema.get("properties") and _INCLUDE not in schema["properties"]:
        return {**schema, "patternProperties": {**schema.get("patternProperties", {}), f"^{_INCLUDE}$": _FILES}}
    return schema


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
    if not _KINDS & schema.keys() or schema.get("type") == "null" or _is_text(schema):
        return schema
    about = {key: value for key, value in schema.items() if key in _ABOUT}
    return {**about, "anyOf": [{key: value for key, value in schema.items() if key not in _ABOUT}, _TAKE]}


def _unwrap(schema: Any) -> list[Any]:
    is_wrapped = isinstance(schema, dict) and schema.keys() == {"anyOf"} and schema["anyOf"][-1] == _TAKE
    return list(schema["anyOf"][:-1]) if is_wrapped else [schema]


def _is_text(schema: Any) -> bool:
    """Whether any text is of `schema`."""
    if not isinstance(schema, dict) or schema.get("type") != "string":
        return not schema or schema is True
    return schema.keys() - _ABOUT <= {"type", "format"} and schema.get("format") in (None, *_FREE_FORMATS)
