"""One failed check in words: what was expected, what was there, and the mend."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tidemill.config.coercion.conversions import EXACT_INTEGERS
from tidemill.config.layers.document import Document
from tidemill.config.paths import KeyPath
from tidemill.config.report.failures import Failure
from tidemill.config.secrets import MASK
from tidemill.config.text.nodes import Scalar
from tidemill.config.wording.rules import describe_bound, describe_match, describe_schemes, describe_size, find_unit
from tidemill.config.wording.suggest import Elsewhere, find_near, find_near_file
from tidemill.config.wording.words import MAX_SHOWN, cut, describe_value, plain

_BOUNDS = {
    "greater_than": (">", "gt"),
    "greater_than_equal": (">=", "ge"),
    "less_than": ("<", "lt"),
    "less_than_equal": ("<=", "le"),
}
_RULES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "multiple_of": lambda context: f"in steps of {plain(context['multiple_of'])}",
    "string_pattern_mismatch": lambda context: describe_match(context["pattern"]),
    "string_not_ascii": lambda _: "of ASCII characters",
    "int_parsing_size": lambda _: f"of at most {sys.get_int_max_str_digits():,} digits",
    "url_too_long": lambda context: describe_size(None, context["max_length"], "character"),
    "url_scheme": lambda context: describe_schemes(re.findall(r"'([^']+)'", context["expected_schemes"])),
    "uuid_version": lambda context: f"of version {context['expected_version']}",
}
_WHATEVER_TYPE = {
    "set_item_not_hashable": "text, a number or a boolean",
    "recursion_loop": "a value that does not hold itself",
    "bytes_invalid_encoding": "bytes in {encoding}",
}


def describe_failure(failure: Failure, document: Document) -> tuple[str, str]:
    """The sentence, as `expected an integer >= 1, got 0`, and the hint, empty when there is none."""
    if is_secret(failure, document):
        given = replace(failure, value=document.find_value(failure.path))  # an error holds no secret
        return f"{_expected(failure)}, got {MASK}", suggest_quotes(given)
    return f"{_expected(failure)}, got {_got(failure, document)}", _find_hint(failure)


def is_secret(failure: Failure, document: Document) -> bool:
    """Whether nothing of what was given may be shown."""
    return document.is_secret(document.resolve(failure.path)) or document.is_secret(failure.path)


def _expected(failure: Failure) -> str:
    kind, context = failure.kind, failure.context
    if kind in _WHATEVER_TYPE:
        return f"expected {_WHATEVER_TYPE[kind].format(**context)}"
    words = failure.words
    if kind == "finite_number":
        return f"expected {words.replace('a number', 'a finite number', 1) or 'a finite number'}"
    rule = _find_rule(failure)
    if not words:
        said = re.sub(r"^Input should (be )?", "", failure.text).partition(", ")[0]
        return f"expected {said[:1].lower()}{said[1:]}"
    return f"expected {words}" if rule in words else f"expected {words} {rule}"


def _find_rule(failure: Failure) -> str:
    """The rule that was broken, where the type's words may lack it: those of a type of ours do."""
    kind, context, words = failure.kind, failure.context, failure.words
    if kind in _BOUNDS:
        sign, name = _BOUNDS[kind]
        return "" if f" {sign} " in words else describe_bound(sign, context[name])
    if kind in _RULES:
        return _RULES[kind](context)
    if "min_length" in context or "max_length" in context:
        unit = find_unit(failure.walk.shape.core["type"]) if failure.walk.shape else "item"
        return "" if "of " in words else describe_size(context.get("min_length"), context.get("max_length"), unit)
    return ""


