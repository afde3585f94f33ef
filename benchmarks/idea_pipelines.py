"""Magic methods: how many uses one object serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tidemill as tm
from rows import Cell, Row, Setting

RECORDS = [{"text": f"  Review {number} "} for number in range(100)]
WANTED = [{"text": f"review {number}", "chars": len(f"review {number}")} for number in range(100)]

Record = dict[str, Any]


def clean(record: Record) -> Record:
    return {**record, "text": record["text"].strip().lower()}


def measure(record: Record) -> Record:
    return {**record, "chars": len(record["text"])}


@dataclass(frozen=True)
class Composed:
    """The callable object one writes by hand."""

    functions: tuple[Callable[[Record], Record], ...]

    def __call__(self, record: Record) -> Record:
        for function in self.functions:
            record = function(record)
        return record


MAKERS: tuple[Callable[[], Any], ...] = (
    lambda: lambda record: measure(clean(record)),
    lambda: Composed((clean, measure)),
    lambda: tm.Pipeline([clean, measure]),
)

USES: dict[str, Callable[[Callable[[], Any]], bool]] = {
    "called on a record": lambda make: bool(make()(RECORDS[0]) == WANTED[0]),
    "called on a stream": lambda make: list(make()(tm.from_iterable(RECORDS))) == WANTED,
    "joined with `|`": lambda make: len(make() | make()) == 4,
    "compared with `==`": lambda make: bool(make() == make()),
    "its steps by `len` and `[i]`": lambda make: bool(len(make()) == 2 and make()[1] is not None),
}


def show_pipeline(setting: Setting) -> Row:
    return Row(
        "magic methods",
        f"two steps, {', '.join(USES)}: as function / callable class / pipeline",
        [_count_uses(make) for make in MAKERS],
    )


def _count_uses(make: Callable[[], Any]) -> Cell:
    served = sum(_serves(use, make) for use in USES.values())
    return Cell(f"{served} of {len(USES)} uses", {"uses": served})


def _serves(use: Callable[[Callable[[], Any]], bool], make: Callable[[], Any]) -> bool:
    try:
        return use(make)
    except TypeError:
        return False
