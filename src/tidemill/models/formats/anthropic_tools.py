"""The tools of a request in Anthropic's format.

Source: the API reference of `POST /v1/messages` and the guide "Tool use" (platform.claude.com, read in November 2026).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from tidemill.models.formats.anthropic_caching import CACHED
from tidemill.models.options import Options, ToolSpec

_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


class Tools(NamedTuple):
    """The field of the tools as it stands in a body, empty where there are none.

    Attributes:
        plain, marked: without and with a mark at the last of them, by which all are kept in the prompt cache.
    """

    plain: bytes
    marked: bytes


def dump_tools(options: Options) -> Tools:
    """The tools of `options`, the provider's own among `params` behind them."""
    if not options.tools:
        return Tools(b"", b"")
    told = [_render_tool(tool) for tool in options.tools] + list(options.params.get("tools") or ())
    marked = [*told[:-1], {"cache_control": CACHED, **told[-1]}]
    return Tools(b',"tools":' + orjson.dumps(told), b',"tools":' + orjson.dumps(marked))


def _render_tool(tool: ToolSpec) -> dict[str, Any]:
    told = {"name": tool.name, "description": tool.description, "input_schema": dict(tool.parameters)}
    return {**told, "strict": True} if tool.strict else told


def render_choice(options: Options) -> dict[str, Any] | None:
    """The `tool_choice` of a request; None leaves it to the endpoint, as it is without tools."""
    choice = options.tool_choice if options.tools else None
    if choice is None:
        return None
    kind = _CHOICES.get(choice)
    return {"type": "tool", "name": choice} if kind is None else {"type": kind}
