"""What an agent's last reply comes to: its answer, or what is told to the model that gave none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tidemill.agents.agent import Agent
from tidemill.models.messages import Reply


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a reply is an answer: the `value` and its form as JSON, or the `complaint` that the model gets."""

    value: Any = None
    plain: Any = None
    complaint: str = ""


class AnswerReader:
    """Reads the replies of one agent that call no tool."""

    def __init__(self, agent: Agent) -> None:
        self._plan = agent.plan_output()
        self._max_tokens = agent.max_tokens

    def read(self, reply: Reply) -> Verdict:
        """The answer in `reply`, or what is wrong with it."""
        if reply.is_cut and (self._plan is not None or not reply.text):
            where = "for its length" if self._max_tokens is None else f"at max_tokens={self._max_tokens}"
            return Verdict(complaint=f"Your reply was cut off {where}: answer more briefly.")
        if self._plan is None:
            if not reply.text.strip():
                return Verdict(complaint="Your reply is empty: answer.")
            return Verdict(reply.text, reply.text)
        try:
            return Verdict(*self._plan.parser.parse_both(reply.text))
        except ValidationError as error:
            told = self._plan.parser.explain(error, reply.text)
            return Verdict(complaint=f"{told}\nAnswer again with the whole corrected JSON only.")
