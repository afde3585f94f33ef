"""Arrow IPC: the file format, which gives its record batches by number, and the stream format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tidemill.data.files import compare_file
from tidemill.data.formats.columnar.arrow_groups import (
    MAGIC,
    FileGroups,
    StreamGroups,
    is_file,
    load_by_number,
    load_groups,
)
from tidemill.data.formats.columnar.groups import open_groups, unpack_row
from tidemill.data.formats.columnar.rows import GroupRows
from tidemill.data.formats.columnar.tables import spool_tables
from tidemill.data.formats.format import PLAIN, Options, Rows, Traits
from tidemill.data.formats.native import compare_footer
from tidemill.data.formats.written_once import WrittenOnce
from tidemill.data.reader import PartReader
from tidemill.protocols import Growth, Record, State

if TYPE_CHECKING:
    import pyarrow as pa


class Arrow(WrittenOnce):
    """Arrow IPC, as a `Format`; which of its two forms a file has is told by its first bytes.

    A record batch that is corrupt costs itself, told by one `DataError`; in a stream, all behind it too. What a batch
    says of its values is checked before they are taken. A local file is mapped into memory, so it must not be cut while
    it is read.
    """

    takes = frozenset({"columns"})

    def __init__(self, name: str, suffixes: tuple[str, ...], traits: Traits, *, writes_stream: bool) -> None:
        self.name = name
        self.traits = traits
        self.suffixes = suffixes
        self._writes_stream = writes_stream

    def _open_whole(self, path: Path, state: State | None, options: Options) -> PartReader:
        if is_file(path):
            return open_groups(path, FileGroups(path, options.columns), state, options.share)
        groups = StreamGroups(path, options.columns, state if state and "offset" in state else None)
        return open_groups(path, groups, state, options.share)

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        return compare_file(path, state) if "offset" in state else compare_footer(path, state, MAGIC)

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        return unpack_row(raw)

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        """Write `records` in batches of about 32 MiB; a column takes the type that all fit."""
        import pyarrow as pa

        make: Callable[..., Any] = pa.ipc.new_stream if self._writes_stream else pa.ipc.new_file
        with spool_tables(records) as spool, make(file, spool.schema) as writer:
            for table in spool:
                writer.write_table(table)
        return spool.count

    def read_schema(self, path: Path, options: Options = PLAIN) -> pa.Schema:
        groups = load_groups(path, options.columns)
        groups.close()
        return groups.schema

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        return GroupRows(path, partial(load_by_number, columns=options.columns))


ARROW = Arrow(
    "arrow",
    (".arrow", ".feather"),
    Traits(
        title="Arrow IPC file",
        record="the row",
        by_number="by record batch, of which two are held",
        resume="the record batch it stands in, mapped",
        schema="the file's own",
        packed="batches, by LZ4 or Zstandard",
    ),
    writes_stream=False,
)
ARROWS = Arrow(
    "arrows",
    (".arrows",),
    Traits(
        title="Arrow IPC stream",
        record="the row",
        by_number="by record batch, all of which are looked at once",
        resume="the record batch it stands in, mapped; with dictionaries all before it",
        schema="the file's own",
        packed="batches, by LZ4 or Zstandard",
    ),
    writes_stream=True,
)
