"""Workers with hooks around them, which are called where records are consumed: one at a time, also for processes."""

from __future__ import annotations

from collections import deque
from typing import Any

from tidemill.data.nodes.hooks import BoundHooks
from tidemill.data.parallel.flight import Flight, Workers


class HookedWorkers:
    """Calls the hooks of a step in front of a record's start, and behind its end, in the consumer's thread."""

    def __init__(self, workers: Workers, hooks: BoundHooks) -> None:
        self._workers = workers
        self._hooks = hooks
        self._records: dict[int, Any] = {}  # as they came, by the number of the flight
        self._failed: deque[Flight] = deque()

    def start(self, flight: Flight) -> None:
        record = flight.record
        try:
            flight.record = self._hooks.replace_record(record)
        except Exception as error:  # noqa: BLE001 - a failure of the record, given at its place
            flight.fail(error)
            self._failed.append(flight)
            return
        self._records[flight.number] = record
        self._workers.start(flight)

    def wait(self) -> Flight:
        if self._failed:
            return self._failed.popleft()
        flight = self._workers.wait()
        given, flight.record = flight.record, self._records.pop(flight.number)
        if flight.error is None:
            try:
                flight.value = self._hooks.replace_result(given, flight.value)
            except Exception as error:  # noqa: BLE001 - as above
                flight.fail(error)
        return flight

    def close(self) -> None:
        self._workers.close()