def describe_given(value: Any, path: KeyPath, document: Document, *, key: bool = False) -> str:
    """What was given at `path`, or for its key; a number as it is written where it stands in a text: `1.10`."""
    node = (document.find_node(path) or (None, None))[0 if key else 1]
    written = node.follow() if node is not None else None
    if isinstance(written, Scalar) and written.text and _is_number(written.value) and str(written.value) == str(value):
        return cut(written.text)
    return describe_value(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _got(failure: Failure, document: Document) -> str:
    value, kind = failure.value, failure.kind
    if isinstance(value, str) and kind.startswith(("string_too", "bytes_too")) and 0 < len(value) <= MAX_SHOWN:
        is_text = kind.startswith("string")
        size = len(value) if is_text else len(value.encode())
        return f"{describe_value(value)} ({size} {'character' if is_text else 'byte'}{'' if size == 1 else 's'})"
    if isinstance(value, Mapping) and kind in ("too_short", "too_long") and value:
        return f"a mapping of {len(value)}"
    return describe_given(value, failure.path, document)


def _find_hint(failure: Failure) -> str:
    find = _HINTS.get(failure.kind)
    return find(failure) if find else ""


def suggest_choice(value: Any, choices: Iterable[Any], elsewhere: Elsewhere = MappingProxyType({})) -> str:
    """The choice that a text most likely stands for."""
    if not isinstance(value, str):
        return ""
    choices = list(choices)
    if any(str(each) == value for each in choices if not isinstance(each, str)):
        return "write it without quotes"
    near = find_near(value, map(str, choices), elsewhere=elsewhere)
    return f"did you mean `{near}`?" if near else ""


def _from_choices(failure: Failure) -> str:
    shape = failure.walk.shape
    return suggest_choice(failure.value, shape.choices, shape.choices_elsewhere) if shape else ""


def suggest_quotes(failure: Failure) -> str:
    """YAML took for a number or a boolean what was meant as text."""
    is_scalar = isinstance(failure.value, (bool, int, float))
    return "put it in quotes" if failure.kind == "string_type" and is_scalar else ""


def _of_a_long_number(failure: Failure) -> str:
    value = failure.value
    if isinstance(value, float) and abs(value) > EXACT_INTEGERS:
        return "write out all of its digits"
    return ""


def _of_a_float(failure: Failure) -> str:
    if isinstance(failure.value, bool) or not isinstance(failure.value, (int, str)):
        return ""
    text = str(failure.value).strip()
    if not re.fullmatch(r"[-+]?[\d_.]+(e[-+]?\d+)?", text, re.ASCII | re.IGNORECASE):
        return ""
    return "no float has its digits: 16 at most, up to 1e308"


def _of_a_span(failure: Failure) -> str:
    value = failure.value
    return f"say its unit: `{plain(value)}s`" if _is_number(value) else ""


def _of_a_date(failure: Failure) -> str:
    text = str(failure.value)
    try:
        meant = date.fromisoformat(text) if re.fullmatch(r"\d{8}", text, re.ASCII) else None
    except ValueError:
        meant = None
    return f"did you mean `{meant}`?" if meant else ""


def _of_an_address(failure: Failure) -> str:
    said = str(failure.context.get("error", ""))
    if not said.startswith("relative URL"):
        return said
    schemes = failure.walk.shape.core.get("allowed_schemes") if failure.walk.shape else None
    return f"begin with `{'https' if not schemes or 'https' in schemes else schemes[0]}://`"


def _of_a_mapping(failure: Failure) -> str:
    """A key and its value that YAML takes for one text."""
    is_tight = isinstance(failure.value, str) and re.match(r"[\w.-]+:[^\s/]", failure.value)
    return "put a space after `:`" if is_tight else ""


def _of_an_expression(failure: Failure) -> str:
    try:
        re.compile(failure.value)
    except re.error as error:
        return str(error)
    return ""


def _of_a_path(failure: Failure) -> str:
    path = Path(str(failure.value))
    if path.exists():
        what = {"path_not_file": "a folder", "path_not_directory": "a file"}.get(failure.kind, "there already")
        return f"it is {what}"
    if not path.parent.is_dir():
        return f"there is no folder `{path.parent}`"
    near = find_near_file(path)
    return (
        f"did you mean `{path.with_name(near)}`?" if near else f"there is none of that name in {path.parent.absolute()}"
    )


def _from_context(failure: Failure) -> str:
    said = str(failure.context.get("error", ""))
    return f"{said[:1].lower()}{said[1:]}" if said[1:2].islower() else said


_HINTS: dict[str, Callable[[Failure], str]] = {
    "literal_error": _from_choices,
    "enum": _from_choices,
    "string_type": suggest_quotes,
    "int_from_float": _of_a_long_number,
    "float_type": _of_a_float,
    "float_parsing": _of_a_float,
    "time_delta_type": _of_a_span,
    "model_type": _of_a_mapping,
    "model_attributes_type": _of_a_mapping,
    "dataclass_type": _of_a_mapping,
    "dict_type": _of_a_mapping,
    "date_from_datetime_inexact": lambda failure: "leave out the time" if isinstance(failure.value, str) else "",
    "date_type": _of_a_date,
    "date_parsing": _of_a_date,
    "date_from_datetime_parsing": _of_a_date,
    "datetime_type": _of_a_date,
    "datetime_parsing": _of_a_date,
    "url_parsing": _of_an_address,
    "url_syntax_violation": _from_context,
    "pattern_regex": _of_an_expression,
    "json_invalid": _from_context,
    "import_error": _from_context,
    "path_not_file": _of_a_path,
    "path_not_directory": _of_a_path,
    "path_exists": _of_a_path,
    "parent_does_not_exist": _of_a_path,
}
