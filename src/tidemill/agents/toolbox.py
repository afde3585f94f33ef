"""`Tools`: what an agent's `tools` may be, in Python and in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, ValidationError, ValidationInfo, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from tidemill.agents.builtin.table import BUILTIN, load_settings
from tidemill.agents.teams import FanOut
from tidemill.agents.tools.decorator import tool
from tidemill.agents.tools.methods import ToolMethod
from tidemill.agents.tools.tool import Tool, ToolSource
from tidemill.config.model import Config
from tidemill.config.report.validation import explain_errors
from tidemill.config.types.functions import import_object, to_import_path
from tidemill.config.wording.suggest import suggest
from tidemill.config.wording.words import Says, describe_value
from tidemill.errors import ConfigError, Problem
from tidemill.models.model import Model

_FORMS = "a function, a tool, an agent, a source of tools, `module:name`, or one of ours with its settings"


def _to_tools(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise PydanticCustomError("tools", "expected a list of tools, got {got}", {"got": describe_value(value)})
    found: list[Any] = []
    wrong: list[InitErrorDetails] = []
    for index, each in enumerate(value):
        try:
            found += _iter_tools(each, info)
        except WrongSettings as error:
            wrong += [_wrong(index, problem, each) for problem in error.problems]
        except ConfigError as error:
            wrong.append(_wrong(index, Problem(error.message, hint=error.hint), each))
        except PydanticCustomError as error:
            hint = str((error.context or {}).get("hint", ""))
            wrong.append(_wrong(index, Problem(error.message(), hint=hint), each))
    if wrong:
        raise ValidationError.from_exception_data("tools", wrong)
    return tuple(found)


class WrongSettings(Exception):  # noqa: N818 - a word between who reads settings and who knows where they stand
    """The settings of one of our tools do not fit.

    Attributes:
        problems: all of them, each with its path from the tool's name on.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(len(problems))
        self.problems = problems


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
    elif isinstance(value, Model):
        raise ConfigError("a model is no tool", hint="an agent is one: tm.Agent(model, name=…, description=…)")
    elif callable(value):
        yield _make_tool(value)
    else:
        raise ConfigError(f"expected {_FORMS}, got {describe_value(value)}")


def _make_builtin(written: Mapping[str, Any], folder: Path) -> Any:
    """One of the tools that come along, or several.

    Raises:
        ConfigError: it is none.
        WrongSettings: its settings do not fit.
    """
    if len(written) != 1:
        raise ConfigError(f"expected one tool with its settings, got {len(written)} keys", hint="write - name: {…}")
    [(name, settings)] = written.items()
    if name not in BUILTIN:
        raise ConfigError(f"unknown tool `{name}`", hint=suggest(str(name), BUILTIN))
    if not isinstance(settings, Mapping):
        raise _needs_settings(name, describe_value(settings))
    kind = load_settings(name)
    try:
        described = kind.model_validate(settings, context={"folder": folder})
    except ValidationError as error:
        found = explain_errors(error, kind, settings)
        raise WrongSettings([replace(each, path=(name, *each.path)) for each in found]) from None
    made = described.make(folder)
    kept = {name: described.to_dict(defaults=False)}
    if isinstance(made, list):
        return [replace(each, written=kept) for each in made]
    return replace(made, written=kept) if isinstance(made, Tool) else made


def _make_tool(function: Callable[..., Any]) -> Tool:
    made: Tool | ToolMethod = tool(function)
    if isinstance(made, ToolMethod):  # whose instance nobody knows
        raise ConfigError(f"`{made.__name__}` is a method, taken of its class", hint="take it of an instance")
    return made


def _needs_settings(name: str, given: str) -> ConfigError:
    required = [key for key, field in load_settings(name).model_fields.items() if field.is_required()]
    hint = f"write {name}: {{{', '.join(f'{key}: …' for key in required) or '…'}}}"
    return ConfigError(f"expected the settings of `{name}`, got {given}", hint=hint)


def is_agent(value: Any) -> bool:
    """Whether it is an agent, which this module comes before."""
    return hasattr(value, "list_teams") and not isinstance(value, type)


def _wrong(index: int, problem: Problem, given: Any) -> InitErrorDetails:
    at_key = problem.message.startswith(("unknown key", "missing key"))
    told = {"message": problem.message, "hint": problem.hint, "path": (index, *problem.path), "at_key": at_key}
    return InitErrorDetails(type=PydanticCustomError("tools", "{message}", told), input=given)


def write_tools(tools: Sequence[Any]) -> list[Any]:
    """The list as a file has it: what was made of settings by these, several tools of one entry by it once."""
    described: list[Any] = []
    for each in tools:
        written = each.written if isinstance(each, Tool) else None
        if isinstance(each, Config) and isinstance(each, ToolSource):
            written = {"mcp": each.to_dict(defaults=False)}
        if written is None:
            described.append(to_import_path(each))
        elif not described or described[-1] is not written:
            described.append(written)
    return described


Tools = Annotated[
    tuple[Any, ...],
    BeforeValidator(_to_tools),
    PlainSerializer(write_tools, return_type=list),
    Says("a list of tools"),
    WithJsonSchema({"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}),
]
"""Tools, sources of tools and agents; each may be given as an import path, or by the settings of one of ours."""
