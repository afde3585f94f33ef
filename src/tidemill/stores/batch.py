"""`Batch`: what an upsert puts into a store, and what becomes of each record that was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tidemill.config.wording.words import describe_value
from tidemill.errors import DataError
from tidemill.protocols import Upserted, Vectors
from tidemill.stores.filters import DESCRIBED, is_unicode, take_value
from tidemill.stores.store import Store
from tidemill.stores.vectors import Matrix, read_vectors

MAX_ID_BYTES = 1024
"""Of an id in UTF-8, in every store: PostgreSQL's indexes take little more than twice that."""

_PLAIN = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
"""What is no JSON is refused, and not written as something else that comes back instead of it."""

Refuse = Callable[[str, bytes], str]
"""Why a store cannot take an id and a payload's JSON, which are well otherwise; empty where it can."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The records that are stored, each id once, and what became of all that were given.

    Attributes:
        ids: of those that are stored.
        vectors: float32 (records stored, dimensions), contiguous.
        payloads: each as JSON.
        fields: the values of the store's `fields`, by their names: a list of one for each record, None where it has
            none.
        outcomes: of each record that was given, in order.
    """

    ids: list[str]
    vectors: Matrix
    payloads: list[bytes]
    fields: dict[str, list[Any]]
    outcomes: list[Upserted]


def read_batch(
    ids: list[str],
    vectors: Vectors,
    payloads: Sequence[Mapping[str, Any]] | None,
    store: Store,
    refuse: Refuse | None = None,
) -> Batch:
    """The batch that those records make: of an id the last is stored; what cannot be stored is told record by record.

    Raises:
        DataError: there are not as many ids, vectors and payloads.
    """
    matrix, faults = read_vectors(vectors, store)
    if payloads is not None:
        payloads = payloads.to_pylist() if hasattr(payloads, "to_pylist") else list(payloads)
    _check_counts(len(ids), len(matrix), None if payloads is None else len(payloads))
    texts: list[bytes] = []
    values: dict[str, list[Any]] = {name: [] for name in store.fields}
    taken: dict[str, int] = {}
    outcomes: list[Upserted] = []
    for number, key in enumerate(ids):
        payload = {} if payloads is None else payloads[number]
        text, fault = _read_payload(payload, store)
        fault = check_id(key) or faults.get(number, "") or fault or (refuse(key, text) if refuse is not None else "")
        texts.append(text)
        for name, kind in store.fields.items():
            values[name].append(None if fault else take_value(payload.get(name), kind))
        if fault:
            outcomes.append(Upserted(str(key), "refused", fault))
            continue
        if (earlier := taken.pop(key, None)) is not None:
            outcomes[earlier] = Upserted(key, "superseded")
        taken[key] = number
        outcomes.append(Upserted(key, "stored"))
    kept = list(taken.values())
    if len(kept) == len(ids):
        return Batch(ids, matrix, texts, values, outcomes)
    fields = {name: [column[number] for number in kept] for name, column in values.items()}
    return Batch(list(taken), matrix[kept], [texts[number] for number in kept], fields, outcomes)


def read_ids(ids: Sequence[str]) -> list[str]:
    """The ids as a list; what each of them is is not looked at.

    Raises:
        DataError: they are no sequence, but a single text, say.
    """
    if isinstance(ids, (str, bytes, Mapping)) or not hasattr(ids, "__len__"):
        hint = "put it into a list: `[id]`" if isinstance(ids, str) else ""
        raise DataError(f"expected a list of ids, got {describe_value(ids)}", where="ids", hint=hint)
    found: Any = ids
    return list(found.to_pylist() if hasattr(found, "to_pylist") else found)


def check_id(key: Any) -> str:
    """What is wrong with an id; empty where it is well."""
    if not isinstance(key, str):
        return f"expected an id, a text, got {describe_value(key)}"
    if not key:
        return "the id is empty"
    if not is_unicode(key):
        return "the id has half of a surrogate pair, which no UTF-8 has"
    if len(key) * 4 > MAX_ID_BYTES and len(key.encode()) > MAX_ID_BYTES:
        return f"the id has {len(key.encode()):,} bytes, at most {MAX_ID_BYTES:,} are taken"
    return ""


def _check_counts(ids: int, vectors: int, payloads: int | None) -> None:
    if ids != vectors or payloads not in (None, ids):
        others = f"{vectors} vectors" if payloads is None else f"{vectors} vectors and {payloads} payloads"
        raise DataError(f"expected as many vectors and payloads as ids, got {ids} ids, {others}")


def _read_payload(payload: Any, store: Store) -> tuple[bytes, str]:
    """A payload as JSON, and what is wrong with it."""
    if not isinstance(payload, Mapping):
        return b"{}", f"expected a payload, a mapping, got {describe_value(payload)}"
    for name, kind in store.fields.items():
        value = payload.get(name)
        if value is not None and take_value(value, kind) is None:
            return b"{}", f"the field `{name}` holds {DESCRIBED[kind]}, got {describe_value(value)}"
    try:
        text = orjson.dumps(payload if isinstance(payload, dict) else dict(payload), option=_PLAIN)
    except TypeError as error:  # also of a number of more than 64 bits, a key that is no text, a lone surrogate
        return b"{}", f"the payload is no JSON: {error}"
    if b"null" in text and _has_infinite(payload):
        return b"{}", "the payload has a number that is not finite, which no JSON has"
    return text, ""


def _has_infinite(value: Any) -> bool:
    """Whether there is NaN or infinity in it, which would come back as None."""
    if isinstance(value, float):
        return value - value != 0
    if isinstance(value, Mapping):
        return any(map(_has_infinite, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_has_infinite, value))
