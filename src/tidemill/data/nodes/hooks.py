"""Hooks: functions called around a step's, which may replace what goes in and what comes out.

They are no part of what a step is: a pipeline keeps them beside its steps, and they are bound for the length of an
iteration to copies of the nodes. Pickled or copied, they are none.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from tidemill.data.nodes.node import Node

Before = Callable[[str, Any], Any]
"""Of the step's name and the record; gives the record in its place, None to keep it."""

After = Callable[[str, Any, Any], Any]
"""Of the step's name, the record and the result; gives the result in its place, None to keep it."""


class Hooks:
    """The hooks of one pipeline, by the places of its steps. Threads: any may add, remove and bind."""

    def __init__(self) -> None:
        self._kept: list[_Hook] = []

    def add(self, call: Before | After, place: int | None, *, is_after: bool, prepend: bool) -> HookHandle:
        """Keep a hook of the step at `place`, None for every step; with `prepend` it is called before the others."""
        hook = _Hook(call, place, is_after)
        self._kept.insert(0 if prepend else len(self._kept), hook)
        return HookHandle(self._kept, hook)

    def find(self, place: int, *, is_after: bool) -> list[Callable[..., Any]]:
        """What is called at the step at `place`, in order."""
        return [hook.call for hook in list(self._kept) if hook.is_after == is_after and hook.place in (None, place)]

    def __reduce__(self) -> tuple[type[Hooks], tuple[()]]:
        return Hooks, ()


class _Hook:
    """One hook; told from another by its identity, since one function may be registered twice."""

    def __init__(self, call: Before | After, place: int | None, is_after: bool) -> None:
        self.call = call
        self.place = place
        self.is_after = is_after


class HookHandle:
    """Removes a hook: by `remove()`, or at the end of a `with`. Iterations that have begun keep it."""

    def __init__(self, kept: list[_Hook], hook: _Hook) -> None:
        self._kept = kept
        self._hook = hook

    def remove(self) -> None:
        """Remove the hook; may be called twice."""
        if self._hook in self._kept:
            self._kept.remove(self._hook)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class HookedStep(NamedTuple):
    """A step as the pipeline that its hooks were registered with has it."""

    hooks: Hooks
    place: int
    name: str

    def bind(self, *, is_after: bool) -> list[Callable[..., Any]]:
        """The hooks there are now, each given the step's name."""
        return [functools.partial(call, self.name) for call in self.hooks.find(self.place, is_after=is_after)]


StepHooks = tuple[HookedStep, ...]
"""The pipelines that a step is in, the innermost first; `()` for none."""


@dataclass(frozen=True, slots=True)
class BoundHooks:
    """The hooks of one step as they were when an iteration began.

    Attributes:
        before: each of the record; the outermost pipeline's first.
        after: each of the record and the result; the innermost pipeline's first.
    """

    before: tuple[Callable[[Any], Any], ...]
    after: tuple[Callable[[Any, Any], Any], ...]

    def replace_record(self, record: Any) -> Any:
        """What the step is given instead of `record`."""
        for hook in self.before:
            given = hook(record)
            record = record if given is None else given
        return record

    def replace_result(self, record: Any, result: Any) -> Any:
        """What is taken instead of the step's `result`."""
        for hook in self.after:
            given = hook(record, result)
            result = result if given is None else given
        return result


def bind_hooks(nodes: Sequence[Node], hooked: Sequence[StepHooks]) -> tuple[Node, ...]:
    """The steps with the hooks there are now; those without any as they are.

    Args:
        hooked: of each step, as far as any has hooks.
    """
    bound = list(nodes)
    for index, steps in enumerate(hooked):
        if not nodes[index].record_wise:
            continue
        before = [call for step in reversed(steps) for call in step.bind(is_after=False)]
        after = [call for step in steps for call in step.bind(is_after=True)]
        if before or after:
            bound[index] = nodes[index].with_hooks(BoundHooks(tuple(before), tuple(after)))
    return tuple(bound)


def pad_hooks(hooked: Sequence[StepHooks], count: int) -> tuple[StepHooks, ...]:
    """The same for `count` steps."""
    return (*hooked, *((),) * (count - len(hooked)))


def hook_function(fn: Callable[[Any], Any], hooks: BoundHooks | None, *, awaits: bool) -> Callable[[Any], Any]:
    """`fn` with `hooks` around it; `fn` itself without any.

    Args:
        awaits: whether what `fn` gives is awaited, before the hooks behind it are called.
    """
    if hooks is None:
        return fn
    return functools.partial(_await_hooked if awaits else _call_hooked, fn, hooks)


def _call_hooked(fn: Callable[[Any], Any], hooks: BoundHooks, record: Any) -> Any:
    record = hooks.replace_record(record)
    return hooks.replace_result(record, fn(record))


async def _await_hooked(fn: Callable[[Any], Awaitable[Any]], hooks: BoundHooks, record: Any) -> Any:
    record = hooks.replace_record(record)
    return hooks.replace_result(record, await fn(record))
