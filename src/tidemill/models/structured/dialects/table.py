"""Every dialect by its name, and which one a provider speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from tidemill.config.subschemas import JsonSchema, close_object, drop_title, inline_root, map_schemas
from tidemill.models.structured.dialects import anthropic, gemini, llama_cpp, openai
from tidemill.models.structured.dialects.adapted import Adapted

Dialect = Literal["openai", "anthropic", "gemini", "llama.cpp"]

DIALECTS: Mapping[str, Callable[[Mapping[str, Any]], Adapted]] = {
    "openai": openai.adapt,
    "anthropic": anthropic.adapt,
    "gemini": gemini.adapt,
    "llama.cpp": llama_cpp.adapt,
}

_TOOLS_STRICT = frozenset({"openai", "anthropic"})
"""Those that hold a tool's arguments to a schema on demand."""


def adapt(schema: Mapping[str, Any], dialect: Dialect) -> Adapted:
    """What `dialect` makes of `schema`. Pure."""
    return DIALECTS[dialect](schema)


def adapt_tool(schema: Mapping[str, Any], dialect: Dialect) -> tuple[Mapping[str, Any], bool]:
    """A tool's parameters as a provider takes them, and whether it is asked to hold arguments to them.

    Strict where nothing is lost by that; elsewhere the schema stands as it is, titles apart, for the model to read.
    """
    adapted = adapt(schema, dialect)
    if dialect in _TOOLS_STRICT and adapted.loses_nothing:
        return adapted.schema, True
    return tidy_schema(schema), False


def adapt_tools(
    schemas: Iterable[Mapping[str, Any]], dialect: Dialect, reply: Mapping[str, Any] | None = None
) -> list[tuple[Mapping[str, Any], bool]]:
    """The parameters of all tools of a request, each as `adapt_tool` has it, in order.

    Anthropic bounds the strict schemas of a request together: those that find no more room are not strict.

    Args:
        reply: the schema that the reply is held to, which takes of the same room.
    """
    load = anthropic.weigh(reply) if reply is not None else anthropic.Load()
    adapted = []
    for schema in schemas:
        parameters, is_strict = adapt_tool(schema, dialect)
        if is_strict and dialect == "anthropic":
            more = load + anthropic.weigh(parameters, tools=1)
            if more.fits:
                load = more
            else:
                parameters, is_strict = tidy_schema(schema), False
        adapted.append((parameters, is_strict))
    return adapted


def tidy_schema(schema: Mapping[str, Any]) -> JsonSchema:
    """`schema` without titles, which are billed with every request and say nothing new; closed, its root no reference.

    A renamed class asks the same.
    """
    tidied = map_schemas(dict(schema), lambda part: close_object(drop_title(part)))
    return inline_root(tidied)
