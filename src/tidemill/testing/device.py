"""`FakeDevice`: an accelerator with a clock of its own, which counts what is asked of it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tidemill.resources.devices import Memory


class FakeDevice:
    """An accelerator without hardware: work is queued, takes the device's time, and is waited for by synchronising.

    Its time and the host's are simulated: `launch` takes the host nothing, `synchronize` moves the host to where the
    queue ends. Threads: any.

    Attributes:
        name: as torch would name it.
        now_ns: the host's time; `clock` gives it, `pass_host_time` moves it.
        clears: how often its cache was cleared.
        synchronisations: how often it was waited for.
        allocated_bytes, cached_bytes: in tensors, and kept besides; `allocate` and `free` move them.
        on_clear: called as the cache is cleared.
    """

    def __init__(self, name: str = "fake:0", *, on_clear: Callable[[], object] = lambda: None) -> None:
        self.name = name
        self.now_ns = 0
        self.clears = 0
        self.synchronisations = 0
        self.allocated_bytes = 0
        self.cached_bytes = 0
        self.on_clear = on_clear
        self._peak_bytes = 0
        self._busy_until_ns = 0
        self._lock = threading.Lock()  # guards all of these

    def clock(self) -> int:
        """The host's time, in nanoseconds."""
        return self.now_ns

    def pass_host_time(self, seconds: float) -> None:
        """Let the host work for so long."""
        with self._lock:
            self.now_ns += round(seconds * 1e9)

    def launch(self, seconds: float) -> None:
        """Queue work that takes the device so long."""
        with self._lock:
            self._busy_until_ns = max(self._busy_until_ns, self.now_ns) + round(seconds * 1e9)

    def allocate(self, size_bytes: int) -> None:
        """Put so much into tensors, from the cache first."""
        with self._lock:
            self.cached_bytes = max(0, self.cached_bytes - size_bytes)
            self.allocated_bytes += size_bytes
            self._peak_bytes = max(self._peak_bytes, self.allocated_bytes)

    def free(self, size_bytes: int) -> None:
        """Drop tensors of that size; the cache keeps their memory."""
        with self._lock:
            self.allocated_bytes -= size_bytes
            self.cached_bytes += size_bytes

    def record(self) -> FakeEvent:
        """A point behind what is queued."""
        with self._lock:
            return FakeEvent(self, max(self._busy_until_ns, self.now_ns))

    def synchronize(self) -> None:
        """Let the host wait until the queue is done."""
        with self._lock:
            self.synchronisations += 1
            self.now_ns = max(self.now_ns, self._busy_until_ns)

    def empty_cache(self) -> None:
        """Drop the cache, and count that."""
        with self._lock:
            self.clears += 1
            self.cached_bytes = 0
        self.on_clear()

    def read_memory(self) -> Memory:
        """What is held now."""
        with self._lock:
            return Memory(self.allocated_bytes, self.allocated_bytes + self.cached_bytes, self._peak_bytes)

    def reset_peak(self) -> None:
        """Count the peak from now on."""
        with self._lock:
            self._peak_bytes = self.allocated_bytes


class FakeEvent:
    """A point in a fake device's queue."""

    def __init__(self, device: FakeDevice, at_ns: int) -> None:
        self._device = device
        self._at_ns = at_ns

    def is_done(self) -> bool:
        """Whether the host's time is past it."""
        return self._device.now_ns >= self._at_ns

    def measure_since(self, earlier: FakeEvent) -> float:
        """Seconds from `earlier` to here."""
        return (self._at_ns - earlier._at_ns) / 1e9
