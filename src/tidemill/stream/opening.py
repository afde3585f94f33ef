"""Where streams and datasets begin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

from pydantic import BaseModel

from tidemill.config.layers.layer import SUFFIXES
from tidemill.config.loading import load_config
from tidemill.data.formats.format import MAX_LINE_BYTES, MAX_PAGES, MAX_UNPACKED_RATIO
from tidemill.data.joined.mixed import Mix, Stop
from tidemill.data.nodes.node import OnError
from tidemill.data.sources.hub import Hub
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import find_row_files
from tidemill.data.sources.rows import ObjectSource
from tidemill.data.sources.sql import SQL
from tidemill.errors import ConfigError
from tidemill.job import load_job
from tidemill.jobs.ledger.replay import Replay
from tidemill.protocols import Record
from tidemill.stream.dataset import Dataset
from tidemill.stream.stream import Stream, make_stream

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
M = TypeVar("M", bound=BaseModel)

Paths = str | PathLike[str] | Sequence[str | PathLike[str]]
FormatName = Literal["jsonl", "csv", "text", "parquet", "arrow", "arrows", "npy", "npz", "html", "pdf", "tar", "image"]
Compression = Literal["gzip", "zstd", "bz2", "xz", "none"]


class Table(Protocol):
    """A table of Arrow, pandas, polars or another library."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


