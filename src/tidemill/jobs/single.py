"""One record through a pipeline: what calling a pipeline does, and what `try` and `preview` show."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from tidemill.calls.engine import Engine
from tidemill.calls.transport import HttpTransport
from tidemill.calls.wire import Request
from tidemill.data.nodes import Node, step_names
from tidemill.errors import ConfigError
from tidemill.jobs.record_step import Shape
from tidemill.jobs.steps import open_steps
from tidemill.jobs.window import GenerateStep, WindowStep
from tidemill.models.messages import Reply
from tidemill.models.openai import parse_reply
from tidemill.resources.scope import Scope

OnCall = Callable[[str, Request, Reply | None], None]
"""Told of each request before it is sent (with no reply yet) and of its reply: step name, request, reply."""


def refuse_cross_record(nodes: Sequence[Node]) -> None:
    """Refuse steps that look across records: one record has no others to look at.

    Raises:
        ConfigError: names the step.
    """
    for node, name in zip(nodes, step_names(tuple(nodes)), strict=True):
        if not node.record_wise:
            raise ConfigError(
                f"step `{name}` looks across records, and a pipeline was called on one",
                hint="give the pipeline a stream, or leave the step out",
            )


class SingleRun:
    """A pipeline held open for one record after another. Belongs to the loop it was opened in; `async with`.

    Args:
        nodes: record-wise steps.
        names: the steps' names; by default as if these nodes were the whole pipeline.
        folder: where `.env` and relative model paths are looked for.
        on_call: told of every request and reply.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        *,
        folder: Path,
        names: Sequence[str] | None = None,
        on_call: OnCall = lambda step, request, reply: None,
    ) -> None:
        refuse_cross_record(nodes)
        self._nodes = tuple(nodes)
        self._names = step_names(self._nodes) if names is None else names
        self._folder = folder
        self._on_call = on_call
        self._scope = Scope()
        self._steps: Sequence[WindowStep] = ()
        self._has_children = False

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        engine = Engine(HttpTransport(), rng=random.Random())
        self._scope.defer_async(engine.close, "engine")
        try:
            self._steps = await open_steps(
                self._nodes, self._names, first=0, engine=engine, scope=self._scope, folder=self._folder
            )
        except BaseException as exc:
            await self._scope.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        self._has_children = any(step.shape is Shape.MANY for step in self._steps)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._scope.__aexit__(*error)

    async def run(self, record: Any) -> Any:
        """The record's result, None when it was dropped, a list behind a `flat_map`."""
        results = await self._flow(record, 0)
        if self._has_children:
            return results
        return results[0] if results else None

    async def _flow(self, record: Any, start: int) -> list[Any]:
        for index in range(start, len(self._steps)):
            step = self._steps[index]
            if isinstance(step, GenerateStep):
                record = await step.generator.run(record, partial(self._ask, step))
                continue
            try:
                result = step.function.apply(record)
                if step.function.is_async:
                    result = await result
                if step.shape is Shape.MANY:
                    children = list(step.function.iter_children(result))
                    flows = await asyncio.gather(*(self._flow(child, index + 1) for child in children))
                    return [found for flow in flows for found in flow]
            except Exception as exc:
                explained = step.explain(exc)
                if explained is exc:
                    raise
                raise explained from exc
            if step.shape is Shape.ONE:
                record = result
            elif not result:
                return []
        return [record]

    async def _ask(self, step: GenerateStep, number: int, request: Request) -> Reply:
        self._on_call(step.name, request, None)
        reply = await step.lane.call(request, parse_reply)
        self._on_call(step.name, request, reply)
        return reply
