"""Pydantic's errors as problems: one sentence each, at its place, with its mend."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from tidemill.config.layers.document import Document
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.report.rendering import problem_at
from tidemill.config.shape import Shape, Walk
from tidemill.config.suggest import find_near, suggest
from tidemill.config.types.templates import place_in_text
from tidemill.config.words import MAX_SHOWN, cut, describe_choices, describe_size, describe_value, plain
from tidemill.errors import Place, Problem


@dataclass(frozen=True)
class _Error:
    """One of Pydantic's errors with where its `loc` leads."""

    kind: str
    text: str
    value: Any
    context: Mapping[str, Any]
    walk: Walk

    @property
    def path(self) -> KeyPath:
        return self.walk.path


def problems_from_validation(error: ValidationError, document: Document, shape: Shape) -> list[Problem]:
    """What Pydantic found wrong with `document.value`, one problem each.

    A union gives the problems of the member the value comes nearest to, or one that names all members. A key that
    is missing because it was mistyped is told once. What stands where the text itself is faulty is left out.

    A validator may raise `PydanticCustomError` with, in its context, `hint`; `offset` and `length` of the wrong part
    of a text; `path`, from the value it checks to the one it means; `file` and `text`, where the offset is into
    another file.

    Args:
        shape: of the type that was validated; its secrets were hidden in the document.
    """
    errors = [
        _Error(each["type"], each["msg"], each["input"], each.get("ctx", {}), shape.walk(tuple(each["loc"])))
        for each in error.errors(include_url=False)
    ]
    settled = [each for each in _settle_unions(errors, 0) if not document.is_broken(each.path)]
    mistyped = {_mistyped_for(each) for each in settled if each.kind in _UNKNOWN_KEY}
    settled = [each for each in settled if each.kind not in _MISSING or each.path not in mistyped]
    if not document.is_whole:
        settled = [each for each in settled if each.kind not in (*_MISSING, "union_tag_not_found")]
    return [_to_problem(each, document) for each in settled]


def explain_errors(error: ValidationError, model: type[BaseModel], value: Any) -> list[Problem]:
    """As `problems_from_validation`, for a `value` of `model` that stands in no file."""
    document, shape = Document.from_value(value), Shape.of(model.__pydantic_core_schema__)
    document.hide(shape.iter_secrets(value), shape.secret_names)
    return problems_from_validation(error, document, shape)


_UNKNOWN_KEY = ("extra_forbidden", "unexpected_keyword_argument", "invalid_key")
_MISSING = ("missing", "missing_argument", "missing_keyword_only_argument", "missing_positional_only_argument")
_RULES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than": lambda context: f"> {plain(context['gt'])}",
    "greater_than_equal": lambda context: f">= {plain(context['ge'])}",
    "less_than": lambda context: f"< {plain(context['lt'])}",
    "less_than_equal": lambda context: f"<= {plain(context['le'])}",
    "multiple_of": lambda context: f"in steps of {plain(context['multiple_of'])}",
    "string_pattern_mismatch": lambda context: f"matching `{context['pattern']}`",
}
_SELF_SAID = {"value_error", "assertion_error"}


def _to_problem(error: _Error, document: Document) -> Problem:
    path, context = error.path, error.context
    if error.kind in _UNKNOWN_KEY:
        return _unknown_key(error, document)
    if error.kind in _MISSING and isinstance(path[-1], str):
        return _missing_key(error, document)
    if error.kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_tag(error, document)
    if error.walk.key:
        return _wrong_key(error, document)
    if error.kind in _SELF_SAID:
        reason = str(context.get("error") or "").strip() or "the check of this value fails"
        return problem_at(document, path, _without_value(reason, error, document))
    if error.kind in ("literal_error", "enum"):
        choices = error.walk.shape.choices if error.walk.shape else []
        words = error.walk.shape.describe() if error.walk.shape else ""
        message = f"expected {words or context.get('expected')}, got {_got(error, document)}"
        return problem_at(document, path, message, hint=_suggest_choice(error.value, choices))
    if _is_custom(error):
        return _custom(error, document)
    if error.kind in _MISSING:  # an item of a list of fixed length
        words = error.walk.parent.describe() if error.walk.parent else "more items"
        return problem_at(document, path[:-1], f"expected {words}, got {describe_value(error.value)}")
    message = f"{_expected(error)}, got {_got(error, document)}"
    return problem_at(document, path, message, hint=_suggest_quotes(error))


