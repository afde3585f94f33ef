"""A scope releases everything, the last first, on every way out; the block's error is always the one that leaves."""

from __future__ import annotations

import asyncio
import gc
import random
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, closing, contextmanager, nullcontext, suppress
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
        scope.defer(lambda: log.events.append("deferred"), name="note")
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
            scope.defer_async(fail, name="the engine")
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


def test_what_a_scope_is_made_of_is_entered_with_it_in_order() -> None:
    log = Log()
    with tm.Scope(log.sync("a"), log.sync("b")):
        log.events.append("body")
    assert log.events == ["open a", "open b", "body", "close b", "close a"]


async def test_what_an_async_scope_is_made_of_is_entered_with_it() -> None:
    log = Log()
    async with tm.Scope(log.sync("a")) as scope:
        await scope.enter_async(log.asynchronous("b"))
    assert log.events == ["open a", "open b", "close b", "close a"]


class Broken(nullcontext[None]):
    """A resource that does not open."""

    def __enter__(self) -> None:
        raise OSError("does not open")


def test_a_failure_half_way_in_releases_what_was_entered() -> None:
    log = Log()
    with pytest.raises(OSError, match="does not open"), tm.Scope(log.sync("a"), Broken(), log.sync("c")):
        raise AssertionError("not reached")
    assert log.events == ["open a", "close a"]


async def test_a_failure_half_way_into_an_async_scope_releases_what_was_entered() -> None:
    log = Log()
    with pytest.raises(OSError, match="does not open"):
        async with tm.Scope(log.sync("a"), Broken()):
            raise AssertionError("not reached")
    assert log.events == ["open a", "close a"]


def test_failed_releases_are_kept_beside_the_block_s_own_error() -> None:
    log = Log()
    with pytest.raises(ValueError, match="mine"), tm.Scope() as scope:
        scope.enter(log.sync("a", fails=True))
        scope.enter(log.sync("b", fails=True))
        raise ValueError("mine")
    assert [str(failure) for failure in scope.failures] == ["b will not close", "a will not close"]


def test_the_report_says_what_is_held_and_where_it_was_opened() -> None:
    log = Log()
    with tm.Scope() as scope:
        scope.enter(log.sync("a"), name="connection")
        scope.defer(lambda: None, name="note")
        report = scope.report()
    assert [each.name for each in report.held] == ["connection", "note"]
    assert all(each.held_s >= 0 for each in report.held)
    assert f"opened at {__file__}:" in str(report)
    assert report.to_dict()["held"][0]["name"] == "connection"
    assert str(scope.report()) == "not entered"


def test_a_scope_that_was_left_open_warns_with_its_place() -> None:
    with pytest.warns(ResourceWarning, match=rf"a scope opened at {__file__}:\d+ was never left") as caught:
        _leave_open()
    assert [str(each.message).rpartition(", and ")[2] for each in caught] == ["holds database"]


def _leave_open() -> None:
    scope = tm.Scope().__enter__()
    scope.enter(nullcontext(), name="database")
    del scope
    gc.collect()


FORKED = """
import asyncio, gc, os
import tidemill as tm
from tidemill.models.clients.held import HeldLoop, Holder
from tidemill.stores.lifetime import Lifetime

class Loop(HeldLoop):
    async def _open(self, scope):
        scope.defer(lambda: None)

async def begin(store):
    store.begin()

scope, store, loops = tm.Scope().__enter__(), Lifetime("shelf"), Holder(Loop)
asyncio.run(begin(store))
loops.open()
child = os.fork()
if not child:
    loops.open()
    loops.release()
    del scope, store
    gc.collect()
    raise SystemExit
print(os.waitpid(child, 0)[1])
loops.release()
store.end()
scope.__exit__(None, None, None)
"""


def test_a_fork_does_not_warn_of_what_its_parent_opened() -> None:
    """Of a scope, a store, and the loop that a model calls by, which it collects at its end at the latest."""
    line = [sys.executable, "-X", "dev", "-c", FORKED]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0\n", "")


