"""Runs the source half: deterministic steps over a source, as one iterator that knows where it stands."""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, zip_longest
from typing import Any, cast

from tidemill.data.fingerprints import describe_node, fingerprint_json
from tidemill.data.nodes.across import Repeat
from tidemill.data.nodes.node import Node, step_names
from tidemill.data.stages.children import open_flat_map
from tidemill.data.stages.crossing import open_crossing
from tidemill.data.stages.epochs import open_epochs
from tidemill.data.stages.parts import open_parts
from tidemill.data.stages.stage import Stage, open_calls
from tidemill.data.steps import RecordFunction, is_async, iter_children, record_function, stop_iteration_error
from tidemill.errors import ConfigError, DataError, StateError, WorkerError
from tidemill.protocols import RecordIterator, Source, State

STATE_VERSION = 1

Description = list[list[str]]
"""Name and fingerprint of the source and of each step."""

_log = logging.getLogger(__name__)
_SKIPPED = object()
_is_kept = functools.partial(operator.is_not, _SKIPPED)


class Records(chain[Any]):
    """What `iterate` returns: a `RecordIterator`.

    One that is left behind closes its file when it is dropped. Threads: any, one at a time.
    """

    _last: Stage
    _describe: Callable[[], Description]

    def state(self) -> State:
        """Where the iterator stands: JSON, holding no records.

        `part` names the part being read and `source` is the state of its reader; both are None before the first.
        """
        return {"version": STATE_VERSION, "pipeline": self._describe(), **self._last.marks(0)}

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
) -> Records:
    """The records of `source` after the steps `nodes`, from the start or from `state`.

    Order: the source's.   Memory: a block of the source, and what the user's functions hold.
    Failure: raised, and the next call goes on with the next record; with `on_error="skip"` the record is passed
    over.
    Resume: exact at every position.

    Args:
        parts: read only these; None reads all.
        describe: what a state belongs to; by default the source and the nodes.

    Raises:
        DataError: the source has no parts.
        StateError: `state` belongs to another pipeline, or other parts; names what changed.
        ConfigError: a step is not one of the source half.
    """
    nodes = tuple(nodes)
    describe = functools.cache(describe or functools.partial(describe_pipeline, source, nodes))
    if state is not None:
        check_state(state, describe())
    names = tuple(source.parts() if parts is None else parts)
    skips = getattr(source, "on_error", None) == "skip"

    def start(state: State | None) -> Stage:
        return open_parts(source, names, state, wrap=_iter_good if skips else iter)

    stage = _open_steps(start, tuple(zip(nodes, step_names(nodes), strict=True)), state, ())
    records = cast(Records, Records.from_iterable(_iter_closing(stage)))
    records._last = stage
    records._describe = describe
    return records


def describe_pipeline(source: Source, nodes: tuple[Node, ...]) -> Description:
    """Name and fingerprint of the source and of each step: what a state belongs to."""
    steps = [[name, fingerprint_json(describe_node(node))] for name, node in zip(step_names(nodes), nodes, strict=True)]
    return [["source", fingerprint_json(source.describe())], *steps]


def check_state(state: State, description: Description) -> None:
    """Check that `state` was taken from the pipeline so described.

    Raises:
        StateError: it was not; names the first step that differs.
    """
    if state.get("version") != STATE_VERSION:
        raise StateError(
            f"expected a state of version {STATE_VERSION}, got {state.get('version')!r}",
            hint="start without a state, or use the version of tidemill that took it",
        )
    for then, now in zip_longest(state["pipeline"], description):
        if then != now:
            raise StateError(
                f"the state belongs to another pipeline: {_difference(then, now)}",
                hint="put it back as it was when the state was taken, or start without a state",
            )


def _difference(then: list[str] | None, now: list[str] | None) -> str:
    if then is None or now is None:
        return f"step `{now[0]}` is new" if now else f"step `{then[0] if then else ''}` is gone"
    if then[0] != now[0]:
        return f"step `{now[0]}` stands where `{then[0]}` stood"
    return "the source changed" if now[0] == "source" else f"step `{now[0]}` changed"


def _open_steps(
    start: Callable[[State | None], Stage],
    steps: tuple[tuple[Node, str], ...],
    state: State | None,
    epoch: tuple[int, ...],
) -> Stage:
    """The stages of `steps`; those in front of the last `repeat` are opened anew for each of its epochs.

    Args:
        epoch: the numbers of the epochs around, the outermost first.
    """
    repeated = max((index for index, (node, _) in enumerate(steps) if isinstance(node, Repeat)), default=None)
    if repeated is None:
        stage, first = start(state), 0
    else:
        repeat, first = cast(Repeat, steps[repeated][0]), repeated + 1

        def open_epoch(state: State | None, number: int) -> Stage:
            return _open_steps(start, steps[:repeated], state, (*epoch, number))

        stage = open_epochs(open_epoch, repeated, repeat.epochs, repeat.start, state)
    marks = state["steps"] if state else {}
    for index, (node, name) in enumerate(steps[first:], first):
        stage = _open_step(stage, node, index, name, marks.get(str(index)), epoch)
    return stage


def _open_step(upstream: Stage, node: Node, index: int, name: str, mark: State | None, epoch: tuple[int, ...]) -> Stage:
    if not node.record_wise:
        return open_crossing(upstream, node, index, name, mark, epoch)
    if is_async(node):
        raise ConfigError(
            "the function is a coroutine function, and nothing awaits it before the first call",
            where=f"step `{name}`",
            hint="make it a plain function, or move the step behind the first call",
        )
    function = record_function(node)
    skips = node.on_error == "skip"
    if skips and node.gives_many:
        function = functools.partial(_iter_or_skip, function, name)
    elif skips:
        function = functools.partial(_call_or_skip, function, name, False if node.keeps else _SKIPPED)
    if node.gives_many:
        return open_flat_map(upstream, function, index, name, mark)
    make: Callable[[Stage], Iterator[Any]] = functools.partial(filter if node.keeps else map, function)
    if skips and not node.keeps:
        return open_calls(upstream, lambda stage: filter(_is_kept, make(stage)), name)
    return open_calls(upstream, make, name)


def _call_or_skip(function: RecordFunction, step: str, instead: Any, record: Any) -> Any:
    try:
        return function(record)
    except StopIteration:
        raise
    except Exception as error:  # noqa: BLE001 - any failure of the record is what `on_error="skip"` passes over
        _log_skip(step, error)
        return instead


def _iter_or_skip(function: RecordFunction, step: str, record: Any) -> Iterator[Any]:
    try:
        yield from iter_children(function(record), step)
    except StopIteration:
        raise stop_iteration_error(step) from None
    except WorkerError:
        raise
    except Exception as error:  # noqa: BLE001 - as above; the children given before it stay
        _log_skip(step, error)


def _log_skip(step: str, error: Exception) -> None:
    _log.info("step `%s` skipped a record: %s: %s", step, type(error).__name__, error)


def _iter_good(reader: RecordIterator) -> Iterator[Any]:
    while True:
        try:
            yield from reader
            return
        except DataError as error:
            _log.info("skipped: %s", error)


def _iter_closing(last: Stage) -> Iterator[Stage]:
    yield last
    last.close()
