"""`mcp_server`: the tools of an MCP server, open for as long as they are used."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tidemill.agents.mcp.link import Link
from tidemill.agents.mcp.results import read_result
from tidemill.agents.mcp.transports import Address, Process, Reach
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.naming import make_names, matches_pattern
from tidemill.agents.tools.options import TOOL_TIMEOUT_S, ToolOptions
from tidemill.agents.tools.schemas import schema_signature
from tidemill.agents.tools.tool import Tool
from tidemill.calls.credentials import register_credentials
from tidemill.calls.http.address import check_address, check_headers
from tidemill.config.model import Settings
from tidemill.config.secrets import register_secret
from tidemill.config.types.durations import Duration
from tidemill.config.wording.suggest import suggest
from tidemill.errors import ConfigError, ResourceError

if TYPE_CHECKING:
    from mcp.types import Tool as ServerTool

    from tidemill.agents.tools.ways import ToolWays
    from tidemill.models.model import Model

MAJOR = 2
START_TIMEOUT_S = 30.0
RETRIES = 2
"""How often what a trusted server calls repeatable is tried again after a failure that may pass."""

MAX_DESCRIPTION = 1024
"""Characters of a description that a model is told: OpenAI's bound."""


class McpServer(Settings):
    """An MCP server as a source of tools, as a file describes it; `mcp_server` tells more of each.

    Attributes:
        command: the program and its arguments, of a server that speaks over its standard input and output.
        url: the endpoint of a server that speaks streamable HTTP.
        env: variables of the command, which gets none of this process's keys.
        cwd: the working folder of the command.
        headers: sent with every request to `url`.
        allow: the tools that are taken, `*` for any characters but `/`; by default all.
        approve: which tools are decided on before each call: `writes`, all not known to change nothing, all, none, or
            a list as `allow`.
        trusts_hints: whether the server's own word is taken for which tools change nothing or may be repeated.
        prefix: what the names of the tools begin with.
        timeout_s: seconds that one call may take.
        start_timeout_s: seconds that the server may take until it says what it is.
    """

    command: tuple[str, ...] | None = Field(default=None, min_length=1)
    url: str | None = None
    env: dict[str, str] = Field(default_factory=dict, repr=False)
    cwd: Path | None = None
    headers: dict[str, str] = Field(default_factory=dict, repr=False)
    allow: tuple[str, ...] | None = Field(default=None, min_length=1)
    approve: bool | Literal["writes"] | tuple[str, ...] = "writes"
    trusts_hints: bool = False
    prefix: str = Field(default="", max_length=32)
    timeout_s: Duration | None = Field(default=TOOL_TIMEOUT_S, gt=0)
    start_timeout_s: Duration = Field(default=START_TIMEOUT_S, gt=0)

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str | None) -> str | None:
        if url is not None:
            try:
                check_address(url)
            except ValueError as error:
                raise PydanticCustomError("mcp_url", "{reason}", {"reason": str(error)}) from None
        return url

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        try:
            check_headers(headers)
        except ValueError as error:
            raise PydanticCustomError("mcp_headers", "{reason}", {"reason": str(error)}) from None
        return headers

    @model_validator(mode="after")
    def _check_way(self) -> Self:
        if (self.command is None) == (self.url is None):
            message = "a server has a command, which starts it, or the url where it is: one of the two"
            raise PydanticCustomError("mcp_way", message)
        if self.url is None and self.headers:
            raise PydanticCustomError("mcp_way", "headers go with a url; a command gets env")
        if self.url is not None and (self.env or self.cwd is not None):
            raise PydanticCustomError("mcp_way", "env and cwd go with a command; a url gets headers")
        register_credentials(self.headers, self.url or "")
        for secret in Process(self.command or (), self.env).iter_secrets():
            register_secret(secret)
        return self

    @property
    def reach(self) -> Reach:
        """The way to the server."""
        if self.url is not None:
            return Address(self.url, self.headers)
        return Process(self.command or (), self.env, None if self.cwd is None else os.fspath(self.cwd))

    @asynccontextmanager
    async def open(self, ways: ToolWays | None = None) -> AsyncIterator[list[Tool]]:
        """The server's allowed tools, as it has them now: what it changes of them later is not seen.

        A command is started, and is gone with all it started when this is left, even one that ignores that its
        standard input was closed and SIGTERM: that takes 4 s. Belongs to one loop.

        Args:
            ways: not needed: a server's tools ask no model.

        Raises:
            ResourceError: the server cannot be started or reached, or the extra `mcp` is not installed.
            ConfigError: an entry of `allow` or `approve` names no tool, or a tool's schema cannot be read.
        """
        _check_package()
        link = Link(self.reach, start_timeout_s=self.start_timeout_s)
        try:
            yield self._make_tools(link, await link.list_tools())
        finally:
            await link.close()

    def list_models(self) -> tuple[Model, ...]:
        """None."""
        return ()

    def describe_result(self) -> Mapping[str, Any]:
        """The server and what is taken of it, without credentials."""
        allow = None if self.allow is None else list(self.allow)
        return {"mcp": self.reach.label, "allow": allow, "prefix": self.prefix}

    def _make_tools(self, link: Link, found: Sequence[ServerTool]) -> list[Tool]:
        names = [tool.name for tool in found]
        approve = self.approve if isinstance(self.approve, tuple) else ()
        for entry in (*(self.allow or ()), *approve):
            if not any(matches_pattern(entry, name) for name in names):
                raise ConfigError(
                    f"`{entry}` names no tool of the server", where=self.reach.label, hint=suggest(entry, names)
                )
        allowed = [tool for tool in found if _is_named(tool.name, ("**",) if self.allow is None else self.allow)]
        own = make_names((tool.name for tool in allowed), prefix=self.prefix)
        return [self._make_tool(link, tool, name) for tool, name in zip(allowed, own, strict=True)]

    def _make_tool(self, link: Link, tool: ServerTool, name: str) -> Tool:
        schema = dict(tool.input_schema)
        try:
            signature = schema_signature(schema)
        except ConfigError as error:
            where = f"{self.reach.label}, tool {tool.name}"
            hint = error.hint or "leave it out: allow: […] names the tools that are taken"
            raise ConfigError(f"its schema cannot be read: {error.message}", where=where, hint=hint) from error
        hints = tool.annotations if self.trusts_hints else None
        is_read = hints is not None and hints.read_only_hint is True
        is_repeatable = is_read or (hints is not None and hints.idempotent_hint is True)
        properties = schema.get("properties", {})
        context = next(name for name in ("context", "_context", "__context") if name not in properties)
        options = ToolOptions(
            timeout_s=self.timeout_s,
            retries=RETRIES if is_repeatable else 0,
            idempotent=is_repeatable,
            needs_approval=self._needs_approval(tool.name, is_read=is_read),
            shows_errors=True,  # they are this package's own, or what the server tells on purpose
        )
        description = (tool.description or tool.title or tool.name).strip()
        return Tool(
            name,
            description if len(description) <= MAX_DESCRIPTION else f"{description[: MAX_DESCRIPTION - 1]}…",
            signature,
            partial(_call, link, tool.name, context),
            options,
            context=context,
            is_async=True,
            identity={"mcp": self.reach.label, "tool": tool.name},
        )

    def _needs_approval(self, name: str, *, is_read: bool) -> bool:
        if isinstance(self.approve, bool):
            return self.approve
        return not is_read if self.approve == "writes" else _is_named(name, self.approve)


