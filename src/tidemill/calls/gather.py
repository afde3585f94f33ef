"""`gather`: several outside requests of one record at once, all of them or none."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from tidemill.errors import ConfigError, TidemillError
from tidemill.resources.worker import WorkerThread

T = TypeVar("T")

Branch = Awaitable[Any] | Callable[[], Any]
"""Something to await, a coroutine function without arguments, or a plain function, which is called in a thread."""


class Gathered(dict[str, Any]):
    """What each branch gave, by its name: `found["user"]`, and `found.user` where no method of a dict is called so."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no branch is named `{name}`; there are {', '.join(self) or 'none'}") from None


async def gather(**branches: Branch) -> Gathered:
    """What all `branches` give, by name; they are under way at once.

        found = await tm.gather(user=db.fetch(uid), page=lambda: fetch(url), label=client.acall(text))
        found.user, found["page"]

    Structured, as `asyncio.TaskGroup`: when it returns or raises, none of its coroutines is under way any more. A plain
    function cannot be ended: after another's failure it goes on in its thread, and what it gives is thrown away.

    Order: of the arguments.
    Failure: the first ends the others, and is raised as it is: no group of errors. It says the branch: in `where`, of
    an error that is none of Tidemill's in a note.
    Cancellation: reaches every branch, and is waited for.

    Raises:
        ConfigError: a branch can be neither awaited nor called.
        Exception: what the first branch that failed raised.
    """
    _check_branches(branches)
    values = await run_together(name_failure(name, _start(branch)) for name, branch in branches.items())
    return Gathered(zip(branches, values, strict=True))


async def run_together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What all `coroutines` give, in their order; the first failure ends the others, is waited out and is raised.

    Raises:
        BaseException: what the first that failed raised; of one that was cancelled by itself, its CancelledError.
    """
    loop = asyncio.get_running_loop()
    tasks = [loop.create_task(_carry_exit(each)) for each in coroutines]
    try:
        if tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        return [task.result() for task in tasks]
    except _Exit as exc:
        raise exc.error from None
    finally:
        await _end_tasks(tasks)


class _Exit(Exception):  # noqa: N818 - carries one
    """A SystemExit or KeyboardInterrupt on its way out of a task, which would otherwise end the loop there."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


async def _carry_exit(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        return await coroutine
    except (SystemExit, KeyboardInterrupt) as exc:
        raise _Exit(exc) from None


async def _end_tasks(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel those of `tasks` that are not done and wait until all are; a cancellation meanwhile is raised after it."""
    pending = {task for task in tasks if not task.done()}
    cancelled: asyncio.CancelledError | None = None
    while pending:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as exc:  # kept, and raised once nothing is left behind
            cancelled = exc
        pending = {task for task in pending if not task.done()}
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at: the first failure is the one that is told
    if cancelled is not None:
        raise cancelled


async def name_failure(name: str, coroutine: Coroutine[Any, Any, T]) -> T:
    """What `coroutine` gives; an error of it says that it came from the branch `name`."""
    try:
        return await coroutine
    except TidemillError as error:
        error.where = f"branch `{name}`, {error.where}" if error.where else f"branch `{name}`"
        raise
    except Exception as error:
        error.add_note(f"branch `{name}`")
        raise


def _check_branches(branches: Mapping[str, Branch]) -> None:
    given: Mapping[str, Any] = branches
    wrong = next((name for name, each in given.items() if not (inspect.isawaitable(each) or callable(each))), None)
    if wrong is None:
        return
    for each in given.values():
        if inspect.iscoroutine(each):
            each.close()  # it will never be awaited
    raise ConfigError(
        f"expected something to await or a function without arguments, got a {type(given[wrong]).__name__}",
        where=f"branch `{wrong}`",
        hint="give the coroutine, or wrap what is to be called: lambda: fetch(url)",
    )


async def _start(branch: Branch) -> Any:
    if inspect.isawaitable(branch):
        return await branch
    assert callable(branch)
    if inspect.iscoroutinefunction(branch):
        return await branch()
    thread = WorkerThread("gather")
    try:
        result = await thread.run(contextvars.copy_context().run, branch)
    finally:
        thread.close(wait=False)
    return await result if inspect.isawaitable(result) else result
