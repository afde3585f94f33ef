"""`AgentResult`: what a run of an agent came to, and the way there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from tidemill.agents.calling.outcome import ToolOutcome
from tidemill.calls.wire import Usage
from tidemill.config.secrets import mask_start
from tidemill.config.wording.words import cut
from tidemill.errors import PermanentCallError
from tidemill.models.messages import Message, ToolCall

StopReason = Literal[
    "finished",
    "max_turns",
    "max_tool_calls",
    "budget",
    "deadline",
    "repeated_error",
    "stopped",
    "refused",
    "no_output",
    "failed",
]
"""Why a run ended: with an answer; at a bound; with the same call failing in the same way again and again; by whoever
approves calls; by the model, which refused; without a reply that fits the output; of an agent within another, by a call
of its model that failed."""

_FAULTS = frozenset({"repeated_error", "stopped", "refused", "no_output"})
"""Those that the last turn says more of."""

_REASON_CHARS = 600


class CallTrace(msgspec.Struct, frozen=True):
    """One call of a tool: what was asked and what became of it; of an agent that was called, its own run."""

    call: ToolCall
    outcome: ToolOutcome

    def to_dict(self) -> dict[str, Any]:
        """The call as JSON."""
        return describe_outcome(self.outcome)


class TurnTrace(msgspec.Struct, frozen=True):
    """One turn.

    Attributes:
        agent: whose it was: another's behind a hand-off.
        text: what the model wrote, `reasoning` what it thought, where that was shown.
        calls: of tools, in order.
        note: what it was told then, where its reply did not do.
    """

    agent: str
    text: str
    reasoning: str = ""
    usage: Usage | None = None
    calls: tuple[CallTrace, ...] = ()
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The turn as JSON."""
        tokens = None if self.usage is None else [self.usage.input_tokens, self.usage.output_tokens]
        told: dict[str, Any] = {
            "agent": self.agent,
            "text": self.text,
            "reasoning": self.reasoning,
            "tokens": tokens,
            "calls": [call.to_dict() for call in self.calls],
            "note": self.note,
        }
        return {key: value for key, value in told.items() if value not in ("", None, [])}


@dataclass(frozen=True, slots=True)
class AgentResult:
    """What a run came to.

    Attributes:
        agent: the agent that was called.
        text: what the model wrote last.
        stop_reason: why it ended.
        history: the conversation, for `agent(…, history=result.history)`; the system message is not in it.
        turns: the way there.
        usage: tokens of all its calls, those of the agents it called included.
        cost_usd: at the models' prices, None where one is not known.
        ended_by: the agent whose bound ended it; else the one whose turn was the last, as behind a hand-off.
    """

    agent: str
    text: str
    stop_reason: StopReason
    history: list[Message]
    turns: tuple[TurnTrace, ...]
    usage: Usage
    cost_usd: float | None
    ended_by: str
    _answer: tuple[Any, Any] | None = field(repr=False, default=None)

    @property
    def ending(self) -> str:
        """Why it ended, in words: `max_turns`, or `budget of sales` where that is not the agent that was called."""
        return self.stop_reason if self.ended_by == self.agent else f"{self.stop_reason} of {self.ended_by}"

    @property
    def has_output(self) -> bool:
        """Whether there is an answer."""
        return self._answer is not None

    @property
    def output(self) -> Any:
        """The answer: the validated object, or the text of an agent without an `output`.

        Raises:
            PermanentCallError: the run ended without one; `text`, `history` and `turns` hold what there is.
        """
        return self._get_answer()[0]

    @property
    def plain_output(self) -> Any:
        """The answer in its form as JSON, as a job's column has it; raises as `output`."""
        return self._get_answer()[1]

    def _get_answer(self) -> tuple[Any, Any]:
        """The answer, and its form as JSON."""
        if self._answer is None:
            count = "1 turn" if len(self.turns) == 1 else f"{len(self.turns)} turns"
            why = self._find_reason()
            raise PermanentCallError(
                f"the agent `{self.agent}` ended without an answer: {self.ending}, after {count}"
                + (f"; the last turn: {why}" if why else ""),
                hint="its `text`, `history` and `turns` hold how far it came; raise the limit that ended it",
            )
        return self._answer

    def _find_reason(self) -> str:
        """What was wrong in the last turn, where that is what ended the run; else empty."""
        if not self.turns or self.stop_reason not in _FAULTS:
            return ""
        last = self.turns[-1]
        errors = [each.outcome.error for each in last.calls if each.outcome.is_error]
        return mask_start((errors or [last.note])[-1], _REASON_CHARS)

    def transcript(self) -> dict[str, Any]:
        """The whole run as JSON: the conversation, each turn and each call of it."""
        return {
            "agent": self.agent,
            "stop_reason": self.stop_reason,
            "ended_by": self.ended_by,
            "history": self.history,
            "turns": [turn.to_dict() for turn in self.turns],
            "tokens": [self.usage.input_tokens, self.usage.output_tokens],
            "cost_usd": self.cost_usd,
        }

    def iter_lines(self) -> Iterator[str]:
        """A line for each turn."""
        for number, turn in enumerate(self.turns, 1):
            yield render_turn(number, turn.to_dict())
        yield f"{self.ending}: {cut(self.text)!r}"

    def __str__(self) -> str:
        return "\n".join(self.iter_lines())

    def __repr__(self) -> str:
        count = "1 turn" if len(self.turns) == 1 else f"{len(self.turns)} turns"
        return f"<AgentResult of {self.agent}: {self.ending}, {count}, {cut(self.text)!r}>"