def mcp_server(
    command: Sequence[str] | None = None,
    *,
    url: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    headers: Mapping[str, str] | None = None,
    allow: Sequence[str] | None = None,
    approve: bool | Literal["writes"] | Sequence[str] = "writes",
    trusts_hints: bool = False,
    prefix: str = "",
    timeout_s: float | str | None = TOOL_TIMEOUT_S,
    start_timeout_s: float | str = START_TIMEOUT_S,
) -> McpServer:
    """The tools of an MCP server; nothing is started before an agent that has them runs. Needs the extra `mcp`.

    What a tool gives is its structured content, else its texts; pictures and the like are told in words. An error that
    the server tells goes to the model. A server that went away in the middle of a call is an error too, told with the
    end of its standard error, and the next call starts it again; one that cannot be started or reached again ends the
    run. A call that is cancelled or timed out is cancelled at the server.

    Args:
        command: the program and its arguments, of a server that speaks over its standard input and output.
        url: the endpoint of a server that speaks streamable HTTP.
        env: variables of the command, beside HOME, LOGNAME, PATH, SHELL, TERM and USER: it gets no others of this
            process, so no keys.
        cwd: the working folder of the command.
        headers: sent with every request to `url`; credentials among them are masked wherever they would be shown.
        allow: the tools that are taken, `*` for any characters but `/`; by default all.
        approve: which tools are decided on before each call: `writes`, all but those known to change nothing; True for
            all, False for none; or a list as `allow`.
        trusts_hints: whether what the server says of its tools is believed: then those with `readOnlyHint` change
            nothing, and these and those with `idempotentHint` are tried up to three times. By itself nothing a server
            says of its tools is known to be so, as the MCP specification has it.
        prefix: what the names of the tools begin with.
        timeout_s: seconds that one call may take.
        start_timeout_s: seconds that the server may take until it says what it is.
    """
    return McpServer(
        command=None if command is None else tuple(command) if not isinstance(command, str) else command,
        url=url,
        env=dict(env or {}),
        cwd=cwd,
        headers=dict(headers or {}),
        allow=allow if allow is None or isinstance(allow, str) else tuple(allow),
        approve=approve if isinstance(approve, (bool, str)) else tuple(approve),
        trusts_hints=trusts_hints,
        prefix=prefix,
        timeout_s=timeout_s,
        start_timeout_s=start_timeout_s,
    )


async def _call(link: Link, name: str, context: str, /, **arguments: Any) -> Any:
    """What the server's tool gives."""
    given: Context[Any] | None = arguments.pop(context, None)
    return read_result(await link.call(name, arguments, "" if given is None else given.key))


def _check_package() -> None:
    """Refuse if the official package is not installed, or is of a release before its client was of this kind.

    It is found without being imported: that takes half a second.
    """
    if importlib.util.find_spec("mcp") is None:
        found = "which is not installed"
    elif int(version("mcp").partition(".")[0]) < MAJOR:
        found = f"of version {MAJOR} or later, and {version('mcp')} is installed"
    else:
        return
    raise ResourceError(f"tools of MCP servers need the package mcp, {found}", hint='pip install "tidemill[mcp]"')


def _is_named(name: str, entries: Sequence[str]) -> bool:
    return any(matches_pattern(entry, name) for entry in entries)