def test_threads_enter_resources_that_are_released_where_the_block_ends() -> None:
    log = Log()
    with tm.Scope() as scope:
        threads = [threading.Thread(target=lambda i=i: scope.enter(log.sync(str(i)))) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    opened = [event.removeprefix("open ") for event in log.events[:8]]
    assert sorted(opened) == sorted("01234567")
    assert sorted(log.events[8:]) == [f"close {i}" for i in range(8)]


def test_a_resource_entered_while_the_scope_ends_is_released_at_once() -> None:
    """Nobody would release it: the thread is told, and what it had opened is closed."""
    log = Log()
    scope = tm.Scope().__enter__()

    @contextmanager
    def late() -> Iterator[None]:
        scope.__exit__(None, None, None)
        try:
            yield
        finally:
            log.events.append("close late")

    with pytest.raises(tm.ResourceError, match="the scope ended while another thread entered late"):
        scope.enter(late(), name="late")
    assert log.events == ["close late"]


def test_a_block_of_state_is_refused_where_the_scope_s_own_body_suspends() -> None:
    def generate() -> Iterator[int]:
        with tm.Scope() as scope:
            scope.enter(tm.gradients(False))
            yield 1

    with pytest.raises(tm.ResourceError, match="gradient mode is held by `generate`, which yields within the block"):
        next(generate())


def test_a_block_of_state_is_taken_where_the_scope_s_own_body_does_not_suspend() -> None:
    def generate() -> Iterator[int]:
        with tm.Scope() as scope:
            scope.enter(tm.seeded(1))
            number = random.random()
        yield round(number * 1e6)

    assert list(generate()) == list(generate())


class Unreleasable:
    """Something that `with` would not take."""

    is_open = False

    def __enter__(self) -> None:
        self.is_open = True


async def test_what_cannot_be_released_is_not_entered() -> None:
    log, unreleasable = Log(), Unreleasable()
    wrong: Any = [log.asynchronous("a"), unreleasable, 3]
    for each, match in zip(wrong, ["enter_async", "got a Unreleasable", "got a int"], strict=True):
        with pytest.raises(tm.ResourceError, match=match), tm.Scope(each):
            raise AssertionError("not reached")
        with tm.Scope() as scope, pytest.raises(tm.ResourceError, match=match):
            scope.enter(each)
    async with tm.Scope() as scope:
        with pytest.raises(tm.ResourceError, match=r"enter it by `scope\.enter"):
            await scope.enter_async(log.sync("b"))  # type: ignore[arg-type]
    assert log.events == []
    assert not unreleasable.is_open


def test_a_release_that_nothing_awaits_is_told() -> None:
    async def close() -> None:
        raise AssertionError("not reached")

    with (
        pytest.raises(tm.ResourceError, match="`the session` gave a coroutine, and nothing awaits it"),
        tm.Scope() as scope,
    ):
        scope.defer(close, name="the session")


def test_what_is_no_release_is_refused_at_once() -> None:
    with tm.Scope() as scope, pytest.raises(tm.ResourceError, match="expected a function that releases, got None"):
        scope.defer(gc.enable())  # type: ignore[func-returns-value,arg-type]


@pytest.mark.parametrize("maker", [closing, contextmanager(lambda: iter(()))], ids=["class", "function"])
def test_what_makes_a_manager_is_told_from_one(maker: Any) -> None:
    with pytest.raises(tm.ResourceError, match=r"expected a context manager, got the (class|function) `.+`\n  call it"):
        tm.Scope(maker).__enter__()


async def test_the_place_of_a_scope_within_another_is_the_user_s() -> None:
    with ExitStack() as stack, tm.Scope() as scope:
        places = [each.report().opened_at for each in (stack.enter_context(tm.Scope()), scope.enter(tm.Scope()))]
    async with AsyncExitStack() as stack:
        places.append((await stack.enter_async_context(tm.Scope())).report().opened_at)
    assert [place.rpartition(":")[0] for place in places] == [__file__] * 3
