"""When the cache of a device's allocator is cleared: at most once, as the outermost block of a thread ends."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, get_args

from tidemill.errors import ConfigError
from tidemill.resources.devices import Device, is_out_of_memory
from tidemill.resources.profiling.counts import check_count
from tidemill.resources.states.suspension import CAN_SUSPEND

CachePolicy = Literal["on_exit", "on_oom", "threshold", "never"]
"""When a block clears: as it ends, only if memory ran out in it, only if much is kept unused, or not at all."""

THRESHOLD_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Caching:
    """When the cache is cleared.

    Attributes:
        policy: see `CachePolicy`.
        threshold_bytes: what must be kept unused at least, under `threshold`.
    """

    policy: CachePolicy = "on_exit"
    threshold_bytes: int = THRESHOLD_BYTES

    def __post_init__(self) -> None:
        if self.policy not in get_args(CachePolicy):
            raise ConfigError(f"expected a cache policy of {', '.join(get_args(CachePolicy))}, got {self.policy!r}")
        check_count(self.threshold_bytes, "a threshold in bytes")

    def applies(self, device: Device, error: BaseException | None) -> bool:
        """Whether `device` is to be cleared after a block that `error` ended, if one did."""
        if self.policy == "threshold":
            memory = device.read_memory()
            return memory.reserved_bytes - memory.allocated_bytes >= self.threshold_bytes
        return self.policy == "on_exit" or (self.policy == "on_oom" and any(map(is_out_of_memory, _iter_errors(error))))


class _Blocks(threading.local):
    """The blocks that are open in a thread, and what is to be cleared when the last of them ends."""

    def __init__(self) -> None:
        self.depth = 0
        self.due: dict[str, Device] = {}


_blocks = _Blocks()


def begin_block() -> None:
    """Note that a block of this thread begins."""
    _blocks.depth += 1


def end_block(caching: Caching, devices: Iterable[Device], error: BaseException | None) -> tuple[str, ...]:
    """Note that it ends, and clear what is due after the outermost one: one collection, one clear of each device.

    What the frames of `error`'s traceback held is dropped first, or tensors in them would stay. Neither happens where
    nothing is due: no device, or a policy that says no.

    Returns: the names of the devices that were cleared.
    """
    _blocks.depth -= 1
    due = _blocks.due
    due.update({device.name: device for device in devices if caching.applies(device, error)})
    if _blocks.depth or not due:
        return ()
    _blocks.due = {}
    drop_locals(error)
    gc.collect()
    for device in due.values():
        device.empty_cache()
    return tuple(due)


def drop_locals(error: BaseException | None) -> None:
    """Drop what the frames hold that `error` came through, and the errors it came of and holds."""
    for each in _iter_errors(error):
        _drop_locals(each)


def _drop_locals(error: BaseException) -> None:
    """Drop what the frames of `error`'s traceback hold, those that run or will go on excepted."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        # A generator or coroutine that caught it and goes on later would be closed by that before Python 3.13.
        if sys.version_info >= (3, 13) or not frame.f_code.co_flags & CAN_SUSPEND:
            with suppress(RuntimeError):  # it runs, or is suspended
                frame.clear()


def _iter_errors(error: BaseException | None) -> Iterator[BaseException]:
    """`error`, those it came of and those it holds, each once."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        waiting += [each.__cause__, each.__context__]
        waiting += each.exceptions if isinstance(each, BaseExceptionGroup) else []
