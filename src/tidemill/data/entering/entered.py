"""What one worker has entered: steps that are context managers, and the resources that steps take.

Imports little: worker processes load it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, cast

from tidemill.data.entering.beside import Beside, BesideFunction
from tidemill.data.entering.injection import Injected
from tidemill.data.entering.managers import (
    check_plain_manager,
    copy_manager,
    explaining,
    explaining_leave,
    is_async_manager,
    is_manager,
    is_plain_manager,
)
from tidemill.data.entering.opener import Opener, Opening
from tidemill.resources.scope import Scope
from tidemill.resources.worker import WorkerThread


def needs_entering(fn: Any) -> bool:
    """Whether a worker enters something before it calls `fn`: that itself, or resources it takes."""
    return isinstance(fn, Injected) or is_manager(fn)


def check_plain(fn: Any, step: str) -> None:
    """Check that all that is entered for `fn` can be entered without a loop, as far as can be told.

    Raises:
        ConfigError: it is, or takes, an async context manager.
    """
    if isinstance(fn, Injected):
        for opener in fn.openers:
            opener.check_plain(step)
        fn = fn.fn
    check_plain_manager(fn, step)


class Entered:
    """What one worker without a loop has entered, each thing once: of a step a copy, by the object that was given.

    For one thread. A failure to enter leaves what was entered before.
    """

    def __init__(self) -> None:
        self._scope: Scope | None = None
        self._held: dict[int, tuple[Any, Any]] = {}  # with the object itself, so that its identity stays its own

    @property
    def is_open(self) -> bool:
        """Whether there is anything to leave."""
        return self._scope is not None

    def enter(self, fn: Any, step: str) -> Any:
        """What is called in place of `fn`: with the resources it takes, and its copy where it is entered itself.

        Raises:
            ResourceError: it cannot be copied or entered, or a resource cannot be opened.
        """
        if not isinstance(fn, Injected):
            return self._enter_copy(fn, step)
        given = {each.name: self._open(each, step) for each in fn.openers}
        return partial(self._enter_copy(fn.fn, step), **given)

    def close(self) -> None:
        """Leave all, the last first, telling them of no error: a record's failure is the record's.

        Raises:
            ResourceError: one fails as it is left; the others were left.
        """
        scope, self._scope = self._scope, None
        self._held.clear()
        if scope is not None:
            with explaining_leave():
                scope.__exit__(None, None, None)

    def _open(self, opener: Opener, step: str) -> Any:
        if id(opener) not in self._held:
            self._held[id(opener)] = opener, self._find_scope().enter(Opening(opener, step), name=opener.name)
        return self._held[id(opener)][1]

    def _enter_copy(self, fn: Any, step: str) -> Any:
        if is_plain_manager(fn) and id(fn) not in self._held:
            own = copy_manager(fn, step)
            with explaining(fn, step, "entered"):
                self._find_scope().enter(own)
            self._held[id(fn)] = fn, own
        return self._held.get(id(fn), (fn, fn))[1]

    def _find_scope(self) -> Scope:
        if self._scope is None:
            self._scope = Scope().__enter__()
        return self._scope


class EnteredInLoop:
    """The same of a worker that is a loop, until `scope` ends: with `async with` where it can be.

    Args:
        scope: what it is entered in.
        thread: where plain functions are called; None calls them in the loop.
        in_loop: what is entered in the loop all the same, by identity: functions that are called there take it, too.
    """

    def __init__(self, scope: Scope, thread: WorkerThread | None = None, in_loop: Collection[int] = ()) -> None:
        self._scope = scope
        self._thread = thread
        self._in_loop = in_loop
        self._held: dict[int, tuple[Any, Any]] = {}

    async def enter(self, fn: Any, step: str) -> Any:
        """What is called in place of `fn`, as `Entered.enter` says; where it is a `BesideFunction`, in the thread.

        Raises:
            ResourceError: it cannot be copied or entered, or a resource cannot be opened.
        """
        inner, openers = (fn.fn, fn.openers) if isinstance(fn, Injected) else (fn, ())
        given = {each.name: await self._open(each, step) for each in openers}
        own = await self._enter_copy(inner, step)
        if any(self._find_thread(each) is not None for each in (inner, *openers)):
            return BesideFunction(own, **given)
        return partial(own, **given) if given else own

    def _find_thread(self, each: Any) -> WorkerThread | None:
        """Where a step or a resource is entered; None where that is the loop, or it is not entered at all."""
        is_plain = not each.is_async if isinstance(each, Opener) else is_plain_manager(each)
        return self._thread if is_plain and id(each) not in self._in_loop else None

    async def _open(self, opener: Opener, step: str) -> Any:
        if id(opener) not in self._held:
            opening: Any = Opening(opener, step)
            thread = self._find_thread(opener)
            if thread is not None and await thread.run(opening.make):
                opening = Beside(opening, thread, f"the resource `{opener.name}`")
            self._held[id(opener)] = opener, await self._scope.enter_async(opening, name=opener.name)
        return self._held[id(opener)][1]

    async def _enter_copy(self, fn: Any, step: str) -> Any:
        if is_manager(fn) and id(fn) not in self._held:
            own = copy_manager(fn, step)
            with explaining(fn, step, "entered"):
                if (thread := self._find_thread(fn)) is not None:
                    await self._scope.enter_async(Beside(own, thread, f"step `{step}`"))
                elif is_async_manager(own):
                    await self._scope.enter_async(own)
                else:
                    self._scope.enter(own)
            self._held[id(fn)] = fn, own
        return self._held.get(id(fn), (fn, fn))[1]


class WorkerFunction:
    """The function of a step as one worker has it: entered when it is first asked for, left by `close`."""

    def __init__(self, fn: Any, step: str) -> None:
        self._fn = fn
        self._step = step
        self._entered = Entered()
        self._own: Callable[[Any], Any] | None = None

    def open(self) -> Callable[[Any], Any]:
        """The function to call.

        Raises:
            ResourceError: it cannot be entered; asked again it is tried again.
        """
        if self._own is None:
            try:
                self._own = self._entered.enter(self._fn, self._step)
            except BaseException:
                self._entered.close()
                raise
        return cast(Callable[[Any], Any], self._own)

    def close(self) -> None:
        """Leave it; may be called twice."""
        self._own = None
        self._entered.close()
