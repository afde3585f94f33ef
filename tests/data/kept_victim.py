"""A stream in a process of its own, to be killed: `python kept_victim.py STEP FOLDER`.

It prints a line for each record, its state first, and goes on from the last whole line of FOLDER/given, where it puts
these. All that a consumer needs who keeps record and state together.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tidemill as tm
from tidemill.data.kept import digests
from tidemill.data.stages import spilling

RECORDS = 400


def records() -> list[dict[str, Any]]:
    return [{"n": (at * 7919) % 211, "at": at} for at in range(RECORDS)]


def spell(record: dict[str, Any]) -> str:
    """A text that is nearly that of each record with an equal `n`."""
    return " ".join([*(f"{record['n']}-{place}" for place in range(30)), str(record["at"])])


def others() -> tm.Stream[Any]:
    """Two records for some keys, one for others, and none for the rest."""
    return tm.from_iterable([{"n": at % 150, "other": at} for at in range(200)])


STEPS: dict[str, Callable[[tm.Stream[Any], Path], tm.Stream[Any]]] = {
    "dedupe": lambda stream, folder: stream.dedupe("n", dir=folder),
    "dedupe near": lambda stream, folder: stream.dedupe(spell, near=0.8, dir=folder),
    "join": lambda stream, folder: stream.join(others(), "n", how="left", dir=folder, memory="10kB"),
    "sort": lambda stream, folder: stream.sort("n", dir=folder, memory="10kB"),
    "group_by": lambda stream, folder: stream.group_by("n", dir=folder, memory="30kB").agg(ats=("list", "at")),
    "cache": lambda stream, folder: stream.cache(folder, part_bytes=2000),
}


def shrink(step: str) -> None:
    """Have this process make as many files of so few records as of millions."""
    digests.STRETCH, digests.FAN = 512 if step == "dedupe near" else 32, 2  # a text has many entries
    spilling.GIVEN = 16


def make(step: str, folder: Path) -> tm.Stream[Any]:
    """The stream of a step."""
    return STEPS[step](tm.from_iterable(records), folder)


def read_given(path: Path) -> list[list[Any]]:
    """Record and state of each whole line; one that was cut is taken off."""
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def main(step: str, folder: Path) -> None:
    shrink(step)
    given = read_given(folder / "given")
    iterator = make(step, folder / "kept").iterate(given[-1][1] if given else None)
    with open(folder / "given", "a") as file:
        for record in iterator:
            file.write(json.dumps([record, iterator.state()]) + "\n")
            file.flush()
            sys.stdout.write(".")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
