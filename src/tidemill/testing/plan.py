"""What a fault server does instead of answering: one `Fault`, and `Faults`, the plan that picks it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import orjson

from tidemill.errors import ConfigError

FaultKind = Literal[
    "reply",
    "status",
    "error",
    "unauthorized",
    "redirect",
    "stall",
    "reset",
    "cut",
    "trickle",
    "oversized",
    "garbage",
    "invalid",
    "truncated",
    "refusal",
]

ERROR_KINDS: frozenset[FaultKind] = frozenset({"status", "error", "unauthorized", "redirect", "reset"})
"""The kinds by which a server says no: not billed, and without a reply's content."""

STREAM_KINDS: frozenset[FaultKind] = frozenset({"cut", "stall", "garbage", "error"})
"""The kinds that can come in the midst of a streamed reply."""


@dataclass(frozen=True)
class Fault:
    """One way not to answer.

    `kind` is one of
      `reply`         a good reply, with `content` or `tool_calls` when given, else the usual one (for a late one, set
                      `delay_s`);
      `status`        an error response with `status`, and `Retry-After` when `retry_after_s` is set;
      `error`         status 200 with the error object of `status` instead of choices;
      `unauthorized`  401 that echoes the request's credentials in body and headers;
      `redirect`      307 to another path of this server, the request's credentials in its address;
      `stall`         no byte, for ever;
      `reset`         the connection closed without a byte;
      `cut`           the head and half of the body, then the connection closed;
      `trickle`       the head, then one byte every `interval_s`, for ever;
      `oversized`     a body of at least `size_bytes`, all of it sent;
      `garbage`       status 200 with a body that is no JSON;
      `invalid`       a reply whose content, or first call, does not fit the schema asked for;
      `truncated`     half of the content, `finish_reason` `length`;
      `refusal`       a reply without content, whose `refusal` says `content`.

    Attributes:
        content: the reply's content; of an error, its message.
        tool_calls: what the reply asks to have called: pairs of a name and arguments, as `ToolCalls` takes them.
        headers: more headers of a whole response.
        delay_s: seconds on top of the server's latency.
        interval_s: of `trickle`, the seconds between two bytes.
        size_bytes: of `oversized`.
        at_ratio: where a streamed reply breaks, as the share of its events that come before: a `cut`, a `stall`, an
            event that is `garbage` or one that is an `error`. None breaks it as one that is not streamed.
        tells_usage: of a reply, whether it says what it used.
        billed: whether the server counts the call as billed; None takes the kind's own: a reply on its way is
            billed whether or not it arrives whole, an error is not.
    """

    kind: FaultKind
    status: int = 500
    retry_after_s: float | None = None
    content: str | None = None
    tool_calls: Sequence[tuple[str, Mapping[str, Any] | str]] = field(default=(), hash=False)
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    delay_s: float = 0.0
    interval_s: float = 1.0
    size_bytes: int = 64 << 20
    at_ratio: float | None = None
    tells_usage: bool = True
    billed: bool | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ConfigError(f"no fault is called {self.kind!r}", hint=f"one of {', '.join(get_args(FaultKind))}")
        if self.at_ratio is not None and not (self.kind in STREAM_KINDS and 0 <= self.at_ratio <= 1):
            raise ConfigError(
                f"a stream does not break by {self.kind!r} at {self.at_ratio!r}",
                hint=f"one of {', '.join(sorted(STREAM_KINDS))}, at a ratio from 0 to 1",
            )
        object.__setattr__(
            self, "tool_calls", tuple((name, given) for name, given in self.tool_calls)
        )  # JSON has lists

    @property
    def is_billed(self) -> bool:
        """Whether the server counts the call as billed."""
        return self.kind not in ERROR_KINDS or self.at_ratio is not None if self.billed is None else self.billed


