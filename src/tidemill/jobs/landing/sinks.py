"""Sinks that write sealed parts of an output folder: Parquet and JSON lines."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from tidemill.data.formats.json_texts import LINE_OF_ARRAYS, render_line
from tidemill.errors import DataError
from tidemill.jobs.landing.arrow import arrow_schema, build_batch, infer_schema
from tidemill.jobs.landing.judge import Judge
from tidemill.jobs.landing.shape import find_no_record
from tidemill.protocols import Record

CONVERT_RECORDS = 1_000
"""Rows converted to Arrow at a time, so that other threads get the interpreter in between (measured: 8 ms)."""


class PartWriter(Protocol):
    """Writes the rows of one part."""

    suffix: str

    def write_part(self, file: BinaryIO, rows: Sequence[Record]) -> dict[int, DataError]:
        """Write the rows that fit, in order; those that do not, by index, with the reason."""
        ...

    def save_schema(self) -> str | None:
        """What a resumed run needs to write parts of the same schema; None when there is nothing."""
        ...


class JsonlWriter:
    """One JSON object a line: numbers as they are, NumPy's arrays as lists, dates, times and UUIDs as texts."""

    suffix = ".jsonl"

    def write_part(self, file: BinaryIO, rows: Sequence[Record]) -> dict[int, DataError]:
        """Write each row that JSON can hold."""
        misfits: dict[int, DataError] = {}
        for index, row in enumerate(rows):
            misfit = find_no_record(row)
            if misfit is None:
                try:
                    file.write(render_line(row, LINE_OF_ARRAYS))
                    continue
                except (TypeError, ValueError) as exc:
                    misfit = DataError(f"the record cannot be written as JSON: {exc}")
            misfits[index] = misfit
        return misfits

    def save_schema(self) -> str | None:
        """Nothing: lines have no schema."""
        return None


class ParquetWriter:
    """Parquet with zstd, one row group a part, one schema for all parts of a run.

    The schema is the given one; else the output columns' own, and for the others what the first part holds. It is
    fixed from then on: a record with another column, or another type in one, does not fit. No column is of type
    null: one that holds nothing in the first part is a string column.
    """

    suffix = ".parquet"

    def __init__(self, schema: type[BaseModel] | None, outputs: Mapping[str, Any], saved: str | None) -> None:
        self._schema: pa.Schema | None = None
        if saved is not None:
            self._schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(saved)))
        elif schema is not None:
            self._schema = arrow_schema(schema)
        self._outputs = outputs

    def write_part(self, file: BinaryIO, rows: Sequence[Record]) -> dict[int, DataError]:
        """Write the rows as one row group."""
        if self._schema is None:
            self._schema = infer_schema(rows, self._outputs)
        schema = pa.schema([]) if self._schema is None else self._schema
        misfits: dict[int, DataError] = {}
        batches = []
        for start in range(0, len(rows), CONVERT_RECORDS):
            batch, wrong = _convert(rows[start : start + CONVERT_RECORDS], schema)
            batches.append(batch)
            misfits |= {start + index: error for index, error in wrong.items()}
        table = pa.Table.from_batches(batches, schema)
        with pq.ParquetWriter(file, schema, compression="zstd") as writer:
            writer.write_table(table, row_group_size=max(1, table.num_rows))
        return misfits

    def save_schema(self) -> str | None:
        """The fixed schema, None before the first part."""
        return None if self._schema is None else base64.b64encode(self._schema.serialize()).decode()


class JudgedWriter:
    """Writes, by another writer, the rows that `judge` finds to fit, each as it came."""

    def __init__(self, writer: PartWriter, judge: Judge) -> None:
        self._writer = writer
        self._judge = judge
        self.suffix = writer.suffix

    def write_part(self, file: BinaryIO, rows: Sequence[Record]) -> dict[int, DataError]:
        """Write the rows that fit both."""
        misfits = {index: error for index, row in enumerate(rows) if (error := self._judge.find_misfit(row))}
        fitting = [index for index in range(len(rows)) if index not in misfits]
        wrong = self._writer.write_part(file, [rows[index] for index in fitting])
        return misfits | {fitting[place]: error for place, error in wrong.items()}

    def save_schema(self) -> str | None:
        """The other writer's."""
        return self._writer.save_schema()


def _convert(rows: Sequence[Record], schema: pa.Schema) -> tuple[pa.RecordBatch, dict[int, DataError]]:
    """The rows that fit as one batch, and the others by index."""
    try:
        return build_batch(rows, schema), {}
    except DataError:
        misfits = {index: error for index, row in enumerate(rows) if (error := _find_misfit(row, schema)) is not None}
    return build_batch([row for index, row in enumerate(rows) if index not in misfits], schema), misfits


def _find_misfit(row: Record, schema: pa.Schema) -> DataError | None:
    try:
        build_batch([row], schema)
    except DataError as exc:
        return exc
    return None


def make_writer(
    kind: str,
    schema: type[BaseModel] | None,
    outputs: Mapping[str, Any],
    saved: str | None,
) -> PartWriter:
    """The writer of a format by name, going on with the schema saved earlier; with `schema` it judges each row."""
    writers: dict[str, Callable[[], PartWriter]] = {
        "parquet": lambda: ParquetWriter(schema, outputs, saved),
        "jsonl": JsonlWriter,
    }
    writer = writers[kind]()
    return writer if schema is None else JudgedWriter(writer, Judge(schema))
