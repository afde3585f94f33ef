"""The front of a source half that is one part: the steps up to the last that looks across records, or has workers.

They run as the iterators of `data/stages`, over all parts of the source in a row, and are counted there.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tidemill.data.entering.managers import explaining_leave
from tidemill.data.failing.policy import SOURCE, Losses, Policy, find_step, is_of_record
from tidemill.data.iteration import describe_pipeline, find_taken_over, iterate, open_source
from tidemill.data.joined.joined import Joined
from tidemill.data.kept.folder import Keeping
from tidemill.data.nodes.across import Batch, Every, Pick, Prefetch, Repeat, Sample, Shard, Shuffle, Skip, Slice, Take
from tidemill.data.nodes.keeping import Dedupe
from tidemill.data.nodes.node import Node, step_names
from tidemill.data.nodes.single import Map
from tidemill.data.sources.rows import choose_rows
from tidemill.data.stages.opening import Epoch, Opening
from tidemill.data.stages.others import Others, find_changed_join
from tidemill.data.stages.stage import Stage
from tidemill.data.stages.tally import BROKEN_OFF, Counter, Tally
from tidemill.data.steps.functions import has_managers, is_async
from tidemill.disk import Disk
from tidemill.errors import DataError, ResourceError, TidemillError
from tidemill.jobs.reading.part import END
from tidemill.jobs.records.chunk import PartPosition
from tidemill.jobs.records.counts import DROPPED, EMITTED, IN, PASSED, Counts
from tidemill.jobs.records.outcomes import Failure
from tidemill.protocols import Growth, Source, State
from tidemill.resources.releasing import raise_failures

WHOLE = ""
"""The part of every record when the source half looks across records: there is only one then."""

_ORDERING = (Shuffle, Prefetch, Repeat, Slice, Pick)
"""Steps across records that leave each as it is and give it for itself alone: one that comes alone passes them."""

_CHOOSING = (Take, Skip, Every, Sample, Shard, Dedupe)
"""Steps across records that drop those they do not choose; what is gathered by others has passed."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Steps over a source that are read as one part.

    Attributes:
        source: where records come from.
        nodes: the steps.
        disk: what does the durable operations of steps that keep things.
    """

    source: Source
    nodes: tuple[Node, ...]
    disk: Disk

    def open(self, state: State | None) -> PrefixRecords:
        """The records behind the steps, from the first or from `state`."""
        return PrefixRecords(self, state)

    @property
    def folded(self) -> frozenset[int]:
        """The places of the steps that are the source's part: it gives its records as they choose."""
        return find_taken_over(self.source, self.nodes)

    def choose(self) -> Source:
        """The source, of a dataset with the rows that its steps choose."""
        return choose_rows(self.source, [(self.nodes[index], None) for index in sorted(self.folded)], ())

    def compare_part(self, part: str, state: State) -> Growth:
        """What became of a part of the source since its reader stood at `state`."""
        return self.choose().compare_part(part, state)

    def find_changed_join(self, state: State | None) -> str:
        """The name of a step whose other stream is not what it was at `state`; empty where there is none."""
        index = None if state is None else find_changed_join(self.nodes, state["records"].get("others", {}), iterate)
        return "" if index is None else step_names(self.nodes)[index]

    def takes_alone(self, step: int) -> bool:
        """Whether a record that failed at this step (0 is the source) can go on from there without any other."""
        return not any(map(_needs_others, self.nodes[max(0, step - 1) :]))

    def is_full(self, state: State | None) -> bool:
        """Whether a `take` among the steps has all it wants at `state`."""
        if state is None:
            return False
        marks = state["records"]["steps"]
        takes = [(index, node.count) for index, node in enumerate(self.nodes) if isinstance(node, Take)]
        return any(marks.get(str(index), {"taken": 0})["taken"] >= count for index, count in takes)

    def measure(self, sizes: Sequence[int], state: State | None) -> tuple[int, int] | None:
        """How much of the parts, each of its size, is read at `state`, over all epochs; None when that is unknown."""
        repeats = [(index, node) for index, node in enumerate(self.nodes) if isinstance(node, Repeat)]
        if len(repeats) > 1 or any(node.epochs is None for _, node in repeats):
            return None
        size = sum(sizes)
        read = epoch = 0
        if state is not None and (marks := state["records"])["part"] is not None:
            index = marks["index"]
            place = self.choose().measure_part(marks["part"], marks["source"]) if marks["source"] else (0, 0)
            if place is None or index >= len(sizes):
                return None
            read = sum(sizes[:index]) + place[0]
            epoch = sum(marks["steps"].get(str(at), {}).get("epoch", node.start) - node.start for at, node in repeats)
        times = repeats[0][1].epochs or 0 if repeats else 1
        return min(read + epoch * size, times * size), times * size


def find_prefix(source: Source, nodes: Sequence[Node], disk: Disk | None = None) -> Prefix | None:
    """The front of the source half `nodes` that is read as one part; None when each part of the source is one.

    A `take` alone needs none: it counts what comes of one part after the other.
    """
    folded = find_taken_over(source, nodes)
    across = [index for index, node in enumerate(nodes) if index in folded or _is_across(node)]
    if not across and not isinstance(source, Joined):
        return None
    return Prefix(source, tuple(nodes[: max(across, default=-1) + 1]), disk or Disk())


def needs_workers(node: Node) -> bool:
    """Whether nothing but its own workers can call the step's function: each of them enters it."""
    return _is_across(node) and has_managers(node)


def _needs_others(node: Node) -> bool:
    """Whether a record that comes alone cannot go through the step."""
    return needs_workers(node) or not (node.record_wise or isinstance(node, _ORDERING))


