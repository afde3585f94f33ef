"""Constraints as a message says them: the rule in words, and the rule itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.config.wording.patterns import describe_pattern
from tidemill.config.wording.suggest import list_names
from tidemill.config.wording.words import describe_value, plain

BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_UNITS = {"str": "character", "url": "character", "multi-host-url": "character", "bytes": "byte"}
_KEYED = ("dict", "ordered-dict", "frozen-dict", "counter")


def find_unit(kind: str) -> str:
    """What the length of a core schema's type counts."""
    return "key" if kind in _KEYED else _UNITS.get(kind, "item")


def describe_rules(kind: str, rules: Mapping[str, Any]) -> str:
    """The constraints on a value of a core schema's type, as `of at most 40 characters matching …`."""
    size = describe_size(rules.get("min_length"), rules.get("max_length"), find_unit(kind))
    words = ["" if kind in ("url", "multi-host-url") else size]
    words.append("of ASCII characters" if rules.get("ascii_only") else "")
    words.append(describe_digits(rules.get("max_digits"), rules.get("decimal_places")))
    words.append(" and ".join(describe_bound(sign, rules[name]) for name, sign in BOUNDS.items() if name in rules))
    if rules.get("multiple_of") is not None:
        words.append(f"in steps of {plain(rules['multiple_of'])}")
    if (pattern := rules.get("pattern")) is not None:
        words.append(describe_match(getattr(pattern, "pattern", pattern)))
    words.append(describe_schemes(rules.get("allowed_schemes") or ()))
    if rules.get("version") is not None:
        words.append(f"of version {rules['version']}")
    words.append("that all differ" if rules.get("uniqueItems") else "")
    return " ".join(filter(None, words))


def describe_bound(sign: str, bound: Any) -> str:
    """`>= 1`; of dates and spans as a configuration has them."""
    return f"{sign} {plain(bound) if isinstance(bound, (int, float)) else describe_value(bound)}"


def describe_match(pattern: str) -> str:
    """A pattern, in plain words too where it is simple."""
    words = describe_pattern(pattern)
    return f"of {words} (`{pattern}`)" if words else f"matching `{pattern}`"


def describe_digits(most: int | None, places: int | None) -> str:
    """`of at most 5 digits, 2 of them behind the point`; empty without bounds."""
    if most is not None and places is not None:
        return f"of at most {_count(most, 'digit')}, {places} of them behind the point"
    if most is not None:
        return f"of at most {_count(most, 'digit')}"
    return f"of at most {_count(places, 'digit')} behind the point" if places is not None else ""


def describe_schemes(schemes: Sequence[str]) -> str:
    """`beginning with `http://` or `https://``; empty where any scheme will do."""
    return f"beginning with {list_names([f'{each}://' for each in schemes], ' or ')}" if schemes else ""


def describe_size(minimum: int | None, maximum: int | None, unit: str) -> str:
    """`of 1 to 40 characters`; empty without bounds."""
    if maximum is not None and (minimum or maximum == minimum):
        size = str(minimum) if minimum == maximum else f"{minimum} to {maximum}"
        return f"of {size} {unit}{'' if maximum == 1 else 's'}"
    if minimum:
        return f"of at least {_count(minimum, unit)}"
    return f"of at most {_count(maximum, unit)}" if maximum is not None else ""


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}{'' if number == 1 else 's'}"
