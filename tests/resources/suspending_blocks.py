"""Functions whose block would suspend, each for another reason."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from typing import Any

from blocks import MODEL, Holder, count, holding, pause, read_state
from torch import nn

import tidemill as tm

# Each of these suspends within the block, first at the line marked.


async def awaits(scope: Any) -> None:
    with scope:
        await pause()  # suspends


async def awaits_what_it_returns(scope: Any) -> int:
    with scope:
        return await pause()  # suspends


async def awaits_in_a_try(scope: Any) -> None:
    with scope:
        try:
            await pause()  # suspends
        finally:
            read_state()


async def awaits_in_a_handler(scope: Any) -> None:
    with scope:
        try:
            raise KeyError(1)
        except KeyError:
            await pause()  # suspends


async def awaits_in_a_finally(scope: Any) -> None:
    with scope:
        try:
            read_state()
        finally:
            await pause()  # suspends


async def awaits_in_a_finally_on_return(scope: Any) -> int:
    with scope:
        try:
            return 1
        finally:
            await pause()  # suspends


async def awaits_in_an_else(scope: Any) -> None:
    with scope:
        try:
            read_state()
        except KeyError:
            pass
        else:
            await pause()  # suspends


async def awaits_in_a_handler_in_a_handler(scope: Any) -> None:
    try:
        with scope:
            try:
                raise KeyError(1)
            except KeyError:
                try:
                    raise IndexError(1)
                except IndexError:
                    await pause()  # suspends
    finally:
        read_state()


async def awaits_in_a_loop(scope: Any) -> None:
    for _ in range(2):
        with scope:
            for _ in range(2):
                if await pause():  # suspends
                    break
            else:
                continue


async def awaits_in_an_inner_with(scope: Any) -> None:
    with scope, contextlib.nullcontext(1) as one:
        assert await pause() == one  # suspends


async def awaits_beside_a_manager_of_its_own(scope: Any) -> None:
    with contextlib.suppress(KeyError), scope as held:
        assert held is scope
        await pause()  # suspends


async def awaits_in_a_match(scope: Any) -> None:
    with scope:
        match MODEL:
            case nn.Sequential():
                await pause()  # suspends


async def awaits_in_a_condition(scope: Any) -> None:
    with scope:
        while not await pause():  # suspends
            pass


async def awaits_in_a_comprehension(scope: Any) -> list[int]:
    with scope:
        return [await pause() for _ in range(2)]  # suspends


async def iterates(scope: Any) -> None:
    with scope:
        async for _ in count():  # suspends
            pass


async def iterates_in_a_comprehension(scope: Any) -> list[int]:
    with scope:
        return [number async for number in count()]  # suspends


async def holds_an_async_manager(scope: Any) -> None:
    with scope:
        async with contextlib.aclosing(count()):  # suspends
            pass


async def awaits_before_within_and_after(scope: Any) -> None:
    await pause()
    with scope:
        read_state()
        await pause()  # suspends
    await pause()


def yields(scope: Any) -> Iterator[int]:
    with scope:
        yield 1  # suspends


def yields_from(scope: Any) -> Generator[int, None, None]:
    with scope:
        yield from [1, 2]  # suspends


def yields_in_a_loop(scope: Any) -> Iterator[int]:
    for number in range(2):
        with scope:
            if number:
                yield number  # suspends


async def yields_asynchronously(scope: Any) -> AsyncIterator[int]:
    with scope:
        yield 1  # suspends


async def awaits_under_a_manager_of_ones_own(scope: Any) -> None:
    with holding(scope):
        await pause()  # suspends


def yields_under_two_managers_of_ones_own(scope: Any) -> Iterator[int]:
    with holding(holding(scope)):
        yield 1  # suspends


async def awaits_under_a_class_of_ones_own(scope: Any) -> None:
    with Holder(scope):
        await pause()  # suspends


async def awaits_under_a_scope(scope: Any) -> None:
    with tm.Scope(scope):
        await pause()  # suspends


async def awaits_under_a_scope_that_enters_it(scope: Any) -> None:
    with tm.Scope() as held:
        held.enter(scope)
        await pause()  # suspends


async def awaits_under_a_scope_of_a_manager_of_ones_own(scope: Any) -> None:
    with tm.Scope() as held:
        enter_into(held, holding(scope))
        await pause()  # suspends


def enter_into(held: tm.Scope, scope: Any) -> None:
    held.enter(scope)


WITHIN = [
    awaits,
    awaits_what_it_returns,
    awaits_in_a_try,
    awaits_in_a_handler,
    awaits_in_a_finally,
    awaits_in_a_finally_on_return,
    awaits_in_an_else,
    awaits_in_a_handler_in_a_handler,
    awaits_in_a_loop,
    awaits_in_an_inner_with,
    awaits_beside_a_manager_of_its_own,
    awaits_in_a_match,
    awaits_in_a_condition,
    awaits_in_a_comprehension,
    iterates,
    iterates_in_a_comprehension,
    holds_an_async_manager,
    awaits_before_within_and_after,
    yields,
    yields_from,
    yields_in_a_loop,
    yields_asynchronously,
    awaits_under_a_manager_of_ones_own,
    yields_under_two_managers_of_ones_own,
    awaits_under_a_class_of_ones_own,
    awaits_under_a_scope,
    awaits_under_a_scope_that_enters_it,
    awaits_under_a_scope_of_a_manager_of_ones_own,
]


# The end of what is entered by hand is not known, so all of the function counts.


async def enters_by_hand(scope: Any) -> None:
    scope.__enter__()
    await pause()
    scope.__exit__(None, None, None)


async def enters_by_hand_through_its_class(scope: Any) -> None:
    partial(type(scope).__enter__, scope)()
    await pause()


def enters_an_exit_stack(scope: Any) -> Iterator[int]:
    with ExitStack() as stack:
        stack.enter_context(scope)
        yield 1


async def enters_an_async_exit_stack(scope: Any) -> None:
    async with AsyncExitStack() as stack:
        stack.enter_context(scope)


async def enters_an_exit_stack_with_a_manager_of_ones_own(scope: Any) -> None:
    with ExitStack() as stack:
        stack.enter_context(holding(scope))
        await pause()


async def enters_an_async_scope(scope: Any) -> None:
    async with tm.Scope(scope):
        read_state()


async def enters_an_async_scope_within_an_exit_stack(scope: Any) -> None:
    async with AsyncExitStack() as stack:
        held = await stack.enter_async_context(tm.Scope())
        held.enter(scope)


async def enters_a_scope_by_hand(scope: Any) -> None:
    held = tm.Scope()
    held.__enter__()
    try:
        held.enter(scope)
        await pause()
    finally:
        held.__exit__(None, None, None)


async def enters_an_async_class_of_ones_own(scope: Any) -> None:
    async with Holder(scope):
        read_state()


BY_HAND = [
    enters_by_hand,
    enters_by_hand_through_its_class,
    enters_an_exit_stack,
    enters_an_async_exit_stack,
    enters_an_exit_stack_with_a_manager_of_ones_own,
    enters_an_async_scope,
    enters_an_async_scope_within_an_exit_stack,
    enters_a_scope_by_hand,
    enters_an_async_class_of_ones_own,
]
