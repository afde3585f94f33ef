"""Processes that put the same records into one store at once."""

from __future__ import annotations

import asyncio
import sys

import numpy as np

from tidemill.testing.stores.killing import DIMENSIONS, KEYS, render_order
from tidemill.testing.stores.subject import StoreSubject, draw_vectors

WRITERS, ROUNDS = 3, 4


async def check_processes_leave_no_duplicate(subject: StoreSubject) -> None:
    """Three processes make a store and put the same records in at once: each is there once, of one of them, none lost.

    Of a store that one process at a time may open, or that is in its memory, nothing is asked.
    """
    if not subject.processes:
        return
    settings = subject.make(dimensions=DIMENSIONS)
    order = render_order(subject, settings, {"writers": WRITERS, "rounds": ROUNDS})
    writers = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tidemill.testing.stores.writers"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await writers.communicate(order)
    assert told.split() == [b"0"] * WRITERS, f"the processes ended with {told!r}"
    own = [f"own {writer} {number}" for writer in range(WRITERS) for number in range(ROUNDS)]
    async with settings.open() as store:
        found = await store.fetch([*KEYS, *own], with_vectors=True)
        assert None not in found, "what a process was told to be stored is gone"
        assert await store.count() == len(found)
        (matches,) = await store.search(draw_vectors(1, DIMENSIONS), 2 * len(found))
        assert sorted(match.id for match in matches) == sorted([*KEYS, *own])
        for place, match in enumerate(found):
            assert match is not None
            assert match.vector is not None
            wanted = draw_vectors(len(KEYS) + 1, DIMENSIONS, seed=match.payload["seed"])[min(place, len(KEYS))]
            assert np.allclose(match.vector, wanted, atol=1e-5), "a vector of one process beside another's payload"
