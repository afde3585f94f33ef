"""What Pydantic leaves lax and a configuration may not: the rules of `Config` for any schema.

Keys a dataclass or TypedDict does not have are refused, at every depth. A value becomes what it is meant to be where
nothing is lost on the way and nothing else could be meant:

| type | taken | refused |
|---|---|---|
| `int` | `64`, `64.0`, `1e2`, `"64"`, `"1e2"`, `"1_000"`, `"0x10"` | `64.5`, `"1e-4"`, `1e23` (no exact float) |
| `float` | `64`, `64.5`, `1e-4`, `"1e-4"` | NaN and infinity unless allowed, `"1e400"`, an int that loses digits |
| `Decimal`, `Fraction` | numbers and texts of them; a float is what its digits say | NaN, infinity |
| `bool` | `true`, `yes`, `on`, `1` and `false`, `no`, `off`, `0`, quoted or not | `2`, `1.0`, `"y"` |
| `str` | text | numbers, booleans |
| `date`, `time`, `datetime` | ISO 8601, a date as its midnight and a midnight as its date | numbers, quoted or not |
| `timedelta` | `"90s"`, `"1h30m"`, `"00:01:30"`, `"PT90S"` | a number without its unit |
| `Duration` | seconds, and `"90s"`, `"1h30m"` | |
| `ByteSize` | bytes, and `"512MB"`, `"1.5GiB"` | `"512M"`, `"5Mb"`, a part of a byte |
| `Path` | text, a leading `~` expanded | the empty text |
| an enum | a value, or the name of a member | |
| `Literal` | the choices as they are | `"1"` or `1` for the other |
| IP addresses | text | numbers |
| `SecretStr`, `SecretBytes` | text | `"***"`, which is a mask |
| sets, `Unique` lists | a list whose items differ | a list with an item given twice |
| mappings | | keys that become one: `1` and `"1"` |

A boolean is never a number, a number never a boolean or a date, null never a value. A text with digits is a number as
it is in YAML 1.2, TOML or Python, so that quotes do not matter; blanks around it do not, either. A union keeps what a
member takes as it is: `"64"` stays text in `int | str`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any, cast

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from tidemill.config.coercion.concealing import conceal_errors
from tidemill.config.coercion.conversions import (
    AROUND,
    BEFORE,
    Convert,
    ToMember,
    refuse_mask,
    to_address,
    to_bool,
    to_bool_beside_numbers,
    to_choice,
    to_int,
    to_path,
)
from tidemill.config.coercion.sections import Fill, can_fill
from tidemill.config.shapes.shape import keeps_secret
from tidemill.config.wording.words import TIGHT

_ADDRESSES = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
_PRECISE = {"microseconds_precision": "error"}
_OPAQUE = frozenset({"metadata", "serialization", "cls", "function", "default", "expected", "members", "config"})
"""Parts of a core schema that hold no schema of an input."""

_NUMBERS = frozenset({"int", "float", "decimal", "complex", "fraction"})

_AROUND = frozenset({"nullable", "default", "function-before", "function-after", "function-wrap"})
"""Schemas of what their own `schema` takes."""

_BY_NAME = frozenset({"fields", "choices"})
"""Parts that may be a mapping of names, which could read as a schema's own."""


def tighten(source: Any, handler: GetCoreSchemaHandler, *, whole: Convert = to_int) -> CoreSchema:
    """The core schema `handler` gives for `source`, with these rules at every depth, a model's errors without secrets.

    A type's own configuration comes first, and a nested Pydantic model keeps its own rules.

    Args:
        whole: what whole numbers become.
    """
    schema: Any = Tightening(handler, whole).tighten(handler(source))
    if isinstance(source, type) and issubclass(source, BaseModel):
        if schema["type"] != "definition-ref":
            return cast(CoreSchema, conceal_errors(source, schema))
        definition: Any = handler.resolve_ref_schema(schema)
        concealed = conceal_errors(source, dict(definition))
        definition.clear()
        definition.update(concealed)
    return cast(CoreSchema, schema)


class ConfigRules:
    """Annotation that gives any type the rules of `Config`: `TypeAdapter(Annotated[MyDataclass, ConfigRules()])`.

    With `to_int64` it has those of `Settings`.
    """

    def __init__(self, whole: Convert = to_int) -> None:
        self._whole = whole

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return tighten(source, handler, whole=self._whole)


