"""`Scope`: a stack of open resources, released last-in first-out on every way out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Self, TypeVar

from tidemill.errors import ResourceError

T = TypeVar("T")

_Exit = Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], Any]


class Scope:
    """Holds what was entered and releases all of it, the last first, whatever happens.

    `with` for sync resources, `async with` for both kinds. Every release is tried. An error of the block is always
    the one that leaves it, with failed releases as notes on it; without one, the failure of a release is raised, or
    an ExceptionGroup of several. Not for several threads at once; a scope is entered once.
    """

    def __init__(self) -> None:
        self._held: list[tuple[str, bool, _Exit]] = []
        self._state = "new"

    def enter(self, resource: AbstractContextManager[T]) -> T:
        """What entering `resource` gives; it is released with the scope."""
        self._check_open()
        value = resource.__enter__()
        self._held.append((type(resource).__qualname__, False, resource.__exit__))
        return value

    async def enter_async(self, resource: AbstractAsyncContextManager[T]) -> T:
        """What entering the async `resource` gives; it is released with the scope, which must be an `async with`."""
        self._check_async()
        value = await resource.__aenter__()
        self._held.append((type(resource).__qualname__, True, resource.__aexit__))
        return value

    def defer(self, release: Callable[[], object], name: str = "") -> None:
        """Call `release()` with the scope's end."""
        self._check_open()
        self._held.append((name or getattr(release, "__qualname__", "release"), False, lambda *_: release() and False))

    def defer_async(self, release: Callable[[], Awaitable[object]], name: str = "") -> None:
        """Await `release()` at the end of the scope, which must be an `async with`."""
        self._check_async()

        async def run(*_: object) -> bool:
            await release()
            return False

        self._held.append((name or getattr(release, "__qualname__", "release"), True, run))

    def __enter__(self) -> Self:
        self._open("sync")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        failures: list[BaseException] = []
        while self._held:
            name, _, release = self._held.pop()
            try:
                if release(kind, error, traceback):
                    kind = error = traceback = None
            except BaseException as exc:  # noqa: BLE001 - each release is tried, and every failure told below
                failures.append(_note(exc, name))
        return self._finish(error, failures)

    async def __aenter__(self) -> Self:
        self._open("async")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        failures: list[BaseException] = []
        while self._held:
            name, is_async, release = self._held.pop()
            try:
                result = release(kind, error, traceback)
                if await result if is_async else result:
                    kind = error = traceback = None
            except BaseException as exc:  # noqa: BLE001 - each release is tried, and every failure told below
                failures.append(_note(exc, name))
        return self._finish(error, failures)

    def _open(self, state: str) -> None:
        if self._state != "new":
            raise ResourceError(f"a scope is entered once, this one is {self._state}", hint="make a new tm.Scope()")
        self._state = state

    def _check_open(self) -> None:
        if self._state not in ("sync", "async"):
            raise ResourceError(
                f"expected an entered scope, this one is {self._state}", hint="hold it with `with tm.Scope() as scope:`"
            )

    def _check_async(self) -> None:
        self._check_open()
        if self._state != "async":
            raise ResourceError("an async resource needs `async with Scope()`, this scope is a plain `with`")

    def _finish(self, error: BaseException | None, failures: list[BaseException]) -> bool:
        was_suppressed = error is None and self._state != "closed"
        self._state = "closed"
        failures = [failure for failure in failures if failure is not error]
        if error is not None:
            for failure in failures:
                error.add_note(f"and while releasing: {type(failure).__name__}: {failure}")
            return False
        if len(failures) == 1:
            raise failures[0]
        if failures:
            raise BaseExceptionGroup("several resources could not be released", failures)
        return was_suppressed


def _note(error: BaseException, name: str) -> BaseException:
    error.add_note(f"while releasing {name}")
    return error
