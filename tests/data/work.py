"""Functions that worker processes call: in a light module, since each worker imports it anew."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import Any

import tidemill as tm


def double(n: int) -> int:
    return 2 * n


def double_or_fail(n: int) -> int:
    """The double, of every seventh from 3 on a failure: alike in every kind of worker."""
    if n % 7 == 3:
        raise ValueError(f"{n} is a seventh")
    return 2 * n


def check_timed(record: dict[str, Any]) -> dict[str, Any]:
    """The record, out of latency blocks that fail for the id 3."""
    with tm.latency("outer"), tm.latency("inner"):
        if record["id"] == 3:
            raise ValueError("three")
        return record


async def double_later(n: int) -> int:
    return double(n)


async def double_or_fail_later(n: int) -> int:
    return double_or_fail(n)


def fail_deep_down(n: int) -> int:
    return _fail_here(n)


def _fail_here(n: int) -> int:
    raise LookupError(f"no {n} down here")


class StubbornError(Exception):
    """Pickles, and cannot be made again from what was pickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} {second}")


class UnpicklableError(Exception):
    def __reduce__(self) -> Any:
        raise pickle.PicklingError("not this one")


def misbehave(n: int) -> Any:
    """Every third in a way of its own; the others are doubled."""
    match n:
        case 0:
            raise StubbornError("two", "words")
        case 3:
            raise UnpicklableError("stays here")
        case 6:
            return lambda: n
        case 9:
            return next(iter(()))
        case 12:
            sys.exit("out")
        case _:
            return double(n)


def die(record: dict[str, Any]) -> Any:
    """End the process as `how` says, as often as `times` says, and then give the number."""
    marks = Path(record["folder"])
    deaths = len(list(marks.glob(f"{record['n']}-*")))
    if deaths < record.get("times", 0):
        (marks / f"{record['n']}-{deaths}").touch()
        _end(record["how"])
    return record["n"]


def _end(how: str) -> None:
    if how == "exit":
        os._exit(3)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


def tell_process(n: int) -> int:
    return os.getpid()


def stay(folder: str) -> None:
    """Say which process this is, and do not come back."""
    Path(folder, str(os.getpid())).touch()
    while True:
        signal.pause()


def find_mode(n: int) -> tuple[bool, bool]:
    import torch

    torch.ones(1)
    return torch.is_grad_enabled(), torch.is_inference_mode_enabled()


def try_processes(told: str) -> None:
    """Map with processes, and write down what is raised."""
    from tidemill.data.iteration import iterate
    from tidemill.data.nodes.single import Map
    from tidemill.data.sources.iterable import FromIterable
    from tidemill.errors import ConfigError

    iterator = iterate(FromIterable(iterable=[1]), [Map(fn=double, on="processes")])
    try:
        next(iterator)
    except ConfigError as error:
        Path(told).write_text(str(error))
    iterator.close()
