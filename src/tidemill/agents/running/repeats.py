"""`Repeats`: notices an agent that makes the same failing call again and again."""

from __future__ import annotations

from collections import Counter

import orjson

from tidemill.agents.calling.outcome import ToolOutcome


class Repeats:
    """Counts the failing calls of one run.

    Args:
        most: how often the same call may fail in the same way.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: Counter[bytes] = Counter()

    def note(self, outcome: ToolOutcome) -> bool:
        """Whether this call has now failed as often as it may."""
        if not outcome.is_error:
            return False
        why = "" if outcome.kind == "timeout" else outcome.error  # not `content`: its marks are of each call alone
        same = [outcome.tool, outcome.arguments, outcome.kind, why]
        key = orjson.dumps(same, option=orjson.OPT_SORT_KEYS)
        self._seen[key] += 1
        return self._seen[key] >= self._most
