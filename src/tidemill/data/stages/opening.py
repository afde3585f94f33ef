"""Opens the stages of a pipeline: each step's on top of the one in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from operator import is_not
from typing import Any, cast

from tidemill.data.failing.failures import PASSED_ON, explain_failure, explain_isolated, raise_explained
from tidemill.data.failing.policy import Losses, Policy
from tidemill.data.kept.folder import Keeping, KeptFolder
from tidemill.data.kept.lookup import Lookup
from tidemill.data.kept.parts import CacheParts
from tidemill.data.nodes.across import Prefetch, Repeat
from tidemill.data.nodes.images import DecodeImage
from tidemill.data.nodes.keeping import Cache, Join, KeepingNode
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Catch, Map
from tidemill.data.stages.caching import open_cache
from tidemill.data.stages.catching import open_catch
from tidemill.data.stages.children import open_flat_map
from tidemill.data.stages.crossing import open_crossing
from tidemill.data.stages.entering import WorkerSteps
from tidemill.data.stages.epochs import open_epochs
from tidemill.data.stages.joining import Joiner, open_join
from tidemill.data.stages.keeping import open_keeping
from tidemill.data.stages.others import Others, OtherStream, find_changed_join
from tidemill.data.stages.parallel import open_parallel
from tidemill.data.stages.prefetched import open_prefetch
from tidemill.data.stages.stage import Stage, open_calls
from tidemill.data.stages.tally import Counter, Tally
from tidemill.data.steps.functions import RecordFunction, copy_record, is_async, iter_children, record_function
from tidemill.errors import ConfigError
from tidemill.protocols import State

Epoch = tuple[int, ...]
"""The numbers of the epochs around a stage, the outermost first."""

_SKIPPED = object()
_is_kept = partial(is_not, _SKIPPED)


@dataclass(frozen=True, slots=True)
class Opening:
    """All that opening a pipeline takes: it can be opened again up to any step, at any state.

    Attributes:
        start: opens the stage of the source, for an epoch.
        steps: each node with its name.
        keeping: where steps keep what is more than memory holds.
        losses: where what is passed over is counted.
        folded: the places of steps that are the source's part: it gives its rows as they choose.
        others: what joins have read of their other streams.
        tally: what counts the records that come through behind each step; with it, failures are those of a job: each
            goes on with its record, which is as it came to the step.
    """

    start: Callable[[State | None, Epoch], Stage]
    steps: tuple[tuple[Node, str], ...]
    keeping: Keeping
    losses: Losses = field(default_factory=Losses)
    folded: frozenset[int] = frozenset()
    others: Others = field(default_factory=Others)
    tally: Tally | None = None

    def open(self, count: int, state: State | None, epoch: Epoch = ()) -> Stage:
        """The stage of the last of the first `count` steps, at `state`; whoever goes through it is one worker.

        Those in front of the last `repeat` are opened anew for each of its epochs.
        """
        worker = WorkerSteps()
        return worker.guard(self._open(count, state, epoch, worker))

    def _open(self, count: int, state: State | None, epoch: Epoch, worker: WorkerSteps) -> Stage:
        edges = (index for index in range(count) if isinstance(self.steps[index][0], (Repeat, Prefetch, Cache)))
        edge = max(edges, default=None)
        marks = state["steps"] if state else {}
        if edge is None:
            stage, first = self._count(self.start(state, epoch), 0, state), 0
        else:
            stage = self._open_edge(edge, state, marks.get(str(edge)), epoch, worker)
            stage, first = self._count(stage, edge + 1, state), edge + 1
        for index in range(first, count):
            if index not in self.folded:
                stage = self._open_step(stage, index, marks.get(str(index)), epoch, worker)
            stage = self._count(stage, index + 1, state)
        return stage

    def _count(self, stage: Stage, index: int, state: State | None) -> Stage:
        return stage if self.tally is None else self.tally.open(stage, index, state)

    def _open_edge(
        self, index: int, state: State | None, mark: State | None, epoch: Epoch, worker: WorkerSteps
    ) -> Stage:
        """The stage of a step that goes through those in front in its own way: again, in a thread, or once."""
        node, name = self.steps[index]
        if isinstance(node, Repeat):
            return open_epochs(
                lambda state, number: self._open(index, state, (*epoch, number), worker), index, name, node, state
            )
        if isinstance(node, Cache):
            parts = CacheParts(
                self._find_folder(index, ()),
                self.keeping.source,
                has_others=partial(self._has_others, index),
                rebuild=node.changed == "rebuild",
            )
            return open_cache(
                lambda state: self._open(index, state, epoch, worker), node, parts, self.others, index, name, mark
            )
        reopen = partial(self._reopen, index, epoch)
        return open_prefetch(self.open(index, state, epoch), cast(Prefetch, node).count, index, name, mark, reopen)

    def _open_step(self, upstream: Stage, index: int, mark: State | None, epoch: Epoch, worker: WorkerSteps) -> Stage:
        node, name = self.steps[index]
        if isinstance(node, Catch):
            return open_catch(upstream, node, index, name, mark, self.losses)
        if isinstance(node, KeepingNode):
            return self._open_keeping(upstream, index, mark, epoch)
        if not node.record_wise:
            reopen = partial(self._reopen, index, epoch)
            return open_crossing(upstream, node, index, name, mark, epoch, reopen, self._find_policy(node, index))
        if isinstance(node, (Map, DecodeImage)) and (node.is_parallel or is_async(node)):
            reopen = partial(self._reopen, index, epoch)
            return open_parallel(upstream, node, index, name, mark, reopen, self._find_policy(node, index))
        if is_async(node):
            raise ConfigError(
                "the function is a coroutine function, and nothing awaits it before the first call",
                where=f"step `{name}`",
                hint="make it a plain function, or move the step behind the first call",
            )
        policy = self._find_policy(node, index)
        record_function(node, name)  # says what is wrong with it now
        find = worker.add(node, name)

        def make() -> RecordFunction:
            found = find()
            return _wrap_function(found, policy, name, self._find_counter(node, index), record_function(found, name))

        if node.gives_many:
            return open_flat_map(upstream, make, index, name, mark)
        return _open_single(upstream, node, make, policy, name)

    def _open_keeping(self, upstream: Stage, index: int, mark: State | None, epoch: Epoch) -> Stage:
        """The stage of a step that keeps what it holds in a folder."""
        node = self.steps[index][0]
        folder = self._find_folder(index, epoch)
        if isinstance(node, Join):
            return self._open_join(upstream, node, index, mark, folder)
        return open_keeping(upstream, node, index, mark, folder, self._find_policy(node, index))

    def _open_join(self, upstream: Stage, node: Join, index: int, mark: State | None, folder: KeptFolder) -> Stage:
        lookup = Lookup(folder, node.memory)
        note = partial(self._note_other, index, folder.step)
        joiner = Joiner(node, lookup, OtherStream(node, self.keeping.iterate), note)
        policy, counter = self._find_policy(node, index), self._find_counter(node, index)
        wrap = partial(_wrap_function, node, policy, folder.step, counter)
        return open_join(upstream, joiner, lookup, index, folder.step, mark, wrap)

    def _note_other(self, index: int, step: str, seen: State) -> None:
        """Note what a join has read; what its other stream passed over is counted."""
        self.others.note(index, seen, step)
        if seen["skipped"]:
            self.losses.skipped[f"other of {step}"] += seen["skipped"]

    def _has_others(self, count: int, others: State) -> bool:
        """Whether the joins among the first `count` steps would read of their other streams what they had."""
        nodes = [node for node, _ in self.steps[:count]]
        return find_changed_join(nodes, others, self.keeping.iterate) is None

    def _find_counter(self, node: Node, index: int) -> Counter | None:
        """Where records are counted that the step gives nothing for, if it may and they are counted."""
        return None if self.tally is None or not node.gives_many else self.tally.counters[index + 1]

    def _find_folder(self, index: int, epoch: Epoch) -> KeptFolder:
        nodes, names = zip(*self.steps[: index + 1], strict=True)
        return self.keeping.find_folder(nodes, names, epoch)

    def _reopen(self, count: int, epoch: Epoch, state: State | None) -> Stage:
        """The stage in front of a step once more, for a look at what it gave: it counts and writes nothing."""
        quiet = tuple(
            (node.model_copy(update={"to": None}) if isinstance(node, Catch) else node, name)
            for node, name in self.steps
        )
        return Opening(self.start, quiet, self.keeping, Losses(), self.folded, self.others).open(count, state, epoch)

    def _find_policy(self, node: Node, index: int) -> Policy:
        """What failures of a step get; a quarantine further on needs the record with its failure."""
        if self.tally is not None:
            return Policy(skips=False, keeps=True, losses=self.losses, isolates=True)
        behind = (node for node, _ in self.steps[index + 1 :])
        keeps = node.on_error == "quarantine" or any(isinstance(node, Catch) and node.to for node in behind)
        return Policy(skips=node.on_error == "skip", keeps=keeps, losses=self.losses)


def _open_single(upstream: Stage, node: Node, make: Callable[[], RecordFunction], policy: Policy, name: str) -> Stage:
    each: type[map[Any]] | type[filter[Any]] = filter if node.keeps else map
    if policy.skips and not node.keeps:
        return open_calls(upstream, lambda stage: filter(_is_kept, each(make(), stage)), name)
    return open_calls(upstream, lambda stage: each(make(), stage), name)


def _wrap_function(
    node: Node, policy: Policy, step: str, counter: Counter | None, function: RecordFunction
) -> RecordFunction:
    """The step's function, with what its failures get; records it gives nothing for are counted."""
    if policy.isolates and counter is not None:
        return partial(_iter_isolated, function, step, counter)
    if policy.isolates:
        return partial(_call_isolated, function, step)
    if policy.skips and node.gives_many:
        return partial(_iter_or_skip, function, policy, step)
    if policy.skips:
        return partial(_call_or_skip, function, policy, step, False if node.keeps else _SKIPPED)
    if policy.keeps and node.gives_many:
        return partial(_iter_keeping, function, step)
    if policy.keeps:
        return partial(_call_keeping, function, step)
    return function


