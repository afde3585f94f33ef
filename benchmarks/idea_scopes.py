"""Context managers: three resources, a block that raises, and a release that fails as well."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

import tidemill as tm
from rows import Cell, Row, Setting

RESOURCES = 3


class UserError(Exception):
    """What the block raises."""


class Resource:
    """Remembers that it was released; the second of three fails doing so."""

    def __init__(self, number: int, released: list[int]) -> None:
        self.number = number
        self.released = released

    def close(self) -> None:
        self.released.append(self.number)
        if self.number == 1:
            raise OSError("the connection was gone already")

    def __enter__(self) -> Resource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def show_scope(setting: Setting) -> Row:
    return Row(
        "context managers",
        f"{RESOURCES} resources, the block raises, one release fails too: released / what the caller sees",
        [_try(use) for use in (_close_at_the_end, _exit_stack, _scope)],
    )


def _try(use: Callable[[list[Resource]], None]) -> Cell:
    released: list[int] = []
    resources = [Resource(number, released) for number in range(RESOURCES)]
    try:
        use(resources)
    except UserError:
        kept = 1
    except OSError:
        kept = 0
    else:
        raise AssertionError("the block raises")
    seen = "the block's error" if kept else "the release's error"
    return Cell(f"{len(released)} of {RESOURCES}, {seen}", {"released": len(released), "error_kept": kept})


def _close_at_the_end(resources: list[Resource]) -> None:
    _work()
    for resource in resources:
        resource.close()


def _exit_stack(resources: list[Resource]) -> None:
    with ExitStack() as stack:
        for resource in resources:
            stack.enter_context(resource)
        _work()


def _scope(resources: list[Resource]) -> None:
    with tm.Scope() as scope:
        for resource in resources:
            scope.enter(resource)
        _work()


def _work() -> None:
    raise UserError
