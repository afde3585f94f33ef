"""`Tallies`: what the rungs of a step's replies come to, told apart in a run's report."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from tidemill.calls.wire import Request, Tally
from tidemill.models.messages import Reply
from tidemill.models.structured.plan import OutputPlan

RE_ASK = "re-ask"
"""The last part of the label of calls that asked again."""
REPAIRED = "repaired"
"""The count of replies that fitted once they were mended."""


class Tallies:
    """Labels a step's requests for replies of one plan: `label/schema`, and `label/schema/re-ask`.

    Args:
        name: of the step, empty for a model that is asked by itself.
    """

    def __init__(self, name: str, plan: OutputPlan) -> None:
        self._plan = plan
        label = f"{name}/{plan.rung}" if name else plan.rung
        self._first = Tally(label, self._look)
        self._again = Tally(f"{label}/{RE_ASK}", self._look)

    def mark(self, request: Request, number: int) -> Request:
        """`request`, the ask of that number, counted under its label."""
        return replace(request, tally=self._again if number else self._first)

    def _look(self, reply: Reply) -> Iterable[str]:
        return (REPAIRED,) if self._plan.parser.is_mended(self._plan.read_text(reply)) else ()
