"""How a reply is asked for, and what its provider does not hold it to, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidemill.models.structured.dialects.adapted import Adapted
from tidemill.models.structured.plan import OutputPlan, Rung

MAX_SHOWN = 4
"""Things that a sentence names before it says how many more there are."""

RUNGS: dict[Rung, str] = {
    "schema": "by a schema that the provider holds them to",
    "tool": "as the call of a tool",
    "prompt": "by the system prompt",
}


def explain_plan(plan: OutputPlan) -> str:
    """What is worth knowing of the way a reply is asked for; empty where the provider holds it to the whole schema."""
    reasons = plan.adapted.forbidden
    if plan.rung != "schema" or not plan.strict:
        way = RUNGS[plan.rung] if plan.rung != "schema" else "by a schema that nobody holds them to"
        return f"replies are asked for {way}{': ' if reasons else ''}{_join(reasons, '; ')}"
    if not plan.adapted.dropped:
        return ""
    found = [f"`{each.keyword}` at {each.path}" for each in plan.adapted.dropped]
    return f"the provider does not hold replies to {_join(found, ', ')}: each reply is checked when it is there"


def iter_lines(plan: OutputPlan) -> Iterator[str]:
    """Everything there is to say of it, a line each."""
    yield f"replies are asked for {RUNGS[plan.rung]}"
    if plan.is_wrapped:
        yield "the value stands in an object, under `value`, and is taken out of it"
    yield from iter_losses(plan.adapted)


def iter_losses(adapted: Adapted) -> Iterator[str]:
    """What a dialect forbids and drops, a line each."""
    for reason in adapted.forbidden:
        yield f"forbidden: {reason}"
    for dropped in adapted.dropped:
        yield f"dropped: {dropped}"


def _join(texts: Sequence[str], between: str) -> str:
    more = [f"and {len(texts) - MAX_SHOWN} more"] if len(texts) > MAX_SHOWN else []
    return between.join([*texts[:MAX_SHOWN], *more])
