"""A scope releases everything, the last first, on every way out; the block's error is always the one that leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm


class Log:
    """Resources that note when they are opened and released."""

    def __init__(self) -> None:
        self.events: list[str] = []

    @contextmanager
    def sync(self, name: str, *, fails: bool = False) -> Iterator[str]:
        self.events.append(f"open {name}")
        try:
            yield name
        finally:
            self.events.append(f"close {name}")
            if fails:
                raise OSError(f"{name} will not close")

    @asynccontextmanager
    async def asynchronous(self, name: str) -> AsyncIterator[str]:
        self.events.append(f"open {name}")
        try:
            yield name
        finally:
            await asyncio.sleep(0)
            self.events.append(f"close {name}")


def test_the_last_is_released_first() -> None:
    log = Log()
    with tm.Scope() as scope:
        assert scope.enter(log.sync("a")) == "a"
        scope.defer(lambda: log.events.append("deferred"), "note")
        scope.enter(log.sync("b"))
    assert log.events == ["open a", "open b", "close b", "deferred", "close a"]


async def test_both_kinds_in_an_async_scope() -> None:
    log = Log()

    async def release() -> None:
        log.events.append("deferred")

    async with tm.Scope() as scope:
        assert await scope.enter_async(log.asynchronous("a")) == "a"
        scope.enter(log.sync("b"))
        scope.defer_async(release)
    assert log.events == ["open a", "open b", "deferred", "close b", "close a"]


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), asyncio.CancelledError(), SystemExit(3)])
def test_an_error_of_the_block_is_the_one_that_leaves(error: BaseException) -> None:
    log = Log()
    with pytest.raises(type(error)) as caught, tm.Scope() as scope:
        scope.enter(log.sync("a"))
        scope.enter(log.sync("b", fails=True))
        raise error
    assert caught.value is error
    assert log.events[-2:] == ["close b", "close a"]
    assert caught.value.__notes__ == ["and while releasing: OSError: b will not close"]


def test_the_failure_of_one_release_is_raised_and_the_others_are_released() -> None:
    log = Log()
    with pytest.raises(OSError, match="b will not close") as caught, tm.Scope() as scope:
        scope.enter(log.sync("a"))
        scope.enter(log.sync("b", fails=True))
        scope.enter(log.sync("c"))
    assert log.events[-3:] == ["close c", "close b", "close a"]
    assert caught.value.__notes__ == ["while releasing _GeneratorContextManager"]


def test_the_failures_of_several_releases_come_together() -> None:
    log = Log()
    with (
        pytest.raises(BaseExceptionGroup, match="several resources could not be released") as caught,
        tm.Scope() as scope,
    ):
        for name in "abc":
            scope.enter(log.sync(name, fails=name != "b"))
    assert [str(error) for error in caught.value.exceptions] == ["c will not close", "a will not close"]


async def test_failures_in_an_async_scope() -> None:
    log = Log()

    async def fail() -> None:
        raise OSError("will not end")

    with pytest.raises(OSError, match="will not end") as caught:
        async with tm.Scope() as scope:
            await scope.enter_async(log.asynchronous("a"))
            scope.defer_async(fail, "the engine")
    assert caught.value.__notes__ == ["while releasing the engine"]
    assert log.events[-1] == "close a"


def test_a_resource_that_does_not_open_leaves_those_before_it_to_be_released() -> None:
    log = Log()

    class Broken(nullcontext[None]):
        def __enter__(self) -> None:
            raise OSError("does not open")

    with pytest.raises(OSError, match="does not open"), tm.Scope() as scope:
        scope.enter(log.sync("a"))
        scope.enter(Broken())
    assert log.events == ["open a", "close a"]


def test_a_resource_may_end_the_error_as_with_does() -> None:
    reached = []
    with tm.Scope() as scope:
        scope.enter(suppress(ValueError))
        scope.enter(nullcontext())
        reached.append("body")
        raise ValueError("handled")
    assert reached == ["body"]


def test_a_scope_is_entered_once() -> None:
    scope = tm.Scope()
    with pytest.raises(tm.ResourceError, match="expected an entered scope, this one is new"):
        scope.enter(nullcontext())
    with scope, pytest.raises(tm.ResourceError, match="a scope is entered once, this one is sync"), scope:
        pass
    with pytest.raises(tm.ResourceError, match="a scope is entered once, this one is closed"), scope:
        pass
    with pytest.raises(tm.ResourceError, match="expected an entered scope, this one is closed"):
        scope.defer(print)


async def test_an_async_resource_needs_an_async_scope() -> None:
    log = Log()
    with tm.Scope() as scope, pytest.raises(tm.ResourceError, match="needs `async with Scope"):
        await scope.enter_async(log.asynchronous("a"))
    with tm.Scope() as scope, pytest.raises(tm.ResourceError, match="needs `async with Scope"):
        scope.defer_async(asyncio.sleep)  # type: ignore[arg-type]
    assert log.events == []


@given(st.lists(st.booleans(), max_size=8), st.booleans())
def test_every_resource_is_released_exactly_once(failing: list[bool], raises: bool) -> None:
    """Whatever fails, on every way out."""
    log = Log()
    outcome: Any = None
    try:
        with tm.Scope() as scope:
            for number, fails in enumerate(failing):
                scope.enter(log.sync(str(number), fails=fails))
            if raises:
                raise LookupError("of the block")
    except BaseException as exc:  # noqa: BLE001 - which one is checked below
        outcome = exc
    names = [str(number) for number in range(len(failing))]
    assert log.events == [f"open {name}" for name in names] + [f"close {name}" for name in reversed(names)]
    expected: Any = LookupError if raises else {0: type(None), 1: OSError}.get(sum(failing), BaseExceptionGroup)
    assert isinstance(outcome, expected)
