"""A job of agents that is killed, and goes on: each bound ends a run where it would have, and is charged once."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import boundedworld
import pyarrow.parquet as pq
from agentworld import World, open_world, start, write_records
from boundedworld import BOUNDS, reply

RECORDS = 4
KILLS = 3


def read_runs(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The transcripts of each step, in the order of the records."""
    table = sorted(pq.read_table(folder / "out").to_pylist(), key=lambda row: row["id"])
    names = [name.removesuffix("_run") for name in table[0] if name.endswith("_run")]
    return {name: [json.loads(row[f"{name}_run"]) for row in table] for name in names}


def describe(run: dict[str, Any]) -> Any:
    """What of a run is the same in every run of the job: not its marks and keys, nor how long it took."""
    turns = [(turn.get("text"), turn.get("tokens"), len(turn.get("calls", ()))) for turn in run["turns"]]
    return run["stop_reason"], run["ended_by"], turns, run["tokens"], run["cost_usd"]


def kill_again(folder: Path, world: World, port: int, wanted: int) -> None:
    """Run the job in a process that is killed in the middle, and then to its end."""
    rng = random.Random(11)
    for _ in range(KILLS):
        with start(folder, port, boundedworld.__file__) as process:
            assert world.wait_for(world.requests + rng.randint(1, wanted // (KILLS + 1)), process)
    with start(folder, port, boundedworld.__file__) as process:
        assert process.wait(300) == 0


def test_bounds_are_met_where_they_would_have_been(tmp_path: Path) -> None:
    """What is recalled is charged as when it was paid; what is left out of a conversation is left out again.

    A request that was another one than before would be one more of those that the model saw.
    """
    write_records(tmp_path / "whole", RECORDS)
    with open_world(reply) as (world, port):
        boundedworld.run(tmp_path / "whole", port)
        wanted = world.requests
    whole = read_runs(tmp_path / "whole")
    assert {name: {run["stop_reason"] for run in runs} for name, runs in whole.items()} == {
        "usd": {"budget"},
        "tokens": {"budget"},
        "calls": {"budget"},
        "history": {"max_turns"},
        "tools": {"max_tool_calls"},
        "desk": {"budget"},
    }
    assert {(run["ended_by"], len(run["turns"])) for run in whole["desk"]} == {("sales", 4)}
    assert all(len(run["turns"]) > 2 for runs in whole.values() for run in runs)
    assert all(any("cut" in turn["text"] for turn in run["turns"]) for run in whole["history"])
    write_records(tmp_path / "killed", RECORDS)
    with open_world(reply) as (world, port):
        kill_again(tmp_path / "killed", world, port, wanted)
    killed = read_runs(tmp_path / "killed")
    assert killed.keys() == BOUNDS.keys()
    for name, runs in killed.items():
        assert list(map(describe, runs)) == list(map(describe, whole[name])), name
    replies = sum(len(run["turns"]) for runs in killed.values() for run in runs)
    assert len(world.model_calls) == replies
    assert 0 <= world.requests - wanted <= KILLS * RECORDS  # of each record one call is in flight


def test_a_deadline_begins_anew_and_ends_what_goes_on(tmp_path: Path) -> None:
    """What was committed in front of it is there; what was in flight is made again, with its key, and cut off."""
    write_records(tmp_path, 1)
    lines = (tmp_path / "records.jsonl").read_text().replace("account 0", "wait for it")
    (tmp_path / "records.jsonl").write_text(lines)
    (tmp_path / "waits").touch()
    with open_world(reply) as (world, port):
        with start(tmp_path, port, boundedworld.__file__) as process:
            assert world.wait_for(4, process)  # two to the model, one to pay, and the one that waits
        with start(tmp_path, port, boundedworld.__file__) as process:
            assert process.wait(60) == 0
    [run] = read_runs(tmp_path)["deadline"]
    assert (run["stop_reason"], len(run["turns"])) == ("deadline", 2)
    assert [call["outcome"] for turn in run["turns"] for call in turn["calls"]] == ["ok", "cancelled"]
    assert sorted(world.effects.values()) == [1, 2]
    assert len(world.model_calls) == world.model_calls.total() == 2
