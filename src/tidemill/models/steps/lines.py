"""How the calls of a step go out, and what their replies are made of: what a step is opened with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from tidemill.calls.lane import Lane
from tidemill.calls.outgoing import Reply, Send
from tidemill.calls.wire import Request, Response
from tidemill.models.steps.batching import Batching
from tidemill.models.steps.calling import Decode


class Kept(Reply, Protocol):
    """A reply that the ledger and the call archive can keep."""

    def to_row(self) -> list[Any]:
        """The reply as a JSON list."""
        ...


class Way(Protocol):
    """How requests get out: a lane, or what stands in front of one."""

    async def call(
        self,
        request: Request,
        decode: Callable[[Response], Any],
        commit: Callable[[Any, int], Awaitable[object]] | None = None,
        *,
        send: Send | None = None,
    ) -> Any:
        """As `Lane.call`."""
        ...


@dataclass(frozen=True, slots=True)
class Line:
    """How the calls of one step go out and what their replies are.

    Attributes:
        way: what sends the requests, by way of `lane`.
        decode: makes a reply of each response, or what the way takes apart.
        load: makes a reply of the row that one is kept as.
        is_keyed: whether a request is told the key of its call.
        batching: the way, where it sends requests of several records together.
        label: what tells it from the other lines of its step, empty where it is the only one.
        first: what its call numbers begin at.
    """

    way: Way
    lane: Lane
    decode: Callable[[Response], Any]
    load: Callable[[list[Any]], Kept]
    is_keyed: bool = False
    batching: Batching[Any] | None = None
    label: str = ""
    first: int = 0


class StepAsk(Protocol):
    """An `Ask` that is still to be told the line."""

    def __call__(
        self, line: Line, number: int, request: Request, send: Send | None = None, decode: Decode | None = None
    ) -> Awaitable[Any]:
        """The reply to `request` by `line`, as `Ask` gives it."""
        ...