class Numbered(Protocol[T_co]):
    """An object with a length and items by number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> T_co: ...


@overload
def read(
    path: Paths,
    *,
    schema: type[M],
    format: FormatName | None = ...,
    on_error: OnError | None = ...,
    max_line_bytes: int = ...,
    columns: Sequence[str] | None = ...,
    delimiter: str | None = ...,
    encoding: str = ...,
    whole: bool = ...,
    max_pages: int = ...,
    max_unpacked_ratio: int = ...,
    compression: Compression | None = ...,
    storage_options: Mapping[str, Any] | None = ...,
) -> Stream[M]: ...
@overload
def read(
    path: Paths,
    *,
    schema: pa.Schema | None = ...,
    format: FormatName | None = ...,
    on_error: OnError | None = ...,
    max_line_bytes: int = ...,
    columns: Sequence[str] | None = ...,
    delimiter: str | None = ...,
    encoding: str = ...,
    whole: bool = ...,
    max_pages: int = ...,
    max_unpacked_ratio: int = ...,
    compression: Compression | None = ...,
    storage_options: Mapping[str, Any] | None = ...,
) -> Stream[Record]: ...
def read(
    path: Paths,
    *,
    schema: type[BaseModel] | pa.Schema | None = None,
    format: FormatName | None = None,  # noqa: A002 - the word of a job file
    on_error: OnError | None = None,
    max_line_bytes: int = MAX_LINE_BYTES,
    columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    encoding: str = "utf-8",
    whole: bool = False,
    max_pages: int = MAX_PAGES,
    max_unpacked_ratio: int = MAX_UNPACKED_RATIO,
    compression: Compression | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Stream[Any]:
    """The records of files as a stream; touches nothing until it is iterated.

    Order: that of the files' whole names, and in each as it stands.   Memory: a block of one file.
    Failure: a corrupt record's own, as `on_error` says; the next one follows.   Resume: exact; reads no file again.

    Args:
        path: a file, a folder, a pattern (`*`, `?`, `[…]`, `**`) or several; local, or addresses that fsspec opens.
        schema: a Pydantic model, which each record becomes an instance of, or a `pyarrow.Schema`, to whose types its
            values are cast where nothing is lost; a record that does not fit is an error.
        format: what the files are, whatever their suffix.
        on_error: what a line, row or group gets that is no record: `raise`, the default in plain iteration; `skip`,
            counted in the iterator's `losses`; `quarantine`, which a job sets aside and plain iteration raises, with
            the bytes, for a `catch`.
        max_line_bytes: a longer line is an error; it is passed over without being held in memory.
        columns: of Parquet, Arrow and archives of arrays: only these are read.
        delimiter: of CSV; by default a comma, and a tab for `.tsv`.
        encoding: of text and CSV, a name Python knows.
        whole: of text: a file is one record, not each of its lines.
        max_pages: of PDF: a file with more is an error.
        max_unpacked_ratio: of packed archives: one that unpacks to more than so many times its size ends there with an
            error, once it has given a gibibyte.
        compression: how the files are packed, whatever their suffix.
        storage_options: what fsspec opens the file system with: credentials, an endpoint.

    Raises:
        ConfigError: an option is wrong. A pattern that matches nothing is told when it is read.
    """
    given: dict[str, Any] = {"schema": schema, "format": format, "on_error": on_error, "max_line_bytes": max_line_bytes}
    given |= {"columns": columns, "delimiter": delimiter, "encoding": encoding, "whole": whole}
    given |= {"max_pages": max_pages, "max_unpacked_ratio": max_unpacked_ratio}
    given |= {"compression": compression, "storage_options": storage_options}
    return Stream(load_config(Read, {"path": path, **{key: each for key, each in given.items() if each is not None}}))


def from_iterable(iterable: Iterable[T] | Callable[[], Iterable[T]]) -> Stream[T]:
    """The items of an iterable, or of what a function returns, as a stream.

    An iterator can be gone through once; give the function that makes it where the stream is iterated again.
    """
    return Stream(FromIterable(iterable=iterable))


@overload
def dataset(source: str | PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> Dataset[Record]: ...
@overload
def dataset(source: Table) -> Dataset[Record]: ...
@overload
def dataset(source: Numbered[T]) -> Dataset[T]: ...
def dataset(source: Any, *, storage_options: Mapping[str, Any] | None = None) -> Dataset[Any]:
    """A dataset: an output folder, a folder of files, one file, a table, or an object with `__len__` and `__getitem__`.

    An output folder is read as its manifest says. Of any other folder the files of one format are taken, sorted by
    name; both may be addresses that fsspec opens. A table is what has `__arrow_c_stream__`: one of Arrow, a pandas or
    polars frame. Nothing is copied of an object: a list, a table, another library's dataset.

    Args:
        source: a path, an address, or an object.
        storage_options: what fsspec opens the file system with.

    Raises:
        ConfigError: the format, or the object, cannot be a dataset; says why.
        DataError: there is nothing at that path.
        StateError: the manifest is not one that this version reads.
    """
    if isinstance(source, (str, PathLike)):
        return Dataset(find_row_files(source, storage_options))
    if storage_options is not None:
        raise ConfigError("expected storage_options beside an address alone", where=f"a {type(source).__name__}")
    if isinstance(source, Stream):
        return _check_numbered(source)
    if hasattr(source, "__arrow_c_stream__") and not hasattr(source, "__getitems__"):
        from tidemill.adapters.rows import from_arrow

        source = from_arrow(source)
    return Dataset(ObjectSource(source))


def from_sql(
    sql: str,
    connect: str | Callable[..., Any],
    *,
    arguments: Mapping[str, Any] | None = None,
    params: Sequence[Any] | Mapping[str, Any] | None = None,
    key: str | Sequence[str] | None = None,
    splits: Sequence[Any] | None = None,
    batch: int = 1_000,
) -> Stream[Record]:
    """The rows of a SQL query as a stream, dicts by column; connects to nothing until it is iterated.

    Order: that of `key`, else the query's own.   Memory: `batch` rows, where the driver has cursors of the server's.
    Failure: the database's, raised; going on from the state connects anew.
    Resume: exact: behind the last key; without one by passing over the rows before, which must come as they did then.
    That rows read before were changed is noticed neither by a state nor by a `cache`.

    Args:
        sql: one `SELECT`.
        connect: an address (`sqlite:///file.db`, `postgresql://…`), or a function that gives a connection of PEP 249:
            `psycopg.connect`, `adbc_driver_postgresql.dbapi.connect`, one of your own.
        arguments: what `connect` is called with; secrets among them are never shown or written.
        params: what the query's marks stand for, in the driver's own way.
        key: columns of the query that are never null and together differ in every row, as the database compares them.
        splits: values of the first key column that cut the rows into parts, ascending.
        batch: rows fetched at a time.

    Raises:
        ConfigError: an option is wrong. What the database does not take is told when it is asked.
    """
    given = {"arguments": arguments, "params": params, "key": key, "splits": splits, "batch": batch}
    given = {name: each for name, each in given.items() if each is not None}
    return Stream(load_config(SQL, {"sql": sql, "connect": connect, **given}))


@overload
def from_hf(  # type: ignore[overload-overlap]  # a text has a length and items, too
    dataset: str,
    *,
    config: str | None = ...,
    split: str = ...,
    revision: str | None = ...,
    data_files: str | Sequence[str] | None = ...,
    arguments: Mapping[str, Any] | None = ...,
) -> Stream[Record]: ...
@overload
def from_hf(dataset: Numbered[T]) -> Dataset[T]: ...
@overload
def from_hf(dataset: Iterable[T]) -> Stream[T]: ...
def from_hf(dataset: Any, **options: Any) -> Stream[Any]:
    """The records of a Hugging Face dataset: a `Dataset` of a `datasets.Dataset`, a stream of an `IterableDataset`.

    A name is streamed, and touches nothing until it is iterated: `from_hf("stanfordnlp/imdb", split="test")`, with
    `config=`, `revision=`, `data_files=` and `arguments=` for all else that `datasets.load_dataset` takes.

    Rows come as the dataset's own format has them, plain Python by default; `to_hf` gives them its `features` again.
    A stream goes on from the dataset's own `state_dict` where that is exact, else by counting.

    Raises:
        ConfigError: it is neither; a `DatasetDict` is several, so name one. Options stand beside an object.
        ResourceError: datasets is not installed.
    """
    if isinstance(dataset, str):
        given = {name: each for name, each in options.items() if each is not None}
        return Stream(load_config(Hub, {"hf": dataset, **given}))
    if options:
        raise ConfigError(
            f"expected `{next(iter(options))}` beside the name of a dataset, got a {type(dataset).__name__}",
            hint="give `datasets.load_dataset` the options that it was loaded by",
        )
    from tidemill.adapters.hugging_face import from_hf as open_hf

    opened = open_hf(dataset)
    return Dataset(ObjectSource(opened)) if hasattr(opened, "__getitem__") else Stream(opened)


def replay(quarantine: str | PathLike[str], *, errors: bool = False, on_error: OnError | None = None) -> Stream[Any]:
    """The records in quarantine as they came to the step that failed: what a mended pipeline is run over.

    Of a run these are the records that stand in quarantine in its sealed segments, those skipped among them; not those
    that `retry` took up. What the source could make no record of is a `DataError` with its bytes again, and so is a
    record with objects that the quarantine does not keep: it keeps JSON, and of a `catch` also numbers, dates, bytes,
    tuples and sets as they were.

    Order: that of the quarantine.   Memory: one block of 64 KiB, or one row.   Failure: a row's, as `on_error` says.
    Resume: exact, nothing is read again.

    Args:
        quarantine: the file of a `catch(to=…)`; or a run: its output folder, run folder or job file.
        errors: give each row whole, a dict: `step`, `where`, `type`, `message`, `record`, `raw` (bytes), `is_whole`;
            of a run also `part`, `ordinal`, `path`, `outcome`.
        on_error: what a row gets that has no record to give: `raise`, `skip` or `quarantine`.

    Raises:
        ConfigError: the job file is wrong. A path where there is nothing is told when it is read.
    """
    path = Path(quarantine)
    if path.suffix in SUFFIXES:
        path = load_job(path).spec.folders.run
    return Stream(Replay(path.expanduser().absolute(), errors, on_error))


def mix(
    streams: Sequence[Stream[T]], *, weights: Sequence[float] | None = None, seed: int = 0, stop: Stop = "first"
) -> Stream[T]:
    """Records of several streams by weight; which stream gives the next one follows from `seed` and its number.

    Order: a function of `seed`.   Memory: that of all streams.   Failure: a stream's own, at its place.
    Resume: exact.

    Args:
        weights: of each stream, by default equal; they need not sum to 1.
        stop: end with the `first` stream that ends, when `all` have (each record once), or when the `longest` has,
            while those that ended before begin again, in the orders of another epoch.

    Raises:
        ConfigError: the weights do not fit the streams.
    """
    return make_stream(Mix([stream.flow for stream in streams], weights=weights, seed=seed, stop=stop))


def _check_numbered(stream: Stream[Any]) -> Dataset[Any]:
    if not isinstance(stream, Dataset):
        raise ConfigError(
            "a stream cannot be a dataset: its records have no numbers",
            where=repr(stream),
            hint="save it to Parquet and open that, or leave out the steps that may drop records",
        )
    return stream
