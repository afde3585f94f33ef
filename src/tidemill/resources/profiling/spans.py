"""`Stopwatch`: host and device time of spans, without waiting for the device until someone reads it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tidemill.resources.devices import Device, Event
from tidemill.resources.timing.histogram import Histogram


@dataclass(slots=True)
class Figures:
    """What spans of one kind came to.

    Attributes:
        host: their times on the host: from beginning to end, without waiting for a device.
        device: their times on the device: from what was queued first to what was queued last, waiting between included.
        elapsed_s: of each the longer of both, added up.
        items: what went through them.
    """

    host: Histogram = field(default_factory=Histogram)
    device: Histogram = field(default_factory=Histogram)
    elapsed_s: float = 0.0
    items: int = 0

    @property
    def throughput_per_s(self) -> float | None:
        """Items a second of the busier side; None where none were counted."""
        busy_s = max(self.host.total_s, self.device.total_s)
        return self.items / busy_s if self.items and busy_s else None


@dataclass(slots=True)
class Span:
    """A stretch of time that is being measured, or was.

    Attributes:
        starts: an event on each device as it began.
        stops: and as it ended.
        host_s: seconds on the host, once it ended.
        figures: where it counts.
    """

    started_ns: int
    starts: tuple[Event, ...]
    stops: tuple[Event, ...] = ()
    host_s: float = 0.0
    items: int = 0
    figures: tuple[Figures, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether the devices have come to its end."""
        return all(event.is_done() for event in self.stops)

    @property
    def device_s(self) -> float:
        """Seconds on the device that took the longest; read once it is done."""
        pairs = zip(self.starts, self.stops, strict=True)
        return max((stop.measure_since(start) for start, stop in pairs), default=0.0)


class Stopwatch:
    """Measures spans. Threads: any.

    Args:
        clock: the host's time, in nanoseconds.
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards what follows, and the figures
        self._pending: deque[tuple[Span, Sequence[Device]]] = deque()  # ended on the host, not on their devices yet

    def begin(self, devices: Sequence[Device]) -> Span:
        """A span that begins now."""
        starts = tuple([device.record() for device in devices])
        return Span(self._clock(), starts)

    def end(self, span: Span, devices: Sequence[Device], *figures: Figures, items: int = 0) -> None:
        """End `span`, through which `items` went; it counts in `figures`."""
        span.host_s = (self._clock() - span.started_ns) / 1e9
        span.stops = tuple([device.record() for device in devices])
        span.items = items
        span.figures = figures
        with self._lock:
            if not devices:
                _count(span)
                return
            self._pending.append((span, devices))
            while self._pending and self._pending[0][0].is_done:
                _count(self._pending.popleft()[0])

    def read_out(self) -> None:
        """Wait for the devices once, where spans still wait for theirs."""
        with self._lock:
            for device in {device.name: device for _, devices in self._pending for device in devices}.values():
                device.synchronize()
            while self._pending:
                _count(self._pending.popleft()[0])

    def elapsed_ns(self, span: Span) -> int:
        """Nanoseconds of the host's time since `span` began."""
        return self._clock() - span.started_ns


def _count(span: Span) -> None:
    device_s = span.device_s
    for figures in span.figures:
        figures.host.add(span.host_s)
        if span.stops:
            figures.device.add(device_s)
        figures.elapsed_s += max(span.host_s, device_s)
        figures.items += span.items
