"""What `tidemill schema --for` says: how a provider is asked for a reply, or told of a tool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import isroutine
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from tidemill.agents.agent import Agent
from tidemill.agents.tools.decorator import tool
from tidemill.agents.tools.tool import Tool
from tidemill.config.types.functions import import_object
from tidemill.errors import ConfigError
from tidemill.models.structured.dialects.adapted import Adapted
from tidemill.models.structured.dialects.table import Dialect, adapt, adapt_tool
from tidemill.models.structured.outputs import to_target
from tidemill.models.structured.plan import Abilities, plan_output
from tidemill.models.structured.telling import iter_lines, iter_losses


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to say of one thing in one dialect.

    Attributes:
        schema: as it is sent.
        way: the rung of a reply, `tool` of a tool.
        strict: whether the provider is asked to hold the model to it.
        adapted: what is dropped and forbidden.
        lines: the same, for a reader.
    """

    schema: Mapping[str, Any]
    way: str
    strict: bool
    adapted: Adapted
    lines: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON of it."""
        return {
            "schema": self.schema,
            "rung": self.way,
            "strict": self.strict,
            "dropped": [each._asdict() for each in self.adapted.dropped],
            "forbidden": list(self.adapted.forbidden),
        }


def describe_for(name: str, dialect: Dialect) -> Told:
    """What a model of that dialect gets of the reply or the tool called `name`.

    Args:
        name: an import path, of a tool also that of its function, or a `.json` file with a JSON Schema.

    Raises:
        ConfigError: there is no such thing, or it is neither.
    """
    try:
        found = import_object(name, Path.cwd()) if ":" in name else None
        if isinstance(found, Agent):
            raise ConfigError(f"`{name}` is an agent", hint="name one of its tools, or its output")
        if isinstance(found, Tool) or isroutine(found):  # a function is what an agent makes a tool
            return _describe_tool(found if isinstance(found, Tool) else tool(found), dialect)
        target = to_target(name, Path.cwd())
    except PydanticCustomError as error:
        raise ConfigError(error.message(), hint=str((error.context or {}).get("hint", ""))) from None
    plan = plan_output(target, Abilities(dialect, calls_tools=dialect != "llama.cpp"))
    return Told(plan.schema, plan.rung, plan.strict, plan.adapted, tuple(iter_lines(plan)))


def _describe_tool(described: Tool, dialect: Dialect) -> Told:
    schema = described.signature.schema
    parameters, strict = adapt_tool(schema, dialect)
    adapted = adapt(schema, dialect)
    held = "the provider holds arguments to it" if strict else "arguments are checked when they are there"
    return Told(parameters, "tool", strict, adapted, (held, *iter_losses(adapted)))
