"""`Scope`: a stack of open resources, released last-in first-out on every way out."""

from __future__ import annotations

import inspect
import os
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import asdict, dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any, Self, TypeVar

from tidemill.errors import ResourceError
from tidemill.resources.releasing import raise_failures
from tidemill.resources.states.suspension import Placed, Site, find_site

T = TypeVar("T")

_Exit = Callable[[type[BaseException] | None, BaseException | None, TracebackType | None], Any]


@dataclass(frozen=True, slots=True)
class HeldResource:
    """One resource that a scope holds.

    Attributes:
        name: its class, or what it was called as it was entered.
        held_s: seconds since it was entered.
    """

    name: str
    held_s: float


@dataclass(frozen=True, slots=True)
class ScopeReport:
    """What a scope holds.

    Attributes:
        opened_at: file and line of its `with`, empty where it is not entered.
        held: its resources, in the order in which they were entered.
    """

    opened_at: str
    held: tuple[HeldResource, ...]

    def __str__(self) -> str:
        if not self.opened_at:
            return "not entered"
        lines = [f"  {each.held_s:>9.3f} s  {each.name}" for each in self.held]
        return "\n".join([f"opened at {self.opened_at}, holds {len(self.held)}", *lines])

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    name: str
    since_ns: int
    is_async: bool
    release: _Exit


