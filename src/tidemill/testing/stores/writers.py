"""`python -m tidemill.testing.stores.writers`: starts processes that put the same records into one store, at once.

The order is JSON on standard input: the settings of a store, the ids, how many processes there are to be, and how often
each of them puts the records in. The answer: how each has ended, 0 where it did all of it.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import orjson

from tidemill.testing.stores.subject import draw_vectors
from tidemill.testing.stores.victim import read_store, tell


def main() -> None:
    """Start them all, let them begin, and tell how they ended."""
    order = orjson.loads(sys.stdin.buffer.read())
    settings = read_store(order)
    beginning, holding = os.pipe()
    children = []
    for writer in range(order["writers"]):
        child = os.fork()
        if child == 0:
            os.close(holding)
            os.read(beginning, 1)  # until nobody holds the other end any more
            asyncio.run(_put(settings, order, writer))
            os._exit(0)
        children.append(child)
    os.close(holding)
    for child in children:
        tell(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))


async def _put(settings: Any, order: dict[str, Any], writer: int) -> None:
    keys = order["keys"]
    async with settings.open() as store:
        for number in range(order["rounds"]):
            seed = writer * order["rounds"] + number
            vectors = draw_vectors(len(keys) + 1, settings.dimensions, seed=seed)
            await store.upsert([*keys, f"own {writer} {number}"], vectors, [{"seed": seed}] * len(vectors))


if __name__ == "__main__":
    main()
