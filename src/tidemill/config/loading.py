"""Load a configuration into any Pydantic type, with every error at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError

from tidemill.config.coercion.adapters import adapt, shape_of
from tidemill.config.layers.document import Document
from tidemill.config.layers.origins import Origins, attach_origins
from tidemill.config.layers.overrides import Override
from tidemill.config.layers.stacking import Source, Sources, stack_document
from tidemill.config.report.caller import raise_at_caller
from tidemill.config.report.validation import problems_from_validation
from tidemill.config.shapes.membership import choose_members
from tidemill.errors import Problem

T = TypeVar("T")


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """A validated configuration, and where each of its values came from."""

    value: T
    origins: Origins


def load_config(
    model: type[T],
    *sources: Source,
    environment: str | None = None,
    overrides: str | Sequence[str | Override] = (),
    context: Mapping[str, Any] | None = None,
) -> T:
    """A validated `model` from files and mappings, each over those before, then the environment, then overrides.

    Mappings merge key by key; lists and scalars replace. A file may `include:` others, and refer to keys
    (`${optim.lr}`), the environment (`${env:NAME:-default}`) and files (`${file:path}`).

    Args:
        model: a `Config`, any Pydantic model, a dataclass or a TypedDict.
        sources: paths of YAML, TOML or JSON files, or the values themselves.
        environment: the prefix of variables that set keys: with `TRAIN`, `TRAIN__OPTIM__LR` sets `optim.lr`, and one
            that names no key is an error.
        overrides: `optim.lr=3e-4`, `steps.1.generate.max_tokens=32`, `@other.yaml`, `optim=@adam.yaml`, in order.
            The value is YAML; where only a text fits, the text itself. One text is one override.
        context: what validators see; `folder`, against which paths and modules are sought, is the last file's own
            folder unless given (without files, the working folder).

    Raises:
        ConfigError: with every problem there is, and their report as its message.
    """
    return load_with_origins(model, *sources, environment=environment, overrides=overrides, context=context).value


def load_with_origins(
    model: type[T],
    *sources: Source,
    environment: str | None = None,
    overrides: str | Sequence[str | Override] = (),
    context: Mapping[str, Any] | None = None,
) -> Loaded[T]:
    """As `load_config`, with the origin of every value: what a `Config` keeps itself, for any other type."""
    given = Sources(sources, environment, (overrides,) if isinstance(overrides, str) else tuple(overrides))
    document = load_document(model, given)
    context = {"folder": given.folder, **(context or {})}
    value, problems = validate_document(model, document, context)
    raise_at_caller(problems, choose_members(shape_of(model), document.value, context))
    return Loaded(cast(T, value), attach_origins(value, document))


def load_document(model: type[Any], sources: Sources) -> Document:
    """What `sources` hold together for a `model`, not yet validated."""
    return stack_document(sources, shape_of(model))


def validate_document(
    model: type[T], document: Document, context: Mapping[str, Any] | None = None
) -> tuple[T | None, list[Problem]]:
    """The document as `model`, None when it is not valid; and every problem: the text's own and the values'."""
    shape = choose_members(shape_of(model), document.value, context)
    document.hide(shape.iter_secrets(document.value), shape.secret_names)
    if not document.readable:
        return None, list(document.problems)
    value = document.value if document.value is not None else {}
    try:
        return adapt(model).validate_python(value, context=dict(context or {})), list(document.problems)
    except ValidationError as error:
        found = problems_from_validation(error, document, shape)  # which hides more in the document
        return None, document.sort([*document.problems, *found])
