"""One record through a pipeline: what calling a pipeline does, and what `try` and `preview` show."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import msgspec.structs

from tidemill.calls.engine import Engine
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Request
from tidemill.data.nodes.node import Node, step_names
from tidemill.data.parallel.gradients import call_in_mode
from tidemill.data.steps.functions import enter_steps, has_managers
from tidemill.errors import ConfigError
from tidemill.jobs.records.step import Shape
from tidemill.jobs.window.opening import open_steps
from tidemill.jobs.window.steps import FunctionStep, IndexStep, WindowStep
from tidemill.models.steps.call import make_key
from tidemill.models.steps.calling import KEY_HEADER, Decode
from tidemill.models.steps.lines import Kept, Line
from tidemill.resources.scope import Scope
from tidemill.resources.states.gradients import GradientMode
from tidemill.stores.steps.opened import OpenStores
from tidemill.stores.steps.provided import share_stores

OnCall = Callable[[str, Request, Kept | None], None]
"""Told of each request before it is sent (with no reply yet) and of its reply: step name, request, reply."""


def check_record_wise(nodes: Sequence[Node]) -> None:
    """Check that no step looks across records: one record has no others to look at.

    Raises:
        ConfigError: one does; names it.
    """
    for node, name in zip(nodes, step_names(tuple(nodes)), strict=True):
        if not node.record_wise:
            raise ConfigError(
                f"step `{name}` looks across records, and the pipeline was called on one",
                hint="give the pipeline a stream, or leave the step out",
            )


class SingleRun:
    """A pipeline held open for one record after another. Belongs to the loop it was opened in; `async with`.

    Args:
        nodes: record-wise steps.
        names: the steps' names; by default as if these nodes were the whole pipeline.
        folder: where `.env` and relative model paths are looked for.
        send: False where `on_call` ends each record before its first request is sent: no model is opened.
    """

    def __init__(
        self, nodes: Sequence[Node], *, folder: Path, names: Sequence[str] | None = None, send: bool = True
    ) -> None:
        check_record_wise(nodes)
        self._nodes = tuple(nodes)
        self._names = step_names(self._nodes) if names is None else names
        self._folder = folder
        self._send = send
        self._scope = Scope()
        self._steps: Sequence[WindowStep] = ()
        self._has_children = False

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        try:
            engine = Engine(HttpTransport(), rng=random.Random())
            self._scope.defer_async(engine.close, name="engine")
            stores = OpenStores(self._scope, self._folder)
            self._steps = open_steps(
                await enter_steps(share_stores(self._nodes, stores), self._names, self._scope),
                self._names,
                first=0,
                engine=engine,
                scope=self._scope,
                folder=self._folder,
                send=self._send,
                stores=stores,
            )
        except BaseException as exc:
            await self._scope.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        self._has_children = any(step.shape is Shape.MANY for step in self._steps)
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._scope.__aexit__(*error)

    @property
    def is_plain(self) -> bool:
        """Whether no step waits for anything, or was entered in a thread, so that `run_here` can be used."""
        are_plain = all(step.function is not None and not step.function.is_async for step in self._steps)
        return are_plain and not any(map(has_managers, self._nodes))

    def run_here(self, record: Any) -> Any:
        """As `run`, in the calling thread, with all that belongs to it, as torch's gradient mode; any thread's."""
        running = self.run(record)
        try:
            running.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("a step of a plain pipeline waited")

    async def run(self, record: Any, on_call: OnCall | None = None, mode: GradientMode | None = None) -> Any:
        """The record's result, None when it was dropped, a list behind a `flat_map`.

        Args:
            on_call: told of each request and its reply.
            mode: torch's gradient mode that plain functions are called in; None for that of this thread.

        Raises:
            TidemillError, Exception: as the steps fail; what else was in flight for the record is cancelled.
        """
        results = await self._flow(record, 0, on_call, mode)
        if self._has_children:
            return results
        return results[0] if results else None

    async def _flow(self, record: Any, start: int, on_call: OnCall | None, mode: GradientMode | None) -> list[Any]:
        for index in range(start, len(self._steps)):
            step = self._steps[index]
            if isinstance(step, IndexStep):
                if on_call is None:  # a trial writes nothing
                    record = await step.run(record, (0, ()))
                continue
            if step.function is None:
                record = await step.run(record, partial(self._ask, step.name, on_call))
                continue
            result = await _apply(step, record, mode)
            if step.shape is Shape.MANY:
                flows = (self._flow(child, index + 1, on_call, mode) for child in result)
                done = [await flow for flow in flows] if self.is_plain else await _gather(flows)
                return [found for each in done for found in each]
            if step.shape is Shape.ONE:
                record = result
            elif not result:
                return []
        return [record]

    async def _ask(
        self,
        step: str,
        on_call: OnCall | None,
        line: Line,
        number: int,
        request: Request,
        send: Send | None = None,
        decode: Decode | None = None,
    ) -> Any:
        number += line.first
        decode = decode or line.decode
        step = f"{step}.{line.label}" if line.label else step
        sent = request
        if line.is_keyed:
            digest = blake2b(request.body, digest_size=16).hexdigest()
            sent = msgspec.structs.replace(request, headers={KEY_HEADER: make_key("", 0, (), step, number, digest)})
        if on_call is None:
            return await line.way.call(sent, decode, send=send)
        on_call(step, request, None)
        reply = await line.way.call(sent, decode, send=send)
        on_call(step, request, reply)
        return reply


async def _apply(step: FunctionStep, record: Any, mode: GradientMode | None) -> Any:
    """What the step's function gives; of a `flat_map` the list of children."""
    try:
        if step.function.is_async:
            result = await step.function.apply(record)
        else:
            result = call_in_mode(mode, step.function.apply, record)
        return list(step.function.iter_children(result)) if step.shape is Shape.MANY else result
    except Exception as exc:
        explained = step.explain(exc)
        if explained is exc:
            raise
        raise explained from exc


async def _gather(flows: Iterable[Coroutine[Any, Any, list[Any]]]) -> list[list[Any]]:
    """The results of all; when one fails, the others are cancelled before its error is raised."""
    tasks = [asyncio.create_task(flow) for flow in flows]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
