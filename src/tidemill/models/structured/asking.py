"""Asking until a reply fits what was asked for: mended where that costs nothing, else asked again."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from pydantic import ValidationError

from tidemill.config.secrets import mask_start
from tidemill.errors import PermanentCallError
from tidemill.models.messages import Message, Reply
from tidemill.models.structured.plan import OutputPlan

T = TypeVar("T")

Ask = Callable[[int, Sequence[Message]], Awaitable[Reply]]
"""Asks the model under a call number (0 for the first, then the re-asks) and gives its reply."""

_ABOUT_FORM = re.compile(
    r"response_format|json_schema|output_config|structured output|\bschema\b|\btools?\b|tool_choice", re.IGNORECASE
)
"""What an endpoint's complaint about the form that a reply was asked for in names."""


async def ask_text(messages: Sequence[Message], ask: Ask) -> str:
    """The text of the reply to `messages`.

    Raises:
        PermanentCallError: the model refused.
        CallError: as `ask` raises it.
    """
    return _check_refusal(await ask(0, messages)).text


async def ask_until_valid(
    plan: OutputPlan,
    parse: Callable[[str], T],
    messages: Sequence[Message],
    ask: Ask,
    *,
    max_reasks: int,
    max_tokens: int | None,
) -> T:
    """The value of the first reply that fits, asking again with what is wrong with the last one only.

    A conversation that grew with each ask would cost more each time.

    Args:
        plan: how the reply is asked for: reads it, and explains one that does not fit.
        parse: makes the value of a reply's JSON: one of its parser's two.
        messages: what is asked first.
        max_tokens: the bound on a reply, which one that was cut off there is told.

    Raises:
        PermanentCallError: the model refused, or no reply fitted within `max_reasks`.
        CallError: as `ask` raises it.
    """
    asked, asks = messages, 0
    while True:
        try:
            reply = _check_refusal(await ask(asks, asked))
        except PermanentCallError as error:
            suggest_rung(error, plan)
            raise
        asks += 1
        text = plan.read_text(reply)
        try:
            return parse(text)
        except ValidationError as exc:
            complaint = complain(plan, reply, exc, max_tokens)
            if asks > max_reasks:
                raise explain_failure(complaint, text, asks) from exc
        asked = [*messages, *answer_again(text, complaint)]


def complain(plan: OutputPlan, reply: Reply, error: ValidationError, max_tokens: int | None) -> str:
    """What the model is told of a reply that did not fit."""
    if reply.is_cut:
        where = "for its length" if max_tokens is None else f"at max_tokens={max_tokens}"
        return f"Your reply was cut off {where}: answer more briefly."
    return plan.parser.explain(error, plan.read_text(reply))


def answer_again(text: str, complaint: str) -> list[Message]:
    """The turns that ask again: the last reply, and what is wrong with it."""
    again = Message(role="user", content=f"{complaint}\nAnswer again with the whole corrected JSON only.")
    return [Message(role="assistant", content=text), again]


def explain_failure(complaint: str, text: str, asks: int) -> PermanentCallError:
    """That no reply fitted in so many asks, with the last one."""
    times = "1 ask" if asks == 1 else f"{asks} asks"
    return PermanentCallError(
        f"no reply fitted the output in {times}; the last one: {complaint}\n  it was: {mask_start(text, 200)!r}",
        hint="loosen the output model, make the prompt plainer, or raise max_tokens or max_reasks",
    )


def suggest_rung(error: PermanentCallError, plan: OutputPlan) -> None:
    """Name the mend in an endpoint's complaint about the form that a reply was asked for in."""
    if (
        error.status in (400, 404, 422)
        and not error.hint
        and plan.rung != "prompt"
        and _ABOUT_FORM.search(error.message)
    ):
        others = "`tool` or `prompt`" if plan.rung == "schema" else "`prompt`"
        error.hint = f"if the endpoint does not take a {plan.rung} for replies, set replies of the model to {others}"


def _check_refusal(reply: Reply) -> Reply:
    """`reply`, which is no refusal.

    Raises:
        PermanentCallError: it is one.
    """
    if reply.refusal:
        raise PermanentCallError(f"the model refused: {mask_start(reply.refusal, 200)}")
    return reply
