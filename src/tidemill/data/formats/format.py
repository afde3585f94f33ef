"""What a file format is: how its files are read, compared, written and looked into."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, Protocol

from tidemill.data.files import find_codec
from tidemill.data.reader import PartReader
from tidemill.data.turns import Share
from tidemill.errors import ConfigError
from tidemill.protocols import Growth, Record, State

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_PAGES = 10_000
MAX_UNPACKED_RATIO = 250

COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
"""Suffixes of compressed files: their text can be read from the start only."""


@dataclass(frozen=True, slots=True)
class Options:
    """How files are read and written, beyond their format; each format takes some (`Format.takes`).

    Attributes:
        max_line_bytes: a longer line, row, page, whole file or record of an archive is an error; none is held in
            memory.
        delimiter: of CSV; None takes a tab for `.tsv` and a comma for all else.
        encoding: of text and CSV, a name Python knows.
        whole: of text: the file is one record, not each of its lines.
        columns: of Parquet, Arrow and archives of arrays: only these are read.
        max_pages: of PDF: a file with more is an error.
        max_unpacked_ratio: of packed archives: one that unpacks to more than so many times its size ends there, once it
            has given a gibibyte.
        written: the file as its source was written, which records say as their `path`; by default where it is.
        share: whose turn the records and failures are: others are not given, and as far as can be not parsed.
    """

    max_line_bytes: int = MAX_LINE_BYTES
    delimiter: str | None = None
    encoding: str = "utf-8"
    whole: bool = False
    columns: tuple[str, ...] | None = None
    max_pages: int = MAX_PAGES
    max_unpacked_ratio: int = MAX_UNPACKED_RATIO
    written: str = ""
    share: Share | None = None


PLAIN = Options()

PLACES: Final = frozenset({"written", "share"})
"""Options that say which file it is and whose turn; every format takes them."""


@dataclass(frozen=True, slots=True)
class Traits:
    """What a format can, in words: a row of docs/formats.md, which `make formats` writes.

    Attributes:
        title: its name in a text.
        record: what a record is.
        by_number: how a record is found by its number, empty where that cannot be: then it is no dataset.
        resume: what going on from a state reads again.
        schema: what says which columns there are, and of what types.
        packed: what of it may be packed, and how, beside what `Format.compressible` says.
        extra: the extra of the package that it needs, empty for none.
    """

    title: str
    record: str
    by_number: str
    resume: str
    schema: str
    packed: str = ""
    extra: str = ""


class Format(Protocol):
    """One file format. A `path` is what the functions of `data/files.py` open.

    Attributes:
        name: the word of `format=` and of a job file.
        suffixes: of the files that are read as this format without being told to.
        compressible: whether its files may be compressed as a whole, which a further suffix tells.
        takes: the names of the `Options` it heeds.
        traits: what else there is to say of it.
    """

    name: str
    suffixes: tuple[str, ...]
    compressible: bool
    takes: frozenset[str]
    traits: Traits

    def open(self, path: Path, state: State | None = None, options: Options = PLAIN) -> PartReader:
        """The records of one file, from its start or from `state`.

        A file that is no file of this format gives one `DataError` and then its end.

        Raises:
            ResourceError: the file cannot be opened.
            StateError: the file was edited before `state`.
        """
        ...

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        """Whether the file, up to `state`, is as it was."""
        ...

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        """The record in the bytes that a `DataError` carried.

        Raises:
            DataError: it is still not a record, or the format cannot tell from these bytes alone.
        """
        ...

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        """Write `records` and return how many; the same records give the same bytes.

        Raises:
            DataError: a record has no form in this format; names its number, counted from 0.
        """
        ...

    def read_schema(self, path: Path, options: Options = PLAIN) -> pa.Schema | None:
        """The columns that every record of the file has, and their types; None where the format does not say.

        Raises:
            DataError: the file is no file of this format.
        """
        ...

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        """The file's records by their number; nothing is opened yet.

        Args:
            options: the columns that are read, where the format takes that option, and what records call the file.

        Raises:
            ConfigError: there is no such way into this file; says why, and what to do.
        """
        ...


class Rows(Protocol):
    """The records of one file by their number, `0 <= i < count_rows()`.

    The file is opened on first use and again after `release`. Pickles to its path. Threads and forked processes may
    share one. A file that changed since it was opened is told, where it can be.

    Raises:
        ResourceError: the file cannot be read.
        DataError: the file, or the record asked for, is corrupt.
        StateError: the file changed while it was open.
    """

    def count_rows(self) -> int:
        """The number of records."""
        ...

    def columns(self) -> tuple[str, ...]:
        """The names of the columns, where the format has none those of the first record."""
        ...

    def read_row(self, index: int) -> Record:
        """One record."""
        ...

    def read_rows(self, indices: Sequence[int]) -> list[Record]:
        """The records at `indices`, in that order; what they share is read once."""
        ...

    def iter_rows(self, start: int, stop: int) -> Iterator[Record]:
        """The records from `start` to `stop`; one that is corrupt raises, and the next call goes on behind it."""
        ...

    def release(self) -> None:
        """Let go of what is open; the next use opens it again."""
        ...


def check_options(file_format: Format, options: Options) -> None:
    """Check that `file_format` heeds every option that was set.

    Raises:
        ConfigError: it does not; names the option.
    """
    for field in fields(options):
        if (
            field.name not in PLACES
            and getattr(options, field.name) != field.default
            and field.name not in file_format.takes
        ):
            takes = ", ".join(f"`{name}`" for name in sorted(file_format.takes)) or "none"
            raise ConfigError(
                f"the format `{file_format.name}` has no option `{field.name}`", hint=f"its options: {takes}"
            )


def refuse_rows(path: Path, kind: str) -> NoReturn:
    """Say that records of this kind of file have no numbers to be found by.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f"{kind} cannot be a dataset: nothing tells where its records begin but reading them all",
        where=str(path),
        hint=f"stream it with tidemill.read({str(path)!r}), or write it to Parquet first",
    )


def refuse_saving(kind: str) -> NoReturn:
    """Say that files of this kind are read and not written.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(f"{kind} is read, not written", hint="write JSON Lines or Parquet, which hold any text")


def check_plain(path: Path) -> None:
    """Check that a file is not compressed, so that a record can be found without all those before it.

    Raises:
        ConfigError: it is.
    """
    codec = find_codec(path)
    if codec is not None:
        raise ConfigError(
            f"a {codec.name} file cannot be a dataset: its text can only be read from the start, so it has no index",
            where=str(path),
            hint=f"stream it with tidemill.read({str(path)!r}), or write it to Parquet first",
        )