@dataclass(frozen=True)
class Call:
    """A request as the server received it: a chat, a message, or texts to embed.

    Attributes:
        number: how many of them the server had received, this one included.
        times: how many of them had this very body.
        headers: names in lower case.
    """

    number: int
    times: int
    path: str
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def payload(self) -> Any:
        """The body as parsed JSON."""
        return orjson.loads(self.body)

    @cached_property
    def message(self) -> str:
        """The text of the last message of the user."""
        return last_message(self.payload)

    @cached_property
    def results(self) -> list[str]:
        """The texts of the results that it ends with, of the tools called in the turn before; empty of none."""
        return last_results(self.payload)

    @cached_property
    def sha256(self) -> str:
        """The hash of the body, as `billed_bodies` has it."""
        return hashlib.sha256(self.body).hexdigest()


Script = Callable[[Call], "Fault | None"]


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Which request gets which fault; the first rule that has one for a request decides.

    Attributes:
        script: a function of the request; it runs in the server's loop, one request at a time.
        matching: pairs of a text and the fault of every request whose body contains it.
        mixed: pairs of a ratio and the fault that share of the requests gets. Which ones depends on `seed`, the
            body and how often it came before, not on the order of arrival: two runs see the same faults.
    """

    script: Script | None = None
    matching: Sequence[tuple[str, Fault]] = ()
    mixed: Sequence[tuple[float, Fault]] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if any(ratio < 0 for ratio, _ in self.mixed) or sum(ratio for ratio, _ in self.mixed) > 1 + 1e-9:
            raise ConfigError("the ratios of `mixed` must each be at least 0 and sum up to at most 1")

    def choose(self, call: Call) -> Fault | None:
        """The fault `call` gets, None for a good reply."""
        fault = self.script(call) if self.script else None
        if fault is not None:
            return fault
        for text, matched in self.matching:
            if text.encode() in call.body:
                return matched
        return self._draw(call) if self.mixed else None

    def _draw(self, call: Call) -> Fault | None:
        drawn = hashlib.sha256(f"{self.seed}|{call.times}|".encode() + call.body).digest()
        share = int.from_bytes(drawn[:8], "big") / 2**64
        for ratio, fault in self.mixed:
            share -= ratio
            if share < 0:
                return fault
        return None

    def to_json(self) -> bytes:
        """The plan for a server in another process.

        Raises:
            ConfigError: it has a script: a function does not cross.
        """
        if self.script is not None:
            raise ConfigError("a plan with a script cannot be sent to another process", hint="use matching and mixed")
        return orjson.dumps({"matching": self.matching, "mixed": self.mixed, "seed": self.seed}, default=dict)

    @classmethod
    def from_json(cls, text: bytes | str) -> Faults:
        """The plan `to_json` wrote."""
        plan = orjson.loads(text)
        return cls(
            matching=[(key, Fault(**fault)) for key, fault in plan.get("matching", ())],
            mixed=[(ratio, Fault(**fault)) for ratio, fault in plan.get("mixed", ())],
            seed=plan.get("seed", 0),
        )


def last_message(payload: Any) -> str:
    """The text of the last user message of a chat request, its parts joined; empty when there is none."""
    for message in reversed(_list_messages(payload)):
        if message.get("role") == "user":
            content = message.get("content")
            if not isinstance(content, list):
                return str(content)
            if not any(part.get("type") == "tool_result" for part in content):
                return "".join(str(part.get("text", "")) for part in content)
    return ""


def last_results(payload: Any) -> list[str]:
    """The texts of the tools' results that a chat request ends with, in order."""
    results: list[str] = []
    for message in reversed(_list_messages(payload)):
        content = message.get("content")
        if message.get("role") == "tool":
            results.insert(0, _join_texts(content))
        else:
            parts = content if isinstance(content, list) else []
            found = [_join_texts(part.get("content")) for part in parts if part.get("type") == "tool_result"]
            return found + results
    return results


def _join_texts(content: Any) -> str:
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "".join(str(part.get("text", "")) for part in parts)


def _list_messages(payload: Any) -> list[Any]:
    """The messages, without turns of the user's that show the images of the tools' results in front of them."""
    messages = (payload.get("messages") or []) if isinstance(payload, dict) else []
    return [each for number, each in enumerate(messages) if not (number and _shows_images(messages[number - 1], each))]


def _shows_images(before: Any, message: Any) -> bool:
    content = message.get("content")
    is_behind = before.get("role") == "tool" and message.get("role") == "user"
    return is_behind and isinstance(content, list) and any(part.get("type") == "image_url" for part in content)
