"""A call on its way out, and what it takes to make one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol, TypeVar

from tidemill.calls.admission.admission import Entry
from tidemill.calls.admission.estimates import InputCounter
from tidemill.calls.budget import Spend
from tidemill.calls.wire import Request, Response, Usage
from tidemill.errors import CallError


class Reply(Protocol):
    """What a decoded response must tell.

    Attributes:
        usage: the tokens it was billed for, None when the far side did not say.
        is_cut: whether it ended at a bound on its tokens.
        first_token_s: seconds from the send to its first token, None where it was not streamed.
    """

    @property
    def usage(self) -> Usage | None: ...

    @property
    def is_cut(self) -> bool: ...

    @property
    def first_token_s(self) -> float | None: ...


R = TypeVar("R", bound=Reply)

Send = Callable[[Request, float], Awaitable[Response]]
"""What a transport's `send` does."""

Locate = Callable[[], Awaitable[str]]
"""Gives a base URL, and opens what answers there if that has not been asked for before."""


class Call(Entry):
    """One call on its way: what it holds and what became of its attempts.

    Attributes:
        attempts: attempts sent; `charged` of them count towards `max_attempts`.
        ceiling: what it has reserved of the budget for the next or current attempt.
        probe: the number of the probe it goes as, 0 for none.
        blamed: the breaker's streak of failures that it has been counted in; `failed_since` the one it failed in first.
        answered: its current attempt got a 200.
        deadline_at: set at the first send.
        error: why its last attempt failed.
    """

    # Slots, all of them set: a look at what only the class has takes five times as long, and a call has forty.
    __slots__ = (
        "answered",
        "attempts",
        "blamed",
        "ceiling",
        "charged",
        "deadline_at",
        "error",
        "failed_since",
        "probe",
        "send",
        "sent_at",
    )

    def __init__(self, request: Request, send: Send) -> None:
        super().__init__(request)
        self.send = send
        self.attempts = self.charged = self.probe = 0
        self.blamed = self.failed_since = -1
        self.answered = False
        self.sent_at = self.deadline_at = 0.0
        self.ceiling: Spend | None = None
        self.error: CallError | None = None


class LaneOptions(NamedTuple):
    """What not every lane has.

    Attributes:
        locate: asked for the base URL by each call that is about to be sent, where it is not known before; what it
            raises is what the call raises.
        counter: of the input tokens of its requests; by default they are estimated from their bytes.
    """

    locate: Locate | None = None
    counter: InputCounter | None = None


class TakenBackError(Exception):
    """What a call's own `send` raises before it has sent anything: the attempt is not made, and counts as none."""


class LaneStopped(Exception):  # noqa: N818 - a word between the engine and its owner, no failure of the call
    """The call was not sent (again), since its lane was stopped meanwhile."""
