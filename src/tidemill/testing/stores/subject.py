"""`StoreSubject`: a store that is checked, and what its checks are made of."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from tidemill.errors import TidemillError
from tidemill.protocols import Upserted
from tidemill.stores.store import Store
from tidemill.stores.vectors import Matrix


class MakeStore(Protocol):
    """Gives the settings of a store at a place of its own, which holds nothing yet."""

    def __call__(self, **settings: Any) -> Store: ...


@dataclass(frozen=True)
class StoreSubject:
    """A store that is checked, and what it may do otherwise than others.

    Attributes:
        make: settings for a new, empty place: called with `dimensions`, and with `metric` and `fields` at times.
        takes_nul: whether texts may hold a NUL; PostgreSQL's cannot, and such a record is refused.
        orders_texts: whether a filter may ask for texts in front of or behind another; else it is refused.
        spare: descriptors and threads that stay when all is closed: what a library opens once for the process.
        many: records that are put in where there are to be many; fewer where a store is not meant for as many.
        processes: whether several processes may have it open at once.
        atomic: whether an upsert that a crash breaks off is there whole or not at all.
        adds_fields: whether it takes further fields later, by which filters see the records that are there already.
        waits: whether what it does is waited for, so that it can be broken off; not what is held in this process alone.
        stall_cpu_s: the longest that the loop may compute in one go.
        imports: modules that processes which are killed import beforehand, all of them once.
    """

    make: MakeStore
    takes_nul: bool = True
    orders_texts: bool = True
    spare: int = 0
    many: int = 100_000
    processes: bool = True
    atomic: bool = True
    adds_fields: bool = False
    waits: bool = True
    stall_cpu_s: float = 0.1
    imports: tuple[str, ...] = ()


StoreCheck: TypeAlias = Callable[[StoreSubject], Awaitable[None]]

SETTLING, SETTLING_S = 300, 0.01
"""How often, and how long apart, it is looked whether what was cancelled has ended."""

FIELDS = {"text": "str", "number": "int", "share": "float", "flag": "bool"}
"""A field of each kind."""


def draw_vectors(count: int, dimensions: int = 4, *, seed: int = 0) -> Matrix:
    """Vectors of length 1 in all directions, the same for one seed."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimensions), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def check_kinds(outcomes: Sequence[Upserted], expected: str) -> None:
    """Check what became of each record, by the first letters: `s` stored, `u` superseded, `r` refused with a reason."""
    letters = {"stored": "s", "superseded": "u", "refused": "r"}
    assert "".join(letters[outcome.kind] for outcome in outcomes) == expected, outcomes
    assert all(bool(outcome.error) is (outcome.kind == "refused") for outcome in outcomes), outcomes


@contextmanager
def refused(kind: type[TidemillError], words: str) -> Iterator[None]:
    """Check that the block raises that kind of error, with those words in its message."""
    caught: TidemillError | None = None
    try:
        yield
    except kind as error:
        caught = error
    assert caught is not None, f"expected a {kind.__name__} that says {words!r}, and nothing was raised"
    assert words in str(caught), f"expected {words!r} in {str(caught)!r}"


def count_open() -> int:
    """Descriptors and Python threads of this process; descriptors only where the system tells.

    Without the threads that a loop has for its own functions, which it keeps: those are made as they come to be needed.
    """
    descriptors = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    return descriptors + sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


async def count_settled(most: int) -> int:
    """What is open once what was cancelled has ended: a connection that was cut, a thread; `most` is enough."""
    for _ in range(SETTLING):
        if count_open() <= most:
            break
        await asyncio.sleep(SETTLING_S)
    return count_open()
