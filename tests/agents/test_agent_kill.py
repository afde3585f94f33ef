"""A job of agents that is killed again and again: nothing that was committed is done twice."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow.parquet as pq
from agentworld import CONCURRENCY, TURNS, open_world, start, write_records

RECORDS = 40
KILLS = 8


def test_kills_repeat_only_what_was_in_flight(tmp_path: Path) -> None:
    """SIGKILL in the middle of turns: the same answers, each effect once but for those in flight, with its own key."""
    rng = random.Random(7)
    write_records(tmp_path, RECORDS)
    whole = RECORDS * (TURNS + 1 + 2 * TURNS)
    with open_world() as (world, port):
        kills = 0
        for _ in range(KILLS):
            with start(tmp_path, port) as process:
                kills += world.wait_for(world.requests + rng.randint(5, whole // KILLS), process)
        with start(tmp_path, port) as process:
            assert process.wait(120) == 0
        assert kills == KILLS
        assert len(world.effects) == RECORDS * TURNS * 2
        assert all(len(arguments) == 1 for arguments in world.arguments.values())
        assert len(world.model_calls) == RECORDS * (TURNS + 1)
        repeated = world.effects.total() + world.model_calls.total() - whole
        assert repeated <= kills * 2 * CONCURRENCY
    table = pq.read_table(tmp_path / "out")
    answers = {row["id"]: row["answer"] for row in table.to_pylist()}
    assert answers == {
        number: "|".join(str(10 * turn + place) for turn in range(3) for place in range(2)) for number in range(RECORDS)
    }
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text())
