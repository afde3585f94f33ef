"""Runs the source half: deterministic steps over a source, as one iterator that knows where it stands."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, cast

from tidemill.config.objects.descriptions import fingerprint_json
from tidemill.data.failing.policy import Losses, Policy
from tidemill.data.kept.folder import Keeping
from tidemill.data.merging import ANY_RANK
from tidemill.data.nodes.across import Shard
from tidemill.data.nodes.fingerprints import describe_node
from tidemill.data.nodes.node import Node, step_names
from tidemill.data.nodes.single import Catch
from tidemill.data.reader import raise_each
from tidemill.data.records.origin import Origin
from tidemill.data.sources.read import Read
from tidemill.data.sources.rows import RowSource, choose_rows, find_folded
from tidemill.data.sources.sharing import find_shared, make_share
from tidemill.data.stages.opening import Epoch, Opening
from tidemill.data.stages.others import Others
from tidemill.data.stages.parts import open_parts
from tidemill.data.stages.progress import iter_outcomes
from tidemill.data.stages.stage import Stage
from tidemill.data.states import check_version
from tidemill.data.turns import dump_layers, load_layers
from tidemill.errors import ConfigError, StateError
from tidemill.protocols import Source, State

STATE_VERSION = 1

Description = list[list[Any]]
"""Name and fingerprint of the source and of each step; of a shard its rank and world, too."""


class Records(chain[Any]):
    """What `iterate` returns: a `RecordIterator`.

    One that is left behind closes its file when it is dropped. Threads: any, one at a time.

    Attributes:
        losses: records passed over since it began, by step: `losses.skipped["map"]`, `losses.quarantined["source"]`.
    """

    losses: Losses
    _last: Stage
    _others: Others
    _passing: _Passing
    _describe: Callable[[], Description]

    def state(self, back: int = 0) -> State:
        """Where the iterator stands: JSON, holding no records.

        `part` names the part being read and `source` is the state of its reader; both are None before the first.
        `others` is there once a join has read its other stream, and tells that from any other.

        Args:
            back: 1 tells where it stood in front of the record it gave last.
        """
        if self._passing.left and self._passing.start is not None:
            return self._passing.start
        state = {"version": STATE_VERSION, "pipeline": self._describe(), **self._last.marks(back)}
        others = self._others.describe()
        return {**state, "others": others} if others else state

    def explain(self) -> Origin:
        """Where the record given last came from: file, place in it, and the steps it went through.

        For steps that gather or order records the last ones are read again, up to one buffer, and the functions in
        front of them called again.
        """
        return self._last.explain()

    def origin(self) -> Origin:
        """The same, as far as is known without reading again."""
        return self._last.origin()

    def close(self) -> None:
        """Close the file being read; may be called twice."""
        self._last.close()


def iterate(
    source: Source,
    nodes: Sequence[Node],
    state: State | None = None,
    *,
    parts: Sequence[str] | None = None,
    describe: Callable[[], Description] | None = None,
    epoch: Epoch = (),
) -> Records:
    """The records of `source` after the steps `nodes`, from the start or from `state`.

    Order: the source's.   Memory: a block of the source, and what the user's functions hold.
    Failure: raised, and the next call goes on with the next record; with `on_error="skip"` the record is passed
    over.
    Resume: exact at every position.

    Args:
        parts: read only these; None reads all.
        describe: what a state belongs to; by default the source and the nodes.
        epoch: which of several times the source is gone through; what shuffles does so anew each time.

    Raises:
        DataError: the source has no parts.
        StateError: `state` belongs to another pipeline, or other parts; names what changed. What a join reads of its
            other stream is compared when it is read.
        ConfigError: a step is not one of the source half, or puts failures into a file that the source reads.
    """
    nodes = tuple(nodes)
    check_quarantines(source, nodes)
    own = functools.cache(functools.partial(describe_pipeline, source, nodes))
    describe = own if describe is None else functools.cache(describe)
    if state is not None:
        check_state(state, describe())
    skips = getattr(source, "on_error", None) == "skip"

    losses = Losses()
    policy = Policy(skips=skips, keeps=False, losses=losses)

    def start(state: State | None, epoch: Epoch) -> Stage:
        return open_source(source, nodes, state, epoch, policy=policy, parts=parts)

    steps = tuple(zip(nodes, step_names(nodes), strict=True))
    others = Others(state.get("others") if state else None)
    opening = Opening(start, steps, Keeping(source, own, iterate), losses, find_taken_over(source, nodes), others)
    stage = opening.open(len(nodes), state, epoch)
    passing = _Passing(state)
    records = cast(Records, Records.from_iterable(_iter_closing(stage, passing)))
    records._passing = passing
    records.losses = losses
    records._last = stage
    records._others = others
    records._describe = describe
    return records


def find_taken_over(source: Source, nodes: Sequence[Node]) -> frozenset[int]:
    """The places of the steps that are the source's part: it gives its records as they choose, and they do nothing."""
    return find_folded(source, nodes) or find_shared(source, nodes)


