"""The two halves of a job: which steps may stand where, and whether records come out of the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidemill.config.paths import KeyPath
from tidemill.data.joined.joined import Joined
from tidemill.data.joined.rows import JoinedDatasets, ZipRows
from tidemill.data.joined.ways import Zip
from tidemill.data.nodes.across import Batch, Pick, Shuffle, Slice, Sliding
from tidemill.data.nodes.keeping import Cache
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Catch, Map
from tidemill.data.sources.rows import find_folded
from tidemill.data.steps.functions import is_async
from tidemill.errors import Problem
from tidemill.jobs.live.iteration import LiveSource
from tidemill.jobs.spec.draft import Draft
from tidemill.jobs.spec.flow import KEEPING

_NO_RECORD = ", and what is called with and lands are dicts"
_APART = 'take them apart again with `unbatch`, or make dicts of lists with form="columns"'
_TUPLES = (f"`zip` gives tuples{_NO_RECORD}", "make one dict of each with a `map` in front of all other steps")


def check_halves(draft: Draft) -> Iterator[Problem]:
    """Steps that stand in the half where they cannot run, and a source half that gives no records."""
    yield from _check_steps(draft)
    yield from _check_joined(draft)
    yield from _check_shapes(draft)


def _check_steps(draft: Draft) -> Iterator[Problem]:
    folded = _find_folded(draft)
    for index, step in enumerate(draft.steps):
        node = step.node
        if node is None:
            continue
        if index >= draft.halves_at:
            wrong = _find_misplaced(node)
        else:
            wrong = _find_unfit(node, has_numbers=folded is None or index in folded)
        if wrong is not None:
            yield draft.problem(draft.path(index), *wrong)


def _find_misplaced(node: Node) -> tuple[str, str] | None:
    """Why a step cannot stand behind a call, as message and hint."""
    if not node.record_wise:
        return (
            f"`{node.kind}` looks across records, which a job cannot do after a call",
            "move it before the first call, or run it in a second job over this one's output, source: {dataset: …}",
        )
    if node.is_parallel:
        return (
            "behind a call no function has workers of its own: plain ones run singly, coroutine ones many at once",
            "leave `concurrency` and `on` out, or move the step before the first call",
        )
    return None


def _find_unfit(node: Node, *, has_numbers: bool) -> tuple[str, str] | None:
    """Why a step cannot stand in front of the first call, as message and hint."""
    if isinstance(node, Catch):
        return (
            "a job has a quarantine of its own, which `catch` would keep failures from",
            "leave it out; `on_error` of a step says what its failures get",
        )
    if isinstance(node, Cache):
        return (
            "a job goes through its source once, and keeps what it makes of it: it has no use for a cache",
            "leave it out, or write what is in front as a job of its own, whose output others read",
        )
    if isinstance(node, Map) and not node.ordered:
        return (
            "ordered=False gives records in another order each time, and a job tells them apart by their order",
            "leave it out",
        )
    if isinstance(node, (Slice, Pick)) or (isinstance(node, Shuffle) and node.buffer is None):
        if not has_numbers:
            return (
                f"`{node.kind}` needs records with numbers, and these have none",
                "a dataset has them, up to a step that may drop or add some; shuffle(buffer=…) takes any stream",
            )
    elif is_async(node) and not isinstance(node, Map):
        return (
            "the function is a coroutine function, and nothing awaits it before the first call",
            "make it a plain function, or move the step behind the first call",
        )
    return None


def _find_folded(draft: Draft) -> frozenset[int] | None:
    """The steps that choose and order the rows of a dataset; None when that cannot be known."""
    nodes = [step.node for step in draft.steps[: draft.halves_at]]
    known = [node for node in nodes if node is not None]
    return find_folded(draft.source, known) if draft.source is not None and len(known) == len(nodes) else None


def _check_joined(draft: Draft) -> Iterator[Problem]:
    """What joined streams do that a job has no books for."""
    for source, nodes in _iter_flows(draft.source):
        if isinstance(source, LiveSource):
            yield draft.problem(
                ("source",),
                "one of the joined streams makes calls, whose replies a job does not keep there",
                "write that stream as a job of its own, and join what it landed",
            )
        folded = find_folded(source, nodes)
        for index, node in enumerate(nodes):
            if (wrong := _find_unfit(node, has_numbers=index in folded)) is not None:
                yield draft.problem(("source",), f"in one of the joined streams: {wrong[0]}", wrong[1])
        if any(getattr(each, "on_error", None) == "skip" for each in (source, *nodes)):
            yield draft.problem(
                ("source",),
                "one of the joined streams passes over failures, which would be in no book of the job",
                'leave on_error="skip" out of it: the job keeps what fails there, at the step `source`',
            )


def _iter_flows(source: object) -> Iterator[tuple[object, Sequence[Node]]]:
    """Each of the streams that a source is joined of, with its steps."""
    joined = source.joined if isinstance(source, JoinedDatasets) else source
    for flow in joined.flows if isinstance(joined, Joined) else ():
        yield flow.source, flow.nodes
        yield from _iter_flows(flow.source)


def _check_shapes(draft: Draft) -> Iterator[Problem]:
    """Whether what comes to the first call, or to the end, is a record, as far as the steps tell."""
    path: KeyPath = ("source",)
    wrong = _TUPLES if isinstance(draft.source, (Zip, ZipRows)) else None
    for index, step in enumerate(draft.steps[: draft.halves_at]):
        node = step.node
        if isinstance(node, Sliding) or (isinstance(node, Batch) and node.form == "records"):
            path, wrong = draft.path(index), (f"`{node.kind}` gives lists of records{_NO_RECORD}", _APART)
        elif isinstance(node, Batch) and node.form == "arrow":
            path, wrong = draft.path(index), (f"`{node.kind}` gives Arrow tables{_NO_RECORD}", _APART)
        elif step.kind not in KEEPING:
            wrong = None
    if wrong is not None:
        yield draft.problem(path, *wrong)
