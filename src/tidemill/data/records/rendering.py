"""Records as lines: no two different ones have one line, and equal ones the same in any process.

A record's line is its JSON with sorted keys. What JSON has no form for, or the same form as for something else, has a
form of its own there that begins with `!`: `{"at":!date"2024-01-01"}`.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import hashlib
import json
import math
import sys
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from pydantic import BaseModel

_OPTIONS = (
    orjson.OPT_SORT_KEYS
    | orjson.OPT_APPEND_NEWLINE
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_PLAIN: tuple[Any, ...] = (str, int, float, list, tuple)
_TEXTS = (datetime.datetime, datetime.date, datetime.time)
_NUMBERS = (decimal.Decimal, complex, datetime.timedelta)


class NoFormError(Exception):
    """A value that no digest can be made of."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


def render_line(record: Any) -> bytes:
    """A record as one line.

    Raises:
        NoFormError: it holds what has no form here.
    """
    try:
        line = orjson.dumps(record, _render_other, _OPTIONS)
    except TypeError as error:  # a large integer, a key that is no text, a lone surrogate, or no form at all
        if isinstance(error.__cause__, NoFormError):
            raise error.__cause__ from None
        return _render(record) + b"\n"
    # orjson writes NaN and infinity as null
    return _render(record) + b"\n" if b"null" in line and _holds_odd_float(record) else line


def _holds_odd_float(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_holds_odd_float, value.values()))
    return isinstance(value, (list, tuple)) and any(map(_holds_odd_float, value))


def _render_other(value: Any) -> orjson.Fragment:
    return orjson.Fragment(_render(value))


def _render(value: Any) -> bytes:
    """A value as it stands in a line, of any kind."""
    kind = type(value)
    if value is None or kind is bool:
        return {None: b"null", True: b"true", False: b"false"}[value]
    if kind is str:
        return json.dumps(value).encode()
    if kind is int:
        return b"%d" % value
    if kind is float:
        return repr(value).encode() if math.isfinite(value) else b'!float"%s"' % repr(value).encode()
    if isinstance(value, Mapping):
        return _render_mapping(value)
    if kind in (list, tuple):
        return _render_items(value)
    return _render_object(value)


def _render_items(values: Iterable[Any]) -> bytes:
    return b"[%s]" % b",".join(map(_render, values))


def _render_mapping(value: Mapping[Any, Any]) -> bytes:
    items = sorted((_render(key), _render(item)) for key, item in value.items())
    return b"{%s}" % b",".join(b"%s:%s" % item for item in items)


def _render_object(value: Any) -> bytes:
    name = type(value).__name__
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _render_bytes("bytes", bytes(value))
    if isinstance(value, enum.Enum):
        return _render(value.value)
    if isinstance(value, uuid.UUID):
        return _render(str(value))
    if isinstance(value, _TEXTS):
        return _tag(name, _render(value.isoformat()))
    if isinstance(value, _NUMBERS):
        return _tag(name, _render(str(value)))
    if isinstance(value, BaseModel):
        return _tag(type(value).__qualname__, _render_mapping({**vars(value), **(value.__pydantic_extra__ or {})}))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return _tag(type(value).__qualname__, _render_mapping(fields))
    if isinstance(value, (set, frozenset)):
        return _tag("set", b"[%s]" % b",".join(sorted(map(_render, value))))
    rendered = _render_array(value)
    if rendered is not None:
        return rendered
    for plain in _PLAIN:
        if isinstance(value, plain):  # of a class of its own
            return _tag(type(value).__qualname__, _render(plain(value)))
    raise NoFormError(f"{type(value).__module__}.{type(value).__qualname__}")


def _render_array(value: Any) -> bytes | None:
    """A value of NumPy, torch or Arrow; only what is loaded can have made one."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        if value.dtype.hasobject:
            return _tag("array", _render([list(value.shape), value.ravel().tolist()]))
        return _render_bytes(f"array {value.dtype.str} {list(value.shape)}", value.tobytes())
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor) and value.layout is torch.strided:
        flat = value.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        return _render_bytes(f"tensor {value.dtype} {list(value.shape)}", flat.numpy().tobytes())
    arrow: Any = sys.modules.get("pyarrow")
    if arrow is not None and isinstance(value, (arrow.Table, arrow.RecordBatch)):
        return _tag(f"table {value.schema.types}", _render([value.schema.names, value.to_pylist()]))
    if arrow is not None and isinstance(value, (arrow.Array, arrow.ChunkedArray)):
        return _tag(f"array {value.type}", _render(value.to_pylist()))
    if arrow is not None and isinstance(value, arrow.Scalar):
        return _tag(f"scalar {value.type}", _render(value.as_py()))
    return None


def _render_bytes(name: str, data: bytes) -> bytes:
    return _tag(f"{name} {len(data)}", hashlib.sha256(data).hexdigest().encode())


def _tag(name: str, rendered: bytes) -> bytes:
    return b"!%s(%s)" % (json.dumps(name).encode(), rendered)