class Scope:
    """Holds what was entered and releases all of it, the last first, whatever happens.

    `with` for sync resources, `async with` for both kinds. Every release is tried. An error of the block is always
    the one that leaves it, with failed releases as notes on it; without one, the failure of a release is raised, or
    an ExceptionGroup of several. `failures` has them in either case. One that was left open warns when the process that
    opened it collects it.

    Threads: any may enter resources; all are released where the block ends. A scope is entered once, and scopes nest.

    Args:
        resources: sync ones, entered with the scope in this order; if one cannot be, those before it are released.

    Attributes:
        failures: what the releases raised, in their order.
    """

    def __init__(self, *resources: AbstractContextManager[Any]) -> None:
        self._resources = resources
        self._held: list[_Entry] = []
        self._state = "new"
        self._pid = 0
        self._lock = threading.Lock()  # guards the state and the entries: none is added once the release began
        self._place: tuple[CodeType, int] | None = None
        self._site: Site | None = None
        self.failures: tuple[BaseException, ...] = ()

    def enter(self, resource: AbstractContextManager[T], *, name: str = "") -> T:
        """What entering `resource` gives; it is released with the scope."""
        self._check_open()
        _check_manager(resource)
        value: T
        if isinstance(resource, Placed):
            value = resource.enter_at(self._site)
        else:
            value = resource.__enter__()
        try:
            self._push(name or type(resource).__qualname__, resource.__exit__)
        except ResourceError as error:
            resource.__exit__(type(error), error, error.__traceback__)
            raise
        return value

    async def enter_async(self, resource: AbstractAsyncContextManager[T], *, name: str = "") -> T:
        """What entering the async `resource` gives; it is released with the scope, which must be an `async with`."""
        self._check_async()
        _check_manager(resource, is_async=True)
        value = await resource.__aenter__()
        try:
            self._push(name or type(resource).__qualname__, resource.__aexit__, is_async=True)
        except ResourceError as error:
            await resource.__aexit__(type(error), error, error.__traceback__)
            raise
        return value

    def defer(self, release: Callable[[], object], *, name: str = "") -> None:
        """Call `release()` with the scope's end."""
        self._check_open()
        _check_release(release)
        name = name or getattr(release, "__qualname__", "release")

        def run(*_: object) -> bool:
            result = release()
            if inspect.iscoroutine(result):
                result.close()  # it would warn that nobody awaited it
                raise ResourceError(
                    f"`{name}` gave a coroutine, and nothing awaits it", hint="give it to `scope.defer_async(…)`"
                )
            return False

        self._push(name, run)

    def defer_async(self, release: Callable[[], Awaitable[object]], *, name: str = "") -> None:
        """Await `release()` at the end of the scope, which must be an `async with`."""
        self._check_async()
        _check_release(release)

        async def run(*_: object) -> bool:
            await release()
            return False

        self._push(name or getattr(release, "__qualname__", "release"), run, is_async=True)

    def report(self) -> ScopeReport:
        """What it holds, and for how long; printing it shows a line for each."""
        now_ns = time.monotonic_ns()
        held = tuple(HeldResource(each.name, (now_ns - each.since_ns) / 1e9) for each in self._held)
        return ScopeReport(self._describe_place() if self._is_open else "", held)

    def __enter__(self) -> Self:
        frame = sys._getframe(1)
        self._open("sync", frame, find_site(frame))
        try:
            for resource in self._resources:
                self.enter(resource)
        except BaseException as error:
            self.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        failures: list[BaseException] = []
        while (entry := self._pop()) is not None:
            try:
                if entry.release(kind, error, traceback):
                    kind = error = traceback = None
            except BaseException as exc:  # noqa: BLE001 - each release is tried, and every failure told below
                failures.append(_note(exc, entry.name))
        return self._finish(error, failures)

    async def __aenter__(self) -> Self:
        frame = sys._getframe(1)
        self._open("async", frame, find_site(frame))
        try:
            for resource in self._resources:
                self.enter(resource)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        failures: list[BaseException] = []
        while (entry := self._pop()) is not None:
            try:
                result = entry.release(kind, error, traceback)
                if await result if entry.is_async else result:
                    kind = error = traceback = None
            except BaseException as exc:  # noqa: BLE001 - each release is tried, and every failure told below
                failures.append(_note(exc, entry.name))
        return self._finish(error, failures)

    def __del__(self) -> None:
        if self._is_open and self._pid == os.getpid():  # a fork has no part in what its parent opened
            names = ", ".join(entry.name for entry in self._held) or "nothing"
            warnings.warn(
                f"a scope opened at {self._describe_place()} was never left, and holds {names}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    @property
    def _is_open(self) -> bool:
        return self._state in ("sync", "async")

    def _open(self, state: str, frame: FrameType, site: Site | None) -> None:
        if self._state != "new":
            raise ResourceError(f"a scope is entered once, this one is {self._state}", hint="make a new tm.Scope()")
        self._state = state
        self._pid = os.getpid()
        self._place = _find_place(frame)
        self._site = site

    def _describe_place(self) -> str:
        return f"{self._place[0].co_filename}:{self._place[1]}" if self._place is not None else ""

    def _push(self, name: str, release: _Exit, *, is_async: bool = False) -> None:
        with self._lock:
            if self._is_open:
                self._held.append(_Entry(name, time.monotonic_ns(), is_async, release))
                return
        raise ResourceError(
            f"the scope ended while another thread entered {name}", hint="end the threads that use a scope within it"
        )

    def _pop(self) -> _Entry | None:
        """The entry that is released next; None once the scope is closed."""
        with self._lock:
            if self._held:
                return self._held.pop()
            self._state = "closed" if self._is_open else self._state
            return None

    def _check_open(self) -> None:
        if not self._is_open:
            raise ResourceError(
                f"expected an entered scope, this one is {self._state}", hint="hold it with `with tm.Scope() as scope:`"
            )

    def _check_async(self) -> None:
        self._check_open()
        if self._state != "async":
            raise ResourceError("an async resource needs `async with Scope()`, this scope is a plain `with`")

    def _finish(self, error: BaseException | None, failures: list[BaseException]) -> bool:
        self.failures = (*self.failures, *(failure for failure in failures if failure is not error))
        raise_failures(error, failures, "several resources could not be released")
        return error is None


def _note(error: BaseException, name: str) -> BaseException:
    error.add_note(f"while releasing {name}")
    return error


def _find_place(frame: FrameType) -> tuple[CodeType, int]:
    """Code and line of what opened a scope: of its user, where another scope or contextlib entered it."""
    while frame.f_back is not None and frame.f_globals.get("__name__") in (__name__, "contextlib"):
        frame = frame.f_back
    return frame.f_code, frame.f_lineno


def _check_manager(resource: object, *, is_async: bool = False) -> None:
    """Check that `resource` can be entered and released.

    Raises:
        ResourceError: it cannot: nothing of it was opened yet.
    """
    plain, awaited = ("__enter__", "__exit__"), ("__aenter__", "__aexit__")
    wanted, other = (awaited, plain) if is_async else (plain, awaited)
    is_class = isinstance(resource, type)
    if all(hasattr(type(resource) if is_class else resource, name) for name in wanted):
        return
    if is_class or inspect.isfunction(resource):
        name = getattr(resource, "__qualname__", "")
        raise ResourceError(
            f"expected a context manager, got the {'class' if is_class else 'function'} `{name}`",
            hint="call it, and give what that makes",
        )
    way = "`scope.enter(…)`" if is_async else "`await scope.enter_async(…)`"
    is_other = all(hasattr(resource, name) for name in other)
    raise ResourceError(
        f"expected {'an async' if is_async else 'a plain'} context manager, got a {type(resource).__qualname__}",
        hint=f"enter it by {way}" if is_other else f"it needs `{wanted[0]}` and `{wanted[1]}`",
    )


def _check_release(release: object) -> None:
    """Check that `release` can be called.

    Raises:
        ResourceError: it cannot: it may be what a call of it gave.
    """
    if not callable(release):
        raise ResourceError(
            f"expected a function that releases, got {release!r:.80}",
            hint="give the function itself: `scope.defer(connection.close)`",
        )