def list_runs(value: Any) -> list[dict[str, Any]]:
    """The runs that the value of a call keeps, each as its `transcript`: of an agent, or of several asked together."""
    if not isinstance(value, dict) or not value:
        return []
    runs = [value] if _is_run(value) else list(value.values())
    return runs if all(map(_is_run, runs)) else []


def count_replies(run: Mapping[str, Any]) -> int:
    """How many replies of models a run came to, those of the runs within it included."""
    inside = [
        within for turn in run["turns"] for call in turn.get("calls", ()) for within in list_runs(call.get("value"))
    ]
    return len(run["turns"]) + sum(map(count_replies, inside))


def _is_run(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {
        "agent",
        "stop_reason",
        "ended_by",
        "history",
        "turns",
        "tokens",
        "cost_usd",
    }


def describe_outcome(outcome: ToolOutcome) -> dict[str, Any]:
    """A call of a tool as JSON, what is empty left out."""
    told: dict[str, Any] = {
        "tool": outcome.tool,
        "arguments": outcome.arguments,
        "outcome": outcome.kind,
        "content": outcome.content,
        "value": outcome.value,
        "error": outcome.error,
        "elapsed_s": round(outcome.elapsed_s, 6),
        "tries": outcome.tries,
        "repairs": list(outcome.repairs),
    }
    return {key: value for key, value in told.items() if value not in ("", None, [])}


def render_turn(number: int, turn: Mapping[str, Any]) -> str:
    """A turn, as `TurnTrace.to_dict` has it, in one line."""
    said = [repr(cut(turn["text"]))] if turn.get("text") else []
    calls = [
        f"{call['tool']}({_render(call.get('arguments'))}) → {_render_end(call)}" for call in turn.get("calls", ())
    ]
    return f"{number:>3}  {turn['agent']}: " + ("; ".join([*said, *calls]) or "nothing")


def _render(arguments: Any) -> str:
    if isinstance(arguments, dict):
        return cut(", ".join(f"{name}={value!r}" for name, value in arguments.items()))
    return cut(str(arguments))


def _render_end(call: dict[str, Any]) -> str:
    if call["outcome"] != "ok":
        why = cut(call.get("error") or call.get("content", ""))
        return f"{call['outcome']}: {why}" if why else str(call["outcome"])
    runs = list_runs(call.get("value"))
    if not runs:
        return cut(str(call.get("value", "")))
    said = [(run["agent"], cut(_find_last_text(run))) for run in runs]
    return said[0][1] if len(said) == 1 else "; ".join(f"{agent}: {text}" for agent, text in said)


def _find_last_text(run: Mapping[str, Any]) -> str:
    return next((str(turn["text"]) for turn in reversed(run["turns"]) if "text" in turn), "")
