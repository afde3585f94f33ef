"""Where a stream ends: in a file, or as what another library takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from tidemill.data.digest import digest_records
from tidemill.data.files import parse_path
from tidemill.data.files.storage import register_secrets
from tidemill.data.formats.format import Options, check_options
from tidemill.data.formats.saving import save_records
from tidemill.data.formats.table import get_format, guess_format

if TYPE_CHECKING:
    import datasets
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from tidemill.adapters.grain import GrainSource, GrainStream
    from tidemill.adapters.torch import TorchStream
    from tidemill.jobs.live.estimate import Estimate
    from tidemill.stream.stream import Stream

T = TypeVar("T")

BATCH_RECORDS = 1024


class Endings(ABC, Generic[T]):
    """Each method takes the records out of the stream."""

    __slots__ = ()

    @abstractmethod
    def __iter__(self) -> Iterator[T]: ...

    def save(
        self,
        path: str | PathLike[str],
        *,
        format: str | None = None,  # noqa: A002 - the word of `read`
        compression: Literal["gzip", "zstd", "bz2", "xz", "none"] | None = None,
        delimiter: str | None = None,
        encoding: str = "utf-8",
        whole: bool = False,
        storage_options: Mapping[str, Any] | None = None,
    ) -> int:
        """Write the records to one file, whole or not at all, and return how many there were.

        The suffix says the format and how the file is packed: `a.jsonl`, `a.csv.gz`, `a.tsv`, `a.txt.zst`,
        `a.parquet`, `a.arrow`. The same records give the same bytes. Not a job: nothing is resumed.

        Order: kept.   Memory: a block of the file; of Parquet and Arrow about 32 MiB of rows.
        Failure: raised, and no file is left.   Resume: none.

        Args:
            path: of a local file, or an address that fsspec opens: `s3://bucket/a.jsonl.zst`.
            format: `jsonl`, `csv`, `text`, `parquet`, `arrow`, `arrows`, `tar` or `image`, whatever the suffix.
            compression: how the file is packed, whatever its suffix.
            delimiter: of CSV; by default a comma, and a tab for `.tsv`.
            encoding: of text and CSV.
            whole: of text: the one record is the file, not each a line.
            storage_options: what fsspec opens the file system with.

        Raises:
            ConfigError: no format has this suffix, or the format has no such option.
            DataError: a record has no form in this format; names its number, counted from 0.
            ResourceError: the file cannot be written: the disk is full, or nobody may write there.
        """
        options = Options(delimiter=delimiter, encoding=encoding, whole=whole)
        file_format = get_format(format) if format is not None else guess_format(str(path))
        check_options(file_format, options)
        register_secrets(storage_options or {})
        return save_records(self, parse_path(path, storage_options, compression), file_format, options)

    def estimate(
        self,
        *,
        limit: int | None = None,
        records: int = 200,
        seconds: float = 2.0,
        seed: int = 0,
        run: str | PathLike[str] | None = None,
    ) -> Estimate:
        """What the stream's calls will come to: tokens, USD low and high, hours at the limits; nothing is called.

        A sample of the records, spread over the source, is taken through the steps in front of the first call, and the
        real requests are built. Their tokens are counted by the model's own vocabulary where that is on this machine,
        else as four bytes each; images by their size, as their model's maker publishes. Replies are taken to have
        between next to none and `max_tokens`, or what an earlier run measured. Functions behind a call are not called.

        Args:
            limit: of so many records, as of `write`.
            records: the most that requests are built for.
            seconds: how long reading may take, about; a source that is read whole by then is counted exactly.
            seed: what is read, and which of it is taken.
            run: an earlier run of the same steps, by its output or run folder: its replies say what theirs came to.

        Raises:
            ConfigError: nothing is called, or the source can be gone through only once.
            DataError: every record tried would fail, with what the first does; or the source cannot be read.
            ResourceError: the source cannot be read.
            StateError: there is no run in `run`.
        """
        from tidemill.jobs.ledger.folder import locate_run
        from tidemill.jobs.live.estimate import estimate_calls
        from tidemill.jobs.live.sampling import SampleLimits
        from tidemill.jobs.running.inspect import measure_run

        stream = cast("Stream[Any]", self)
        return estimate_calls(
            stream.source,
            stream.pipeline.nodes,
            folder=Path(),
            limits=SampleLimits(records, seconds, seed),
            limit=limit,
            measured=None if run is None else measure_run(locate_run(Path(run))),
        )

    def digest(self) -> str:
        """A hex digest of the records and their order: equal where two runs gave the same.

        Records count by their values, whatever the order of their columns: JSON values as they are, dates, bytes,
        NumPy, Arrow and torch values by type and content, Pydantic models and dataclasses by name and fields. It stays
        the same from version to version of Tidemill as long as states do.

        Order: counts.   Memory: one record.   Failure: raised.   Resume: none.

        Raises:
            DataError: a record holds what has no such form; names the record and the value's type.
        """
        return digest_records(self)

    def torch(
        self, *, rank: int | None = None, world: int | None = None, even: Literal["drop", "pad"] | None = None
    ) -> TorchStream:
        """The stream as an `IterableDataset`, for a `DataLoader` or torchdata's `StatefulDataLoader`.

        Each worker of each rank gets a shard of its own: together they give every record once. Records come as they
        are; `tidemill.collate` makes tensors of them.

        Order: the stream's, within each shard.   Memory: the stream's, in each worker.
        Failure: raised; the loader drops the batch it was filling, so give steps `on_error="skip"` where records may
        fail.   Resume: exact, by `state_dict`, on the same number of ranks and workers.

        Args:
            rank: the number of this process among `world`; by default those of `torch.distributed` where it is
                initialised, else 0 of 1.
            world: how many processes there are.
            even: `drop` leaves out the last records that do not go round all workers of all ranks, `pad` gives some
                again; by default shards differ by one record.

        Raises:
            ConfigError: `rank` or `world` stands without the other, or the rank is not below the world.
            ResourceError: torch is not installed.
        """
        from tidemill.adapters.torch import to_torch

        return to_torch(cast(Any, self), rank=rank, world=world, even=even)

    def to_hf(
        self, *, features: Any = None, shards: int = 1, path: str | PathLike[str] | None = None
    ) -> datasets.Dataset | datasets.IterableDataset:
        """A dataset as a `datasets.Dataset`, any other stream as a `datasets.IterableDataset`.

        The first is written to one Arrow file, which is then mapped into memory; the second reads the stream when it
        is iterated. What came from Hugging Face as a dataset and has no steps over it is given back as it was.

        Order: kept.   Memory: 1,000 records while writing; the stream's.   Failure: raised.
        Resume: exact, by Hugging Face's own `state_dict`.

        Args:
            features: what each column is (`datasets.Features`); by default those that the records came with from
                Hugging Face, where only steps that keep columns stand between.
            shards: into how many shards a stream may be split, for the workers of a loader and for `shuffle`.
            path: the Arrow file, kept; by default one in a folder that is removed when the process ends.

        Raises:
            ResourceError: datasets is not installed.
        """
        from tidemill.adapters.hugging_face import to_hf

        return to_hf(self, features=features, shards=shards, path=path)

    def to_arrow(self, batch: int = BATCH_RECORDS, *, schema: pa.Schema | None = None) -> pa.RecordBatchReader:
        """The records as a reader of record batches: what DuckDB, Lance, Arrow's writers and others take.

        Columns and types are those of `schema`, else of the first batch. A record that lacks a column has null there.

        Order: kept.   Memory: one batch.
        Failure: raised out of the reader.   Resume: none; `stream.batch(…, form="arrow")` gives tables and has a state.

        Args:
            batch: records in a batch; the last may have fewer.

        Raises:
            DataError: a record of the first batch is no dict, or its values have no one type; of a later one, out of
                the reader.
        """
        from tidemill.adapters.tables import to_arrow

        return to_arrow(self, batch, schema=schema)

    def to_pandas(
        self,
        batch: int = BATCH_RECORDS,
        *,
        schema: pa.Schema | None = None,
        types: Callable[[Any], Any] | None = None,
    ) -> Iterator[pd.DataFrame]:
        """The records as data frames of `batch` rows.

        Order, memory, failure and resume are as of `to_arrow`.

        Args:
            types: the dtype for an Arrow type. By default pandas' own, which makes floats of integers with None;
                `pandas.ArrowDtype` keeps every type and value.

        Raises:
            ResourceError: pandas is not installed.
        """
        from tidemill.adapters.tables import to_pandas

        return to_pandas(self, batch, schema=schema, types=types)

    def to_polars(self, batch: int = BATCH_RECORDS, *, schema: pa.Schema | None = None) -> Iterator[pl.DataFrame]:
        """The records as polars frames of `batch` rows.

        Order, memory, failure and resume are as of `to_arrow`.

        Raises:
            ResourceError: polars is not installed.
        """
        from tidemill.adapters.tables import to_polars

        return to_polars(self, batch, schema=schema)

    def to_grain(self) -> GrainSource | GrainStream:
        """A dataset as grain's `RandomAccessDataSource`, any other stream as an `IterDataset`.

        The first goes into `grain.MapDataset.source(…)` or a `grain.DataLoader`, the second is a grain dataset itself.

        Order: kept; behind grain's `mp_prefetch` the workers take turns.   Memory: the stream's.   Failure: raised.
        Resume: exact, by grain's `get_state` and `set_state`.

        Raises:
            ResourceError: grain is not installed.
        """
        from tidemill.adapters.grain import to_grain

        return cast("GrainSource | GrainStream", to_grain(cast(Any, self)))
