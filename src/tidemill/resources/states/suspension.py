"""Whether a block would suspend while it is held: what belongs to a thread would then leak into whatever runs next.

A `with` statement's body is found in the bytecode: its instructions are those whose chain of exception handlers leads
to the one that calls `__exit__`, handlers within the body included (CPython's Objects/exception_handling_notes.txt).
"""

from __future__ import annotations

import contextlib
import dis
import inspect
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, NamedTuple, Protocol, runtime_checkable

from tidemill.errors import ResourceError

CAN_SUSPEND = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
"""Flags of code that may suspend."""
_YIELD = dis.opmap["YIELD_VALUE"]  # `yield`, `yield from` and each kind of `await` suspend here
_CACHE = dis.opmap["CACHE"]
_BEFORE_WITH = dis.opmap.get("BEFORE_WITH")
_CALL = dis.opmap["CALL"]
_LOAD_SPECIAL = dis.opmap.get("LOAD_SPECIAL")  # from Python 3.14 on, followed by `CALL`, in place of `BEFORE_WITH`
_ENTER_MANAGER = contextlib._GeneratorContextManager.__enter__.__code__
_PLUMBING = frozenset(("__enter__", "__aenter__"))
"""Functions that enter a context manager for whoever called them; those of contextlib do as well."""
_SCOPE = "tidemill.resources.scope"
"""The module of `Scope`, which knows where its own block stands."""


class Site(NamedTuple):
    """A place in a function where a block is entered."""

    code: CodeType
    offset: int
    is_statement: bool
    """Whether a `with` statement does it, whose body is known."""

    def find_suspension(self) -> int | None:
        """The line where the block would suspend, None where it does not; 0 where its end is not known."""
        if not self.code.co_flags & CAN_SUSPEND:
            return None
        return _find_suspension(self.code, self.offset, is_statement=self.is_statement)


@runtime_checkable
class Placed(Protocol):
    """A context manager that must know where its block stands."""

    def enter_at(self, site: Site | None) -> Any:
        """Enter it for a block that stands at `site`; None for one that cannot suspend."""
        ...


def find_site(frame: FrameType | None) -> Site | None:
    """Where the block is written whose manager's `__enter__` was called from `frame`."""
    while frame is not None:
        code, offset, outer = frame.f_code, frame.f_lasti, frame.f_back
        site = Site(code, offset, _is_with(code.co_code, offset))
        module = frame.f_globals.get("__name__")
        if module == _SCOPE:
            place: Site | None = frame.f_locals["self"]._site
            return place
        if site.is_statement or not (module == "contextlib" or code.co_name in _PLUMBING):
            is_held = code.co_flags & inspect.CO_GENERATOR and outer is not None and outer.f_code is _ENTER_MANAGER
            if not is_held or site.find_suspension() is None:
                return site  # else a generator that a `@contextmanager` made one holds for the block around it
        frame = outer
    return None


def check_suspension(site: Site | None, what: str) -> None:
    """Check that the block at `site` does not suspend.

    Raises:
        ResourceError: it does: other code of the thread would run in `what`'s state, or the block in that of others.
    """
    line = None if site is None else site.find_suspension()
    if site is None or line is None:
        return
    where = f"{site.code.co_filename}:{line or site.code.co_firstlineno}"
    is_async = site.code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR)
    other = "another task" if is_async else "whoever takes what it yields"
    if line:
        verb = "awaits" if is_async else "yields"
        message = f"{what} is held by `{site.code.co_name}`, which {verb} within the block: {other} would run in it"
    else:
        message = f"{what} is entered by hand in `{site.code.co_name}`, which suspends: {other} would run in it"
    way = "put what computes into a plain function and hold it there, in a thread if it is long: "
    call = "`await asyncio.to_thread(compute, x)`" if is_async else "`yield compute(x)`"
    raise ResourceError(message, where=where, hint=f"{way}{call}")


@lru_cache(maxsize=1024)
def _find_suspension(code: CodeType, offset: int, *, is_statement: bool) -> int | None:
    suspensions = [index for index in range(0, len(code.co_code), 2) if code.co_code[index] == _YIELD]
    if not is_statement:
        return 0 if suspensions else None
    handlers = list(_iter_handlers(code.co_exceptiontable))
    body = offset + 2
    while code.co_code[body] == _CACHE:
        body += 2
    leave = _find_handler(handlers, body)
    if leave is None:
        return 0 if suspensions else None
    for index in suspensions:
        handler = _find_handler(handlers, index)
        while handler is not None and handler != leave:
            handler = _find_handler(handlers, handler)
        if handler is not None:
            return _find_line(code, index)
    return None


def _is_with(instructions: bytes, offset: int) -> bool:
    """Whether a `with` statement calls `__enter__` at `offset`."""
    if _BEFORE_WITH is not None:
        return instructions[offset] == _BEFORE_WITH
    return instructions[offset] == _CALL and instructions[offset - 2] == _LOAD_SPECIAL


def _find_handler(handlers: list[tuple[int, int, int]], offset: int) -> int | None:
    return next((target for start, stop, target in handlers if start <= offset < stop), None)


def _iter_handlers(table: bytes) -> Iterator[tuple[int, int, int]]:
    """Start, stop and innermost handler of each stretch of instructions, as offsets in bytes."""
    numbers = _iter_numbers(table)
    for start in numbers:
        length, target, _ = next(numbers), next(numbers), next(numbers)
        yield 2 * start, 2 * (start + length), 2 * target


def _iter_numbers(table: bytes) -> Iterator[int]:
    """The table's numbers: six bits a byte, the most significant first, 64 says that another follows."""
    number = 0
    for byte in table:
        number = number << 6 | byte & 63
        if not byte & 64:
            yield number
            number = 0


def _find_line(code: CodeType, offset: int) -> int:
    return next((line for start, stop, line in code.co_lines() if start <= offset < stop and line), code.co_firstlineno)