class Tightening:
    """One pass over a core schema; what it refers to by name is changed where it is kept.

    Attributes:
        fills: whether a section given in part is filled up from the field's default.
    """

    fills = True

    def __init__(self, handler: GetCoreSchemaHandler | None, whole: Convert = to_int) -> None:
        self.handler = handler
        self.convert = {**BEFORE, "int": whole}
        self.seen: set[str] = set()
        self.strict = False
        self.held = False  # within a type whose own configuration says whether infinity is allowed

    def tighten(self, schema: Any) -> Any:
        if isinstance(schema, (list, tuple)):
            return type(schema)(self.tighten(item) for item in schema)
        if not isinstance(schema, dict):
            return schema
        if TIGHT in schema.get("metadata", {}):
            return schema
        if schema.get("type") == "definition-ref":
            return self._tighten_reference(schema)
        outside = self.strict, self.held
        self.strict = bool(schema.get("config", {}).get("strict", self.strict))
        self.held |= schema.get("type") in ("model", "dataclass", "typed-dict")
        tight = self._tighten_parts(schema)
        self.strict, self.held = outside
        convert = None if schema.get("strict", self.strict) else self._find_conversion(schema)
        return tight if convert is None else wrap_schema(tight, *convert)

    def _tighten_parts(self, schema: dict[str, Any]) -> dict[str, Any]:
        kind = schema.get("type")
        tight = {key: self._tighten_part(key, value) for key, value in schema.items()}
        if kind in ("dataclass", "typed-dict"):
            given = schema.get("config", {})
            tight["config"] = {"extra_fields_behavior": "forbid", "allow_inf_nan": False} | given
            if kind == "typed-dict" and "extra_fields_behavior" not in given:
                tight["extra_behavior"] = "forbid"
        is_section = kind == "default" and isinstance(schema.get("default"), BaseModel)
        if self.fills and is_section and can_fill(tight["schema"]):
            fill = Fill(schema["default"], tight["schema"])
            tight["schema"] = wrap_schema(tight["schema"], "function-before", fill)
        if kind == "union" and any(map(_takes_numbers, tight["choices"])):
            tight["choices"] = [_leave_numbers(each) for each in tight["choices"]]
        if kind == "float" and not self.held:
            return {"allow_inf_nan": False} | tight
        return tight | _PRECISE if "microseconds_precision" in schema else tight

    def _tighten_part(self, key: str, value: Any) -> Any:
        if key in _OPAQUE:
            return value
        if key in _BY_NAME and isinstance(value, dict):
            return {name: self.tighten(each) for name, each in value.items()}
        return self.tighten(value)

    def _tighten_reference(self, reference: dict[str, Any]) -> Any:
        """The reference with these rules; what it means has them, once, unless it is another model's own schema."""
        try:
            definition: Any = cast(GetCoreSchemaHandler, self.handler).resolve_ref_schema(cast(CoreSchema, reference))
        except LookupError:  # it is still being made, further out, and gets these rules there
            return reference
        if (convert := self._find_conversion(definition)) is not None:  # an enum, which others may refer to
            return reference if self.strict else wrap_schema(reference, *convert)
        if reference["schema_ref"] not in self.seen:
            self.seen.add(reference["schema_ref"])
            if not hasattr(definition.get("cls"), "__pydantic_core_schema__"):
                definition.update(self.tighten(dict(definition)))
        return reference

    def _find_conversion(self, schema: Mapping[str, Any]) -> tuple[str, Callable[..., Any]] | None:
        """How a schema's values are converted: the type of the wrapping schema, and the function."""
        kind = schema.get("type", "")
        if kind in AROUND:
            return "function-wrap", AROUND[kind]
        convert = self.convert.get(kind)
        if kind == "literal" and _has_numbers(schema["expected"]):
            convert = to_choice(schema["expected"])
        elif kind == "enum" and issubclass(schema["cls"], Enum):
            convert = ToMember(schema["cls"])
        elif kind == "lax-or-strict":
            if schema["lax_schema"].get("custom_error_type") == "path_type":
                convert = to_path
            elif schema["strict_schema"].get("python_schema", {}).get("cls") in _ADDRESSES:
                convert = to_address
        elif kind == "json-or-python" and keeps_secret(schema):
            convert = refuse_mask
        return None if convert is None else ("function-before", convert)


def _takes_numbers(schema: Any) -> bool:
    """Whether a member of a union takes numbers."""
    if isinstance(schema, tuple):  # with its label
        return _takes_numbers(schema[0])
    if schema["type"] == "union":
        return any(map(_takes_numbers, schema["choices"]))
    if schema["type"] in ("literal", "enum"):
        given = schema.get("expected") or [member.value for member in schema["members"]]
        return any(isinstance(each, (int, float)) and not isinstance(each, (bool, Enum)) for each in given)
    if schema["type"] == "lax-or-strict":
        return _takes_numbers(schema["lax_schema"])
    return schema["type"] in _NUMBERS or (schema["type"] in _AROUND and _takes_numbers(schema["schema"]))


def _leave_numbers(schema: Any) -> Any:
    """A member of a union that has numbers, with what is a boolean in it leaving them to those."""
    if isinstance(schema, tuple):
        return (_leave_numbers(schema[0]), *schema[1:])
    if schema["type"] == "union":
        return {**schema, "choices": [_leave_numbers(each) for each in schema["choices"]]}
    if schema.get("function", {}).get("function") is to_bool:
        return wrap_schema(schema["schema"], "function-before", to_bool_beside_numbers)
    return {**schema, "schema": _leave_numbers(schema["schema"])} if schema["type"] in _AROUND else schema


def _has_numbers(choices: list[Any]) -> bool:
    """Whether a boolean could be taken for one of several choices; a lone one may be the tag of a union.

    Pydantic lets no validator stand before a tag.
    """
    return len(choices) > 1 and any(isinstance(each, (int, float)) and not isinstance(each, Enum) for each in choices)


def wrap_schema(schema: Mapping[str, Any], kind: str, function: Callable[..., Any]) -> dict[str, Any]:
    """`schema` with one of these conversions around it: `kind` is `function-before` or `function-wrap`."""
    return {
        "type": kind,
        "function": {"type": "no-info", "function": function},
        "schema": schema,
        "metadata": {TIGHT: True},
    }
