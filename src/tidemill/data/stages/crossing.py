"""Which stage each step that looks across records is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain, repeat
from typing import Any, cast

import orjson

from tidemill.data.failing.policy import Policy
from tidemill.data.gathered.batches import Form, make_form
from tidemill.data.nodes.across import (
    Batch,
    Every,
    Pack,
    Pick,
    Sample,
    Shard,
    Shuffle,
    Skip,
    Slice,
    Sliding,
    Take,
    Until,
)
from tidemill.data.nodes.node import Node
from tidemill.data.order import iter_samples
from tidemill.data.stages.anchored import Gathering, Reopen, open_gathering
from tidemill.data.stages.counted import Picks, open_pick, open_take, open_until
from tidemill.data.stages.gathering import (
    feed_batches,
    feed_blocks,
    feed_rounds,
    feed_sized_batches,
    feed_windows,
    own_of_rounds,
)
from tidemill.data.stages.packing import feed_packed, trace_packed
from tidemill.data.stages.sharded import open_shard
from tidemill.data.stages.stage import Stage
from tidemill.data.turns import Turns, iter_turns, load_layers
from tidemill.errors import ConfigError, DataError
from tidemill.protocols import State


def open_crossing(
    upstream: Stage,
    node: Node,
    index: int,
    name: str,
    mark: State | None,
    epoch: tuple[int, ...],
    reopen: Reopen,
    policy: Policy,
) -> Stage:
    """The stage of a step that looks across records.

    Raises:
        ConfigError: there is none for such a step.
    """
    match node:
        case Take():
            return open_take(upstream, index, name, node.count, mark)
        case Until():
            return open_until(upstream, name, node.fn)
        case Skip() | Every() | Sample():
            return open_pick(upstream, index, name, find_picks(node), mark)
        case Shard(even=None):
            return open_shard(upstream, index, name, node.rank, node.world, mark)
        case Shuffle(buffer=None) | Slice() | Pick():
            raise ConfigError(
                f"`{node.kind}` needs records with numbers, and these have none",
                where=f"step `{name}`",
                hint="a dataset has them, up to a step that may drop or add some; shuffle(buffer=…) takes any stream",
            )
        case Shard() if mark and "own" not in mark:  # a merged state
            mark = {"own": mark, "given": 0}
            return open_gathering(upstream, index, name, find_gathering(node, epoch, mark), mark, reopen, policy)
        case Shuffle() | Batch() | Sliding() | Shard() | Pack():
            return open_gathering(upstream, index, name, find_gathering(node, epoch, mark), mark, reopen, policy)
    raise ConfigError(f"expected a step of the source half, got `{node.kind}`", where=f"step `{name}`")


def find_picks(node: Skip | Every | Sample) -> Picks:
    """Whether each record from a number on is given."""
    match node:
        case Skip():
            return lambda start: chain(repeat(False, max(0, node.count - start)), repeat(True))
        case Every():
            return partial(iter_turns, node.offset, node.count)
        case Sample():
            return partial(iter_samples, node.ratio, node.seed)


def find_gathering(
    node: Shuffle | Batch | Sliding | Shard | Pack, epoch: tuple[int, ...], mark: State | None
) -> Gathering:
    """How the step gathers records."""
    match node:
        case Shuffle(buffer=int(size)):
            feed = feed_blocks(size, node.seed, epoch)
            return Gathering(feed, feed, own=0)
        case Pack():
            return Gathering(partial(feed_packed, node), partial(trace_packed, node))
        case Sliding():
            feed = feed_windows(node.size, node.step)
            return Gathering(feed, feed)
        case Shard():
            turns = Turns(node.rank, node.world, load_layers(mark["own"] if mark else None))
            feed = feed_rounds(turns, pad=node.even == "pad")
            return Gathering(feed, feed, own=own_of_rounds(turns, 0))
        case Batch(size=int(size)):
            form = make_form(node.form)
            feed, trace = (feed_batches(size, each, drop_last=node.drop_last) for each in (form, _form_boxes(form)))
            return Gathering(feed, trace)
        case Batch(size_bytes=int(limit)):
            return _gather_sized(node, limit, _count_bytes, padded=False)
        case Batch():
            return _gather_sized(node, cast(int, node.tokens), _make_length(node.length_of), padded=True)
    raise ConfigError(f"expected a step that gathers records, got `{node.kind}`")


def _gather_sized(node: Batch, limit: int, measure: Callable[[Any], int], *, padded: bool) -> Gathering:
    form = make_form(node.form)
    return Gathering(
        feed_sized_batches(limit, measure, form, padded=padded),
        feed_sized_batches(limit, lambda box: measure(box.record), _form_boxes(form), padded=padded),
    )


def _form_boxes(form: Form) -> Form:
    """The boxes as they are; records that do not go together fail here too."""

    def trace(boxes: list[Any]) -> list[Any]:
        form([box.record for box in boxes])
        return boxes

    return trace


def _count_bytes(record: Any) -> int:
    try:
        return len(orjson.dumps(record))
    except TypeError as error:
        raise DataError(f"the record has no size as JSON: {error}") from error


def _make_length(column: str) -> Callable[[Any], int]:
    def measure(record: Any) -> int:
        try:
            return len(record[column])
        except (KeyError, TypeError, IndexError):
            raise DataError(
                f"expected a column `{column}` with a length", hint="name another one with length_of"
            ) from None

    return measure
