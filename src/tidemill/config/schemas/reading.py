"""A JSON Schema as a type: what it takes is checked and coerced under the rules of `Config`, and stays JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from tidemill.config.coercion.conversions import EXACT_INTEGERS
from tidemill.config.coercion.depth import tighten_schema
from tidemill.config.paths import KeyPath
from tidemill.config.schemas.enforcing import Enforcement
from tidemill.config.schemas.normalizing import find_schema, merge_schemas, normalize_schema
from tidemill.config.subschemas import JsonSchema
from tidemill.config.wording.words import describe_value

_UNIONS = ("anyOf", "oneOf")
_OBJECT = frozenset({"properties", "required", "additionalProperties", "patternProperties", "minProperties"})
_ARRAY = frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"})
_ANY: dict[str, Any] = {"type": "any"}
_SCALARS = (str, int, float, bool, type(None))


def read_schema(schema: Mapping[str, Any]) -> Any:
    """The type of the values that a JSON Schema takes, for `check_value` and whatever else takes a type.

    ```
    >>> from tidemill.config.report.values import check_value
    >>> target = read_schema({"type": "object", "properties": {"limit": {"type": "integer", "minimum": 1}}})
    >>> check_value(target, '{"limit": "5"}').value
    {'limit': 5}
    >>> print(check_value(target, '{"limt": 5, "limit": 0}').render())
    $.limit: expected an integer >= 1, got 0
    $.limt: unknown key; did you mean `limit`?  (integer >= 1)

    ```

    Values are plain JSON under their own names: dates stay texts of their format, defaults are not filled in. They are
    coerced under the rules of `Config` (`"64"` is an integer, `true` none), then held to the whole schema as a
    validator reads it. An object that names its properties takes no others unless it says so; a part without `type`
    is an object where it names properties, and a list where it says what its items are.

    Any draft, and OpenAPI 3.0; references within the schema, recursive ones too. `json_schema` gives it back in the
    words of draft 2020-12, closed.

    Raises:
        ConfigError: it is no JSON Schema, or refers to another document; with the path of the part that is wrong.
    """
    normal = normalize_schema(schema)
    enforce = Enforcement(normal)
    reader = _Reader(normal)
    inner = tighten_schema(reader.read(normal, ()))
    core = core_schema.no_info_after_validator_function(enforce, inner)
    kept = [{**tighten_schema(each), "ref": ref} for ref, each in reader.definitions.items()]
    whole: Any = {"type": "definitions", "schema": core, "definitions": kept} if kept else core
    return type("Schema", (_Read,), {"core": whole, "__json_schema__": normal})


class _Read:
    """Stands for a JSON Schema as a type."""

    core: ClassVar[CoreSchema]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cls.core


class _Reader:
    """Reads the parts of one normal schema.

    Attributes:
        definitions: what is referred to, by its reference.
    """

    def __init__(self, root: JsonSchema) -> None:
        self._root = root
        self.definitions: dict[str, Any] = {}

    def read(self, schema: Any, path: KeyPath) -> Any:
        """The core schema of a part."""
        if isinstance(schema, bool):
            return _ANY if schema else _NOTHING
        if isinstance(ref := schema.get("$ref"), str):
            return self._refer(ref, path)
        if "const" in schema or "enum" in schema:
            return _read_choices([schema["const"]] if "const" in schema else schema["enum"], schema)
        for key in _UNIONS:
            if schema.get(key):
                return self._read_union(schema, key, path)
        kinds = _find_kinds(schema)
        if not kinds:
            return _ANY
        return _join([self._read_kind(kind, schema, path) for kind in kinds if kind != "null"], "null" in kinds)

    def _refer(self, ref: str, path: KeyPath) -> Any:
        if ref not in self.definitions:
            target = find_schema(self._root, ref, path)
            self.definitions[ref] = _ANY  # it may refer to itself
            self.definitions[ref] = self.read(target, (ref,))
        return {"type": "definition-ref", "schema_ref": ref}

    def _read_union(self, schema: JsonSchema, key: str, path: KeyPath) -> Any:
        """One of several; what stands beside them is of each, where both can be said at once."""
        beside = {name: value for name, value in schema.items() if name not in (key, "unevaluatedProperties")}
        beside = {name: value for name, value in beside.items() if name not in _BESIDE_NOTHING}
        members = []
        for index, part in enumerate(schema[key]):
            both = merge_schemas(part, beside) if isinstance(part, dict) and beside else part
            if both is None:
                return self.read(beside, path)
            members.append((both, (*path, key, index)))
        null = [each for each, _ in members if isinstance(each, dict) and each.get("type") == "null"]
        return _join([self.read(each, at) for each, at in members if each not in null], bool(null))

    def _read_kind(self, kind: str, schema: JsonSchema, path: KeyPath) -> Any:
        if kind == "string":
            return _rules({"type": "str"}, schema, {"minLength": "min_length", "maxLength": "max_length"})
        if kind == "integer":
            return {"type": "int", **_read_bounds(schema, whole=True)}
        if kind == "number":
            number = {"type": "float", **_read_bounds(schema, whole=False)}
            return {"type": "function-wrap", "function": {"type": "no-info", "function": _keep_whole}, "schema": number}
        if kind == "boolean":
            return {"type": "bool"}
        if kind == "array":
            items = self.read(schema.get("items", True), (*path, "items")) if "prefixItems" not in schema else _ANY
            listed = {"type": "list", "items_schema": items}
            return _rules(listed, schema, {"minItems": "min_length", "maxItems": "max_length"})
        return self._read_object(schema, path)

    def _read_object(self, schema: JsonSchema, path: KeyPath) -> Any:
        others = schema.get("additionalProperties", True)
        if "patternProperties" in schema or "unevaluatedProperties" in schema:
            others = True  # which names they have, the validator says
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        if not properties and not required and others is not False:
            values = self.read(others, (*path, "additionalProperties"))
            free = {"type": "dict", "keys_schema": {"type": "str"}, "values_schema": values}
            return _rules(free, schema, {"minProperties": "min_length", "maxProperties": "max_length"})
        fields = {
            name: {
                "type": "typed-dict-field",
                "schema": self.read(properties.get(name, True), (*path, "properties", name)),
                "required": name in required,
            }
            for name in dict.fromkeys([*properties, *required])
        }
        behavior = "forbid" if others is False else "allow"
        made = {
            "type": "typed-dict",
            "fields": fields,
            "extra_behavior": behavior,
            "config": {"extra_fields_behavior": behavior},
        }
        if isinstance(others, dict) and others:
            made["extras_schema"] = self.read(others, (*path, "additionalProperties"))
        return made


_BESIDE_NOTHING = frozenset(
    {"title", "description", "default", "examples", "deprecated", "$defs", "definitions", "$comment", "discriminator"}
)
"""Keywords that allow and forbid nothing."""


def _find_kinds(schema: JsonSchema) -> list[str]:
    """The types of JSON that a part takes; none where any is."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return [kind]
    if kind:
        return list(kind)
    if _OBJECT & schema.keys():
        return ["object"]
    return ["array"] if _ARRAY & schema.keys() else []


