"""Steps that are context managers: what they are, the copies that workers enter, and what is told when one fails.

A copy, since the object itself is a description: several iterations and threads share it, its attributes are part of
the fingerprint that a state belongs to, and it pickles. Imports little: worker processes load it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tidemill.errors import ConfigError, ResourceError, TidemillError


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
    except ResourceError as error:
        error.is_release = True
        raise
    except Exception as error:
        explained = ResourceError(f"a step failed as it was left: {_explain(error)}")
        explained.is_release = True
        raise explained from error


def _explain(error: BaseException) -> str:
    """What failed, and what of: each of several."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(map(_explain, error.exceptions))
    if isinstance(error, TidemillError):
        return f"{error.where}: {error.message}" if error.where else error.message
    notes = "; ".join(getattr(error, "__notes__", ()))
    return f"{type(error).__name__}: {error}{f' ({notes})' if notes else ''}"
