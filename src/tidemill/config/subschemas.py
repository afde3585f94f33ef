"""The schemas that a JSON Schema is made of: gone through, changed one by one, and given further forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

JsonSchema = dict[str, Any]

_NAMED = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})
_LISTED = frozenset({"anyOf", "allOf", "oneOf", "prefixItems"})
_SINGLE = frozenset({"items", "additionalProperties", "propertyNames", "contains", "not", "if", "then", "else"})
"""The keywords of draft 2020-12 that hold schemas: by name, in a list, one."""


def map_schemas(schema: Any, change: Callable[[JsonSchema], JsonSchema]) -> Any:
    """`schema` with each schema in it, then itself, replaced by what `change` makes of it; `true` and `false` stay."""
    return change(map_inner(schema, change)) if isinstance(schema, dict) else schema


def map_inner(schema: JsonSchema, change: Callable[[JsonSchema], JsonSchema]) -> JsonSchema:
    """As `map_schemas`, and `schema` itself not replaced."""
    inner = {}
    for key, value in schema.items():
        if key in _NAMED:
            value = {name: map_schemas(part, change) for name, part in value.items()}
        elif key in _LISTED:
            value = [map_schemas(part, change) for part in value]
        elif key in _SINGLE:
            value = map_schemas(value, change)
        inner[key] = value
    return inner


def iter_schemas(schema: JsonSchema) -> Iterator[JsonSchema]:
    """`schema` and all schemas in it."""
    yield schema
    for key, value in schema.items():
        if key in _NAMED:
            parts = list(value.values())
        else:
            parts = value if key in _LISTED else [value] if key in _SINGLE else []
        for part in parts:
            if isinstance(part, dict):
                yield from iter_schemas(part)


def drop_title(schema: JsonSchema) -> JsonSchema:
    """`schema` without its title, which Pydantic makes of the name and which says nothing new."""
    return {key: value for key, value in schema.items() if key != "title"}


def close_object(schema: JsonSchema) -> JsonSchema:
    """`schema`, where it is an object that names its properties, with no others allowed unless it says so."""
    if "properties" in schema and schema.get("type") == "object":
        return {**schema, "additionalProperties": schema.get("additionalProperties", False)}
    return schema


def inline_root(schema: JsonSchema) -> JsonSchema:
    """`schema` with an object as its root, where that was a reference, as of a model that holds itself."""
    if "$ref" not in schema:
        return schema
    definitions = schema["$defs"]
    return {**definitions[schema["$ref"].rpartition("/")[2]], "$defs": definitions}


class Form:
    """Annotation by which a type takes values of another JSON Schema too, which a validator reads."""

    def __init__(self, schema: JsonSchema) -> None:
        self.schema = schema

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return add_form(handler(schema), self.schema)


FILE: JsonSchema = {
    "type": "object",
    "properties": {"file": {"type": "string"}},
    "required": ["file"],
    "additionalProperties": False,
}
"""`{file: path}`: what stands in that file."""


def add_form(schema: JsonSchema, form: JsonSchema) -> JsonSchema:
    """`schema`, or `form` in its place."""
    about = {key: value for key, value in schema.items() if key in ("description", "examples")}
    forms = form["anyOf"] if form.keys() == {"anyOf"} else [form]
    return {**about, "anyOf": [{key: value for key, value in schema.items() if key not in about}, *forms]}


class Also:
    """Annotation of a value that a validator takes in other forms as well, for its JSON Schema."""

    def __init__(self, *forms: JsonSchema) -> None:
        self._forms = forms

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return add_form(handler(schema), {"anyOf": list(self._forms)})


def add_short_form(schema: JsonSchema, field: str) -> JsonSchema:
    """`schema`, an object, or in its place what its field `field` takes."""
    short = {key: value for key, value in _drop_null(schema["properties"][field]).items() if key != "description"}
    if short.get("type") == "object":  # with a key of that name it is the long form
        short["not"] = {"required": [field]}
    return add_form(schema, short)


def add_names(schema: JsonSchema, field: str, *others: str) -> JsonSchema:
    """`schema`, an object, with other names for its field `field`; an editor offers the first alone."""
    patterns = {f"^{other}$": schema["properties"][field] for other in others if other not in schema["properties"]}
    if not patterns:
        return schema
    required = [name for name in schema.get("required", ()) if name != field]
    return {**schema, "patternProperties": schema.get("patternProperties", {}) | patterns, "required": required}


def take_one_key(schema: JsonSchema) -> JsonSchema:
    """`schema`, an object of optional fields, with just one of them given, and not null."""
    taken = {name: _drop_null(part) for name, part in schema["properties"].items()}
    return {**schema, "properties": taken, "minProperties": 1, "maxProperties": 1}


def _drop_null(schema: JsonSchema) -> JsonSchema:
    """`schema` without null and default: of two alternatives the other alone."""
    members = [part for part in schema.get("anyOf", ()) if part != {"type": "null"}]
    kept = {key: value for key, value in schema.items() if key not in ("default", "anyOf")}
    return kept | (members[0] if len(members) == 1 else {"anyOf": members} if members else {})
