"""Threads end with whoever made them, whatever the loop does meanwhile."""

from __future__ import annotations

import asyncio
import threading

from tidemill.resources.threads import Threads


def test_a_thread_whose_function_ends_with_the_loop_ends_too() -> None:
    """Its end may be the last thing the loop hears of, and nobody gives the thread back any more."""
    entered, release = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        release.wait(10)

    async def run() -> None:
        threads = Threads("waiting", lambda: 1)
        task = asyncio.create_task(threads.run(wait))
        await asyncio.to_thread(entered.wait, 10)
        task.cancel()
        await asyncio.wait([task])
        threads.close()

    asyncio.run(run())
    (thread,) = [each for each in threading.enumerate() if each.name == "tidemill-waiting"]
    release.set()
    thread.join(10)
    assert not thread.is_alive()
