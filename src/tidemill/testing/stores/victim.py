"""`python -m tidemill.testing.stores.victim`: starts processes that put records in until they kill themselves.

An order is a line of JSON on standard input: the settings of a store, the ids, the number of the first round, and where
within an upsert the end comes, as a ratio of what one takes. The answer: the number of each round that is stored, a
line each, and `killed`.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
import threading
import time
from typing import Any

import orjson
from pydantic import TypeAdapter

from tidemill.stores.table import AnyStore
from tidemill.testing.stores.subject import draw_vectors


def main() -> None:
    """Take orders until there are no more; the libraries are imported once, for all who are started."""
    for line in sys.stdin:
        order = orjson.loads(line)
        store = read_store(order)
        child = os.fork()
        if child == 0:
            asyncio.run(_put(store, order))
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        tell("killed")


def read_store(order: dict[str, Any]) -> Any:
    """The settings in an order; what is to be imported has been then."""
    for module in order["imports"]:
        importlib.import_module(module)
    return TypeAdapter[Any](AnyStore).validate_python(order["store"])


async def _put(settings: Any, order: dict[str, Any]) -> None:
    keys, number, took_s = order["keys"], order["first"], 0.0
    async with settings.open() as store:
        while True:
            vectors = draw_vectors(len(keys), settings.dimensions, seed=number)
            began_s = time.perf_counter()
            if number == order["first"] + 2:
                threading.Thread(target=_kill, args=(took_s * order["at_ratio"],), daemon=True).start()
            await store.upsert(keys, vectors, [{"round": number}] * len(keys))
            took_s = time.perf_counter() - began_s
            tell(str(number))
            number += 1


def _kill(after_s: float) -> None:
    time.sleep(after_s)
    os.kill(os.getpid(), signal.SIGKILL)


def tell(text: str) -> None:
    """Answer a line."""
    os.write(1, f"{text}\n".encode())


if __name__ == "__main__":
    main()
