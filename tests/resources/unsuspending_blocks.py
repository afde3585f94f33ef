"""Functions that may suspend, and whose block does not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from blocks import MODEL, Holder, count, holding, pause

import tidemill as tm


async def awaits_around(scope: Any) -> bool:
    await pause()
    with scope:
        mode = MODEL.training
    await pause()
    return mode


async def awaits_what_it_holds(scope: Any) -> bool:
    with await asyncio.sleep(0, scope):
        return MODEL.training


async def awaits_in_a_finally_around(scope: Any) -> bool:
    try:
        with scope:
            return MODEL.training
    finally:
        await pause()


async def awaits_in_a_handler_around(scope: Any) -> bool:
    mode = True
    try:
        with scope:
            mode = MODEL.training
            raise KeyError(1)
    except KeyError:
        await pause()
    return mode


async def awaits_between_blocks_of_a_loop(scope: Any) -> bool:
    modes = []
    for _ in range(3):
        with scope:
            modes.append(MODEL.training)
            if len(modes) == 2:
                break
        await pause()
    return any(modes)


async def is_held_around_its_block(scope: Any) -> bool:
    async with contextlib.aclosing(count()):
        with scope:
            return MODEL.training


async def defines_what_awaits(scope: Any) -> bool:
    with scope:

        async def inner() -> int:
            return await pause()

        later = (number async for number in count())
        mode = MODEL.training
    assert await inner() == 1
    assert [number async for number in later] == [0, 1]
    return mode


async def holds_nothing(scope: Any) -> bool:
    with scope:
        pass
    await pause()
    return False


async def holds_a_manager_of_ones_own(scope: Any) -> bool:
    with holding(holding(scope)):
        mode = MODEL.training
    await pause()
    return mode


async def holds_a_class_of_ones_own(scope: Any) -> bool:
    with Holder(scope):
        mode = MODEL.training
    await pause()
    return mode


async def holds_a_scope(scope: Any) -> bool:
    with tm.Scope(holding(scope)):
        mode = MODEL.training
    await pause()
    return mode


async def holds_a_manager_that_warms_up(scope: Any) -> bool:
    @contextmanager
    def warmed() -> Iterator[bool]:
        with scope:
            mode = MODEL.training
        yield mode

    with warmed() as mode:
        await pause()
    return mode


async def holds_a_manager_that_checks_at_the_end(scope: Any) -> bool:
    modes = []

    @contextmanager
    def checked() -> Iterator[None]:
        yield
        with scope:
            modes.append(MODEL.training)

    with checked():
        await pause()
    return modes[0]


async def calls_what_is_decorated(scope: Any) -> bool:
    @scope  # type: ignore[untyped-decorator]
    def compute() -> bool:
        return MODEL.training

    mode = compute()
    await pause()
    return bool(mode)


async def calls_what_a_manager_of_ones_own_decorates(scope: Any) -> bool:
    @holding(scope)
    def compute() -> bool:
        return MODEL.training

    mode = compute()
    await pause()
    return bool(mode)


async def computes_in_a_thread(scope: Any) -> bool:
    def compute() -> bool:
        with scope:
            return MODEL.training

    return await asyncio.to_thread(compute)


async def has_no_await(scope: Any) -> bool:
    with ExitStack() as stack:
        stack.enter_context(scope)
        return MODEL.training


def yields_around(scope: Any) -> Iterator[bool]:
    with scope:
        mode = MODEL.training
    yield mode


def is_plain(scope: Any) -> bool:
    with ExitStack() as stack:
        stack.enter_context(holding(scope))
        return MODEL.training


OUTSIDE = [
    awaits_around,
    awaits_what_it_holds,
    awaits_in_a_finally_around,
    awaits_in_a_handler_around,
    awaits_between_blocks_of_a_loop,
    is_held_around_its_block,
    defines_what_awaits,
    holds_nothing,
    holds_a_manager_of_ones_own,
    holds_a_class_of_ones_own,
    holds_a_scope,
    holds_a_manager_that_warms_up,
    holds_a_manager_that_checks_at_the_end,
    calls_what_is_decorated,
    calls_what_a_manager_of_ones_own_decorates,
    computes_in_a_thread,
    has_no_await,
    yields_around,
    is_plain,
]
