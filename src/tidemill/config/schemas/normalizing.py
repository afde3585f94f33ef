"""JSON Schema as it is met with, of any draft and of OpenAPI 3.0, as one of draft 2020-12 with closed objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from tidemill.config.paths import KeyPath
from tidemill.config.subschemas import JsonSchema
from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError

_NAMED = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = (
    "items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems", "propertyNames", "contains", "not",
    "if", "then", "else", "contentSchema",
)  # fmt: skip
_COMPOSED = frozenset({"allOf", "anyOf", "oneOf", "$ref", "if", "dependentSchemas"})
"""Keywords beside which an object's own properties are not all it may have."""

_OPEN = frozenset({"additionalProperties", "unevaluatedProperties", "patternProperties"})
_ABOUT = frozenset({"title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly"})
_LOWER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties", "minContains"})
_UPPER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"})


def normalize_schema(schema: Mapping[str, Any]) -> JsonSchema:
    """`schema` in the words of draft 2020-12, `allOf` merged where that can be, objects closed.

    An object that names its properties takes no others, unless it says whether it does. What other drafts and OpenAPI
    3.0 say differently is said as 2020-12 has it: `nullable`, boolean `exclusiveMinimum`, `items` as a list,
    `dependencies`.

    Raises:
        ConfigError: a part of it is no schema, or refers to what is not in it; with its path.
    """
    if not isinstance(schema, Mapping):
        raise ConfigError(f"expected a JSON Schema, got {describe_value(schema)}", hint="give it as a mapping")
    given = _translate(schema, ())
    base = given.pop("$id", given.pop("id", None))
    given.pop("$schema", None)
    closed: JsonSchema = _Closing(given, base if isinstance(base, str) else "").close(given, ())
    return closed


def find_schema(root: Any, ref: str, path: KeyPath) -> Any:
    """What a reference within `root` means.

    Raises:
        ConfigError: it leads out of the schema, or to nothing in it.
    """
    where = point(path)
    if not ref.startswith("#"):
        raise ConfigError(
            f"`{ref}` is another document, which is not read", where=where, hint="put it under `$defs` and refer there"
        )
    if ref != "#" and not ref.startswith("#/"):
        found = next((each for each in _iter_parts(root) if each.get("$anchor") == ref[1:]), None)
        if found is None:
            raise ConfigError(f"`{ref}` refers to nothing in the schema", where=where)
        return found
    found = root
    for part in filter(None, ref[1:].split("/")):
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(name)] if isinstance(found, list) else found[name]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ConfigError(f"`{ref}` refers to nothing in the schema", where=where) from None
    return found


def merge_schemas(one: JsonSchema, other: JsonSchema) -> JsonSchema | None:
    """The schema of what is of both; None where it cannot be said without `allOf`."""
    if "$ref" in one or "$ref" in other:
        return None
    merged = dict(one)
    for key, value in other.items():
        if key not in merged:
            merged[key] = value
            continue
        found = _merge_keyword(key, merged[key], value)
        if found is None:
            return None
        merged[key] = found
    closed = [each.get("additionalProperties", True) is not True for each in (one, other)]
    if any(closed) and one.get("properties", {}).keys() != other.get("properties", {}).keys():
        return None
    return None if _CONDITION & one.keys() and _CONDITION & other.keys() else merged


_CONDITION = frozenset({"if", "then", "else"})


def _merge_keyword(key: str, one: Any, other: Any) -> Any:
    """What both say of one keyword; None where that is not one thing."""
    if one == other and isinstance(one, bool) is isinstance(other, bool):
        return one
    if key in _ABOUT:
        return one
    if key == "required":
        return list(dict.fromkeys([*one, *other]))
    if key == "properties":
        both = {name: {"allOf": [one[name], other[name]]} for name in one if name in other}
        return {**one, **other, **both}
    if key == "type":
        return _merge_types(one, other)
    if key == "enum":
        return [each for each in one if each in other] or None
    if key in _LOWER | _UPPER:
        return (max if key in _LOWER else min)(one, other)
    return {"allOf": [one, other]} if key == "items" else None


def _merge_types(one: Any, other: Any) -> Any:
    left, right = ([each] if isinstance(each, str) else list(each) for each in (one, other))
    both = [each for each in left if each in right or (each == "integer" and "number" in right)]
    both += [each for each in right if each == "integer" and "number" in left and each not in both]
    return (both[0] if len(both) == 1 else both) if both else None


def point(path: KeyPath) -> str:
    """The place of a part of a schema: `#/properties/limit`, as a JSON Pointer (RFC 6901)."""
    return "#" + "".join("/" + str(item).replace("~", "~0").replace("/", "~1") for item in path)


def _translate(schema: Mapping[str, Any], path: KeyPath) -> JsonSchema:
    """A schema and all in it in the words of draft 2020-12."""
    made: JsonSchema = {}
    for key, value in schema.items():
        inner = (*path, key)
        if key in _NAMED and isinstance(value, Mapping):
            made[key] = {name: _translate_part(part, (*inner, name)) for name, part in value.items()}
        elif (key in _LISTED or key == "items") and isinstance(value, (list, tuple)):
            made[key] = [_translate_part(part, (*inner, index)) for index, part in enumerate(value)]
        elif key in _SINGLE:
            made[key] = _translate_part(value, inner)
        else:
            made[key] = value
    if isinstance(made.get("items"), list):
        made["prefixItems"] = made.pop("items")
        if "additionalItems" in made:
            made["items"] = _translate_part(made.pop("additionalItems"), (*path, "additionalItems"))
    _translate_dependencies(made, path)
    for name, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(is_exclusive := made.get(name), bool):
            del made[name]
            if is_exclusive and bound in made:
                made[name] = made.pop(bound)
    return _take_null(made) if made.pop("nullable", False) is True else made


