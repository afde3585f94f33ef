"""`Repeats`: notices an agent that makes the same failing call again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import orjson

from tidemill.agents.calling.outcome import ToolOutcome


class Repeats:
    """Counts the turns of one run in which a call fails as it did before: within one, the model was told of none yet.

    Args:
        most: in how many turns the same call may fail in the same way.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: Counter[bytes] = Counter()

    def note(self, outcomes: Iterable[ToolOutcome]) -> bool:
        """Whether one of these calls of a turn has now failed as often as it may."""
        failed = {_identify(outcome) for outcome in outcomes if outcome.is_error}
        if not failed:
            return False
        self._seen.update(failed)
        return any(self._seen[each] >= self._most for each in failed)


def _identify(outcome: ToolOutcome) -> bytes:
    why = "" if outcome.kind == "timeout" else outcome.error  # not `content`: its marks are of each call alone
    same = [outcome.tool, outcome.arguments, outcome.kind, why]
    return orjson.dumps(same, option=orjson.OPT_SORT_KEYS)
