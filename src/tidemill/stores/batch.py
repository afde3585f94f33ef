"""`Batch`: what an upsert puts into a store, and what becomes of each record that was given."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from tidemill.config.wording.words import describe_value
from tidemill.data.records.exact import is_utf8
from tidemill.data.records.lost import find_lost
from tidemill.errors import DataError
from tidemill.protocols import Upserted, Vectors
from tidemill.stores.filters import DESCRIBED, take_value
from tidemill.stores.store import Store
from tidemill.stores.vectors import Faults, Matrix, read_vectors

MAX_ID_BYTES = 1024
"""Of an id in UTF-8, in every store: PostgreSQL's indexes take little more than twice that."""

_PLAIN = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
"""What is no JSON is refused, and not written as something else that comes back instead of it."""

_cut = msgspec.json.Decoder(list[msgspec.Raw]).decode
"""The texts of an array's values, over the array's own."""

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

    def halve(self) -> tuple[Batch, Batch]:
        """The first and the last half of what is stored, over the same outcomes; of two records at least."""
        middle = len(self.ids) // 2
        return self._cut(slice(middle)), self._cut(slice(middle, None))

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Say of records, by their ids, that they were not stored, and why."""
        for place, became in enumerate(self.outcomes):
            if became.id in reasons and became.kind == "stored":
                self.outcomes[place] = Upserted(became.id, "refused", reasons[became.id])
            elif became.id in reasons and became.kind == "superseded":
                reason = f"the last of its id was refused: {reasons[became.id]}"
                self.outcomes[place] = Upserted(became.id, "refused", reason)

    def _cut(self, part: slice) -> Batch:
        fields = {name: values[part] for name, values in self.fields.items()}
        return Batch(self.ids[part], self.vectors[part], self.payloads[part], fields, self.outcomes)


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
    matrix, at_fault = read_vectors(vectors, store)
    if payloads is not None:
        payloads = payloads.to_pylist() if hasattr(payloads, "to_pylist") else list(payloads)
    _check_counts(len(ids), len(matrix), None if payloads is None else len(payloads))
    texts, fields, faults = _read_payloads([{}] * len(ids) if payloads is None else payloads, store)
    faults |= at_fault
    faults |= _find_bad_ids(ids)
    if refuse is not None:
        for number, (key, text) in enumerate(zip(ids, texts, strict=True)):
            if number not in faults and (fault := refuse(key, text)):
                faults[number] = fault
    if not faults and len(set(ids)) == len(ids):
        return Batch(ids, matrix, texts, fields, [Upserted(key, "stored") for key in ids])
    kept, outcomes = _choose(ids, faults)
    places = list(kept.values())
    fields = {name: [values[place] for place in places] for name, values in fields.items()}
    return Batch(list(kept), matrix[places], [texts[place] for place in places], fields, outcomes)


def _choose(ids: list[str], faults: Faults) -> tuple[dict[str, int], list[Upserted]]:
    """The place of each record that is stored, by its id, and what became of all."""
    kept: dict[str, int] = {}
    outcomes: list[Upserted] = []
    for number, key in enumerate(ids):
        if fault := faults.get(number):
            outcomes.append(Upserted(str(key), "refused", fault))
            continue
        if (earlier := kept.pop(key, None)) is not None:
            outcomes[earlier] = Upserted(key, "superseded")
        kept[key] = number
        outcomes.append(Upserted(key, "stored"))
    return kept, outcomes


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
    if not is_utf8(key):
        return "the id has half of a surrogate pair, which no UTF-8 has"
    if len(key) * 4 > MAX_ID_BYTES and len(key.encode()) > MAX_ID_BYTES:
        return f"the id has {len(key.encode()):,} bytes, at most {MAX_ID_BYTES:,} are taken"
    return ""


def _check_counts(ids: int, vectors: int, payloads: int | None) -> None:
    if ids != vectors or payloads not in (None, ids):
        others = f"{vectors} vectors" if payloads is None else f"{vectors} vectors and {payloads} payloads"
        raise DataError(f"expected as many vectors and payloads as ids, got {ids} ids, {others}")


def _find_bad_ids(ids: list[str]) -> Faults:
    """What is wrong with ids; all at once where nothing is."""
    are_texts = {*map(type, ids)} <= {str} and all(ids)
    if are_texts and max(map(len, ids), default=0) * 4 <= MAX_ID_BYTES and is_utf8("".join(ids)):
        return {}
    return {number: fault for number, key in enumerate(ids) if (fault := check_id(key))}


def _read_payloads(payloads: Sequence[Any], store: Store) -> tuple[list[bytes], dict[str, list[Any]], Faults]:
    """Payloads as JSON, the values of the store's fields, and what is wrong with those that are not well."""
    faults = Faults()
    try:
        texts = _to_json(payloads)
    except TypeError:
        texts = []
        for number, payload in enumerate(payloads):
            text, fault = _read_payload(payload)
            texts.append(text)
            if fault:
                faults[number] = fault
    for number, text in enumerate(texts):
        if b"null" in text and find_lost(dict(payloads[number]), text):
            faults[number] = "the payload has a number that is not finite, which no JSON has"
    fields: dict[str, list[Any]] = {}
    for name, kind in store.fields.items():
        held = [payload.get(name) if isinstance(payload, Mapping) else None for payload in payloads]
        fields[name] = [None if value is None else take_value(value, kind) for value in held]
        for number, (value, taken) in enumerate(zip(held, fields[name], strict=True)):
            if taken is None and value is not None:
                faults[number] = f"the field `{name}` holds {DESCRIBED[kind]}, got {describe_value(value)}"
    return texts, fields, faults


def _to_json(payloads: Sequence[Any]) -> list[bytes]:
    """Payloads as JSON: as one text that is cut, since by itself each takes a kilobyte of the system and gives it back.

    Raises:
        TypeError: one of them is no payload.
    """
    if not {*map(type, payloads)} <= {dict}:
        raise TypeError
    return list(map(bytes, _cut(orjson.dumps(payloads, option=_PLAIN))))


def _read_payload(payload: Any) -> tuple[bytes, str]:
    """A payload as JSON, and what is wrong with it."""
    if not isinstance(payload, Mapping):
        return b"{}", f"expected a payload, a mapping, got {describe_value(payload)}"
    try:
        return orjson.dumps(dict(payload), option=_PLAIN), ""
    except TypeError as error:  # also of a number of more than 64 bits, a key that is no text, a lone surrogate
        return b"{}", f"the payload is no JSON: {error}"
