"""`tm.gather`: several requests of one record at once; the first failure ends the others, and is waited out."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest

import tidemill as tm
from tidemill.testing import run_virtual


async def reply(value: Any, after_s: float = 0.0) -> Any:
    await asyncio.sleep(after_s)
    return value


async def fail(error: BaseException, after_s: float = 0.0) -> Any:
    await asyncio.sleep(after_s)
    raise error


def stall(ended: list[str], name: str) -> Callable[[], Any]:
    """A branch that waits for ever, and takes its time to end."""

    async def branch() -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            await asyncio.sleep(1)
            ended.append(name)

    return branch


def test_all_are_under_way_at_once() -> None:
    """It takes as long as the slowest; the results are found by name, as keys and as attributes."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        found = await tm.gather(user=reply({"id": 1}, 3), page=reply("text", 5), label=lambda: 7)
        assert loop.time() == 5
        assert (found.user, found["page"], found.label) == ({"id": 1}, "text", 7)
        assert orjson.dumps(found) == b'{"user":{"id":1},"page":"text","label":7}'
        with pytest.raises(AttributeError, match="no branch is named `lable`; there are user, page, label"):
            _ = found.lable

    run_virtual(main())


async def test_a_branch_is_awaited_or_called() -> None:
    """A coroutine, a future, a coroutine function, a plain function in a thread of its own, or one that gives one."""
    future = asyncio.get_running_loop().create_future()
    future.set_result("future")

    async def function() -> str:
        return "function"

    found = await tm.gather(
        coroutine=reply("coroutine"),
        future=future,
        function=function,
        thread=lambda: threading.current_thread() is not threading.main_thread(),
        nested=lambda: reply("nested"),
    )
    assert list(found.items()) == [
        ("coroutine", "coroutine"),
        ("future", "future"),
        ("function", "function"),
        ("thread", True),
        ("nested", "nested"),
    ]
    assert await tm.gather() == {}


def test_the_first_failure_ends_the_others_and_is_raised_alone() -> None:
    """As it is, once every other branch has ended; a later failure of theirs is not told."""

    async def main() -> None:
        ended: list[str] = []
        late = stall(ended, "late")
        with pytest.raises(ValueError, match="no such user") as caught:
            await tm.gather(slow=late, bad=fail(ValueError("no such user"), 2), fast=reply(1), other=stall(ended, "o"))
        assert caught.value.__notes__ == ["branch `bad`"]
        assert sorted(ended) == ["late", "o"]
        assert asyncio.get_running_loop().time() == 3

    run_virtual(main())


def test_an_error_of_tidemill_says_the_branch_as_its_place() -> None:
    async def main() -> None:
        error = tm.TransientCallError("answered 503", where="https://db.example")
        with pytest.raises(tm.TransientCallError) as caught:
            await tm.gather(db=fail(error), page=reply(1))
        assert str(caught.value) == "branch `db`, https://db.example: answered 503"

    run_virtual(main())


def test_a_cancellation_reaches_every_branch_and_is_waited_for() -> None:
    """Also a second one, that comes while they end."""

    async def main() -> None:
        ended: list[str] = []
        task = asyncio.ensure_future(tm.gather(a=stall(ended, "a"), b=stall(ended, "b")))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1

    run_virtual(main())


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_an_exit_out_of_a_branch_is_raised_where_it_is_awaited(error: BaseException) -> None:
    """It does not end the loop in the branch's own task."""
    with pytest.raises(type(error)):
        await tm.gather(a=fail(error), b=reply(1))


async def test_what_is_neither_awaited_nor_called_is_refused() -> None:
    """And no coroutine is left behind that was never awaited."""
    with pytest.raises(
        tm.ConfigError, match="branch `b`: expected something to await or a function without arguments, got a int"
    ):
        await tm.gather(a=reply(1), b=3)  # type: ignore[arg-type]


async def test_a_function_in_a_thread_is_left_to_itself_after_a_failure() -> None:
    """It cannot be ended: nobody waits for it, and what it gives is thrown away."""
    go, gone = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(10)
        gone.set()

    with pytest.raises(ValueError, match="bad"):
        await tm.gather(slow=work, bad=fail(ValueError("bad")))
    assert not gone.is_set()
    go.set()
    assert gone.wait(10)


async def test_context_variables_go_along_into_a_thread() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")
    name.set("outer")
    assert (await tm.gather(inner=name.get)).inner == "outer"
