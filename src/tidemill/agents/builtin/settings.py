"""The tools that come along, as a file describes them: `tools: [{web_search: {engine: searxng, base_url: …}}]`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from tidemill.agents.builtin.http_get import FetchLimits, http_get
from tidemill.agents.builtin.read_file import MAX_READ, list_files, read_file
from tidemill.agents.builtin.search_engines import Brave, Params, SearchEngine, SearXNG, Tavily
from tidemill.agents.builtin.sql_query import SQLLimits, sql_query, sql_schema
from tidemill.agents.builtin.vector_search import VectorSearch
from tidemill.agents.builtin.web_search import MAX_HITS, web_search
from tidemill.agents.interpreter.options import Interpreter
from tidemill.agents.interpreter.tool import make_python
from tidemill.agents.mcp.server import McpServer
from tidemill.agents.operations.openapi import OpenApi
from tidemill.agents.tools.tool import Tool, ToolSource
from tidemill.config.model import Settings
from tidemill.config.roles import Runtime


class Builtin(Settings):
    """A tool of Tidemill's, or several, as they are described in a file."""

    @abstractmethod
    def make(self, folder: Path) -> Tool | ToolSource | list[Tool]:
        """The tool, tools, or where they are from.

        Args:
            folder: where relative paths and `.env` are looked for.

        Raises:
            ConfigError: it cannot be made: a key, folder or file is not there.
        """


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

    def make(self, folder: Path) -> Tool:
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

    def make(self, folder: Path) -> Tool:
        return http_get(self.allow, allow_private=self.allow_private, limits=self.limits)


class ReadFile(Builtin):
    """Reads texts below one folder.

    Attributes:
        root: the folder.
        max_bytes: of a file that are looked at.
    """

    root: Path
    max_bytes: int = Field(default=MAX_READ, ge=1)

    def make(self, folder: Path) -> Tool:
        return read_file(folder / self.root, max_bytes=self.max_bytes)


class ListFiles(Builtin):
    """Lists what stands below one folder.

    Attributes:
        root: the folder.
    """

    root: Path

    def make(self, folder: Path) -> Tool:
        return list_files(folder / self.root)


class SQLQuery(Builtin):
    """Asks a database that it cannot change.

    Attributes:
        database: a SQLite file, or a `postgresql://` address.
        limits: of size and time.
    """

    database: Annotated[SecretStr, Runtime()]
    limits: SQLLimits = SQLLimits()

    def make(self, folder: Path) -> Tool:
        return sql_query(_find_database(self.database, folder), limits=self.limits)


class SQLSchema(Builtin):
    """Tells the tables of a database.

    Attributes:
        database: a SQLite file, or a `postgresql://` address.
    """

    database: Annotated[SecretStr, Runtime()]

    def make(self, folder: Path) -> Tool:
        return sql_schema(_find_database(self.database, folder))


class Python(Builtin, Interpreter):
    """An interpreter for the model's Python."""

    def make(self, folder: Path) -> Tool:
        keep = None if self.keep is None else folder / self.keep
        return make_python(self.model_copy(update={"keep": keep}))


class Openapi(Builtin, OpenApi):
    """The allowed operations of an HTTP API."""

    def make(self, folder: Path) -> list[Tool]:
        is_told = "folder" in self.model_fields_set
        return (self if is_told else self.model_copy(update={"folder": folder})).make_tools()


class Mcp(Builtin, McpServer):
    """The tools of an MCP server."""

    def make(self, folder: Path) -> ToolSource:
        return self if self.cwd is None else self.model_copy(update={"cwd": folder / self.cwd})


class SearchVectors(Builtin, VectorSearch):
    """Finds what a vector store holds near a question."""

    def make(self, folder: Path) -> ToolSource:
        return self.model_copy(update={"folder": folder})


def _find_database(database: SecretStr, folder: Path) -> str:
    """A database as it is opened: the path of a SQLite file from the folder on."""
    given = database.get_secret_value()
    return given if "://" in given else str(folder / given)
