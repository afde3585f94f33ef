"""Schemas of an OpenAPI document as JSON Schema 2020-12."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tidemill.agents.operations.document import ApiDocument

_MAPS = ("properties", "patternProperties", "dependentSchemas")
_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")
_ONES = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
_KEPT = frozenset(
    {
        *(*_MAPS, *_LISTS, *_ONES),
        *("type", "enum", "const", "format", "pattern", "default", "title", "description", "examples", "required"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength"),
        *("minItems", "maxItems", "uniqueItems", "minContains", "maxContains", "minProperties", "maxProperties"),
        *("dependentRequired", "contentMediaType", "contentEncoding", "unevaluatedProperties", "unevaluatedItems"),
    }
)
"""What says which values are taken, or tells a model of them; `nullable` is put into such words."""


class Schemas:
    """Puts schemas of one document into JSON Schema. What they refer to is collected, and referred to in `$defs`.

    Properties that only answers have (`readOnly`) are left out, for these are schemas of what is sent.

    Attributes:
        definitions: what was referred to so far, by name: recursion ends there.
    """

    def __init__(self, document: ApiDocument) -> None:
        self._document = document
        self._names: dict[str, str] = {}
        self._within: list[str] = []  # the references that are being converted, the innermost last
        self.definitions: dict[str, Any] = {}

    def convert(self, schema: Any) -> Any:
        """The schema as JSON Schema.

        Raises:
            ConfigError: it refers to nothing, or out of the document.
        """
        if not isinstance(schema, Mapping):
            return schema if isinstance(schema, bool) else {}
        if isinstance(schema.get("$ref"), str):
            return self._convert_reference(schema, schema["$ref"])
        if schema.get("$recursiveRef") == "#" and self._within:  # JSON Schema 2019-09: what it stands in
            return self._convert_reference(schema, self._within[-1])
        found: dict[str, Any] = {}
        for key, value in schema.items():
            if key in _KEPT:
                found[key] = self._convert_part(key, value)
        self._drop_read_only(schema, found)
        if self._document.is_old:
            _mend_bounds(found)
            if schema.get("nullable") is True:
                return _allow_null(found)
        return found

    def collapse(self, schema: Any) -> Any:
        """The schema with what it refers to at its top, and `allOf` of plain objects, put into one; not yet converted.

        What is no such object is given as it is.
        """
        schema = self._document.follow(schema)
        if not isinstance(schema, Mapping) or not isinstance(schema.get("allOf"), list):
            return schema
        merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
        merged["properties"] = dict(merged.get("properties", {}))
        merged["required"] = list(merged.get("required", []))
        for part in map(self.collapse, schema["allOf"]):
            if not isinstance(part, Mapping) or not set(part) <= _PLAIN or part.get("type", "object") != "object":
                return schema
            properties = part.get("properties", {})
            if any(merged["properties"].get(name, each) != each for name, each in properties.items()):
                return schema  # both must hold, which one of them does not say
            merged["properties"] |= properties
            merged["required"] += [name for name in part.get("required", []) if name not in merged["required"]]
            for key in ("title", "description", "additionalProperties"):
                if key in part:
                    merged.setdefault(key, part[key])
        return {"type": "object"} | merged

    def _convert_part(self, key: str, value: Any) -> Any:
        if key in _MAPS and isinstance(value, Mapping):
            return {name: self.convert(each) for name, each in value.items()}
        if key in _LISTS and isinstance(value, list):
            return [self.convert(each) for each in value]
        return self.convert(value) if key in _ONES else value

    def _convert_reference(self, schema: Mapping[str, Any], reference: str) -> Any:
        name = self._names.get(reference)
        if name is None:
            name = self._names[reference] = self._make_name(reference)
            self.definitions[name] = {}  # so that what refers back to it finds it
            self._within.append(reference)
            self.definitions[name] = self.convert(self._document.find(reference))
            self._within.pop()
        found = {"$ref": f"#/$defs/{name}"}
        beside = {} if self._document.is_old else {key: each for key, each in schema.items() if key in _KEPT}
        return found | self.convert(beside)

    def _make_name(self, reference: str) -> str:
        wanted = re.sub(r"[^A-Za-z0-9_.-]", "_", reference.rpartition("/")[2]) or "root"
        name, number = wanted, 1
        while name in self.definitions:
            number += 1
            name = f"{wanted}_{number}"
        return name

    def _drop_read_only(self, schema: Mapping[str, Any], found: dict[str, Any]) -> None:
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return
        for name, each in properties.items():
            if is_read_only(each):
                found["properties"].pop(name)
                found["required"] = [other for other in found.get("required", []) if other != name]


_PLAIN = frozenset(
    {"type", "properties", "required", "title", "description", "additionalProperties", "example", "examples", "xml"}
)
"""What a part of an `allOf` may say for it to be merged with the others."""


def is_read_only(schema: Any) -> bool:
    """Whether a property of this schema is only in answers, and not to be sent."""
    return isinstance(schema, Mapping) and schema.get("readOnly") is True


def _mend_bounds(schema: dict[str, Any]) -> None:
    """OpenAPI 3.0 says of a bound beside it whether it is exclusive."""
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(schema.get(exclusive), bool) and schema.pop(exclusive) and bound in schema:
            schema[exclusive] = schema.pop(bound)


def _allow_null(schema: dict[str, Any]) -> dict[str, Any]:
    if isinstance(schema.get("type"), str) and not any(key in schema for key in (*_LISTS, "not")):
        mended = {**schema, "type": [schema["type"], "null"]}
        if "enum" in mended and None not in mended["enum"]:
            mended["enum"] = [*mended["enum"], None]
        return mended
    told: dict[str, Any] = {key: schema.pop(key) for key in ("title", "description", "default") if key in schema}
    return {**told, "anyOf": [schema, {"type": "null"}]}
