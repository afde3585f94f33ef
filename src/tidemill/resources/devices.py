"""Accelerators as profiling and prediction see them: events, memory, and the cache of torch's allocator."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

ACCELERATORS = ("cuda", "xpu", "mps")
"""Types of device that have a cache and a clock of their own, as torch names them."""

CPU_ALLOCATOR = "DefaultCPUAllocator"
"""How torch's message begins when the host has no memory left: it is a plain RuntimeError there."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What a device holds, in bytes.

    Attributes:
        allocated_bytes: in tensors.
        reserved_bytes: taken from the device, tensors and cache.
        peak_bytes: the most that was in tensors since `reset_peak`; None where the device does not count it.
    """

    allocated_bytes: int
    reserved_bytes: int
    peak_bytes: int | None = None


class Event(Protocol):
    """A point in a device's queue."""

    def is_done(self) -> bool:
        """Whether the device has come that far; does not wait."""
        ...

    def measure_since(self, earlier: Any) -> float:
        """Seconds of the device's time from `earlier` to here; both are done."""
        ...


class Device(Protocol):
    """One accelerator. Threads: any.

    Attributes:
        name: as torch names it, `cuda:0`.
    """

    @property
    def name(self) -> str: ...

    def record(self) -> Event:
        """An event behind what is queued now."""
        ...

    def synchronize(self) -> None:
        """Wait until all that is queued is done."""
        ...

    def empty_cache(self) -> None:
        """Give back to the device what the allocator keeps and no tensor holds."""
        ...

    def read_memory(self) -> Memory:
        """What it holds now."""
        ...

    def reset_peak(self) -> None:
        """Count `peak_bytes` from now on."""
        ...


class TorchDevice:
    """An accelerator of torch; nothing here initialises one."""

    def __init__(self, name: str) -> None:
        import torch

        self.name = name
        self._device = torch.device(name)
        self._module: Any = torch.get_device_module(self._device)

    def record(self) -> Event:
        """An event in the queue of the running thread's current stream."""
        event = self._module.Event(enable_timing=True)
        if hasattr(self._module, "current_stream"):
            event.record(self._module.current_stream(self._device))
        else:
            event.record()
        return _TorchEvent(event)

    def synchronize(self) -> None:
        with self._current():
            self._module.synchronize()

    def empty_cache(self) -> None:
        with self._current():  # with another one current, torch would initialise that
            self._module.empty_cache()

    def read_memory(self) -> Memory:
        module = self._module
        if not hasattr(module, "memory_stats_as_nested_dict"):
            return Memory(module.current_allocated_memory(), module.driver_allocated_memory())
        stats = module.memory_stats_as_nested_dict(self._device)  # `memory_allocated` and its like each ask for all
        tensors, reserved = stats["allocated_bytes"]["all"], stats["reserved_bytes"]["all"]
        return Memory(tensors["current"], reserved["current"], tensors["peak"])

    def reset_peak(self) -> None:
        if hasattr(self._module, "reset_peak_memory_stats"):
            self._module.reset_peak_memory_stats(self._device)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TorchDevice) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def _current(self) -> Any:
        return self._module.device(self._device) if hasattr(self._module, "device") else nullcontext()


class _TorchEvent:
    """A torch event with timing."""

    __slots__ = ("_event",)

    def __init__(self, event: Any) -> None:
        self._event = event

    def is_done(self) -> bool:
        return bool(self._event.query())

    def measure_since(self, earlier: _TorchEvent) -> float:
        return float(earlier._event.elapsed_time(self._event)) / 1e3


def find_devices(modules: Iterable[Any]) -> tuple[Device, ...]:
    """The accelerators on which tensors of these torch modules stand; none, at no cost, where none is initialised."""
    torch = sys.modules.get("torch")
    if torch is None or not _has_devices(torch):
        return ()
    found: dict[str, Device] = {}
    for module in modules:
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None and tensor.device.type in ACCELERATORS and str(tensor.device) not in found:
                found[str(tensor.device)] = TorchDevice(str(tensor.device))
    return tuple(found.values())


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether `error` says that a device, or the host, had no memory left."""
    if isinstance(error, MemoryError):
        return True
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and CPU_ALLOCATOR in str(error)


def _has_devices(torch: Any) -> bool:
    """Whether an accelerator is initialised; of Apple's, which does not say so, whether there is one."""
    return torch.cuda.is_initialized() or torch.xpu.is_initialized() or _has_mps()


@lru_cache(maxsize=1)
def _has_mps() -> bool:
    torch: Any = sys.modules["torch"]
    return bool(torch.backends.mps.is_available())
