"""`Tools`: what an agent's `tools` may be, in Python and in a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import BeforeValidator, PlainSerializer, ValidationError, ValidationInfo, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

from tidemill.agents.builtin.table import BUILTIN, load_settings
from tidemill.agents.teams import FanOut
from tidemill.agents.tools.decorator import tool
from tidemill.agents.tools.tool import Tool, ToolSource
from tidemill.config.types.functions import import_object, to_import_path
from tidemill.config.wording.suggest import suggest
from tidemill.config.wording.words import Says, describe_value
from tidemill.errors import ConfigError

_KINDS = frozenset(get_args(ErrorType))
"""Pydantic's own kinds of errors; others are validators'."""
_FORMS = "a function, a tool, an agent, a source of tools, `module:name`, or one of ours with its settings"


def _to_tools(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise PydanticCustomError("tools", "expected a list of tools, got {got}", {"got": describe_value(value)})
    found: list[Any] = []
    for index, each in enumerate(value):
        try:
            found += _iter_tools(each, info)
        except ConfigError as error:
            raise _wrong(index, error.message, error.hint) from None
        except ValidationError as error:
            raise _place(error, index) from None
        except PydanticCustomError as error:
            raise _wrong(index, error.message(), str((error.context or {}).get("hint", ""))) from None
    return tuple(found)


def _iter_tools(value: Any, info: ValidationInfo) -> Iterator[Any]:
    """What `value` stands for: a list of tools, as of an API, is each of them."""
    folder = Path((info.context or {}).get("folder") or ".")
    if isinstance(value, str) and value in BUILTIN:
        raise _needs_settings(value, "nothing")
    if isinstance(value, str):
        value = import_object(value, folder)
    elif isinstance(value, Mapping):
        value = _make_builtin(value, folder)
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _iter_tools(each, info)
    elif isinstance(value, (Tool, ToolSource, FanOut)) or is_agent(value):
        yield value
    elif callable(value):
        yield tool(value)
    else:
        raise ConfigError(f"expected {_FORMS}, got {describe_value(value)}")


def _make_builtin(written: Mapping[str, Any], folder: Path) -> Any:
    """One of the tools that come along, or several.

    Raises:
        ConfigError: it is none.
        ValidationError: its settings are wrong.
    """
    if len(written) != 1:
        raise ConfigError(f"expected one tool with its settings, got {len(written)} keys", hint="write - name: {…}")
    [(name, settings)] = written.items()
    if name not in BUILTIN:
        raise ConfigError(f"unknown tool `{name}`", hint=suggest(str(name), BUILTIN))
    if not isinstance(settings, Mapping):
        raise _needs_settings(name, describe_value(settings))
    try:
        described = load_settings(name).model_validate(settings, context={"folder": folder})
    except ValidationError as error:
        raise _place(error, name) from None
    return described.make(folder)


def _needs_settings(name: str, given: str) -> ConfigError:
    required = [key for key, field in load_settings(name).model_fields.items() if field.is_required()]
    hint = f"write {name}: {{{', '.join(f'{key}: …' for key in required) or '…'}}}"
    return ConfigError(f"expected the settings of `{name}`, got {given}", hint=hint)


def is_agent(value: Any) -> bool:
    """Whether it is an agent, which this module comes before."""
    return hasattr(value, "list_teams")


def _place(error: ValidationError, place: str | int) -> ValidationError:
    """The same problems, each further in."""
    details = []
    for each in error.errors(include_url=False):
        known: Any = each["type"]
        if known not in _KINDS:
            known = PydanticCustomError(each["type"], "{message}", {**each.get("ctx", {}), "message": each["msg"]})
        detail = InitErrorDetails(type=known, loc=(place, *each["loc"]), input=each["input"], ctx=each.get("ctx", {}))
        details.append(detail)
    return ValidationError.from_exception_data(error.title, details)


def _wrong(index: int, message: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("tools", "{message}", {"message": message, "hint": hint, "path": (index,)})


def _describe(tools: Sequence[Any]) -> list[Any]:
    return [to_import_path(each) for each in tools]


Tools = Annotated[
    tuple[Any, ...],
    BeforeValidator(_to_tools),
    PlainSerializer(_describe, return_type=list),
    Says("a list of tools"),
    WithJsonSchema({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}),
]
"""Tools, sources of tools and agents; each may be given as an import path, or by the settings of one of ours."""