def _translate_part(part: Any, path: KeyPath) -> Any:
    if isinstance(part, Mapping):
        return _translate(part, path)
    if isinstance(part, bool):
        return part
    raise ConfigError(f"expected a schema, got {describe_value(part)}", where=point(path), hint="write `{}` for any")


def _translate_dependencies(made: JsonSchema, path: KeyPath) -> None:
    for name, needed in (made.pop("dependencies", None) or {}).items():
        if isinstance(needed, list):
            made.setdefault("dependentRequired", {})[name] = needed
        else:
            part = _translate_part(needed, (*path, "dependencies", name))
            made.setdefault("dependentSchemas", {})[name] = part


def _take_null(schema: JsonSchema) -> JsonSchema:
    """`schema`, or null."""
    if "enum" in schema and None not in schema["enum"]:
        schema = {**schema, "enum": [*schema["enum"], None]}
    if isinstance(kind := schema.get("type"), (str, list)) and not _COMPOSED & schema.keys():
        kinds = [kind] if isinstance(kind, str) else kind
        return {**schema, "type": [*kinds, *([] if "null" in kinds else ["null"])]}
    if not _COMPOSED & schema.keys():
        return schema
    about = {key: value for key, value in schema.items() if key in _ABOUT}
    inner = {key: value for key, value in schema.items() if key not in _ABOUT}
    return {**about, "anyOf": [inner, {"type": "null"}]}


def _iter_parts(schema: Any) -> Any:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from _iter_parts(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _iter_parts(value)


class _Closing:
    """Merges and closes the parts of one schema."""

    def __init__(self, root: JsonSchema, base: str) -> None:
        self._root = root
        self._base = base

    def close(self, schema: Any, path: KeyPath, *, opened: bool = False) -> Any:
        """A part with what it has of `allOf` merged, it and all in it closed.

        Args:
            opened: it is one of several that together say what an object has.
        """
        if not isinstance(schema, dict):
            return schema
        schema = self._own_reference(schema)
        if isinstance(schema.get("$ref"), str):
            self._check_reference(schema["$ref"], path)
        if isinstance(schema.get("allOf"), list):
            schema = self._merge_all(schema, path, frozenset())
        is_part = bool(_COMPOSED & schema.keys()) and ("properties" in schema or "allOf" in schema)
        made: JsonSchema = {}
        for key, value in schema.items():
            inner = (*path, key)
            if key in _NAMED and isinstance(value, dict):
                joined = is_part and key == "dependentSchemas"
                made[key] = {name: self.close(part, (*inner, name), opened=joined) for name, part in value.items()}
            elif key in _LISTED and isinstance(value, list):
                joined = (is_part or opened) and key != "prefixItems"
                made[key] = [self._close_part(part, (*inner, index), joined) for index, part in enumerate(value)]
            elif key in _SINGLE:
                made[key] = self._close_part(value, inner, key in ("if", "then", "else", "not"))
            else:
                made[key] = value
        if "properties" not in made or opened or _OPEN & made.keys():
            return made
        if is_part:
            return {**made, "unevaluatedProperties": False}
        return {**made, "additionalProperties": False}

    def _close_part(self, part: Any, path: KeyPath, joined: bool) -> Any:
        """One of several: what it refers to is put in its place, which is closed where it stands alone."""
        if joined and isinstance(part, dict) and "$ref" in part:
            part = self._resolve(part, path, frozenset()) or part
        return self.close(part, path, opened=joined)

    def _check_reference(self, ref: str, path: KeyPath) -> None:
        """Nothing where a reference leads to a schema; else the error that it does not."""
        seen: set[str] = set()
        while ref not in seen:
            seen.add(ref)
            target = find_schema(self._root, ref, path)
            further = self._own_reference(target).get("$ref") if isinstance(target, dict) else None
            if not isinstance(further, str):
                return
            ref = further
        raise ConfigError(f"`{ref}` refers to itself alone", where=point(path), hint="say what it is")

    def _own_reference(self, schema: JsonSchema) -> JsonSchema:
        """A reference by the schema's own address as one within it."""
        ref = schema.get("$ref")
        if self._base and isinstance(ref, str) and ref.startswith(self._base):
            return {**schema, "$ref": "#" + ref[len(self._base) :].removeprefix("#")}
        return schema

    def _merge_all(self, schema: JsonSchema, path: KeyPath, seen: frozenset[str]) -> JsonSchema:
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        left = []
        for index, part in enumerate(schema["allOf"]):
            inner = (*path, "allOf", index)
            found = self._resolve(part, inner, seen) if isinstance(part, dict) else None
            both = None if found is None else merge_schemas(merged, found)
            if both is None:
                left.append(part)
            else:
                merged = both
        return {**merged, "allOf": left} if left else merged

    def _resolve(self, part: JsonSchema, path: KeyPath, seen: frozenset[str]) -> JsonSchema | None:
        """A part with what it refers to, and its own `allOf`, in their places; None where it refers to itself."""
        part = self._own_reference(part)
        if isinstance(ref := part.get("$ref"), str):
            if ref in seen:
                return None
            target = find_schema(self._root, ref, path)
            if not isinstance(target, dict):
                return None
            seen |= {ref}
            resolved = self._resolve(target, path, seen)
            beside = {key: value for key, value in part.items() if key != "$ref"}
            merged = None if resolved is None else merge_schemas(beside, resolved)
            if merged is None:
                return None
            part = merged
        return self._merge_all(part, path, seen) if isinstance(part.get("allOf"), list) else part
