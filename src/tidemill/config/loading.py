"""Load a configuration into any Pydantic type, with every error at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from tidemill.config.coercion import ConfigRules
from tidemill.config.layers.document import Document
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.report.caller import raise_at_caller
from tidemill.config.report.validation import problems_from_validation
from tidemill.config.shape import Shape
from tidemill.config.suggest import suggest
from tidemill.errors import Place, Problem

T = TypeVar("T")


def load_config(
    model: type[T],
    source: str | Path | Mapping[str, Any],
    *,
    overrides: Sequence[str] = (),
    context: Mapping[str, Any] | None = None,
) -> T:
    """A validated `model` from a YAML file or a mapping.

    Args:
        model: a `Config`, any Pydantic model, a dataclass or a TypedDict.
        source: the file's path, or the values themselves.
        overrides: `budget.usd=40`, `steps.1.generate.max_tokens=32`: taken over the file's, in order. The value is
            YAML.
        context: what validators see; `folder`, against which paths and modules are sought, is the file's own folder
            unless given (of a mapping, the working folder).

    Raises:
        ConfigError: with every problem there is, and their report as its message.
    """
    if isinstance(source, Mapping):
        document, folder = Document.from_value(dict(source)), Path.cwd()
    else:
        document, folder = Document.load(source), Path(source).absolute().parent
    document, problems = apply_overrides(document, overrides)
    value, more = validate_document(model, document, {"folder": folder, **(context or {})})
    raise_at_caller([*problems, *more], Shape.of(_adapt(model).core_schema))
    return cast(T, value)


def validate_document(
    model: type[T], document: Document, context: Mapping[str, Any] | None = None
) -> tuple[T | None, list[Problem]]:
    """The document as `model`, None when it is not valid; and every problem: the text's own and the values'."""
    adapter = _adapt(model)
    shape = Shape.of(adapter.core_schema)
    document.hide(shape.iter_secrets(document.value), shape.secret_names)
    problems = list(document.problems)
    if not document.readable:
        return None, problems
    value = document.value if document.value is not None else {}
    try:
        return adapter.validate_python(value, context=dict(context or {})), problems
    except ValidationError as error:
        return None, problems + problems_from_validation(error, document, shape)


def apply_overrides(document: Document, overrides: Sequence[str]) -> tuple[Document, list[Problem]]:
    """The document with `path=value` assignments applied in order, and what is wrong with them."""
    problems: list[Problem] = []
    for override in overrides:
        label, equals, text = override.partition("=")
        label = label.strip()
        if not equals or not label:
            message = f"expected `path=value`, as `budget.usd=40`, got `{label}`"
            problems.append(Problem(message, Place(f"--set {label}")))
            continue
        given = Document.parse(text, f"--set {label}")
        problems += [dataclasses.replace(each, place=Place(f"--set {label}")) for each in given.problems]
        if not given.readable or not document.readable:
            continue
        path = _find_path(document.value, label)
        try:
            document = document.assign(path, given.value, label)
        except LookupError as error:
            problems.append(_no_such_path(document, path, error.args[0], label))
    return document, problems


def _find_path(value: Any, label: str) -> KeyPath:
    """The key path a dotted label means: a key that itself holds dots is found where it exists."""
    parts = label.split(".")
    path: list[str | int] = []
    while parts:
        if isinstance(value, (list, tuple)):
            part = parts.pop(0)
            item: str | int = int(part) if part.isdecimal() else part
            value = value[item] if isinstance(item, int) and item < len(value) else None
        else:
            keys = value if isinstance(value, Mapping) else {}
            size = next((n for n in range(len(parts), 1, -1) if ".".join(parts[:n]) in keys), 1)
            item = ".".join(parts[:size])
            del parts[:size]
            value = keys.get(item)
        path.append(item)
    return tuple(path)


def _no_such_path(document: Document, path: KeyPath, item: str | int, label: str) -> Problem:
    above = path[: path.index(item)]
    holder = document.find_value(above)
    shown = join_path(above)
    if isinstance(holder, (list, tuple)):
        known = [str(index) for index in range(len(holder))]
        message = f"`{shown}` is a list of {len(holder)} and has no `{item}`"
        return Problem(message, Place(f"--set {label}"), path, hint=suggest(str(item), known) if known else "")
    message = f"`{shown}` is no mapping: nothing can be set below it"
    return Problem(message, Place(f"--set {label}"), path, hint="set it as a whole")


def _adapt(model: type[T]) -> TypeAdapter[T]:
    safe: Any = model if _is_model(model) else Annotated[model, ConfigRules()]
    return TypeAdapter(safe)


def _is_model(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)
