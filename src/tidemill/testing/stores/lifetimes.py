"""How a store begins and ends: in one loop, with nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import math
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from tidemill.errors import StateError
from tidemill.protocols import VectorStore
from tidemill.testing.stores.subject import StoreSubject, count_open, count_settled, draw_vectors, refused

USES: tuple[Callable[[VectorStore], Awaitable[Any]], ...] = (
    lambda store: store.upsert(["a"], draw_vectors(1)),
    lambda store: store.search(draw_vectors(1), 1),
    lambda store: store.fetch(["a"]),
    lambda store: store.delete(["a"]),
    lambda store: store.count(),
    lambda store: store.flush(),
)
ROUNDS = 8
OPENINGS, FIRST = 40, 15
"""Openings that are cancelled: so many after 0, 1, 2 … turns of the loop, the others over all that one takes."""


async def check_opening_leaks_nothing(subject: StoreSubject) -> None:
    """Cancelled at any point as it opens, and again as it closes then, a store leaves nothing, and opens afterwards."""
    made = [subject.make(dimensions=4) for _ in range(OPENINGS)]
    turns = 0
    for settings in (subject.make(dimensions=4), subject.make(dimensions=4)):  # the first opens what is opened once
        store = settings.open()
        opening = asyncio.ensure_future(store.__aenter__())
        turns = await _take_turns(opening)
        await opening
        await store.__aexit__(None, None, None)
    gc.collect()
    most = count_open() + subject.spare
    cancelled = 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for number, settings in enumerate(made):
            after = number if number < FIRST else turns * (number - FIRST) // (OPENINGS - FIRST)
            cancelled += await _break_off(settings.open(), after)
        gc.collect()
        assert await count_settled(most) <= most, "descriptors or threads were left by openings that were cancelled"
    told = [str(each.message) for each in caught if issubclass(each.category, ResourceWarning)]
    assert not told, told
    assert cancelled > (FIRST if subject.waits else 0), f"{cancelled} of {OPENINGS} openings were broken off"
    for settings in made:
        async with settings.open() as store:
            assert await store.count() == 0
    assert await count_settled(most) <= most, "descriptors or threads were left open"


async def _break_off(store: VectorStore, after: int) -> bool:
    """Open a store and cancel that after so many turns of the loop, twice; whether it was not open by then."""
    opening = asyncio.ensure_future(store.__aenter__())
    await _take_turns(opening, after)
    opening.cancel()
    await asyncio.sleep(0)
    opening.cancel()
    await asyncio.wait([opening])
    if opening.cancelled():
        return True
    await (await opening).__aexit__(None, None, None)
    return False


async def _take_turns(task: asyncio.Future[Any], most: float = math.inf) -> int:
    """Let the loop turn until the task has ended, or so often; how often that was."""
    turns = 0
    while turns < most and not task.done():
        await asyncio.sleep(0)
        turns += 1
    return turns


async def check_closing_frees_everything(subject: StoreSubject) -> None:
    """Opened, used and closed again and again, also by an error, it leaves no descriptor and no thread."""
    settings = subject.make(dimensions=4)

    async def use(number: int) -> None:
        async with settings.open() as store:
            await store.upsert([f"k{number}"], draw_vectors(1))
            await asyncio.gather(*(store.search(draw_vectors(3), 2) for _ in range(20)))
            if number % 2:
                raise KeyError(number)

    most = 0
    for number in range(ROUNDS):
        try:
            await use(number)
        except KeyError:
            assert number % 2
        if number == 1:
            gc.collect()
            most = await _count_least() + subject.spare
    gc.collect()
    assert await count_settled(most) <= most, "closing left descriptors or threads open"


async def _count_least() -> int:
    """What is open once threads that were told to end have."""
    least = count_open()
    for _ in range(50):
        await asyncio.sleep(0.002)
        least = min(least, count_open())
    return least


async def check_use_outside_is_refused(subject: StoreSubject) -> None:
    """Before it is opened, after it was closed, and entered again, a store says what to do instead."""
    settings = subject.make(dimensions=4)
    store = settings.open()
    for use in USES:
        with refused(StateError, "used before it is opened"):
            await use(store)
    async with store:
        await store.upsert(["a"], draw_vectors(1))
        with refused(StateError, "opened once"):
            await store.__aenter__()
    for use in USES:
        with refused(StateError, "used after it was closed"):
            await use(store)
    with refused(StateError, "opened once"):
        await store.__aenter__()
    with refused(StateError, "metric"):
        async with settings.replace({"metric": "l2"}).open():
            pass
    with refused(StateError, "dimensions"):
        async with settings.replace({"dimensions": 5}).open():
            pass


async def check_another_loop_is_refused(subject: StoreSubject) -> None:
    """What another loop asks of a store is refused before anything of it is touched; its own goes on using it."""
    async with subject.make(dimensions=4).open() as store:

        async def use() -> None:
            for each in USES:
                with refused(StateError, "belongs to another event loop"):
                    await each(store)
            with refused(StateError, "belongs to another event loop"):
                await store.__aexit__(None, None, None)

        await asyncio.to_thread(lambda: asyncio.run(use()))
        await store.upsert(["a"], draw_vectors(1))
        assert await store.count() == 1


async def check_a_leak_warns(subject: StoreSubject) -> None:
    """A store that nobody closes warns when it is collected, and says which it is."""
    settings = subject.make(dimensions=4)

    async def leak() -> None:
        store = settings.open()
        await store.__aenter__()
        await store.upsert(["a"], draw_vectors(1))
        del store
        gc.collect()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await asyncio.to_thread(lambda: asyncio.run(leak()))
        gc.collect()
    told = [str(each.message) for each in caught if issubclass(each.category, ResourceWarning)]
    assert any("was never closed" in text for text in told), told
