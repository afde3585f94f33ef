"""What every wire format is to the rest: a request's bytes from messages, a reply from a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

from tidemill.calls.wire import Request, Response
from tidemill.models.messages import Message, Reply


class ReplyStream(Protocol):
    """A reply on its way, piece by piece."""

    def feed(self, chunk: bytes) -> str:
        """The text that `chunk`, the next piece of the body, adds to the reply. Raises nothing."""
        ...

    def take_arguments(self) -> str:
        """What the arguments of tool calls have grown by since this was last asked. Raises nothing."""
        ...

    def reply(self) -> Reply:
        """The reply, once its body has ended.

        Raises:
            TransientCallError: it was cut, held no reply, or told of an error that may pass.
            PermanentCallError: it told of another error.
        """
        ...


class Endpoint(Protocol):
    """One model at one address, asked in one wire format with one set of `Options`."""

    base_url: str

    def build_request(self, messages: Sequence[Message], overrides: Mapping[str, Any] | None = None) -> Request:
        """The request that asks `messages`: equal arguments give equal bytes.

        Args:
            overrides: options of this request alone: the names of `Options`, or fields of the body.

        Raises:
            ConfigError: the wire format has no such option, or needs one that is not there.
        """
        ...

    def parse_reply(self, response: Response) -> Reply:
        """The reply in a successful response to one of the requests, with `***` where it repeats their key.

        The body may be one JSON object or a whole event stream.

        Raises:
            TransientCallError: the body is no reply, or tells of an error that may pass; another attempt may bring one.
            PermanentCallError: it tells of another error, with a success status.
        """
        ...

    def open_stream(self) -> ReplyStream:
        """What takes the pieces of one response that comes as an event stream."""
        ...


def join_address(base_url: str, path: str) -> str:
    """`base_url` with `path` behind its own, and before a query, such as Azure's `api-version`."""
    parts = urlsplit(base_url)
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path))
