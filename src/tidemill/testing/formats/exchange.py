"""What every wire format of the fault server can do, and what it is given for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

from tidemill.calls.wire import Usage
from tidemill.models.structured.plan import SCHEMA_INSTRUCTION
from tidemill.testing.delivery import Delivery
from tidemill.testing.load.meter import Standing
from tidemill.testing.tool_calls import Content, count_characters

TOKEN_CHARACTERS = 4
"""Characters, or bytes, of one token."""


class Exchange(NamedTuple):
    """One request that is answered, in what its reply needs to know of it.

    Attributes:
        digest: the SHA-256 of the request's body.
        payload: the body, parsed.
        usage: what it is billed for; None is not told.
        delivery: how the reply is delivered.
    """

    digest: bytes
    payload: Mapping[str, Any]
    usage: Usage | None
    delivery: Delivery


class Ask(NamedTuple):
    """One request before it is answered: its bytes, parsed, and when it came."""

    payload: Mapping[str, Any]
    body: bytes
    delivery: Delivery
    now: float


class Format(Protocol):
    """One wire format: what a request asks for, and the bodies that answer it."""

    streams: bool
    counts_cached: bool
    """Whether tokens read from a cache take from quotas of tokens."""
    overloaded: int
    """The status by which the provider says that it has no capacity."""

    def check(self, payload: Any, head: bytes) -> None:
        """Refuse what the provider refuses.

        Raises:
            DataError: what is wrong with the request.
        """
        ...

    def find_schema(self, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The JSON Schema the reply is to conform to; None for plain text."""
        ...

    def find_tool(self, payload: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
        """The name of the tool that the request wants called at any rate, and the JSON Schema of its arguments."""
        ...

    def count_samples(self, payload: Mapping[str, Any]) -> int:
        """How many replies are asked for; 0 where the reply holds none."""
        ...

    def find_ceiling(self, payload: Mapping[str, Any]) -> int | None:
        """The most output tokens the request allows."""
        ...

    def count_usage(self, ask: Ask, contents: Sequence[Content]) -> Usage:
        """What the request is billed for, answered by `contents`."""
        ...

    def remember(self, ask: Ask) -> None:
        """Keep what a billed request leaves behind for later ones."""
        ...

    def render_reply(self, exchange: Exchange, contents: Sequence[Content], finish: str = "") -> bytes:
        """The body of a good reply; `finish` is `length` where the text was cut, `refusal` where it says no."""
        ...

    def render_events(self, exchange: Exchange, contents: Sequence[Content], finish: str = "") -> list[bytes]:
        """The server-sent events of the same reply, the last ones after all of the text."""
        ...

    def render_error(self, status: int, message: str) -> bytes:
        """The body of an error response."""
        ...

    def render_error_event(self, message: str) -> bytes:
        """An error in the midst of a stream."""
        ...

    def limit_headers(self, standings: Sequence[Standing], now_epoch: float) -> dict[str, str]:
        """The headers that tell where quotas stand; `now_epoch` in seconds since 1970."""
        ...

    def retry_headers(self, wait_s: float) -> dict[str, str]:
        """The headers that tell when to come again."""
        ...


def count_output(contents: Sequence[Content], ceiling: int | None, reasoning: int = 0) -> int:
    """The output tokens of `contents`, at least one each, within the ceiling the request sets."""
    output = sum(max(1, -(-count_characters(content) // TOKEN_CHARACTERS)) for content in contents) + reasoning
    return output if ceiling is None or output < ceiling else ceiling


def split_tokens(content: str, tokens: int) -> list[str]:
    """The text in pieces of so many tokens; one empty piece of none."""
    size = tokens * TOKEN_CHARACTERS
    return [content[start : start + size] for start in range(0, len(content), size)] or [""]


def find_told_schema(texts: Iterable[str]) -> Mapping[str, Any] | None:
    """The JSON Schema that Tidemill tells at the end of one of these texts of the system prompt."""
    for text in texts:
        _, told, schema = text.partition(SCHEMA_INSTRUCTION)
        if told:
            found: Mapping[str, Any] = orjson.loads(schema)
            return found
    return None
