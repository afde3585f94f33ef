"""Where streams and datasets begin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any, TypeVar

from tidemill.config.loading import load_config
from tidemill.data.nodes.node import OnError
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.joined import Mix, Stop
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import find_row_files
from tidemill.data.sources.rows import ObjectSource
from tidemill.job import load_job
from tidemill.jobs.ledger.replay import Replay
from tidemill.stream.dataset import Dataset
from tidemill.stream.stream import Stream, make_stream

T = TypeVar("T")


def read(path: str | PathLike[str] | Sequence[str | PathLike[str]], **options: Any) -> Stream[dict[str, Any]]:
    """The records of files as a stream; touches nothing until it is iterated.

    Args:
        path: a file, a folder, a pattern (`*`, `?`, `[…]`, `**`) or several; local, or addresses that fsspec opens.
        **options: `on_error`, what a line, row or group gets that is no record: `raise`, the default in plain
            iteration; `skip`, counted in the iterator's `losses`; `quarantine`, which a job sets aside and plain
            iteration raises, with the bytes, for a `catch`. Also `format`, `schema`, `compression`, `storage_options`
            and more; see `tidemill.data.sources.read.Read`.

    Raises:
        ConfigError: an option is wrong. A pattern that matches nothing is told when it is read.
    """
    return Stream(load_config(Read, {"path": path, **options}))


def from_iterable(iterable: Iterable[T] | Callable[[], Iterable[T]]) -> Stream[T]:
    """The items of an iterable, or of what a function returns, as a stream.

    An iterator can be gone through once; give the function that makes it where the stream is iterated again.
    """
    return Stream(FromIterable(iterable=iterable))


def dataset(source: Any) -> Dataset[Any]:
    """A dataset: an output folder, a folder of files, one file, or an object with `__len__` and `__getitem__`.

    An output folder is read as its manifest says. Of any other folder the files of one format are taken, sorted by
    name. Nothing is copied of an object: a list, a table, another library's dataset.

    Raises:
        ConfigError: the format cannot be a dataset; says why.
        DataError: there is nothing at that path.
        StateError: the manifest is not one that this version reads.
    """
    if isinstance(source, (str, PathLike)):
        return Dataset(find_row_files(Path(fspath(source))))
    return Dataset(ObjectSource(source))


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
    if path.suffix in (".yaml", ".yml"):
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
