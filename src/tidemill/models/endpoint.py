"""What every wire format is to the rest: a request's bytes from messages, a reply from a response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from tidemill.calls.wire import Request, Response
from tidemill.models.messages import Message, Reply


class Endpoint(Protocol):
    """One model at one address, asked in one wire format with one set of `Options`."""

    base_url: str

    def build_request(self, messages: Sequence[Message], overrides: Mapping[str, Any] | None = None) -> Request:
        """The request that asks `messages`: equal arguments give equal bytes.

        Args:
            overrides: options of this request alone: the names of `Options`, or fields of the body.
        """
        ...

    def parse_reply(self, response: Response) -> Reply:
        """The reply in a successful response to one of the requests, with `***` where it repeats their key.

        Raises:
            TransientCallError: the body is no reply; another attempt may bring one.
            PermanentCallError: it is an error told with a success status.
        """
        ...
