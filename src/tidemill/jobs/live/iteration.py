"""Plain iteration through a record half: calls in flight behind an ordinary iterator, nothing durable."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

from tidemill.data.flow import Flow
from tidemill.data.iteration import Description, Records, describe_pipeline, iterate
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.fingerprints import describe_node
from tidemill.data.nodes.hooks import StepHooks, bind_hooks
from tidemill.data.nodes.node import Node, split_halves
from tidemill.errors import StateError, TidemillError
from tidemill.jobs.live.section import Section
from tidemill.jobs.live.session import Result, Session
from tidemill.protocols import Growth, Source, State


def iterate_all(
    source: Source,
    nodes: Sequence[Node],
    state: State | None = None,
    *,
    folder: Path,
    describe: Callable[[], Description] | None = None,
    hooks: Sequence[StepHooks] = (),
) -> Records:
    """The records of `source` after `nodes`, calls included, from the start or from `state`.

    Each stretch of record-wise steps from a call on runs in a window of its own; what looks across records between
    them, or has workers of its own, and everything before the first call, runs as plain iterators. A `take` behind
    calls bounds the calls.

    Args:
        describe: what a state belongs to; by default the source and the nodes.
        hooks: around each step, those there are now; a state does not depend on them.

    Raises:
        DataError: the source has no parts.
        StateError: `state` belongs to another pipeline; names the step that changed.
    """
    describe = describe or partial(describe_pipeline, source, tuple(nodes))
    flow = join_calls(source, bind_hooks(nodes, hooks), folder=folder)
    return iterate(flow.source, flow.nodes, state, describe=describe)


def join_calls(source: Source, nodes: Sequence[Node], *, folder: Path, hooks: Sequence[StepHooks] = ()) -> Flow:
    """`source` and `nodes` as a flow of steps without calls: steps from a call on are part of its source.

    Each stretch of record-wise steps from a call on, those with workers of their own left out, is a source of its own
    over what stands in front of it. Its hooks are bound each time it is opened.
    """
    before, rest = split_halves(tuple(nodes))
    start = len(before)
    if not rest:
        return Flow(source, before, tuple(hooks))
    end = next((index for index, node in enumerate(rest) if not _runs_in_window(node)), len(rest))
    tail = rest[end:]
    demand = tail[0].count if tail and isinstance(tail[0], Take) else None
    around = hooks[:start], hooks[start : start + end]
    live = LiveSource(Section(source, before, rest[:end], demand, folder, around))
    return join_calls(live, tail, folder=folder, hooks=hooks[start + end :])


def _runs_in_window(node: Node) -> bool:
    return node.record_wise and not node.is_parallel


class LiveSource:
    """Record-wise steps with calls over a source, as a source of one part."""

    def __init__(self, section: Section) -> None:
        self._section = section

    def parts(self, start: str | None = None) -> Sequence[str]:
        """The one part."""
        next(iter(self._section.source.parts()), None)  # a source without any says so
        return ("live",)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LiveSource) and self._section == other._section

    def __hash__(self) -> int:
        return hash(self._section.steps)

    def open_part(self, part: str, state: State | None = None) -> LiveIterator:
        """The results, from the first or from `state`."""
        return LiveIterator(self._section.bind(), state)

    def decode_record(self, raw: bytes) -> Any:
        """What the source makes of `raw`."""
        return self._section.source.decode_record(raw)

    def compare_part(self, part: str, state: State) -> Growth:
        """`same`: its own state says when something changed."""
        return "same"

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """Unknown: results have no length."""
        return None

    def describe(self) -> dict[str, Any]:
        """The source and the steps as JSON."""
        section = self._section
        steps = [describe_node(node) for node in (*section.before, *section.steps)]
        return {"source": section.source.describe(), "steps": steps}


class LiveIterator:
    """Gives the results in source order while calls are in flight; a `RecordIterator`.

    The loop, its thread and its connections are opened with the first record and closed at the end, by `close`, or
    when the iterator is dropped. Calls are made ahead of the consumer by a few times the concurrency at most.
    A failure of the run (credentials, an endpoint gone) ends it: asked again it raises the same. Threads: any, one at
    a time.
    """

    def __init__(self, section: Section, state: State | None) -> None:
        self._session = Session(section, state)
        self._results: Iterator[Result] | None = None
        self._state = state or {"source": None, "rows": 0, "children": 0}
        self._failure: Exception | None = None
        self._finalizer = weakref.finalize(self, self._session.abandon)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self._failure is not None:
            raise self._failure
        if self._results is None and self._finalizer.alive:
            self._results = self._session.open()
        try:
            result = next(self._results) if self._results is not None else None
        except StopIteration:
            result = None
        except BaseException as exc:
            if isinstance(exc, TidemillError) and exc.step:
                exc.where = exc.where or f"step `{exc.step}`"
            try:
                self.close()
            except Exception as failed:  # noqa: BLE001 - what could not be released never hides what ended it
                exc.add_note(f"and while releasing: {failed}")
            self._failure = exc if isinstance(exc, Exception) else _interrupted()
            raise
        if result is None:
            self.close()
            raise StopIteration
        self._state = {"source": result.before, "rows": result.rows, "children": result.children}
        if result.error is not None:
            try:
                raise result.error
            finally:
                del result  # an error that holds itself holds this iterator, which would not end when it is dropped
        return result.value

    def state(self) -> State:
        """Where the iterator stands: calls that were in flight are made again when it goes on from here."""
        return dict(self._state)

    def close(self) -> None:
        """Cancel what is in flight and release everything; may be called twice."""
        self._results = None
        if self._finalizer.detach() is not None:
            self._session.close()


def _interrupted() -> StateError:
    return StateError(
        "the iteration was interrupted, and its calls in flight cancelled",
        hint="go on with stream.iterate(iterator.state())",
    )