def _unknown_key(error: _Error, document: Document) -> Problem:
    *above, name = error.path
    if error.kind == "invalid_key":  # no text, which `loc` has only roughly
        name = describe_value(error.value)
    place = document.place(error.path, key=True)
    known = error.walk.parent.fields if error.walk.parent else {}
    given = document.find_value(tuple(above))
    unused = [each for each in known if not (isinstance(given, Mapping) and each in given)]
    near = find_near(str(name), unused) or find_near(str(name), known)
    hint = suggest(str(name), known)
    in_text = place is not None and place.line > 0
    if near is not None:
        hint = f"did you mean `{near if in_text else join_path((*document.resolve(tuple(above)), near))}`?"
        if words := known[near].describe_field():
            hint += f"  ({words})"
    shown = str(name) if in_text else join_path((*document.resolve(tuple(above)), name))
    if document.is_secret(tuple(above)):  # a secret may have been taken for a key
        shown, hint = "***", ""
    return Problem(f"unknown key `{cut(shown)}`", place, error.path, hint=hint)


def _wrong_key(error: _Error, document: Document) -> Problem:
    *above, name = error.path
    words = error.walk.shape.describe() if error.walk.shape else ""
    message = f"expected the key to be {words or 'another'}, got {describe_value(name)}"
    place = document.place(error.path, key=True)
    return problem_at(document, tuple(above), message, hint=_suggest_quotes(error), place=place)


def _mistyped_for(error: _Error) -> KeyPath | None:
    *above, name = error.path
    known = error.walk.parent.fields if error.walk.parent else {}
    near = find_near(str(name), known)
    return (*above, near) if near is not None else None


def _missing_key(error: _Error, document: Document) -> Problem:
    name = error.path[-1]
    words = error.walk.shape.describe() if error.walk.shape else ""
    return problem_at(document, error.path, f"missing key `{name}`{f' ({words})' if words else ''}", key=True)


def _wrong_tag(error: _Error, document: Document) -> Problem:
    tag = str(error.context.get("discriminator", "")).strip("'")
    choices = list(error.walk.shape.members) if error.walk.shape else []
    if error.kind == "union_tag_not_found":
        return problem_at(document, (*error.path, tag), f"missing key `{tag}` ({describe_choices(choices)})", key=True)
    got = error.context.get("tag", "")
    hint = _suggest_choice(got, choices)
    path = (*error.path, tag)
    return problem_at(document, path, f"expected {describe_choices(choices)}, got {describe_value(got)}", hint=hint)


def _custom(error: _Error, document: Document) -> Problem:
    context = error.context
    path = (*error.path, *context.get("path", ()))
    offset, length = context.get("offset"), context.get("length")
    place: Place | None = None
    if context.get("file") and context.get("text") is not None:
        place, offset = place_in_text(context["file"], context["text"], offset or 0, length or 1), None
    message = _without_value(error.text, error, document)
    hint = str(context.get("hint", ""))
    at_key = bool(context.get("at_key"))
    return problem_at(document, path, message, hint=hint, key=at_key, offset=offset, length=length, place=place)


def _is_custom(error: _Error) -> bool:
    """True for a type that is not Pydantic's own: those of Pydantic name what the input should be."""
    return not error.text.startswith(_PYDANTIC_SAYS)


_PYDANTIC_SAYS = (
    "Input ", "String ", "List ", "Tuple ", "Set ", "Frozenset ", "Dictionary ", "Data ", "Bytes ", "Value ", "URL ",
    "Unable ", "UUID ", "Decimal ", "Date ", "Datetime ", "Field ", "Keys ", "Iterable ", "Generator ", "Mapping ",
)  # fmt: skip


