"""Why a configuration is not changed in place, and what to do instead."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from tidemill.config.members import list_keys
from tidemill.config.secrets import is_secret_key, mask
from tidemill.config.shapes.shape import Shape
from tidemill.config.wording.suggest import suggest
from tidemill.config.wording.words import MAX_SHOWN
from tidemill.errors import Problem

_FROZEN = frozenset({"frozen_instance", "frozen_field"})


def explain_frozen(config: BaseModel, name: str, error: ValidationError, value: Any = ...) -> Problem:
    """The problem with an attribute that was set to `value`, or deleted.

    Raises:
        ValidationError: it can be set, and the value is wrong.
    """
    if any(each["type"] not in _FROZEN for each in error.errors(include_url=False)):
        raise error
    message = f"`{name}` cannot be {'deleted' if value is ... else 'set'}: a configuration is frozen"
    fields = type(config).model_fields
    if name not in fields:
        return Problem(message, path=(name,), hint=suggest(name, fields))
    key = list_keys(type(config)).get(name, name)
    shape = Shape.of(type(config).__pydantic_core_schema__).fields[key]
    shown = "…" if shape.is_secret or is_secret_key(name) or is_secret_key(key) else _show(value)
    return Problem(message, path=(key,), hint=f'a copy can have another value: `cfg.replace("{key}", {shown})`')


def _show(value: Any) -> str:
    """A short scalar as Python has it."""
    text = repr(value) if isinstance(value, (str, int, float)) or value is None else "…"
    return text if len(text) <= MAX_SHOWN and mask(text) == text else "…"
