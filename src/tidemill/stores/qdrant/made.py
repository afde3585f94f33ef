"""What a collection was made with: its vectors, and the fields that its metadata tells, or else its indexes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from tidemill.errors import StateError
from tidemill.stores.qdrant.door import Answer
from tidemill.stores.qdrant.filters import name_key, parse_key
from tidemill.stores.qdrant.points import DISTANCES, KEPT, SCHEMAS
from tidemill.stores.qdrant.settings import Qdrant

_KEY: Final = "tidemill"
"""Of a collection's metadata, what is ours; servers keep any from 1.16 on."""


def render_collection(settings: Qdrant) -> dict[str, Any]:
    """What makes the collection (`CreateCollection`)."""
    graph = settings.index
    return {
        "vectors": {"size": settings.dimensions, "distance": DISTANCES[settings.metric]},
        "hnsw_config": {"m": graph.m, "ef_construct": graph.ef_construct},
        "metadata": {_KEY: {"fields": settings.fields}},
    }


def check_collection(info: Answer, settings: Qdrant, where: str) -> None:
    """Check that the collection is as the settings say.

    One whose metadata tells nothing, of an older server say, may hold records if its indexes are those of the fields.

    Raises:
        StateError: its vectors, its metric or its fields are others.
    """
    vectors = info.get("config", {}).get("params", {}).get("vectors") or {}
    size, distance = vectors.get("size"), vectors.get("distance")
    if size is None:
        raise _error(where, "the collection has several vectors a record, or none", "name another `collection`")
    if size != settings.dimensions:
        message = f"the collection holds vectors of {size} numbers, and the settings say {settings.dimensions}"
        raise _error(where, message, f"set `dimensions: {size}`, or name another `collection`")
    if distance != DISTANCES[settings.metric]:
        names = [name for name, each in DISTANCES.items() if each == distance]
        there = names[0] if names else distance
        hint = f"set `metric: {there}`, or name another `collection`" if names else "name another `collection`"
        raise _error(where, f"the collection is searched by `{there}`, and the settings say `{settings.metric}`", hint)
    told = _find_told(info)
    held = _read_indexes(info) if told is None else told
    is_open = told is None and not info.get("points_count")  # somebody may be making its indexes just now
    if held != settings.fields and not (is_open and held.items() <= settings.fields.items()):
        message = f"the collection was made with fields {_show(held)}, not {_show(settings.fields)}"
        raise _error(where, message, "write those it was made with, or name another `collection`")


def is_doubtful(info: Answer) -> bool:
    """Whether somebody else may have made the collection and put its points in."""
    return _find_told(info) is None and bool(info.get("points_count"))


def check_point(payload: Mapping[str, Any] | None, where: str) -> None:
    """Check that a point, whose payload that is, is a record.

    Raises:
        StateError: it is somebody else's.
    """
    if not {"id", "payload"} <= (payload or {}).keys():
        message = f"the collection is none of Tidemill's: its points have no {' and '.join(KEPT[:2])}"
        raise _error(where, message, "name another `collection`, which is made then")


def list_unindexed(info: Answer, settings: Qdrant) -> list[dict[str, str]]:
    """What makes the indexes of fields that are not there (`CreateFieldIndex`)."""
    there = info.get("payload_schema") or {}
    keys = {name_key(field): SCHEMAS[kind] for field, kind in settings.fields.items()}
    return [{"field_name": key, "field_schema": schema} for key, schema in keys.items() if key not in there]


def _find_told(info: Answer) -> dict[str, Any] | None:
    """The fields that its metadata tells; None where it does not."""
    told = (info.get("config", {}).get("metadata") or {}).get(_KEY)
    return told["fields"] if told else None


def _read_indexes(info: Answer) -> dict[str, Any]:
    """The fields that there are indexes of, and what those are of."""
    kinds = {schema: kind for kind, schema in SCHEMAS.items()}
    indexes = (info.get("payload_schema") or {}).items()
    found = {parse_key(key): index.get("data_type") for key, index in indexes}
    return {name: kinds.get(schema, schema) for name, schema in found.items() if name is not None}


def _show(fields: Mapping[str, Any]) -> str:
    return orjson.dumps(fields).decode()


def _error(where: str, message: str, hint: str) -> StateError:
    return StateError(message, where=where, hint=hint)