def _expected(error: _Error) -> str:
    words = error.walk.shape.describe() if error.walk.shape else ""
    context = error.context
    if error.kind == "finite_number":
        return f"expected {words.replace('a number', 'a finite number', 1) or 'a finite number'}"
    if error.kind in _RULES:
        rule = _RULES[error.kind](context)
    elif "min_length" in context or "max_length" in context:
        unit = "character" if error.kind.startswith("string") else "item"
        rule = describe_size(context.get("min_length"), context.get("max_length"), unit)
        rule = "" if "of " in words else rule
    else:
        rule = ""
    if not words:
        said = re.sub(r"^Input should (be )?", "", error.text).partition(", ")[0]
        return f"expected {said[:1].lower()}{said[1:]}"
    return f"expected {words}" if rule in words else f"expected {words} {rule}"


def _got(error: _Error, document: Document) -> str:
    """What was there instead: of a secret nothing but that."""
    if document.is_secret(document.resolve(error.path)) or document.is_secret(error.path):
        return "***"
    value = error.value
    if "actual_length" in error.context and not isinstance(value, (list, tuple, Mapping, str)):
        return f"{error.context['actual_length']}"
    if error.kind.startswith("string_too") and isinstance(value, str) and 0 < len(value) <= MAX_SHOWN:
        return f"{describe_value(value)} ({len(value)} character{'' if len(value) == 1 else 's'})"
    return describe_value(value)


def _without_value(message: str, error: _Error, document: Document) -> str:
    """A validator's own message, without secrets."""
    message = document.conceal(message)
    if document.is_secret(document.resolve(error.path)) or document.is_secret(error.path):
        shown = str(error.value)
        return message.replace(shown, "***") if shown else message
    return message


def _suggest_quotes(error: _Error) -> str:
    """YAML took for a number or a boolean what was meant as text."""
    scalar = isinstance(error.value, (bool, int, float))
    return "put it in quotes" if error.kind == "string_type" and scalar else ""


def _suggest_choice(value: Any, choices: Iterable[Any]) -> str:
    near = find_near(str(value), map(str, choices)) if isinstance(value, str) else None
    return f"did you mean `{near}`?" if near else ""


def _settle_unions(errors: list[_Error], level: int) -> list[_Error]:
    """Of each union's members keep the one the value comes nearest to, or one error that stands for all."""
    settled: list[_Error] = []
    groups: dict[KeyPath, list[_Error]] = {}
    for error in errors:
        if len(error.walk.unions) <= level:
            settled.append(error)
        else:
            point = error.walk.unions[level][0]
            if point not in groups:
                groups[point] = []
            groups[point].append(error)
    for point, group in groups.items():
        settled += _settle_union(point, group, level)
    return settled


def _settle_union(point: KeyPath, group: list[_Error], level: int) -> list[_Error]:
    members: dict[str, list[_Error]] = {}
    for error in group:
        members.setdefault(error.walk.unions[level][2], []).append(error)
    told = [each for each in members.values() if any(error.path != point or _says_more(error) for error in each)]
    if told:
        return _settle_unions(min(told, key=lambda each: _distance(each, point)), level + 1)
    shape = group[0].walk.unions[level][1]
    walk = Walk(point, shape, None)
    kind = "literal_error" if shape.choices else "union"
    words = shape.describe()
    whole = _Error(kind, "Input should be " + words, group[0].value, {"expected": words}, walk)
    return [whole]


def _distance(errors: list[_Error], point: KeyPath) -> tuple[int, int]:
    """How far the value is from a union's member: a wrong `kind: …` of its own weighs more than any other error."""
    kinds = [each for each in errors if each.kind == "literal_error" and len(each.path) == len(point) + 1]
    return len(kinds), len(errors)


def _says_more(error: _Error) -> bool:
    return error.kind in _SELF_SAID or _is_custom(error)
