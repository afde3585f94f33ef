"""`StateScope`: what each block that changes state has in common."""

from __future__ import annotations

import functools
import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from tidemill.errors import ConfigError, ResourceError
from tidemill.resources.releasing import raise_failures
from tidemill.resources.states.suspension import Site, check_suspension, find_site

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class StateScope(ABC):
    """A block in which state is another, and after which it is as it was: whatever ends the block.

    `with` it, or decorate a plain function with it, whose every call is then such a block. An error of the block leaves
    it as it is; what cannot be put back is told as notes on it, and raised where the block raised nothing. One is
    entered once at a time; threads each make their own.
    """

    what: ClassVar[str]
    """What is changed, as a message names it."""

    _is_open = False

    def __enter__(self) -> Self:
        return self.enter_at(find_site(sys._getframe(1)))

    def enter_at(self, site: Site | None) -> Self:
        """Enter it for a block that stands at `site`; None for one that cannot suspend.

        Raises:
            ResourceError: it is open already, or the block suspends.
        """
        check_suspension(site, self.what)
        if self._is_open:
            raise ResourceError(f"{self.what} is entered already by this very object", hint="make one for each block")
        self._change()
        self._is_open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        raise_failures(error, self.leave(), f"{self.what} could not be put back")

    def leave(self) -> list[BaseException]:
        """Put the state back; what failed doing so."""
        if not self._is_open:
            return [ResourceError(f"{self.what}: left without being entered, or twice", hint="hold it by `with`")]
        if misplaced := self._find_misplaced():  # it stays open, for its own thread to leave
            return [misplaced]
        self._is_open = False
        return self._put_back()

    def __call__(self, fn: F) -> F:
        """`fn`, each of its calls in a block of its own."""
        check_decorated(fn, self.what)

        @functools.wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self.copy():
                return check_result(fn(*args, **kwargs), fn, self.what)

        return run  # type: ignore[return-value]  # it has the signature that `wraps` says

    def __repr__(self) -> str:
        return f"<{self.what}: {'held' if self._is_open else 'not held'}>"

    @abstractmethod
    def copy(self) -> Self:
        """Another one, not entered."""

    @abstractmethod
    def _change(self) -> None: ...

    def _find_misplaced(self) -> ResourceError | None:
        """Why it cannot be left in this thread; None where it can."""
        return None

    @abstractmethod
    def _put_back(self) -> list[BaseException]: ...


def check_decorated(fn: Callable[..., Any], what: str) -> None:
    """Check that a call of `fn` does not suspend.

    Raises:
        ConfigError: it does: other code would run in `what`.
    """
    inner = fn
    while isinstance(inner, functools.partial):
        inner = inner.func
    kinds = inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction
    if any(is_kind(each) for is_kind in kinds for each in (inner, type(inner).__call__)):
        raise ConfigError(
            f"{what} cannot be held by `{_name(inner)}`, which suspends: other code would run in it",
            hint="decorate the plain function that computes, and call that",
        )


def check_result(value: T, fn: Callable[..., Any], what: str) -> T:
    """`value`, which `fn` gave within a block.

    Raises:
        ResourceError: it is a coroutine or a generator, so that nothing ran in `what` yet and none of it will.
    """
    kind = next((name for name, is_kind in _LAZY.items() if is_kind(value)), None)
    if kind is None:
        return value
    if inspect.iscoroutine(value):
        value.close()  # it would warn that nobody awaited it
    raise ResourceError(
        f"`{_name(fn)}` gave {kind}, which runs once the block has ended: nothing of it would be held in {what}",
        hint="decorate the plain function that computes, and call that",
    )


_LAZY: dict[str, Callable[[object], bool]] = {
    "a coroutine": inspect.iscoroutine,
    "a generator": inspect.isgenerator,
    "an async generator": inspect.isasyncgen,
}


def _name(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__name__", type(fn).__name__)
