"""One pass over a schema, which puts it into the words of a dialect and notes what that takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.config.subschemas import JsonSchema, inline_root
from tidemill.models.structured.dialects.adapted import Adapted, Dropped
from tidemill.models.structured.dialects.ends import has_end
from tidemill.models.structured.dialects.grammar import SILENT, STRUCTURE, Grammar

_INEXPRESSIBLE = {
    "prefixItems": "is a tuple, each item with a schema of its own",
    "patternProperties": "has keys by a pattern",
    "propertyNames": "has keys by a pattern",
    "dependentSchemas": "has a schema that depends on a key",
    "$dynamicRef": "has a dynamic reference",
}
"""Structure that only some dialects have a word for, and what is said of it."""
_DEFINITIONS = "#/$defs/"
_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


def adapt_schema(schema: Mapping[str, Any], grammar: Grammar) -> Adapted:
    """`schema` in the words of `grammar`. Pure: equal schemas give equal ones."""
    return _Adapting(dict(schema), grammar).adapt()


class _Adapting:
    """One pass; what was lost is gathered on the way."""

    def __init__(self, root: JsonSchema, grammar: Grammar) -> None:
        self._root_name = str(root.get("$ref", "")).removeprefix(_DEFINITIONS)
        self._root = inline_root(root)
        self._definitions: Mapping[str, JsonSchema] = self._root.get("$defs", {})
        self._grammar = grammar
        self._dropped: list[Dropped] = []
        self._forbidden: dict[str, None] = {}
        self._inlining: list[str] = []

    def adapt(self) -> Adapted:
        grammar, root = self._grammar, self._root
        if grammar.wants_object_root and (root.get("type") != "object" or not root.keys().isdisjoint(_ALTERNATIVES)):
            self._forbid("$", "is no object")
        if not grammar.recurses and _find_cycle(root, self._definitions, only_required=False):
            self._forbid("$", "holds itself")
        elif not grammar.recurses_in_required and _find_cycle(root, self._definitions, only_required=True):
            self._forbid("$", "holds itself in a property that cannot be left out")
        schema = self._adapt(root, "$")
        if grammar.requires_all and not has_end(schema):
            self._forbid("$", "would have no end: it holds itself in a property that has to be left out somewhere")
        return Adapted(schema, tuple(self._dropped), tuple(self._forbidden))

    def _adapt(self, schema: Any, path: str) -> JsonSchema:
        if schema is False:
            self._forbid(path, "takes no value at all")
            return {}
        if schema is True:
            schema = {}
        schema = self._merge(schema, path)
        if "$ref" in schema:
            return self._adapt_reference(schema, path)
        told: dict[str, Any] = {}
        kept: JsonSchema = {}
        for keyword, value in schema.items():
            self._adapt_keyword(keyword, value, schema, path, kept, told)
        if not kept.keys() - {"description", "$defs"} and not self._grammar.takes_any:
            self._forbid(path, "takes any value")
        self._complete(kept, schema, path)
        if told and self._grammar.tells:
            note = "{" + ", ".join(f"{keyword}: {value}" for keyword, value in told.items()) + "}"
            kept["description"] = f"{kept['description']}\n\n{note}" if "description" in kept else note
        return kept

    def _adapt_keyword(
        self, keyword: str, value: Any, schema: JsonSchema, path: str, kept: JsonSchema, told: dict[str, Any]
    ) -> None:
        """Put one keyword where it belongs: into the schema, or among what is told."""
        grammar = self._grammar
        if keyword in SILENT or keyword == "required" or self._adapt_parts(keyword, value, path, kept):
            return
        if keyword in _INEXPRESSIBLE and keyword not in grammar.kept:
            self._forbid(path, _INEXPRESSIBLE[keyword])
        elif keyword == "const" and not grammar.has_const and grammar.holds("enum", [value], schema):
            kept["enum"] = [value]
        elif keyword == "default":
            self._tell_default(value, path, told)
        elif keyword == "description" or (
            keyword in STRUCTURE | grammar.kept and self._is_held(keyword, value, schema)
        ):
            kept[keyword] = value
        else:
            told[keyword] = value
            self._drop(path, keyword, "is told and not held to" if grammar.tells else "is not held to")

    def _adapt_parts(self, keyword: str, value: Any, path: str, kept: JsonSchema) -> bool:
        """Put a keyword that holds schemas into the schema; False of any other."""
        if keyword == "properties":
            kept[keyword] = {name: self._adapt(part, f"{path}.{name}") for name, part in value.items()}
        elif keyword == "$defs":
            kept[keyword] = {name: self._adapt_definition(name, part) for name, part in value.items()}
        elif keyword in _ALTERNATIVES:
            self._adapt_alternatives(keyword, value, path, kept)
        elif keyword == "items":
            kept[keyword] = self._adapt(value, f"{path}[]")
        elif keyword == "prefixItems" and keyword in self._grammar.kept:
            kept[keyword] = [self._adapt(part, f"{path}[{index}]") for index, part in enumerate(value)]
        elif keyword == "additionalProperties":
            self._adapt_keys(value, path, kept)
        else:
            return False
        return True

    def _adapt_definition(self, name: str, schema: Any) -> JsonSchema:
        """A definition; what was said of the root is not said again of the definition that it is."""
        if name != self._root_name:
            return self._adapt(schema, f"$defs.{name}")
        dropped, forbidden = len(self._dropped), dict(self._forbidden)
        adapted = self._adapt(schema, f"$defs.{name}")
        del self._dropped[dropped:]
        self._forbidden = forbidden
        return adapted

    def _is_held(self, keyword: str, value: Any, schema: JsonSchema) -> bool:
        if keyword == "format" and value not in self._grammar.formats:
            return False
        if keyword == "const" and not self._grammar.has_const:
            return False
        return self._grammar.holds(keyword, value, schema)

    def _adapt_alternatives(self, keyword: str, value: list[Any], path: str, kept: JsonSchema) -> None:
        grammar = self._grammar
        as_any = keyword == "oneOf" and keyword not in grammar.kept
        if keyword == "allOf" and keyword not in grammar.kept:
            self._forbid(path, "is of several schemas at once")
        target = "anyOf" if as_any else keyword
        if target in kept:
            self._forbid(path, "has both `anyOf` and `oneOf`")
        parts = [self._adapt(part, f"{path}|{index}") for index, part in enumerate(value, 1)]
        kept[target] = parts
        if as_any:
            self._drop(path, keyword, "is asked for as `anyOf`")

    def _adapt_keys(self, value: Any, path: str, kept: JsonSchema) -> None:
        if value is False or self._grammar.opens:
            kept["additionalProperties"] = self._adapt(value, f"{path}.*") if isinstance(value, dict) else value
        else:
            self._forbid(path, "has keys of any name")

    def _tell_default(self, value: Any, path: str, told: dict[str, Any]) -> None:
        """A default stands for what is left out; where nothing may be, one of null is what the model writes instead."""
        if not self._grammar.requires_all:
            told["default"] = value
        elif value is not None:
            told["default"] = value
            self._drop(path, "default", "is told, and a value is written each time")

    def _complete(self, kept: JsonSchema, schema: JsonSchema, path: str) -> None:
        """Add what an object or a value of several types needs besides."""
        types = schema.get("type")
        if (types == "array" or (isinstance(types, list) and "array" in types)) and schema.keys().isdisjoint(_ITEMS):
            self._adapt({}, f"{path}[]")
        if types == "object" or (isinstance(types, list) and "object" in types) or "properties" in schema:
            if "additionalProperties" not in schema:
                if "properties" not in schema and not self._grammar.opens:
                    self._forbid(path, "has keys of any name")
                kept["additionalProperties"] = "properties" not in schema
            self._require(kept, schema, path)
        if self._grammar.needs_type and "enum" in kept and "type" not in kept:
            kinds = dict.fromkeys(_JSON_TYPES.get(type(value), "") for value in kept["enum"])
            kept["type"] = list(kinds) if len(kinds) > 1 else next(iter(kinds))
            self._drop(path, "enum", "is asked for with the types of its values")

    def _require(self, kept: JsonSchema, schema: JsonSchema, path: str) -> None:
        names = list(schema.get("properties", {}))
        required = [name for name in schema.get("required", ()) if name in names]
        if not self._grammar.requires_all:
            if "required" in schema:
                kept["required"] = list(schema["required"])
            return
        for name in names:
            part = schema["properties"][name]
            if name not in required and not (isinstance(part, dict) and "default" in part):
                self._drop(f"{path}.{name}", "required", "is asked for: a value is written each time")
        if names or "required" in schema:
            kept["required"] = names

    def _merge(self, schema: JsonSchema, path: str) -> JsonSchema:
        """`schema` with the only one of its `allOf` merged in, which says the same."""
        parts = schema.get("allOf")
        if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], dict):
            return schema
        rest = {keyword: value for keyword, value in schema.items() if keyword != "allOf"}
        if any(keyword in rest and rest[keyword] != value for keyword, value in parts[0].items()):
            return schema
        return self._merge({**rest, **parts[0]}, path)

    def _adapt_reference(self, schema: JsonSchema, path: str) -> JsonSchema:
        """The reference alone, or, where there is more beside it, what it means with that laid over."""
        reference = schema["$ref"]
        name = reference.removeprefix(_DEFINITIONS)
        if reference != "#" and name not in self._definitions:
            self._forbid(path, f"refers to `{reference}`, which is none of `$defs`")
            return {"$ref": reference}
        beside = {keyword: value for keyword, value in schema.items() if keyword not in SILENT | {"$ref"}}
        definitions = beside.pop("$defs", None)
        kept: JsonSchema = {"$ref": reference}
        if definitions is not None:
            kept["$defs"] = {each: self._adapt(part, f"$defs.{each}") for each, part in definitions.items()}
        if "default" in beside and beside["default"] is None and self._grammar.requires_all:
            del beside["default"]
        if not beside:
            return kept
        if self._grammar.describes_references and beside.keys() <= {"description", "default"}:
            return {**kept, **{keyword: value for keyword, value in beside.items() if keyword == "description"}}
        if reference == "#" or name in self._inlining:
            for keyword in beside:
                self._drop(path, keyword, "is left out beside a reference of a schema to itself")
            return kept
        self._inlining.append(name)
        inlined = self._adapt({**self._definitions[name], **beside}, path)
        self._inlining.pop()
        return inlined

    def _drop(self, path: str, keyword: str, told: str) -> None:
        dropped = Dropped(path, keyword, told)
        if dropped not in self._dropped:
            self._dropped.append(dropped)

    def _forbid(self, path: str, what: str) -> None:
        self._forbidden[f"`{path}` {what}"] = None


_ITEMS = frozenset({"items", "prefixItems"})
_ALTERNATIVES = frozenset({"anyOf", "oneOf", "allOf"})


def _find_cycle(root: JsonSchema, definitions: Mapping[str, Any], *, only_required: bool) -> bool:
    """Whether a definition, or the root, is reached from itself.

    Args:
        only_required: go only through what is always there: not through properties that may be left out.
    """
    parts: dict[str, Any] = dict(definitions)
    parts["#"] = {keyword: value for keyword, value in root.items() if keyword != "$defs"}
    uses = {name: set(_iter_names(part, only_required=only_required)) for name, part in parts.items()}
    for name, used in uses.items():
        seen: set[str] = set()
        ahead = used
        while ahead:
            seen |= ahead
            ahead = set().union(*(uses.get(each, set()) for each in ahead)) - seen
        if name in seen:
            return True
    return False


def _iter_names(schema: Any, *, only_required: bool) -> Iterator[str]:
    """The definitions that a schema refers to, `#` for the root."""
    if isinstance(schema, list):
        for part in schema:
            yield from _iter_names(part, only_required=only_required)
    if not isinstance(schema, dict):
        return
    if isinstance(reference := schema.get("$ref"), str):
        yield reference.removeprefix(_DEFINITIONS)
    required = schema.get("required", ())
    for keyword, value in schema.items():
        if keyword in ("properties", "patternProperties", "$defs") and isinstance(value, dict):
            for name, part in value.items():
                if not (only_required and keyword == "properties" and name not in required):
                    yield from _iter_names(part, only_required=only_required)
        elif keyword not in ("const", "enum", "default", "examples"):
            yield from _iter_names(value, only_required=only_required)