def _is_across(node: Node) -> bool:
    if isinstance(node, Map) and is_async(node):
        return True
    return node.is_parallel or not (node.record_wise or isinstance(node, Take))


def _keep_records(source: Source) -> Source:
    """The source, of joined streams with steps that hand on their failing records whole."""
    if not isinstance(source, Joined):
        return source
    keeping = copy.copy(source)
    keeping.flows = tuple(
        replace(flow, source=_keep_records(flow.source), nodes=_keep_failing(flow.nodes)) for flow in source.flows
    )
    return keeping


def _keep_failing(nodes: Sequence[Node]) -> tuple[Node, ...]:
    return tuple(node.model_copy(update={"on_error": "quarantine"}) for node in nodes)


class PrefixRecords:
    """The records behind the steps of a prefix; `PartRecords`.

    Its state is that of the iterators, and how many records each step had given there: on going on, what is read again
    from an anchor counts only where it comes to more than that.
    """

    def __init__(self, prefix: Prefix, state: State | None) -> None:
        source, nodes = _keep_records(prefix.source), prefix.nodes
        self._nodes = nodes
        self._names = (SOURCE, *step_names(nodes))
        self._tally = tally = Tally(tuple(Counter() for _ in range(len(nodes) + 1)))
        policy = Policy(skips=False, keeps=True, losses=Losses(), isolates=True)

        def start(state: State | None, epoch: Epoch) -> Stage:
            return open_source(source, nodes, state, epoch, policy=policy, passed=tally.passed)

        steps = tuple(zip(nodes, self._names[1:], strict=True))
        keeping = Keeping(source, partial(describe_pipeline, prefix.source, nodes), iterate, prefix.disk)
        self._others = Others(state["records"].get("others") if state else None)
        opening = Opening(start, steps, keeping, policy.losses, prefix.folded, self._others, tally)
        self._stage = opening.open(len(nodes), state["records"] if state else None)
        self._counted: list[list[int]] = state["counts"] if state else [[0, 0] for _ in self._names]
        self._failed: list[int] = list(state["failed"]) if state else [0] * len(self._names)
        self._told = self._list_counts()
        self._passed: set[str] = set()
        self._unreleased: list[ResourceError] = []

    def read(self) -> Any:
        while True:
            try:
                return next(self._stage)
            except StopIteration:
                return END
            except TidemillError as error:
                if isinstance(error, ResourceError) and error.is_release:
                    self._unreleased.append(error)  # its records are all given: raised as this is closed
                    continue
                if not is_of_record(error):
                    if error.message == BROKEN_OFF and error.__cause__ is not None:
                        raise error.__cause__  # noqa: B904 - what the source raised
                    raise
                failure = self._explain(error)
            self._failed[failure.step] += 1
            return failure

    def state(self) -> State:
        return self._find_state(0)

    def mark(self) -> None:
        """Nothing: the iterators know."""

    def before(self) -> State:
        return self._find_state(1)

    def add_counts(self, counts: Counts) -> None:
        told, self._told = self._told, self._list_counts()
        for row, now, then in zip(counts, self._told, told, strict=False):
            for field, number in now.items():
                row[field] += number - then[field]

    def take_passed(self) -> Sequence[PartPosition]:
        passed = []
        while self._tally.passed:
            name, state = self._tally.passed.pop(0)
            if name not in self._passed:
                self._passed.add(name)
                passed.append(PartPosition(name, len(self._passed) - 1, state=state, done=True))
        return passed

    def close(self) -> None:
        unreleased, self._unreleased = self._unreleased, []
        try:
            self._stage.close()
        except ResourceError as error:
            unreleased.append(error)
        with explaining_leave():
            raise_failures(None, unreleased, "several steps could not be left")

    def _explain(self, error: TidemillError) -> Failure:
        step = self._names.index(find_step(error))
        if step or error.has_record:
            return Failure(step, error, error.record, given=error.given, restorable=error.has_record)
        raw, is_cut = (error.raw, error.is_cut) if isinstance(error, DataError) else (None, False)
        return Failure(0, error, raw=raw, restorable=raw is not None and not is_cut)

    def _find_state(self, back: int) -> State:
        records = {**self._stage.marks(back), "others": self._others.describe()}
        return {"records": records, "counts": self._count(), "failed": list(self._failed)}

    def _count(self) -> list[list[int]]:
        """Records given behind each step and emptied by it, those that a state was taken behind among them."""
        counts = [list(map(max, now, then)) for now, then in zip(self._stage.counts(), self._counted, strict=True)]
        self._counted = counts
        return counts

    def _list_counts(self) -> list[dict[int, int]]:
        """The books of the source and each step, from the start on, without the failures' outcomes."""
        counts = self._count()
        taken = counts[0][0] + self._failed[0]
        books = [{IN: taken, PASSED: counts[0][0], DROPPED: 0, EMITTED: counts[0][0]}]
        for node, before, (given, emptied), failed in zip(
            self._nodes, counts, counts[1:], self._failed[1:], strict=False
        ):
            taken = before[0]
            dropped = _count_dropped(node, taken - failed, taken, given, emptied)
            books.append({IN: taken, PASSED: taken - failed - dropped, DROPPED: dropped, EMITTED: given})
        return books


def _count_dropped(node: Node, judged: int, taken: int, given: int, emptied: int) -> int:
    """How many of the records taken were dropped: `judged` ones did not fail."""
    if node.gives_many:
        return emptied
    if isinstance(node, Batch):
        return taken - (given + taken - judged) * node.size if node.drop_last and node.size else 0
    return judged - given if node.keeps or isinstance(node, _CHOOSING) else 0
