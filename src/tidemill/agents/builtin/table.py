"""The tools that a job file can name: `tools: [{web_search: {engine: searxng, base_url: …}}]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from tidemill.agents.builtin.http_get import FetchLimits, http_get
from tidemill.agents.builtin.read_file import MAX_READ, list_files, read_file
from tidemill.agents.builtin.search_engines import Brave, Params, SearchEngine, SearXNG, Tavily
from tidemill.agents.builtin.sql_query import SQLLimits, sql_query, sql_schema
from tidemill.agents.builtin.web_search import MAX_HITS, web_search
from tidemill.agents.mcp.server import McpServer
from tidemill.agents.operations.openapi import OpenApi
from tidemill.agents.tools.tool import Tool
from tidemill.config.model import Config
from tidemill.config.roles import Runtime


class Builtin(Config):
    """A tool of Tidemill's as it is described in a file."""

    def make(self) -> Tool:
        """The tool.

        Raises:
            ConfigError: it cannot be made: a key, folder or file is not there.
        """
        raise NotImplementedError


class WebSearch(Builtin):
    """Finds pages by a search engine.

    Attributes:
        engine: which one.
        base_url: where it is; SearXNG needs one.
        api_key: the key; by default BRAVE_API_KEY or TAVILY_API_KEY, from the environment or `.env`.
        params: sent along with each search, as the engine names them.
        count: pages that are found where the model does not say how many.
    """

    engine: Literal["searxng", "brave", "tavily"]
    base_url: Annotated[str | None, Runtime()] = None
    api_key: Annotated[SecretStr | None, Runtime()] = Field(default=None, repr=False)
    params: Params = Field(default_factory=dict)
    count: int = Field(default=8, ge=1, le=MAX_HITS)

    @model_validator(mode="after")
    def _check_engine(self) -> Self:
        if self.engine == "searxng" and self.base_url is None:
            raise ValueError("`searxng` needs its `base_url`, such as `http://localhost:8080`")
        if self.engine == "searxng" and self.api_key is not None:
            raise ValueError("`searxng` takes no `api_key`")
        return self

    def make(self) -> Tool:
        """See `Builtin`."""
        return web_search(self._open(), count=self.count)

    def _open(self) -> SearchEngine:
        where: dict[str, Any] = {} if self.base_url is None else {"base_url": self.base_url}
        if self.engine == "searxng":
            return SearXNG(params=self.params, **where)
        kinds: dict[str, Callable[..., SearchEngine]] = {"brave": Brave, "tavily": Tavily}
        return kinds[self.engine](api_key=self.api_key, params=self.params, **where)


class HttpGet(Builtin):
    """Reads pages of hosts that are allowed.

    Attributes:
        allow: hosts, beginnings of addresses, or `*` for every public host.
        allow_private: hosts and networks of private ones that may be called, where allowed.
        limits: of size and time.
    """

    allow: tuple[str, ...] = Field(min_length=1)
    allow_private: tuple[str, ...] = ()
    limits: FetchLimits = FetchLimits()

    def make(self) -> Tool:
        """See `Builtin`."""
        return http_get(self.allow, allow_private=self.allow_private, limits=self.limits)


class ReadFile(Builtin):
    """Reads texts below one folder.

    Attributes:
        root: the folder.
        max_bytes: of a file that are looked at.
    """

    root: Path
    max_bytes: int = Field(default=MAX_READ, ge=1)

    def make(self) -> Tool:
        """See `Builtin`."""
        return read_file(self.root, max_bytes=self.max_bytes)


class ListFiles(Builtin):
    """Lists what stands below one folder.

    Attributes:
        root: the folder.
    """

    root: Path

    def make(self) -> Tool:
        """See `Builtin`."""
        return list_files(self.root)


class SQLQuery(Builtin):
    """Asks a database that it cannot change.

    Attributes:
        database: a SQLite file, or a `postgresql://` address.
        limits: of size and time.
    """

    database: Annotated[SecretStr, Runtime()]
    limits: SQLLimits = SQLLimits()

    def make(self) -> Tool:
        """See `Builtin`."""
        return sql_query(self.database.get_secret_value(), limits=self.limits)


class SQLSchema(Builtin):
    """Tells the tables of a database.

    Attributes:
        database: a SQLite file, or a `postgresql://` address.
    """

    database: Annotated[SecretStr, Runtime()]

    def make(self) -> Tool:
        """See `Builtin`."""
        return sql_schema(self.database.get_secret_value())


SETTINGS: Mapping[str, type[Builtin | OpenApi | McpServer]] = MappingProxyType(
    {
        "web_search": WebSearch,
        "http_get": HttpGet,
        "read_file": ReadFile,
        "list_files": ListFiles,
        "sql_query": SQLQuery,
        "sql_schema": SQLSchema,
        "openapi": OpenApi,
        "mcp": McpServer,
    }
)
"""What describes each, by the name a file calls it."""


def _make(kind: type[Builtin | OpenApi | McpServer], /, **settings: Any) -> Any:
    return kind(**settings).make()


BUILTIN: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {name: partial(_make, kind) for name, kind in SETTINGS.items()}
)
"""What makes each of its settings as keywords: a tool, an API's tools, or a source of some; raises ConfigError with
every problem there is."""
