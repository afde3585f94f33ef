"""`Opener`: how a worker opens a resource that steps' functions take, and lets go of it again.

Imports little: worker processes load it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from tidemill.data.entering.managers import copy_manager, is_async_manager, is_manager, is_plain_manager
from tidemill.errors import ConfigError, ResourceError, TidemillError

_WAY_OUT = 'give it a plain form, or let a coroutine function take it, in a map(…, on="async") or behind a call'


@dataclass(frozen=True, slots=True, eq=False)
class Opener:
    """How each worker opens a resource of its own; told from others by identity, since two may say the same.

    Attributes:
        name: the parameter it is given as.
        use: what gives the context manager, or the context manager itself, of which each worker enters a copy.
        arguments: what `use` is called with.
    """

    name: str
    use: Any
    arguments: Mapping[str, Any]

    @property
    def is_async(self) -> bool:
        """Whether it needs a loop, as far as can be told without opening it."""
        if is_manager(self.use):
            return not is_plain_manager(self.use)
        if isinstance(self.use, type):
            return hasattr(self.use, "__aenter__") and not hasattr(self.use, "__enter__")
        made = self.use.func if isinstance(self.use, functools.partial) else self.use
        inner = inspect.unwrap(made)
        return inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)

    def check_plain(self, step: str) -> None:
        """Check that it can be opened without a loop, as far as can be told.

        Raises:
            ConfigError: it is an async context manager.
        """
        if self.is_async:
            message = f"the resource `{self.name}` is an async context manager, and nothing awaits it here"
            raise ConfigError(message, where=f"step `{step}`", hint=_WAY_OUT)


_NOTHING: Any = object()
"""Stands where nothing is made yet: what is made may be None."""


class Opening:
    """One resource as one worker holds it: what fails in it is told with its name and the step that takes it.

    It is told of no error as it is left: a record's failure is the record's.
    """

    def __init__(self, opener: Opener, step: str) -> None:
        self._opener = opener
        self._step = step
        self._made: Any = _NOTHING

    def make(self) -> bool:
        """Make the context manager, unless it is made, and say whether a plain `with` takes it."""
        if self._made is _NOTHING:
            opener = self._opener
            with self._explaining("opened"):
                is_given = is_manager(opener.use)
                self._made = copy_manager(opener.use, self._step) if is_given else opener.use(**opener.arguments)
        return is_plain_manager(self._made)

    def __enter__(self) -> Any:
        if not self.make():
            raise self._refuse()
        with self._explaining("opened"):
            return self._made.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._explaining("closed"):
            self._made.__exit__(None, None, None)

    async def __aenter__(self) -> Any:
        self.make()
        if not is_manager(self._made) and inspect.isawaitable(self._made):
            with self._explaining("opened"):
                self._made = await self._made
        if not is_manager(self._made):
            raise self._refuse()
        with self._explaining("opened"):
            return await self._made.__aenter__() if is_async_manager(self._made) else self._made.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._explaining("closed"):
            if is_async_manager(self._made):
                await self._made.__aexit__(None, None, None)
            else:
                self._made.__exit__(None, None, None)

    def _refuse(self) -> ResourceError:
        """That what was made cannot be entered here."""
        made = self._made
        if inspect.iscoroutine(made):
            made.close()  # nobody will await it, which Python would warn of
        elif not (is_async_manager(made) or inspect.isawaitable(made)):
            name = getattr(self._opener.use, "__qualname__", type(self._opener.use).__qualname__)
            kind = "None" if made is None else f"a {type(made).__qualname__}"
            hint = "decorate a function that yields it once with contextlib.contextmanager, or return closing(…)"
            return self._fail(f"expected a context manager from `{name}`, got {kind}", hint)
        return self._fail("it is an async context manager, and nothing awaits it here", _WAY_OUT)

    @contextmanager
    def _explaining(self, what: str) -> Iterator[None]:
        try:
            yield
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # a user's, and no less a failure
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            told, hint = f"{type(error).__name__}: {error}", ""
            if isinstance(error, TidemillError):
                told, hint = error.message, error.hint
            explained = self._fail(f"it cannot be {what}: {told}", hint)
            explained.is_release = what == "closed"
            raise explained from error

    def _fail(self, message: str, hint: str) -> ResourceError:
        return ResourceError(f"resource `{self._opener.name}`: {message}", where=f"step `{self._step}`", hint=hint)


def _is_cancelled() -> bool:
    """Whether someone cancels the task that runs in this thread."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no loop runs in this thread
        return False
    return task is not None and task.cancelling() > 0
