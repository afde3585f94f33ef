"""Functions whose calls are latency blocks: until they return, were awaited, or were iterated to the end."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tidemill.errors import ConfigError

if TYPE_CHECKING:
    from tidemill.resources.timing.latency import Block

F = TypeVar("F", bound=Callable[..., Any])
Make = Callable[[str], "Block"]


def time_calls(fn: F, name: str, make: Make) -> F:
    """`fn`, each call of which is the block that `make(name)` gives, and which is of the same kind as before.

    A generator's block is held from its first item to its end, and what its consumer does between two items is not
    within it.

    Raises:
        ConfigError: `fn` is no function.
    """
    function: Any = fn
    is_function = inspect.isroutine(fn) and not isinstance(fn, staticmethod | classmethod)
    if not (is_function or isinstance(fn, functools.partial)):
        raise ConfigError(
            f"expected a function, got {fn!r}",
            where=f'tm.latency("{name}")',
            hint="decorate the function itself (under `@classmethod` or `@staticmethod`; of an object its `__call__`), "
            f'or hold the block: `with tm.latency("{name}"):`',
        )
    kinds: tuple[tuple[Callable[[Any], bool], Callable[[Any, str, Make], Any]], ...] = (
        (inspect.iscoroutinefunction, _time_coroutine),
        (inspect.isgeneratorfunction, _time_generator),
        (inspect.isasyncgenfunction, _time_async_generator),
    )
    wrap = next((wrap for is_kind, wrap in kinds if is_kind(function)), _time_plain)
    timed: Any = functools.wraps(function)(wrap(function, name, make))
    return cast(F, timed)


def _time_plain(fn: Callable[..., Any], name: str, make: Make) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        with make(name):
            return fn(*args, **kwargs)

    return timed


def _time_coroutine(
    fn: Callable[..., Coroutine[Any, Any, Any]], name: str, make: Make
) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def timed(*args: Any, **kwargs: Any) -> Any:
        with make(name):
            return await fn(*args, **kwargs)

    return timed


def _time_generator(
    fn: Callable[..., Generator[Any, Any, Any]], name: str, make: Make
) -> Callable[..., Generator[Any, Any, Any]]:
    def timed(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator = fn(*args, **kwargs)
        move: Callable[[Any], Any] = generator.send
        sent: Any = None
        with make(name) as block:
            while True:
                try:
                    item = move(sent)
                except StopIteration as end:
                    return end.value
                finally:
                    sent = None  # an error holds this frame
                block.step_out()
                try:
                    move, sent = generator.send, (yield item)
                except BaseException as error:  # noqa: BLE001 - the generator's to handle, or to let through
                    move, sent = generator.throw, error
                finally:
                    block.step_in()

    return timed


def _time_async_generator(
    fn: Callable[..., AsyncGenerator[Any, Any]], name: str, make: Make
) -> Callable[..., AsyncIterator[Any]]:
    async def timed(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator = fn(*args, **kwargs)
        move: Callable[[Any], Any] = generator.asend
        sent: Any = None
        with make(name) as block:
            while True:
                try:
                    item = await move(sent)
                except StopAsyncIteration:
                    return
                finally:
                    sent = None  # an error holds this frame
                block.step_out()
                try:
                    move, sent = generator.asend, (yield item)
                except BaseException as error:  # noqa: BLE001 - the generator's to handle, or to let through
                    move, sent = generator.athrow, error
                finally:
                    block.step_in()

    return timed