def open_source(
    source: Source,
    nodes: Sequence[Node],
    state: State | None,
    epoch: Epoch,
    *,
    policy: Policy,
    parts: Sequence[str] | None = None,
    passed: list[tuple[str, State]] | None = None,
) -> Stage:
    """The stage of `source`, with what it takes over of the steps `nodes`, from the start or from `state`.

    Args:
        policy: what failures of the source get.
        parts: read only these; None reads all.
        passed: where each part that was read to its end is noted, with the state of its reader there.
    """
    folded = find_taken_over(source, nodes)
    marks = state["steps"] if state else {}
    chosen = [(nodes[index], marks.get(str(index))) for index in sorted(folded)]
    share = make_share(*chosen[0]) if chosen and not isinstance(source, RowSource) else None
    given = choose_rows(source, chosen, epoch) if share is None else cast(Read, source).share_out(share)
    stage = open_parts(given, parts, state, policy=policy, passed=passed)
    stage.share = share
    if share is None:
        layers = {str(index): dump_layers(load_layers(marks.get(str(index)))) for index in folded}
        stage.kept = {index: mark for index, mark in layers.items() if mark}
    return stage


def start_state(description: Description) -> State:
    """The state in front of the first record of the pipeline so described."""
    return {
        "version": STATE_VERSION,
        "pipeline": description,
        "part": None,
        "index": 0,
        "source": None,
        "steps": {},
    }


def check_quarantines(source: Source, nodes: tuple[Node, ...]) -> None:
    """Check that no step puts failures into a file that `source` reads.

    Raises:
        ConfigError: one does: it would cut that file, or the next time its failures would be read as records.
    """
    reads = getattr(source, "would_read", None)
    for node, name in zip(nodes, step_names(nodes), strict=True):
        if isinstance(node, Catch) and node.to is not None and reads and reads(Path(node.to).expanduser()):
            raise ConfigError(
                f"the source reads the file that failures are put in: {node.to}",
                where=f"step `{name}`",
                hint="name a file elsewhere, or one that the source's pattern does not match",
            )


def describe_pipeline(source: Source, nodes: tuple[Node, ...]) -> Description:
    """Name and fingerprint of the source and of each step: what a state belongs to."""
    steps = [_describe_step(name, node) for name, node in zip(step_names(nodes), nodes, strict=True)]
    return [["source", fingerprint_json(source.describe())], *steps]


def _describe_step(name: str, node: Node) -> list[Any]:
    if isinstance(node, Shard):  # what `merge_states` makes of all ranks fits any of them
        return [name, fingerprint_json({"kind": node.kind, "even": node.even}), node.rank, node.world]
    return [name, fingerprint_json(describe_node(node))]


def check_state(state: State, description: Description) -> None:
    """Check that `state` was taken from the pipeline so described.

    Raises:
        StateError: it was not, and names the first step that differs; or it is no state.
    """
    check_version(state, STATE_VERSION, "pipeline", "part", "index", "source", "steps")
    for then, now in zip_longest(state["pipeline"], description):
        if then == now or (then and now and then[:2] == now[:2] and then[2] == ANY_RANK):
            continue
        if then and now and then[:2] == now[:2]:
            raise StateError(
                f"the state is of rank {then[2]} of {then[3]}, this is rank {now[2]} of {now[3]}",
                hint="tidemill.merge_states([…]) of the states of all ranks goes on with any number of them",
            )
        raise StateError(
            f"the state belongs to another pipeline: {_difference(then, now)}",
            hint="put it back as it was when the state was taken, or start without a state",
        )


def _difference(then: list[Any] | None, now: list[Any] | None) -> str:
    if then is None or now is None:
        return f"step `{now[0]}` is new" if now else f"step `{then[0] if then else ''}` is gone"
    if then[0] != now[0]:
        return f"step `{now[0]}` stands where `{then[0]}` stood"
    return "the source changed" if now[0] == "source" else f"step `{now[0]}` changed"


class _Passing:
    """What a state says was given since the place it names, `passed`: read again, and passed over.

    Attributes:
        start: the state.
        left: how many outcomes are still to be passed over.
    """

    def __init__(self, start: State | None) -> None:
        self.start = start
        self.left: int = start.get("passed", 0) if start else 0

    def iter_failures(self, stage: Stage) -> Iterator[Iterator[Any]]:
        """Pass over them; gives links that raise an interrupt, or that there are not so many any more."""
        outcomes = iter_outcomes(stage)
        while self.left:
            outcome = next(outcomes, None)
            if outcome is None:
                error = StateError(
                    f"the state stands {self.left} records behind the end of what there is now",
                    hint="the source and its functions must give the same records each time; start without a state",
                )
                self.left = 0
                yield raise_each((error,))
            elif outcome[1] is None or isinstance(outcome[1], Exception):
                self.left -= 1  # a failure was raised when it was given before
            else:
                yield raise_each((outcome[1],))
            del outcome


def _iter_closing(last: Stage, passing: _Passing) -> Iterator[Iterator[Any]]:
    if passing.left:
        yield from passing.iter_failures(last)
    yield last
    last.close()
