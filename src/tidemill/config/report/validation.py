"""Pydantic's errors as problems: one sentence each, at its place, with its mend."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from tidemill.config.layers.document import Document
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.report.defaults import name_default
from tidemill.config.report.failures import MISSING, SELF_SAID, UNKNOWN_KEY, Failure, find_failures
from tidemill.config.report.mentions import find_mentioned, find_source
from tidemill.config.report.rendering import problem_at
from tidemill.config.report.sentences import describe_failure, describe_given, is_secret, suggest_choice, suggest_quotes
from tidemill.config.secrets import mask_parts
from tidemill.config.shapes.membership import choose_members, explain_member
from tidemill.config.shapes.misplaced import iter_misplaced
from tidemill.config.shapes.shape import Shape, enter_path
from tidemill.config.types.templates import place_in_text
from tidemill.config.wording.suggest import find_near, suggest
from tidemill.config.wording.words import cut, describe_choices, describe_value
from tidemill.errors import Place, Problem


def problems_from_validation(error: ValidationError, document: Document, shape: Shape) -> list[Problem]:
    """What Pydantic found wrong with `document.value`, one problem each.

    A union gives the problems of the member the value comes nearest to, or one that names all members. A key that
    is missing because it was mistyped is told once. What stands where the text itself is faulty is left out.

    A `ValueError` from a validator of several fields is told at the one that its message names in backticks or
    quotes: "`batch_size` must be a multiple of `devices`" points at `batch_size`, or at `devices` where only that was
    given; a dotted name, as `optim.lr`, leads further in.

    A validator may instead raise `PydanticCustomError` with, in its context, `hint`; `path`, from the value it checks
    to the one it means; `offset` and `length` of the wrong part of a text; `file` and `text`, where the offset is
    into another file.

    Args:
        shape: of the type that was validated; its secrets were hidden in the document, all but what stands in the
            wrong place, which is hidden here.
    """
    details = error.errors(include_url=False, include_context=False)
    if misplaced := list(iter_misplaced(details, shape)):
        document.hide(misplaced)
    settled = [each for each in find_failures(error, shape) if not document.is_broken(each.path)]
    meant = _find_meant([each for each in settled if each.kind in UNKNOWN_KEY], document)
    mistyped = {(*path[:-1], name) for path, name in meant.items()}
    settled = [each for each in settled if each.kind not in MISSING or each.path not in mistyped]
    if not document.is_whole:
        settled = [each for each in settled if each.kind not in (*MISSING, "union_tag_not_found")]
    problems = (
        name_default(problem, each, document, shape)
        for each in settled
        for problem in _iter_problems(each, document, shape, meant.get(each.path))
    )
    return [replace(each, path=_without_secrets(each.path, document)) for each in problems]


def explain_errors(error: ValidationError, model: type[BaseModel], value: Any) -> list[Problem]:
    """As `problems_from_validation`, for a `value` of `model` that stands in no file."""
    document = Document.from_value(value)
    shape = choose_members(Shape.of(model.__pydantic_core_schema__), value)
    document.hide(shape.iter_secrets(value), shape.secret_names)
    return problems_from_validation(error, document, shape)


def _iter_problems(error: Failure, document: Document, shape: Shape, near: str | None) -> Iterator[Problem]:
    """The problem of an error; of an unknown key, which may stand for `near`, one for each source that gives it."""
    if error.kind not in UNKNOWN_KEY:
        yield _to_problem(error, document)
        return
    for place in (document.place(error.path, key=True), *document.iter_earlier(error.path, key=True)):
        yield _unknown_key(error, document, shape, near, place)


def _to_problem(error: Failure, document: Document) -> Problem:
    path = error.path
    if error.kind in MISSING and isinstance(path[-1], str):
        return _missing_key(error, document)
    if error.kind in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_tag(error, document)
    if error.walk.key:
        return _wrong_key(error, document)
    if error.kind in SELF_SAID:
        return _said(error, document)
    if error.is_custom:
        return _custom(error, document)
    if error.kind in MISSING:  # an item of a list of fixed length
        words = error.walk.parent.describe() if error.walk.parent else "more items"
        return problem_at(document, path[:-1], f"expected {words}, got {describe_value(error.value)}")
    message, hint = describe_failure(error, document)
    return problem_at(document, path, message, hint=hint, place=find_source(error, document))


def _without_secrets(path: KeyPath, document: Document) -> KeyPath:
    """The path as far as to the first secret: what stands below it may be one that was taken for a key."""
    ends = (end for end in range(1, len(path)) if document.is_secret(path[:end]))
    return path[: next(ends, len(path))]


def _unknown_key(error: Failure, document: Document, shape: Shape, near: str | None, place: Place | None) -> Problem:
    *above, name = error.path
    if error.kind == "invalid_key":  # no text, which `loc` has only roughly
        name = describe_value(error.value)
    parent = error.walk.parent
    known = parent.fields if parent else {}
    hint = suggest(str(name), known)
    if elsewhere := explain_member(enter_path((shape,), above), parent, str(name)):
        hint = elsewhere
    elif parent and name in parent.aliases:
        hint = f"it is another name of `{parent.aliases[str(name)]}`: keep one of them"
    elif parent and "." in str(name) and enter_path((parent,), str(name).split(".")):
        section, _, key = str(name).rpartition(".")
        hint = f"write `{key}` within `{section}`"
    elif near is not None:
        hint = f"did you mean `{_name_key((*above, near), place, document)}`?"
        if words := known[near].describe_field():
            hint += f"  ({words})"
    shown = _name_key((*above, name), place, document)
    if document.is_secret(tuple(above)):  # a secret may have been taken for a key
        shown, hint = "***", ""
    return Problem(f"unknown key `{cut(shown)}`", place, error.path, hint=hint)


def _name_key(path: KeyPath, place: Place | None, document: Document) -> str:
    """A key by itself where it stands in a text, else with the path to it."""
    in_text = place is not None and place.line > 0
    return str(path[-1]) if in_text else join_path((*document.resolve(path[:-1]), path[-1]))


def _wrong_key(error: Failure, document: Document) -> Problem:
    *above, name = error.path
    name = name if isinstance(error.value, str) else error.value  # which `loc` has as a text
    got = describe_given(name, error.path, document, key=True)
    message = f"expected the key to be {error.words or 'another'}, got {got}"
    place = document.place(error.path, key=True)
    hint = suggest_quotes(error) or suggest_choice(name, error.walk.shape.choices if error.walk.shape else [])
    return problem_at(document, tuple(above), message, hint=hint, place=place)


def _find_meant(errors: Iterable[Failure], document: Document) -> dict[KeyPath, str]:
    """The field that each mistyped key stands for, by the path of the key.

    Rather one that is not given, and no other key stands for, and of those one that must be.
    """
    meant: dict[KeyPath, str] = {}
    taken: set[KeyPath] = set()
    for error in errors:
        *above, name = error.path
        parent = error.walk.parent
        known, aliases = (parent.fields, parent.aliases) if parent else ({}, {})
        others = {**parent.keys, **aliases} if parent else {}
        given = document.find_value(tuple(above))
        used = set(given) if isinstance(given, Mapping) else set()
        unused = [each for each in known if each not in used and (*above, each) not in taken]
        needed = [each for each in unused if known[each].is_required]
        near = parent.elsewhere.get(str(name)) if parent else None
        near = near or find_near(str(name), needed, unused, known) or others.get(find_near(str(name), others) or "")
        is_word = error.kind != "invalid_key" or not isinstance(error.value, (bool, type(None)))
        if near is not None and is_word and name not in aliases:
            meant[error.path] = near
            taken.add((*above, near))
    return meant


def _missing_key(error: Failure, document: Document) -> Problem:
    name = error.path[-1]
    return problem_at(
        document, error.path, f"missing key `{name}`{f' ({error.words})' if error.words else ''}", key=True
    )


def _wrong_tag(error: Failure, document: Document) -> Problem:
    tag = str(error.context.get("discriminator", "")).strip("'")
    choices = list(error.walk.shape.members) if error.walk.shape else []
    given = error.value if isinstance(error.value, Mapping) else {}
    path = (*error.path, tag)
    if error.kind == "union_tag_not_found":
        words = error.walk.shape.describe_tag() if error.walk.shape else ""
        typo = _find_mistyped_tag(tag, given, error)
        if typo is not None:
            return _mistyped_tag(path, typo, document, words)
        return problem_at(document, path, f"missing key `{tag}` ({words})", key=True)
    got = given.get(tag, error.context.get("tag"))  # the context has it as text: null as `None`
    hint = suggest_choice(got, choices)
    return problem_at(
        document, path, f"expected {describe_choices(choices)}, got {describe_given(got, path, document)}", hint=hint
    )


def _find_mistyped_tag(tag: str, given: Mapping[str, Any], error: Failure) -> str | None:
    """The key that was meant to be the tag: one that no member has."""
    members = error.walk.shape.members.values() if error.walk.shape else ()
    known = {name for member in members for name in member.fields}
    return find_near(tag, [str(key) for key in given if key not in known])


def _mistyped_tag(path: KeyPath, typo: str, document: Document, words: str) -> Problem:
    written = (*path[:-1], typo)
    place = document.place(written, key=True)
    shown, meant = _name_key(written, place, document), _name_key(path, place, document)
    if document.is_secret(path[:-1]):  # a secret may have been taken for a key
        return Problem("unknown key `***`", place, written)
    return Problem(f"unknown key `{cut(shown)}`", place, written, hint=f"did you mean `{meant}`?  ({words})")


def _said(error: Failure, document: Document) -> Problem:
    reason = str(error.context.get("error") or "").strip() or "the check of this value fails"
    path = find_mentioned(error, document)
    place = document.place(error.path) if document.resolve(path) != path else None
    return problem_at(document, path, _without_value(reason, error, document), place=place)


def _custom(error: Failure, document: Document) -> Problem:
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


def _without_value(message: str, error: Failure, document: Document) -> str:
    """A validator's own message, without secrets."""
    message = document.conceal(message)
    given = document.find_value(error.path) if is_secret(error, document) else None
    return mask_parts(message, str(given)) if isinstance(given, (str, int, float)) else message
