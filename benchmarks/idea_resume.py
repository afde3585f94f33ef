"""Generators: how much is done again when what was stopped in the middle goes on."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import tidemill as tm
from rows import Cell, Row, Setting
from workload import write_records

Record = dict[str, Any]

calls: Counter[str] = Counter()


def work(record: Record) -> Record:
    """What is costly to do again."""
    calls["work"] += 1
    return {**record, "words": len(record["text"].split())}


def iter_records(path: Path) -> Iterator[Record]:
    with open(path, "rb") as file:
        yield from map(json.loads, file)


def go_on_with_list(path: Path, done: int) -> Iterator[Record]:
    calls.clear()
    return iter([work(record) for record in iter_records(path)][done:])


def go_on_with_generator(path: Path, done: int) -> Iterator[Record]:
    calls.clear()
    return islice(map(work, iter_records(path)), done, None)


def go_on_with_stream(path: Path, done: int) -> Iterator[Record]:
    stopped = tm.read(path).map(work).iterate()
    for _ in islice(stopped, done):
        pass
    state = json.dumps(stopped.state())
    stopped.close()
    calls.clear()
    return tm.read(path).map(work).iterate(json.loads(state))


WAYS = (go_on_with_list, go_on_with_generator, go_on_with_stream)


def show_resume(setting: Setting) -> Row:
    """Lines parsed and mapped, stopped after three quarters: what is called until the first new record is there."""
    count = setting.payloads
    path = write_records(setting.folder / "resume.jsonl", count)
    done = count * 3 // 4
    cells = []
    for go_on in WAYS:
        rest = go_on(path, done)
        first, called = next(rest), calls["work"]
        ids = [first["id"], *(record["id"] for record in rest)]
        assert ids == list(range(done, count)), f"{go_on.__name__} gave other records than are left"
        cells.append(Cell(f"{called:,} call{'s' * (called > 1)}", {"calls": called}))
    name = f"{count:,} lines mapped as list / generator / stream, stopped after {done:,}"
    return Row("generators, lazy evaluation", f"{name}: calls until the first new record is there", cells)
