"""Shares of a stream, taken as near to its source as its steps allow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, cast

from tidemill.data.nodes.across import Shard
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Catch
from tidemill.data.sources.read import Read
from tidemill.data.turns import Share, Turns, load_layers
from tidemill.protocols import Source, State


def place_shard(nodes: Sequence[Node], shard: Shard) -> tuple[Node, ...]:
    """The steps with `shard` among them: behind the last that looks across records, in front of all behind that.

    So what turns one record into others is done by the rank whose turn the record is, and what orders or gathers
    records sees all of them. A quarantine of each rank gets a file of its own.
    """
    at = max((index for index, node in enumerate(nodes, 1) if not _looks_at_one(node)), default=0)
    own = [_name_quarantine(node, shard) for node in nodes]
    return (*own[:at], shard, *own[at:])


def find_shared(source: Source, nodes: Sequence[Node]) -> frozenset[int]:
    """The place of a shard that files share out themselves: of the first step, when it need not come out even."""
    is_shared = bool(nodes) and isinstance(nodes[0], Shard) and nodes[0].even is None and isinstance(source, Read)
    return frozenset({0}) if is_shared else frozenset()


def make_share(node: Node, mark: State | None) -> Share:
    """The turns of a shard, going on from its `mark`."""
    shard = cast(Shard, node)
    return Share(Turns(shard.rank, shard.world, load_layers(mark)), mark["seen"] if mark else 0)


def _looks_at_one(node: Node) -> bool:
    return node.record_wise or isinstance(node, Catch)


def _name_quarantine(node: Node, shard: Shard) -> Node:
    if not isinstance(node, Catch) or node.to is None or shard.world == 1:
        return node
    path = PurePath(node.to)
    changed: dict[str, Any] = {"to": str(path.with_name(f"{path.stem}.{shard.rank}-of-{shard.world}{path.suffix}"))}
    return node.model_copy(update=changed)
