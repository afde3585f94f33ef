"""Values, types and rules as a message says them."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

import yaml
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema

from tidemill.config.suggest import MAX_LISTED

MAX_SHOWN = 60
"""Characters of a text that a message shows before it is cut."""

_NOUNS = {
    "any": "",
    "none": "null",
    "bool": "true or false",
    "int": "an integer",
    "float": "a number",
    "decimal": "a number",
    "complex": "a complex number",
    "str": "text",
    "bytes": "bytes",
    "date": "a date (YYYY-MM-DD)",
    "time": "a time (HH:MM:SS)",
    "datetime": "a date and time (YYYY-MM-DDTHH:MM:SS)",
    "timedelta": "a duration (HH:MM:SS, or ISO 8601 as PT30S)",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "frozenset": "a list",
    "generator": "a list",
    "dict": "a mapping",
    "model-fields": "a mapping",
    "typed-dict": "a mapping",
    "dataclass-args": "a mapping",
    "tagged-union": "a mapping",
    "callable": "a function",
    "url": "a URL",
    "multi-host-url": "a URL",
    "uuid": "a UUID",
}
_BOUNDS = (("gt", ">"), ("ge", ">="), ("lt", "<"), ("le", "<="))
_UNITS = {"str": "character", "bytes": "byte", "dict": "key"}

WORDS = "tidemill_words"
"""The metadata key under which a type of ours says what it expects."""


class Says:
    """Annotation by which a type says what it expects, where its schema alone would not."""

    def __init__(self, words: str) -> None:
        self.words = words

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = handler(source)
        schema["metadata"] = {**schema.get("metadata", {}), WORDS: self.words}
        return cast(CoreSchema, schema)


def describe_value(value: Any) -> str:
    """A value as a message shows it: scalars as YAML has them, a long text cut, of a container its size."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, enum.Enum):
        return describe_value(value.value)
    if isinstance(value, (int, float)):
        return cut(plain(value) if "e" in repr(value) else repr(value))
    if isinstance(value, str):
        size = f" ({len(value):,} characters)" if len(value) > MAX_SHOWN else ""
        return f'"{cut(value)}"{size}'
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"a list of {len(value)}" if value else "an empty list"
    if callable(value):
        return f"`{getattr(value, '__qualname__', type(value).__qualname__)}`"
    return f"{'an' if type(value).__name__[:1] in 'aeiouAEIOU' else 'a'} {type(value).__name__}"


def plain(value: Any, *, digits: int | None = None) -> str:
    """A number as a person writes it: `5`, though Pydantic makes a number's bounds floats, and `0.00001`, not `1e-05`.

    Args:
        digits: how many significant ones are shown at most; None for all.
    """
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    exact = Decimal(repr(value)) if digits is None else Decimal(f"{value:.{digits}g}")
    if exact and not -12 <= exact.adjusted() < 15:
        return str(value)
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def cut(text: str) -> str:
    """The text, shown on one line and at most 60 characters long."""
    shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return "".join(character if character.isprintable() else _escape(character) for character in shown)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def describe_choices(choices: Sequence[Any]) -> str:
    """`raise`, `quarantine` or `skip`; a value that is no text as YAML has it."""
    shown = [f"`{each}`" if isinstance(each, str) else describe_value(each) for each in choices]
    if len(shown) > MAX_LISTED:
        return f"one of {', '.join(shown[:MAX_LISTED])} and {len(shown) - MAX_LISTED} more"
    return " or ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""


def describe_words(layers: Sequence[Mapping[str, Any]]) -> str:
    """What a core schema, given as its layers from the outside in, expects; empty when anything goes."""
    for layer in layers:
        if WORDS in layer.get("metadata", {}):
            return str(layer["metadata"][WORDS])
    core = layers[-1]
    kind = core["type"]
    if examples := _describe_examples(layers):
        return examples
    if kind == "literal":
        return describe_choices(core["expected"])
    if kind == "enum":
        return describe_choices([member.value for member in core["members"]])
    if core.get("custom_error_type") == "path_type":
        return "a path"
    if kind == "tuple" and core.get("variadic_item_index") is None:
        size = len(core["items_schema"])
        return f"a list {describe_size(size, size, 'item')}"
    if kind in ("is-instance", "is-subclass"):
        return f"a {core['cls'].__qualname__}" if isinstance(core["cls"], type) else ""
    rules: dict[str, Any] = {}
    for layer in layers:
        rules |= layer.get("metadata", {}).get("pydantic_js_updates", {}) | layer
    return " ".join(filter(None, [_NOUNS.get(kind, ""), describe_rules(kind, rules)]))


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


def describe_rules(kind: str, rules: Mapping[str, Any]) -> str:
    """The constraints on a value of a core schema's type, as `of at most 40 characters matching …`."""
    unit = _UNITS.get(kind, "item")
    words = []
    if size := describe_size(rules.get("min_length"), rules.get("max_length"), unit):
        words.append(size)
    words.append(" and ".join(f"{sign} {plain(rules[name])}" for name, sign in _BOUNDS if rules.get(name) is not None))
    if rules.get("multiple_of") is not None:
        words.append(f"in steps of {plain(rules['multiple_of'])}")
    if rules.get("pattern") is not None:
        pattern = rules["pattern"]
        words.append(f"matching `{getattr(pattern, 'pattern', pattern)}`")
    return " ".join(filter(None, words))


def describe_size(minimum: int | None, maximum: int | None, unit: str) -> str:
    """`of 1 to 40 characters`; empty without bounds."""
    if maximum is not None and (minimum or maximum == minimum):
        size = str(minimum) if minimum == maximum else f"{minimum} to {maximum}"
        return f"of {size} {unit}{'' if maximum == 1 else 's'}"
    if minimum:
        return f"of at least {minimum} {unit}{'' if minimum == 1 else 's'}"
    return f"of at most {maximum} {unit}{'' if maximum == 1 else 's'}" if maximum is not None else ""
