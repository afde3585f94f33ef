"""A worker thread runs what it is given, in order, and hands back what comes of it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tidemill.errors import WorkerError
from tidemill.resources.worker import WorkerThread


async def test_functions_run_in_the_order_given_in_one_thread() -> None:
    worker = WorkerThread("test")
    seen: list[tuple[int, str]] = []
    runs = [
        worker.run(lambda number=number: seen.append((number, threading.current_thread().name))) for number in range(9)
    ]
    await asyncio.gather(*runs)
    worker.close()
    assert seen == [(number, "tidemill-test") for number in range(9)]


async def test_results_and_errors_come_back() -> None:
    worker = WorkerThread("test")
    assert await worker.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError, match="division"):
        await worker.run(divmod, 7, 0)
    assert await worker.run(divmod, 7, 3) == (2, 1)
    worker.close()


async def test_cancelling_stops_the_waiting_and_not_the_function() -> None:
    worker = WorkerThread("test")
    started, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        go_on.wait(30)
        ended.set()

    task = asyncio.create_task(worker.run(work))
    await asyncio.to_thread(started.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    worker.close()
    assert ended.is_set()


async def test_closing_waits_for_what_was_given_to_it() -> None:
    worker = WorkerThread("test")
    done: list[int] = []
    tasks = [asyncio.create_task(worker.run(done.append, number)) for number in range(3)]
    await asyncio.sleep(0)
    worker.close()
    assert done == [0, 1, 2]
    await asyncio.gather(*tasks)


def test_a_loop_that_is_gone_harms_nobody() -> None:
    """The thread goes on with what else it has to do."""
    worker = WorkerThread("test")
    go_on, ended = threading.Event(), threading.Event()

    async def leave() -> None:
        task = asyncio.create_task(worker.run(go_on.wait))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(leave())
    go_on.set()
    worker.close(last=ended.set)
    assert ended.is_set()


async def test_it_can_be_left_to_end_by_itself() -> None:
    worker = WorkerThread("test")
    go_on = threading.Event()
    task = asyncio.create_task(worker.run(go_on.wait))
    await asyncio.sleep(0)
    worker.close(wait=False)
    go_on.set()
    assert await task is True


async def test_a_function_that_raises_stop_iteration_keeps_nobody_waiting() -> None:
    """No future takes a StopIteration: it arrives as an error that says so."""
    worker = WorkerThread("stops")
    try:
        with pytest.raises(WorkerError, match="raised StopIteration"):
            await worker.run(next, iter(()))
    finally:
        worker.close()
