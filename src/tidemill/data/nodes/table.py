"""Every step that makes no calls."""

from __future__ import annotations

from tidemill.data.nodes.across import (
    Batch,
    Every,
    Pack,
    Pick,
    Prefetch,
    Repeat,
    Sample,
    Shard,
    Shuffle,
    Skip,
    Slice,
    Sliding,
    Take,
)
from tidemill.data.nodes.images import DecodeImage
from tidemill.data.nodes.keeping import Cache, Dedupe, GroupBy, Join, Sort
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import (
    Catch,
    Chunk,
    Drop,
    Filter,
    FlatMap,
    Map,
    Observe,
    Rename,
    Select,
    Split,
    Tokenize,
    Unbatch,
    WithColumns,
)

DATA_NODES: tuple[type[Node], ...] = (
    Map, Filter, FlatMap, WithColumns, Select, Rename, Drop, Observe, Split, Unbatch, Tokenize, Chunk, DecodeImage,
    Catch, Take, Skip, Every, Sample, Shard, Slice, Pick, Batch, Sliding, Pack, Shuffle, Repeat, Prefetch,
    Dedupe, Sort, Join, GroupBy, Cache,
)  # fmt: skip
"""Those that look at one record, those that look across, and of these those that keep things on disk."""
