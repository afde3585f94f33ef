"""How a job is to be run this time, and what the run takes from outside."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.calls.wire import Transport
from tidemill.disk import Disk


@dataclass(frozen=True, slots=True)
class RunRequest:
    """How a job is to be run this time.

    Attributes:
        limit: end the source half after this many records, counted over the life of the run.
        fresh: delete this run's own output and run folder first.
        reuse: an earlier run (its output or run folder) whose replies are used where nothing changed; `none` goes on
            without the one this run began with.
        retry: try the quarantined and skipped records again, instead of reading on.
        estimate: what the calls were estimated to come to, for the report of a new run to compare.
    """

    limit: int | None = None
    fresh: bool = False
    reuse: str | None = None
    retry: bool = False
    estimate: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run takes from outside, so that a test can hand in its own.

    Attributes:
        disk: the door to durable operations.
        transport: makes what requests go through.
        rng: where jitter comes from.
    """

    disk: Disk
    transport: Callable[[], Transport]
    rng: random.Random