def _call_or_skip(function: RecordFunction, policy: Policy, step: str, instead: Any, record: Any) -> Any:
    try:
        return function(record)
    except PASSED_ON:
        raise
    except BaseException as error:
        if not policy.takes(explain_failure(error, step)):
            raise  # no failure of the record's: a full disk, say
        return instead


def _iter_or_skip(function: RecordFunction, policy: Policy, step: str, record: Any) -> Iterator[Any]:
    """The children; those given before a failure stay."""
    try:
        yield from iter_children(function(record), step)
    except GeneratorExit as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is None:
            raise
        policy.takes(explain_failure(error, step))
    except PASSED_ON:
        raise
    except BaseException as error:
        if not policy.takes(explain_failure(error, step)):
            raise


def _call_isolated(function: RecordFunction, step: str, record: Any) -> Any:
    """What the function gives for a copy of the record."""
    try:
        return function(copy_record(record))
    except BaseException as error:  # noqa: BLE001 - raised again, in words
        raise_explained(explain_isolated(error, step, record), step)


def _iter_isolated(function: RecordFunction, step: str, counter: Counter, record: Any) -> Iterator[Any]:
    """The children that the function gives for a copy of the record; one that has none is counted."""
    given = 0
    try:
        for child in iter_children(function(copy_record(record)), step):
            given += 1
            yield child
    except GeneratorExit as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is None:
            raise
        raise_explained(explain_isolated(error, step, record, given=given), step)
    except BaseException as error:  # noqa: BLE001 - raised again
        raise_explained(explain_isolated(error, step, record, given=given), step)
    if not given:
        counter.emptied += 1


def _call_keeping(function: RecordFunction, step: str, record: Any) -> Any:
    try:
        return function(record)
    except PASSED_ON:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again
        raise_explained(error, step, record=record)


def _iter_keeping(function: RecordFunction, step: str, record: Any) -> Iterator[Any]:
    try:
        yield from iter_children(function(record), step)
    except GeneratorExit as error:
        if error.__traceback__ is None or error.__traceback__.tb_next is None:
            raise
        raise_explained(error, step, record=record)
    except PASSED_ON:
        raise
    except BaseException as error:  # noqa: BLE001 - raised again
        raise_explained(error, step, record=record)
