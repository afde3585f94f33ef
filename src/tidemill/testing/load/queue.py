"""Servers that never refuse: what comes while all are busy waits, first come, first served."""

from __future__ import annotations

import heapq


class ServiceQueue:
    """`servers` of them, each at one request at a time, none idle while a request waits. Times never go back."""

    def __init__(self, servers: int) -> None:
        self._servers = servers
        self._free_at: list[float] = []  # a heap: when each server that is busy, or was, is free

    def arrive(self, now: float, service_s: float) -> float:
        """Seconds from `now` until a request that takes `service_s` is done."""
        if len(self._free_at) < self._servers:
            heapq.heappush(self._free_at, now + service_s)
            return service_s
        done_at = max(now, self._free_at[0]) + service_s
        heapq.heapreplace(self._free_at, done_at)
        return done_at - now
