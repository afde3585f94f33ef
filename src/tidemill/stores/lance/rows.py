"""Records as rows of a Lance table, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from tidemill.protocols import Match
from tidemill.stores.batch import Batch
from tidemill.stores.lance.sql import PREFIX
from tidemill.stores.store import FieldKind, Metric, Store

KEY = b"lance-schema:unenforced-primary-key"
"""The metadata of the column by which Lance finds that two writers put in the same record."""

SETTINGS = b"tidemill"
"""The metadata of a table that says what it was made for."""

_TYPES: dict[FieldKind, pa.DataType] = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
}


def make_schema(store: Store) -> pa.Schema:
    """The columns of a store's table."""
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False, metadata={KEY: b"true"}),
            pa.field("vector", pa.list_(pa.float32(), store.dimensions), nullable=False),
            pa.field("payload", pa.string(), nullable=False),
            *(pa.field(PREFIX + name, _TYPES[kind]) for name, kind in store.fields.items()),
        ],
        metadata={SETTINGS: orjson.dumps(describe_store(store))},
    )


def describe_store(store: Store) -> dict[str, Any]:
    """What has to be the same wherever a table is opened."""
    return {"dimensions": store.dimensions, "metric": store.metric, "fields": dict(store.fields)}


def make_table(batches: Sequence[Batch], schema: pa.Schema) -> pa.Table:
    """Batches as one table, in which each id stands once: as the last batch that has it."""
    tables = [_make_one(batch, schema) for batch in batches]
    if len(tables) == 1:
        return tables[0]
    table = pa.concat_tables(tables).combine_chunks()
    last = {key: number for number, key in enumerate(key for batch in batches for key in batch.ids)}
    return table if len(last) == len(table) else table.take(pa.array(last.values()))


def _make_one(batch: Batch, schema: pa.Schema) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(batch.vectors.reshape(-1)), batch.vectors.shape[1])
    fields = [pa.array(values, schema.field(PREFIX + name).type) for name, values in batch.fields.items()]
    return pa.table([pa.array(batch.ids), vectors, pa.array(batch.payloads, pa.string()), *fields], schema=schema)


def read_hits(found: pa.Table, queries: int, metric: Metric) -> list[list[Match]]:
    """The matches of each query, the nearest first."""
    scores = _to_scores(found["_distance"].to_numpy(), metric)
    matches = _iter_matches(found, scores.tolist())
    if "query_index" not in found.column_names:
        return [list(matches)]
    counts = np.bincount(found["query_index"].to_numpy(), minlength=queries)
    return [sorted(islice(matches, count), key=_score, reverse=True) for count in counts.tolist()]


def read_found(found: pa.Table) -> dict[str, Match]:
    """The matches of a table by their ids."""
    return {match.id: match for match in _iter_matches(found, [1.0] * len(found))}


def _iter_matches(found: pa.Table, scores: list[float]) -> Iterator[Match]:
    keys: list[Any] = found["id"].to_pylist()
    texts: list[Any] = found["payload"].to_pylist()
    vectors: Sequence[Any] = [None] * len(found)
    if "vector" in found.column_names and keys:
        column: Any = found["vector"].combine_chunks()
        vectors = column.flatten().to_numpy().reshape(len(keys), -1)
    return map(Match, keys, scores, map(orjson.loads, texts), vectors)


def _to_scores(distances: Any, metric: Metric) -> Any:
    """Lance gives one less the cosine, one less the dot product, and the distance squared."""
    if metric == "l2":
        return -np.sqrt(np.maximum(distances, 0))
    return 1 - distances


def _score(match: Match) -> float:
    return match.score
