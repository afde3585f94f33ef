"""Types as a message says them, read from their core schemas."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

import yaml
from pydantic import IPvAnyAddress, IPvAnyInterface, IPvAnyNetwork

from tidemill.config.wording.rules import describe_rules, describe_size
from tidemill.config.wording.words import TIGHT, WORDS, describe_choices

_NOUNS = {
    "any": "",
    "none": "null",
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "decimal": "a number",
    "fraction": "a fraction (1/3)",
    "complex": "a complex number (1+2j)",
    "str": "text",
    "bytes": "bytes",
    "date": "a {when}date (YYYY-MM-DD)",
    "time": "a time{zone} (HH:MM:SS{offset})",
    "datetime": "a {when}date and time{zone} (YYYY-MM-DDTHH:MM:SS{offset})",
    "timedelta": "a duration (HH:MM:SS, or ISO 8601 as PT30S)",
    "list": "a list",
    "deque": "a list",
    "set": "a list",
    "frozenset": "a list",
    "generator": "a list",
    "tuple": "a list",
    "dict": "a mapping",
    "ordered-dict": "a mapping",
    "frozen-dict": "a mapping",
    "counter": "a mapping of counts",
    "named-tuple": "a mapping or a list",
    "model-fields": "a mapping",
    "typed-dict": "a mapping",
    "dataclass-args": "a mapping",
    "tagged-union": "a mapping",
    "callable": "a function",
    "json": "JSON as text",
    "url": "a URL",
    "multi-host-url": "a URL",
    "uuid": "a UUID",
}
_TIGHT_SPAN = "a duration (45m, 1h30m, HH:MM:SS)"
_CLASSES: dict[Any, str] = {
    ipaddress.IPv4Address: "an IPv4 address",
    ipaddress.IPv6Address: "an IPv6 address",
    ipaddress.IPv4Network: "an IPv4 network (10.0.0.0/8)",
    ipaddress.IPv6Network: "an IPv6 network (fd00::/8)",
    ipaddress.IPv4Interface: "an IPv4 interface (10.0.0.1/8)",
    ipaddress.IPv6Interface: "an IPv6 interface (fd00::1/8)",
    IPvAnyAddress: "an IP address",
    IPvAnyNetwork: "an IP network (10.0.0.0/8)",
    IPvAnyInterface: "an IP interface (10.0.0.1/8)",
}
# Pydantic says what these expect in the functions that check them alone.
_FUNCTIONS = {
    "PathType.validate_file": "an existing file",
    "PathType.validate_directory": "an existing folder",
    "PathType.validate_new": "a path where nothing is yet, in an existing folder",
    "PathType.validate_socket": "an existing socket",
    "pattern_either_validator": "a regular expression",
    "pattern_str_validator": "a regular expression",
    "pattern_bytes_validator": "a regular expression",
    "import_string": "an import path (`module.name`)",
    "EncodedBytes.decode": "bytes in base64",
    "EncodedStr.decode_str": "text in base64",
    "ByteSize._validate": "a size (bytes, or 512MB, 1.5GiB)",
}


def describe_words(layers: Sequence[Mapping[str, Any]]) -> str:
    """What a core schema, given as its layers from the outside in, expects; empty when anything goes."""
    for layer in layers:
        if WORDS in layer.get("metadata", {}):
            return str(layer["metadata"][WORDS])
    if known := _describe_examples(layers) or _describe_checked(layers):
        return known
    core = layers[-1]
    kind = core["type"]
    if kind == "literal":
        return describe_choices(core["expected"])
    if kind == "enum":
        return _describe_members(core["cls"], core["members"], by_name=has_rules(layers))
    if core.get("custom_error_type") == "path_type":
        return "a path"
    if kind in ("is-instance", "is-subclass"):
        return _describe_class(kind, core["cls"])
    rules: dict[str, Any] = {}
    for layer in layers:
        rules |= layer.get("metadata", {}).get("pydantic_js_updates", {})
        rules |= {name: rule for name, rule in layer.items() if rule is not None}
    if kind == "tuple" and core.get("variadic_item_index") is None:
        rules |= dict.fromkeys(("min_length", "max_length"), len(core["items_schema"]))
    if kind == "named-tuple":
        return f"{_NOUNS[kind]} {_count_fields(core['fields'])}"
    noun = _TIGHT_SPAN if kind == "timedelta" and has_rules(layers) else _describe_kind(kind, core)
    return " ".join(filter(None, [noun, describe_rules(kind, rules)]))


def has_rules(layers: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a value is converted by the rules of `Config`."""
    return any(TIGHT in layer.get("metadata", {}) for layer in layers)


def _describe_kind(kind: str, core: Mapping[str, Any]) -> str:
    zone = core.get("tz_constraint", "")
    return _NOUNS.get(kind, "").format(
        when=f"{core['now_op']} " if core.get("now_op") else "",
        zone={"aware": " with its offset", "naive": " without an offset"}.get(zone, ""),
        offset="+HH:MM" if zone == "aware" else "",
    )


def _count_fields(fields: Sequence[Mapping[str, Any]]) -> str:
    needed = sum(each["schema"]["type"] != "default" for each in fields)
    return describe_size(needed, len(fields), "item")


def _describe_members(kind: type[Enum], members: Sequence[Any], *, by_name: bool) -> str:
    """An enum's values, and the names by which they may be called too."""
    values = [member.value for member in members]
    names = [name for name in kind.__members__ if name not in values] if by_name else []
    return describe_choices(values) + (f", or by name {describe_choices(names)}" if names else "")


def _describe_class(kind: str, cls: Any) -> str:
    if not isinstance(cls, type):
        return ""
    if kind == "is-subclass":
        return f"`{cls.__qualname__}` or a class derived from it"
    return f"a{'n' if cls.__qualname__[:1] in 'AEIOUaeiou' else ''} {cls.__qualname__}"


def _describe_checked(layers: Sequence[Mapping[str, Any]]) -> str:
    """What a type expects that Pydantic checks with a function."""
    for layer in layers:
        function: Callable[..., Any] | None = layer.get("function", {}).get("function")
        name = getattr(function, "__qualname__", "")
        if name in _FUNCTIONS:
            return _FUNCTIONS[name]
        strict = layer.get("strict_schema", {}).get("python_schema", {}).get("cls")
        for cls in (strict, getattr(function, "__self__", None)):
            if isinstance(cls, type) and cls in _CLASSES:
                return _CLASSES[cls]
    return ""


def _describe_examples(layers: Sequence[Mapping[str, Any]]) -> str:
    """What a model's `examples` in `json_schema_extra` show: the first, or all where it takes more than a mapping."""
    for layer in layers:
        if layer["type"] == "model":
            extra = layer["cls"].model_config.get("json_schema_extra")
            examples = extra.get("examples", []) if isinstance(extra, Mapping) else []
            if examples and all(isinstance(each, Mapping) for each in examples):
                return f"a mapping such as `{_to_line(examples[0])}`"
            if examples:
                *most, last = (f"`{_to_line(each)}`" for each in examples)
                return f"{', '.join(most)} or {last}" if most else last
    return ""


def _to_line(value: Any) -> str:
    """A value as one line of YAML."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=math.inf, sort_keys=False)
    return text.removesuffix("...\n").strip()
