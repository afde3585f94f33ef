"""Vectors as PostgreSQL sends and takes them: pgvector's binary form, and rows of it for COPY."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import orjson
from psycopg import AsyncConnection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo
from psycopg.types.json import set_json_loads

from tidemill.stores.batch import Batch
from tidemill.stores.opened import LOOP_RECORDS
from tidemill.stores.vectors import Matrix

HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
"""Around the rows of a binary COPY (PostgreSQL, SQL commands, COPY, binary format)."""

_FIELDS_AND_LENGTH: Final = struct.Struct(">hi").pack
_LENGTH: Final = struct.Struct(">i").pack
_JSONB_VERSION: Final = b"\x01"


class Vector(bytes):
    """A vector as pgvector's `vector_recv` reads it: its length, a zero, and big-endian float32."""


class _VectorDumper(Dumper):
    """Sends a `Vector` as it is."""

    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer | None:
        return bytes(obj)


class _VectorLoader(Loader):
    """Gives float32 (dimensions,)."""

    format = Format.BINARY

    def load(self, data: Buffer) -> Any:
        return np.frombuffer(data, ">f4", offset=4).astype(np.float32)


def register_vectors(info: TypeInfo, connection: AsyncConnection[Any]) -> None:
    """Have `connection` send and give vectors, of the type that its database has, and JSON by orjson."""
    info.register(connection)
    dumper = type("VectorDumper", (_VectorDumper,), {"oid": info.oid})
    connection.adapters.register_dumper(Vector, dumper)
    connection.adapters.register_loader(info.oid, _VectorLoader)
    set_json_loads(orjson.loads, connection)


def render_vectors(vectors: Matrix) -> list[Vector]:
    """Each row as a `Vector`."""
    start = struct.pack(">HH", vectors.shape[1], 0)
    size = 4 * vectors.shape[1]
    numbers = vectors.astype(">f4").tobytes()
    return [Vector(start + numbers[at : at + size]) for at in range(0, len(numbers), size)]


def iter_rows(batch: Batch, order: Sequence[int]) -> Iterator[bytes]:
    """The rows of a batch in that order, some at once: id text, embedding vector, payload jsonb, for a binary COPY."""
    size = 4 * batch.vectors.shape[1]
    start = struct.pack(">iHH", 4 + size, batch.vectors.shape[1], 0)
    for first in range(0, len(order), LOOP_RECORDS):
        numbers = order[first : first + LOOP_RECORDS]
        vectors = batch.vectors[numbers].astype(">f4").tobytes()
        parts: list[bytes] = []
        for place, number in enumerate(numbers):
            key, payload = batch.ids[number].encode(), batch.payloads[number]
            parts += (_FIELDS_AND_LENGTH(3, len(key)), key, start, vectors[place * size : (place + 1) * size])
            parts += (_LENGTH(len(payload) + 1), _JSONB_VERSION, payload)
        yield b"".join(parts)
