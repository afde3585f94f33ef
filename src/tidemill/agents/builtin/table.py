"""The names by which a file calls the tools that come along; what describes each is loaded when it is named."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidemill.agents.builtin.settings import Builtin

BUILTIN = {
    "web_search": "WebSearch",
    "http_get": "HttpGet",
    "read_file": "ReadFile",
    "list_files": "ListFiles",
    "sql_query": "SQLQuery",
    "sql_schema": "SQLSchema",
    "python": "Python",
    "openapi": "Openapi",
    "mcp": "Mcp",
    "vector_search": "SearchVectors",
}
"""The class of `settings.py` that describes each, by its name."""


def load_settings(name: str) -> type[Builtin]:
    """What describes the tool of that name, one of `BUILTIN`."""
    kind: type[Builtin] = getattr(import_module("tidemill.agents.builtin.settings"), BUILTIN[name])
    return kind
