"""A block that holds a thread's state is refused where its body would suspend, and works wherever it would not."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from blocks import MODEL, SCOPES, count, pause, read_state
from IPython.core.interactiveshell import InteractiveShell
from suspending_blocks import BY_HAND, WITHIN, awaits, yields
from traitlets.config import Config
from unsuspending_blocks import OUTSIDE, awaits_around

import tidemill as tm


def drive(shape: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function to its end, whatever kind it is."""
    if inspect.isasyncgenfunction(shape):

        async def take_all() -> list[Any]:
            async with contextlib.aclosing(shape(*arguments)) as values:
                return [value async for value in values]

        return asyncio.run(take_all())
    if inspect.iscoroutinefunction(shape):
        return asyncio.run(shape(*arguments))
    value = shape(*arguments)
    return list(value) if inspect.isgenerator(value) else value


@pytest.mark.parametrize("shape", WITHIN)
def test_a_body_that_suspends_is_refused_at_its_line(shape: Callable[..., Any]) -> None:
    lines, first = inspect.getsourcelines(shape)
    line = next(number for number, text in enumerate(lines, first) if text.endswith("# suspends\n"))
    for make in SCOPES.values():
        before = read_state()
        with pytest.raises(tm.ResourceError, match=f"`{shape.__name__}`, which (awaits|yields) within") as caught:
            drive(shape, make())
        assert caught.value.where == f"{shape.__code__.co_filename}:{line}"
        assert "put what computes into a plain function" in caught.value.hint
        assert read_state() == before


@pytest.mark.parametrize("shape", BY_HAND)
def test_what_is_entered_by_hand_is_refused_in_a_function_that_suspends(shape: Callable[..., Any]) -> None:
    for make in SCOPES.values():
        before = read_state()
        with pytest.raises(tm.ResourceError, match=f"entered by hand in `{shape.__name__}`") as caught:
            drive(shape, make())
        assert caught.value.where == f"{shape.__code__.co_filename}:{shape.__code__.co_firstlineno}"
        assert read_state() == before


def test_an_async_manager_of_ones_own_is_refused_where_it_yields() -> None:
    @asynccontextmanager
    async def holding_asynchronously() -> AsyncIterator[None]:
        with tm.evaluating(MODEL):
            yield

    async def use() -> None:
        async with holding_asynchronously():
            pass

    with pytest.raises(tm.ResourceError, match="held by `holding_asynchronously`"):
        asyncio.run(use())
    assert MODEL.training


@pytest.mark.parametrize("shape", OUTSIDE)
def test_a_body_that_does_not_suspend_is_held(shape: Callable[..., Any]) -> None:
    for make in (SCOPES["evaluating"], SCOPES["profiler"]):
        before = read_state()
        assert drive(shape, make()) in (False, [False])
        assert read_state() == before


@pytest.mark.parametrize("where", ["class", "module", "lambda"])
def test_code_without_a_source(where: str) -> None:
    texts = {
        "class": "class Held:\n    with scope:\n        mode = model.training\nmode = Held.mode",
        "module": "with scope:\n    mode = model.training",
        "lambda": "with stack:\n    mode = (lambda: (stack.enter_context(scope), model.training)[1])()",
    }
    names: dict[str, Any] = {"scope": tm.evaluating(MODEL), "model": MODEL, "stack": ExitStack()}
    exec(texts[where], names)  # noqa: S102 - such code is what the test is about
    assert names["mode"] is False
    assert MODEL.training


def test_code_without_a_source_that_suspends() -> None:
    names: dict[str, Any] = {"model": MODEL, "tm": tm}
    exec("def texts():\n    with tm.evaluating(model):\n        yield 1", names)  # noqa: S102 - as above
    with pytest.raises(tm.ResourceError, match=r"<string>:3: .*`texts`, which yields within"):
        next(names["texts"]())
    assert MODEL.training


def test_code_that_is_traced() -> None:
    """A debugger or a coverage tool changes the bytecode that runs."""
    before = sys.gettrace()
    sys.settrace(lambda *_: lambda *_: None)
    try:
        with pytest.raises(tm.ResourceError, match="`awaits`, which awaits within"):
            drive(awaits, tm.evaluating(MODEL))
        assert drive(awaits_around, tm.evaluating(MODEL)) is False
    finally:
        sys.settrace(before)


def test_code_that_has_run_often() -> None:
    """The interpreter specialises what it runs."""
    modes = [drive(awaits_around, tm.evaluating(MODEL)) for _ in range(100)]
    assert modes == [False] * 100
    for _ in range(100):
        with pytest.raises(tm.ResourceError, match="`yields`, which yields within"):
            drive(yields, tm.evaluating(MODEL))


@pytest.fixture
def run_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Runs a cell as a notebook does, and gives what it raised."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # which the shell replaces
    shell: Any = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))  # type: ignore[no-untyped-call]
    shell.user_ns.update(tm=tm, model=MODEL, pause=pause, asyncio=asyncio)

    def run(cell: str) -> Any:
        result = asyncio.run(shell.run_cell_async(cell, transformed_cell=cell))  # as the kernel of a notebook does
        return result.error_before_exec or result.error_in_exec

    yield run
    shell.atexit_operations()
    atexit.unregister(shell.atexit_operations)


def test_a_cell_of_a_notebook(run_cell: Callable[[str], Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run_cell("with tm.InferenceProfiler(model) as prof:\n    mode = model.training\nassert mode is False") is None
    )
    around = "await pause()\nwith tm.evaluating(model):\n    mode = model.training\nawait pause()\nassert mode is False"
    assert run_cell(around) is None
    error = run_cell("with tm.evaluating(model):\n    await pause()")
    assert isinstance(error, tm.ResourceError)
    assert "`<module>`, which awaits within" in error.message
    assert error.where.endswith(":2")
    assert MODEL.training
    capsys.readouterr()


class Called:
    """A callable whose calls suspend."""

    async def __call__(self) -> None:
        await pause()


SUSPENDING: dict[str, Callable[..., Any]] = {
    "coroutine function": pause,
    "async generator function": count,
    "generator function": yields,
    "partial": partial(pause),
    "callable object": Called(),
    "bound method": Called().__call__,
}


@pytest.mark.parametrize("kind", SUSPENDING)
def test_what_suspends_cannot_be_decorated(kind: str) -> None:
    for make in SCOPES.values():
        with pytest.raises(tm.ConfigError, match="which suspends: other code would run in it"):
            make()(SUSPENDING[kind])


def test_what_gives_something_that_suspends_cannot_be_decorated() -> None:
    """A plain function may give a coroutine, which would run once the block has ended."""
    for make in SCOPES.values():
        for give in (lambda: (number for number in range(2)), lambda: asyncio.sleep(0), lambda: aiter(count())):
            with pytest.raises(tm.ResourceError, match=r"`<lambda>` gave an? .*, which runs once the block has ended"):
                make()(give)()
