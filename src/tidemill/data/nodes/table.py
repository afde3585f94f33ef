"""Every step that makes no calls."""

from __future__ import annotations

from tidemill.data.nodes.across import Batch, Every, Repeat, Sample, Shard, Shuffle, Skip, Sliding, Take
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import (
    Catch,
    Drop,
    Filter,
    FlatMap,
    Map,
    Observe,
    Rename,
    Select,
    Split,
    Unbatch,
    WithColumns,
)

DATA_NODES: tuple[type[Node], ...] = (
    Map, Filter, FlatMap, WithColumns, Select, Rename, Drop, Observe, Split, Unbatch, Catch,
    Take, Skip, Every, Sample, Shard, Batch, Sliding, Shuffle, Repeat,
)  # fmt: skip
"""Those that look at one record, then those that look across."""
