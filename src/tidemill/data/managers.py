"""Steps that are context managers: each worker enters a copy of its own, and leaves it on every way out.

A copy, since the object itself is a description: several iterations and threads share it, its attributes are part of
the fingerprint that a state belongs to, and it pickles. Imports little: worker processes load it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tidemill.errors import ConfigError, ResourceError, TidemillError
from tidemill.resources.scope import Scope


def is_manager(fn: Any) -> bool:
    """Whether `fn` is a context manager, plain or async."""
    return is_plain_manager(fn) or is_async_manager(fn)


def is_plain_manager(fn: Any) -> bool:
    """Whether `with` takes `fn`."""
    return hasattr(type(fn), "__enter__") and hasattr(type(fn), "__exit__")


def is_async_manager(fn: Any) -> bool:
    """Whether `async with` takes `fn`."""
    return hasattr(type(fn), "__aenter__") and hasattr(type(fn), "__aexit__")


def check_plain_manager(fn: Any, step: str) -> None:
    """Check that `fn`, where it is a context manager, can be entered without a loop.

    Raises:
        ConfigError: it is an async one only.
    """
    if is_async_manager(fn) and not is_plain_manager(fn):
        raise ConfigError(
            f"`{type(fn).__name__}` is an async context manager, and nothing awaits it here",
            where=f"step `{step}`",
            hint='give it `__enter__` and `__exit__`, or make its `__call__` a coroutine function: map(…, on="async")',
        )


class Entered:
    """What one worker has entered, each object once: a copy of it, by the object that was given.

    For one thread, or one loop. A failure to enter leaves what was entered before.
    """

    def __init__(self) -> None:
        self._scope: Scope | None = None
        self._copies: dict[int, tuple[Any, Any]] = {}  # with the object itself, so that its identity stays its own

    @property
    def is_open(self) -> bool:
        """Whether there is anything to leave."""
        return self._scope is not None

    def find(self, fn: Any) -> Any:
        """What is called in place of `fn`: its copy, or itself where it was not entered."""
        return self._copies.get(id(fn), (fn, fn))[1]

    def enter(self, fn: Any, step: str) -> None:
        """Enter a copy of `fn`, unless one is entered already or it is no context manager.

        Raises:
            ResourceError: it cannot be copied or entered.
        """
        if not is_plain_manager(fn) or id(fn) in self._copies:
            return
        if self._scope is None:
            self._scope = Scope().__enter__()
        own = copy_manager(fn, step)
        with explaining(fn, step, "entered"):
            self._scope.enter(own)
        self._copies[id(fn)] = fn, own

    def close(self) -> None:
        """Leave all, the last first, telling them of no error: a record's failure is the record's.

        Raises:
            ResourceError: one fails as it is left; the others were left.
        """
        scope, self._scope = self._scope, None
        self._copies.clear()
        if scope is not None:
            with explaining_leave():
                scope.__exit__(None, None, None)


async def enter_async(fn: Any, step: str, scope: Scope) -> Any:
    """What is called in place of `fn`: a copy, entered in a loop until `scope` ends, with `async with` where it can be.

    Raises:
        ResourceError: it cannot be copied or entered.
    """
    own = copy_manager(fn, step)
    with explaining(fn, step, "entered"):
        if is_async_manager(own):
            await scope.enter_async(own)
        else:
            scope.enter(own)
    return own


class WorkerFunction:
    """The function of a step as one worker has it: entered when it is first asked for, left by `close`."""

    def __init__(self, fn: Callable[[Any], Any], step: str) -> None:
        self._fn = fn
        self._step = step
        self._needs_entering = is_manager(fn)
        self._entered = Entered()

    def open(self) -> Callable[[Any], Any]:
        """The function to call.

        Raises:
            ResourceError: it cannot be entered; asked again it is tried again.
        """
        if self._needs_entering and not self._entered.is_open:
            try:
                self._entered.enter(self._fn, self._step)
            except BaseException:
                self._entered.close()
                raise
        found: Callable[[Any], Any] = self._entered.find(self._fn)
        return found

    def close(self) -> None:
        """Leave it; may be called twice."""
        self._entered.close()


def copy_manager(fn: Any, step: str) -> Any:
    """A shallow copy of `fn`, for one worker.

    Raises:
        ResourceError: it cannot be copied.
    """
    try:
        return copy.copy(fn)
    except Exception as error:  # copying calls what its class says
        raise ResourceError(
            f"`{type(fn).__name__}` cannot be copied, and each worker enters a copy of its own: {error}",
            where=f"step `{step}`",
            hint="give it `__copy__`; one that bears being entered several times may return itself",
        ) from error


@contextmanager
def explaining(fn: Any, step: str, what: str) -> Iterator[None]:
    """Raise a failure within the block as a `ResourceError` that names the step."""
    try:
        yield
    except TidemillError:
        raise
    except Exception as error:
        raise ResourceError(
            f"`{type(fn).__name__}` cannot be {what}: {type(error).__name__}: {error}", where=f"step `{step}`"
        ) from error


@contextmanager
def explaining_leave() -> Iterator[None]:
    """Raise a failure within the block as a `ResourceError`."""
    try:
        yield
    except TidemillError:
        raise
    except Exception as error:
        notes = "; ".join(getattr(error, "__notes__", ()))
        raise ResourceError(
            f"a step failed as it was left: {type(error).__name__}: {error}{f' ({notes})' if notes else ''}"
        ) from error
