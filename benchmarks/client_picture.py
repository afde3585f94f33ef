"""JSON Lines as a list, as generators or as a stream, each mapped and filtered; see `memory_picture.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from children import cpu_s, tell
from client_stream import Record, add_length, has_length, loop_kept, loop_lengths, loop_lines

STATE_EVERY = 1_000
"""Records between two states, as a training loop has them between two checkpoints."""

Counts = tuple[int, int, int]
"""Records, their characters, and how many states were taken."""


def use_list(path: Path) -> Counts:
    records = list(loop_lines(path))
    records = [add_length(record) for record in records]
    records = [record for record in records if has_length(record)]
    return len(records), sum(map(measure, records)), 0


def use_generator(path: Path) -> Counts:
    count = characters = 0
    for record in loop_kept(loop_lengths(loop_lines(path))):
        count += 1
        characters += measure(record)
    return count, characters, 0


def use_stream(path: Path) -> Counts:
    import tidemill as tm

    count = characters = states = 0
    records = tm.read(path).map(add_length).filter(has_length).iterate()
    for record in records:
        count += 1
        characters += measure(record)
        if count % STATE_EVERY == 0:
            states += bool(records.state())
    return count, characters, states


def measure(record: Record) -> int:
    """What is done with a record."""
    return len(record["text"])


WAYS: dict[str, Callable[[Path], Counts]] = {"list": use_list, "generator": use_generator, "Tidemill": use_stream}

if __name__ == "__main__":
    way, place = sys.argv[1:]
    count, characters, states = WAYS[way](Path(place))
    tell(records=count, characters=characters, states=states, cpu_s=cpu_s())
