"""The bridge: a loop beside plain Python, wherever that runs, and Ctrl-C on its way through."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tidemill.resources.bridge import Bridge


async def double(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


def interrupt_main() -> None:
    """What Ctrl-C does: SIGINT to this process, which Python handles in its main thread."""
    os.kill(os.getpid(), signal.SIGINT)


@contextmanager
def interrupts_raise() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, however the test runner was started."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_runs_coroutines_on_one_loop_of_its_own() -> None:
    async def loop_and_thread() -> tuple[int, str]:
        return id(asyncio.get_running_loop()), threading.current_thread().name

    with Bridge() as bridge:
        assert bridge.run(double(2)) == 4
        first, second = bridge.run(loop_and_thread()), bridge.run(loop_and_thread())
    assert first == second
    assert first[1] == "tidemill-loop"


async def test_it_works_inside_a_running_loop() -> None:
    with Bridge() as bridge:
        assert bridge.run(double(2)) == 4


async def test_another_loop_awaits_what_runs_on_its_own() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    with Bridge() as bridge:
        assert await asyncio.gather(*(bridge.arun(double(value)) for value in range(50))) == list(range(0, 100, 2))
        with pytest.raises(ValueError, match="broken"):
            await bridge.arun(fail())


async def test_cancelling_what_is_awaited_waits_for_its_end() -> None:
    """However often: the coroutine has ended when the cancellation is raised."""
    seen: list[str] = []
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def hold_on() -> None:
        loop.call_soon_threadsafe(begun.set)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            seen.append("ended")

    with Bridge() as bridge:
        task = asyncio.create_task(bridge.arun(hold_on()))
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["ended"]


def test_a_loop_that_is_gone_is_told_nothing() -> None:
    """Who waited there has left without a word; what it began still ends."""
    ended = threading.Event()
    begun = threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with Bridge() as bridge:
        loop = asyncio.new_event_loop()
        waiting = bridge.arun(work())
        loop.call_soon(waiting.send, None)
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()
        assert begun.wait(10)
        with pytest.raises(RuntimeError):
            waiting.throw(RuntimeError("left"))
    assert ended.is_set()


def test_what_the_coroutine_raises_is_raised_and_leaves_no_cycle() -> None:
    """An error may hold a socket through its traceback: it goes when its handler ends, without the collector."""

    class Held:
        pass

    async def fail() -> None:
        held = Held()
        seen.append(weakref.ref(held))
        raise ValueError("no")

    seen: list[weakref.ref[Held]] = []
    gc.disable()
    try:
        with Bridge() as bridge, pytest.raises(ValueError, match="no"):
            bridge.run(fail())
        assert seen[0]() is None
    finally:
        gc.enable()


def test_iterate_gives_batches_until_an_empty_one() -> None:
    batches = [[1, 2], [3], [], [4]]

    async def next_batch() -> list[int]:
        return batches.pop(0)

    with Bridge() as bridge:
        assert list(bridge.iterate(next_batch)) == [1, 2, 3]
    assert batches == [[4]]


def test_leaving_cancels_what_still_runs_and_waits_for_it() -> None:
    ended = threading.Event()

    async def linger() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    async def start() -> None:
        tasks.append(asyncio.create_task(linger()))
        await asyncio.sleep(0)

    tasks: list[asyncio.Task[None]] = []
    with Bridge() as bridge:
        bridge.run(start())
    assert ended.is_set()
    assert tasks[0].cancelled()


def test_without_a_handler_an_interrupt_cancels_and_is_raised_once_that_has_ended() -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            interrupt_main()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)
            steps.append("cleaned up")
            raise

    with interrupts_raise(), Bridge() as bridge:
        with pytest.raises(KeyboardInterrupt):
            bridge.run(work())
        assert steps == ["cleaned up"]
        assert bridge.run(double(2)) == 4


def test_the_first_two_interrupts_go_to_the_handler_in_the_loop() -> None:
    """The waiting goes on, and the coroutine's own end is what counts."""
    numbers: list[tuple[int, str]] = []

    async def work() -> str:
        arrived = asyncio.Event()

        def note(number: int) -> None:
            numbers.append((number, threading.current_thread().name))
            arrived.set()

        handlers.append(note)
        for _ in range(2):
            interrupt_main()
            await arrived.wait()
            arrived.clear()
        return "finished"

    def handle(number: int, kind: type[KeyboardInterrupt]) -> None:
        assert kind is KeyboardInterrupt
        handlers[0](number)

    handlers: list[Callable[[int], None]] = []
    with interrupts_raise(), Bridge() as bridge:
        assert bridge.run(work(), handle) == "finished"
    assert numbers == [(1, "tidemill-loop"), (2, "tidemill-loop")]


def test_a_third_interrupt_is_raised() -> None:
    async def work() -> None:
        arrived = asyncio.Event()
        handlers.append(arrived.set)
        for _ in range(2):
            interrupt_main()
            await arrived.wait()
            arrived.clear()
        interrupt_main()
        await asyncio.Event().wait()

    handlers: list[Callable[[], None]] = []
    with interrupts_raise(), Bridge() as bridge, pytest.raises(KeyboardInterrupt):
        bridge.run(work(), lambda number, kind: handlers[0]())


def test_a_coroutine_that_is_cancelled_from_within_says_so() -> None:
    async def cancel_itself() -> None:
        raise asyncio.CancelledError

    with Bridge() as bridge, pytest.raises(concurrent.futures.CancelledError):
        bridge.run(cancel_itself())


def test_the_collector_s_thresholds_are_put_back(nothing_frozen: None) -> None:
    before = gc.get_threshold()

    async def thresholds() -> tuple[int, int, int]:
        return gc.get_threshold()

    with Bridge() as one, Bridge() as two:
        assert one.run(thresholds()) == two.run(thresholds()) != before
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
