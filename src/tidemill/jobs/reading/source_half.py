"""The source half of a job applied to one source record at a time, with its books kept."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from tidemill.data.entering.entered import Entered
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.node import Node, step_names
from tidemill.data.nodes.single import Map
from tidemill.data.steps.functions import check_entering, copy_record, enter_step, has_managers
from tidemill.jobs.reading.prefix import needs_workers
from tidemill.jobs.records.counts import DROPPED, EMITTED, IN, PASSED, Counts
from tidemill.jobs.records.outcomes import Failure
from tidemill.jobs.records.step import USER_ERRORS, RecordStep, Shape, compile_step


class SourceHalf:
    """Takes source records through the nodes before the first call.

    Args:
        prefix: how many of the nodes are read as one part (`reading/prefix.py`), None where each part of the source is
            one: records are taken through the others. A record that is tried again goes through all.

    Attributes:
        counts: where records are counted, by step; its owner exchanges it as it likes.
        taken: records each `take` has passed, by its place.
        first: the place of the first node that records are taken through when they are read.
        has_steps: whether there is any that records are taken through when they are read.
        has_children: whether one of them can become several.
        is_whole: whether it looks across records, so that the source is one part.

    Its thread enters it before the first record, and leaves it.
    """

    def __init__(
        self, nodes: Sequence[Node], counts: Counts, taken: Mapping[str, int], *, prefix: int | None = None
    ) -> None:
        self.first = prefix or 0
        names = step_names(tuple(nodes))
        self._nodes = tuple(zip(nodes[self.first :], names[self.first :], strict=True))
        own = [(node, name) for node, name in self._nodes if not needs_workers(node)]
        self._needs_entering = any(has_managers(node) for node, _ in own)
        self._entered = Entered()
        for node, name in own:
            check_entering(node, name)
        self._steps = self._compile(lambda node, name: node)
        self._takes = [(index, step) for index, step in enumerate(self._steps) if isinstance(step, int)]
        self.counts = counts
        self.taken = dict(taken)
        self.has_steps = len(nodes) > self.first
        self.has_children = any(node.gives_many for node in nodes[self.first :])
        self.is_whole = prefix is not None or not all(node.record_wise for node in nodes)

    def flow(self, record: Any, start: int = 0, given: int = 0) -> Iterator[Any]:
        """The records and failures that `record` becomes, from step `start` on; at each one the counts add up.

        Args:
            given: children of the `flat_map` at `start` to leave out, since they were given earlier.
        """
        for index in range(start, len(self._steps)):
            step = self._steps[index]
            if step is None:
                kept: Any = True
            elif isinstance(step, int):
                kept = self._take(index, step)
            elif step.shape is Shape.MANY:
                yield from self._flow_children(step, record, index, given if index == start else 0)
                return
            else:
                lent = copy_record(record)
                try:
                    kept = step.apply(lent)
                except USER_ERRORS as exc:
                    self.counts[index + 1][IN] += 1
                    yield Failure(index + 1, step.explain(exc), record)
                    return
                record = lent
                if step.shape is Shape.ONE:
                    record, kept = kept, True
            if not kept:
                self.count(index + 1, DROPPED)
                return
            self.count(index + 1, PASSED)
            self.counts[index + 1][EMITTED] += 1
        yield record

    def enter(self) -> None:
        """Enter the steps that are context managers, unless they are entered.

        Raises:
            ResourceError: one cannot be entered; those before it are left.
        """
        if self._needs_entering and not self._entered.is_open:
            try:
                self._steps = self._compile(partial(enter_step, entered=self._entered))
            except BaseException:
                self._entered.close()
                raise

    def leave(self) -> None:
        """Leave them; may be called twice."""
        self._entered.close()

    def is_full(self, after: int = -1) -> bool:
        """Whether a `take` behind the step `after` has all it wants."""
        if not self._takes:
            return False
        return any(self.taken.get(str(index), 0) >= most for index, most in self._takes if index > after)

    def count(self, step: int, outcome: int) -> None:
        """One record into the step with this place in the counts, and its outcome."""
        self.counts[step][IN] += 1
        self.counts[step][outcome] += 1

    def _compile(self, enter: Callable[[Node, str], Node]) -> list[RecordStep | int | None]:
        """The nodes as records go through them, one for each place: None in front of the first."""
        return [*[None] * self.first, *(_compile(node, name, enter) for node, name in self._nodes)]

    def _flow_children(self, step: RecordStep, record: Any, index: int, skip: int) -> Iterator[Any]:
        """Each child of `record`, lazily; the record is counted when its first child comes, or none did."""
        given = 0
        try:
            for child in islice(step.iter_children(step.apply(copy_record(record))), skip, None):
                if not given:
                    self.count(index + 1, PASSED)
                given += 1
                self.counts[index + 1][EMITTED] += 1
                yield from self.flow(child, index + 1)
                if self.is_full(index):
                    break
        except USER_ERRORS as exc:
            if given:
                self.counts[index + 1][PASSED] -= 1
            else:
                self.counts[index + 1][IN] += 1
            yield Failure(index + 1, step.explain(exc), record, given=skip + given)
            return
        if not given:
            self.count(index + 1, PASSED if skip else DROPPED)

    def _take(self, index: int, most: int) -> bool:
        taken = self.taken.get(str(index), 0)
        self.taken[str(index)] = min(taken + 1, most)
        return taken < most


def _compile(node: Node, name: str, enter: Callable[[Node, str], Node]) -> RecordStep | int | None:
    """A node as a record goes through it: the count of a `take`; None where it stays as it is, or does not come to."""
    if isinstance(node, Take):
        return node.count
    if not node.record_wise or needs_workers(node):
        return None
    step = compile_step(enter(node, name), name)
    may_wait = step.is_async or (isinstance(node, Map) and node.on == "async")
    return replace(step, apply=partial(_await, step.apply)) if may_wait else step


def _await(function: Callable[[Any], Any], record: Any) -> Any:
    """What the function of a step with workers gives for a record that comes alone, in a thread without a loop."""
    given = function(record)
    return asyncio.run(_wait(given)) if inspect.isawaitable(given) else given


async def _wait(given: Awaitable[Any]) -> Any:
    return await given
