"""A job of agents that is killed again and again: nothing that was committed is done twice."""

from __future__ import annotations

import random
from pathlib import Path

from agentworld import kill_again


def test_kills_repeat_only_what_was_in_flight(tmp_path: Path) -> None:
    """SIGKILL in the middle of turns: the same answers, each effect once but for those in flight, with its own key.

    Fifty kills: `make proof`.
    """
    killed = kill_again(tmp_path, records=30, kills=6, rng=random.Random(7))
    assert killed.problems == ()