def _join(members: list[Any], takes_null: bool) -> Any:
    """One of `members`, or null where that is taken."""
    if not members:
        return {"type": "none"}
    labelled = [(each, str(number)) for number, each in enumerate(members)]  # an error's path tells them apart by that
    one = members[0] if len(members) == 1 else {"type": "union", "choices": labelled}
    return {"type": "nullable", "schema": one} if takes_null else one


def _read_choices(choices: list[Any], schema: JsonSchema) -> Any:
    """One of several values as they are; an object or a list among them is for the validator to tell."""
    if not all(isinstance(each, _SCALARS) for each in choices):
        return _ANY
    kinds = _find_kinds(schema)
    taken = [each for each in choices if not kinds or any(_is_kind(each, kind) for kind in kinds)]
    named = [each for each in taken if each is not None]
    made = {"type": "literal", "expected": named}
    if not named:
        return {"type": "none"} if taken else _NOTHING
    return {"type": "nullable", "schema": made} if len(named) < len(taken) else made


def _is_kind(value: Any, kind: str) -> bool:
    if isinstance(value, bool) or value is None:
        return kind == ("null" if value is None else "boolean")
    if isinstance(value, str):
        return kind == "string"
    return kind == "number" or (kind == "integer" and value == int(value))


def _rules(made: dict[str, Any], schema: JsonSchema, names: Mapping[str, str]) -> dict[str, Any]:
    return made | {name: int(schema[key]) for key, name in names.items() if key in schema}


def _read_bounds(schema: JsonSchema, *, whole: bool) -> dict[str, Any]:
    """The bounds of a number; of a whole one as whole numbers."""
    found: dict[str, Any] = {}
    for key, name, to_whole in _BOUNDS:
        if key in schema:
            found[name] = to_whole(schema[key]) if whole else schema[key]
    step = schema.get("multipleOf")
    if whole and step is not None and step == int(step):
        found["multiple_of"] = int(step)
    return found


_BOUNDS: tuple[tuple[str, str, Callable[[float], int]], ...] = (
    ("minimum", "ge", math.ceil),
    ("exclusiveMinimum", "gt", math.floor),
    ("maximum", "le", math.floor),
    ("exclusiveMaximum", "lt", math.ceil),
)


def _keep_whole(value: Any, handler: Callable[[Any], Any]) -> Any:
    """A number as it came: a whole one keeps all its digits, also where no float has them."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > EXACT_INTEGERS:
        return value
    made = handler(value)
    return value if isinstance(value, (int, float)) else made


def _refuse(value: Any) -> Any:
    raise PydanticCustomError("nothing", "expected nothing at all, got {got}", {"got": describe_value(value)})


_NOTHING: dict[str, Any] = {"type": "function-plain", "function": {"type": "no-info", "function": _refuse}}
"""Of what nothing is taken."""
