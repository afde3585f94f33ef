"""Records as points of Qdrant: their ids, bodies, and how they are read."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import orjson

from tidemill.protocols import Match
from tidemill.stores.batch import Batch
from tidemill.stores.store import FieldKind, Metric
from tidemill.stores.vectors import Matrix

DISTANCES: Final[Mapping[Metric, str]] = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid"}
"""How Qdrant compares by a metric."""
SCHEMAS: Final[Mapping[FieldKind, str]] = {"str": "keyword", "int": "integer", "float": "float", "bool": "bool"}
"""What the index of a field is of."""
KEPT: Final = ["id", "payload", "length"]
"""Of a point's payload, what is read back; `fields`, beside these, is what filters name."""
_NAMESPACE: Final = uuid.UUID("14f6fbc2-f6aa-4836-9d2b-869ba0a1794e")
"""In which an id names a point: made for this, and never another, or each record would be there twice."""


def name_point(key: str) -> str:
    """The point of an id: a UUID made of it, since Qdrant takes no other text (RFC 9562, version 5)."""
    return str(uuid.uuid5(_NAMESPACE, key))


def iter_bodies(batch: Batch, metric: Metric, max_bytes: int) -> Iterator[bytes]:
    """The points of a batch as bodies of requests (`PointsList`), each of at most `max_bytes`, or of one point."""
    lengths = np.linalg.norm(batch.vectors, axis=1).tolist() if metric == "cosine" else None
    points: list[bytes] = []
    size = 0
    for number, key in enumerate(batch.ids):
        known: dict[str, Any] = {"id": key}
        if lengths is not None:
            known["length"] = lengths[number]  # Qdrant keeps vectors that are compared by cosine at length one
        fields = {name: each for name, values in batch.fields.items() if (each := values[number]) is not None}
        if fields:
            known["fields"] = fields
        point = b'{"id":"%b","vector":%b,"payload":%b,"payload":%b}}' % (
            name_point(key).encode(),
            render_vector(batch.vectors[number]),
            orjson.dumps(known)[:-1],
            batch.payloads[number],
        )
        if points and size + len(point) > max_bytes:
            yield _render_points(points)
            points, size = [], 0
        points.append(point)
        size += len(point) + 1
    if points:
        yield _render_points(points)


def _render_points(points: list[bytes]) -> bytes:
    return b'{"points":[%b]}' % b",".join(points)


def render_vector(vector: Matrix) -> bytes:
    """A vector as JSON."""
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)


def read_match(point: Mapping[str, Any], metric: Metric, *, score: float | None = None) -> Match:
    """A record of a point that was found; `score` where it was not searched for."""
    payload = point["payload"]
    if score is None:
        score = -point["score"] if metric == "l2" else point["score"]
    vector: Any = point.get("vector")
    if vector is not None:
        vector = np.asarray(vector, dtype=np.float32)
        if (length := payload.get("length")) is not None:
            vector *= np.float32(length)
    return Match(payload["id"], float(score), payload["payload"], vector)
