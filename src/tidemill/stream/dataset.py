"""`Dataset`: a stream whose records have numbers."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

from tidemill.data.formats.column import read_array
from tidemill.data.gathered.batches import to_array
from tidemill.data.nodes.across import Pick, Shuffle, Slice
from tidemill.data.nodes.hooks import StepHooks, bind_hooks
from tidemill.data.nodes.node import Node
from tidemill.data.records.columns import read_column
from tidemill.data.rows.index import is_index_node
from tidemill.data.sources.row_files import RowFiles
from tidemill.data.sources.rows import RowSource, open_dataset_rows
from tidemill.protocols import Source
from tidemill.stores.store import Store
from tidemill.stream.dataset_steps import DatasetSteps
from tidemill.stream.stream import Stream

if TYPE_CHECKING:
    from tidemill.data.formats.format import Rows

T = TypeVar("T")


class Number(Protocol):
    """An integer, of Python or NumPy."""

    @property
    def numerator(self) -> Any: ...
    def __index__(self) -> int: ...


class Array(Protocol):
    """An array of places, or a mask: of NumPy, torch or pandas."""

    def __len__(self) -> int: ...
    def tolist(self) -> Any: ...


Places = slice | Sequence[int] | Sequence[bool] | Array
"""What names several records."""


class Dataset(DatasetSteps[T], Sequence[T]):
    """Records with numbers: a `Stream` that is a full `Sequence` too: `len(data)`, `data[7]`, `data[-1]`, slices.

    Steps that give one record for each keep it a dataset, and so do those that choose and order by number (`take skip
    every shard`, and a `shuffle` without a buffer, which orders all of it in no memory); any other gives a stream.
    Slices, choices and orders are views that copy nothing. Files are opened when a record of theirs is asked for. It
    pickles to its description; in the other process the files are opened anew.

    Memory: a few row groups or blocks, whatever the length; of JSON Lines 8 bytes a record, mapped from a file.
    Threads and forked processes may share one.
    """

    __slots__ = ("_rows",)

    def __init__(self, source: Source, nodes: Sequence[Node] = (), hooks: Sequence[StepHooks] = ()) -> None:
        super().__init__(source, nodes, hooks)
        self._rows: Rows | None = None

    def __len__(self) -> int:
        return self._open().count_rows()

    @overload
    def __getitem__(self, index: str) -> Column: ...
    @overload
    def __getitem__(self, index: Number) -> T: ...
    @overload
    def __getitem__(self, index: Places) -> Dataset[T]: ...
    def __getitem__(self, index: Any) -> Any:
        """One record, or a view: of a slice, of a list of places, of a mask, or of one column by its name.

        Raises:
            IndexError: there is no such place, or a mask has another length.
        """
        if isinstance(index, slice):
            start, stop, step = (None if each is None else _to_bound(each) for each in _parts_of(index))
            return self._append(Slice, start=start, stop=stop, step=step)
        if isinstance(index, str):
            return Column(self, index)
        places = index.tolist() if hasattr(index, "tolist") else index
        if isinstance(places, (list, tuple, range)):
            return self._append(Pick, places=self._find_places(places))
        return self._read_one(places)

    def __getitems__(self, indices: Sequence[int]) -> list[T]:
        """The records at `indices`, in that order; what they share is read once: how a `DataLoader` asks."""
        size = len(self)
        records: list[Any] = self._open().read_rows([_check_place(index, size) for index in indices])
        return records

    def __iter__(self) -> Iterator[T]:
        return self.iterate()

    def __reversed__(self) -> Iterator[T]:
        return iter(self[::-1])

    def __contains__(self, record: object) -> bool:
        return any(record is each or record == each for each in self)

    @overload  # type: ignore[override]
    def index(self, record: Store, **options: Any) -> Stream[T]: ...
    @overload
    def index(self, record: Any, start: int = 0, stop: int | None = None) -> int: ...
    def index(self, record: Any, start: int = 0, stop: int | None = None, **options: Any) -> Any:
        """The first place where a record equals `record`, looked for one by one; of a store, the step: `Stream.index`.

        Raises:
            ValueError: there is none.
        """
        if isinstance(record, Store):
            return super().index(record, **options)
        places = range(len(self))[start:stop]
        for place, each in zip(places, self[places.start : places.stop], strict=True):
            if record is each or record == each:
                return place
        raise ValueError(f"no record equals {record!r}")

    def count(self, record: Any) -> int:
        """How many records equal `record`."""
        return sum(record is each or record == each for each in self)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns, as the first file has them; behind steps, as the first record has them."""
        return self._open().columns()

    @property
    def version(self) -> str:
        """Of a job's output the content hash, 64 hex digits: `tm.dataset(f"{path}@{version}")` is this one for good.

        Empty for anything else. SHA-256 of the parts' SHA-256 in order, so that equal bytes have equal ones.
        """
        return self._source.locate().version if isinstance(self._source, RowFiles) else ""

    def __repr__(self) -> str:
        return f"<Dataset: {len(self):,} records: {self._show()}>"

    def __setstate__(self, state: Any) -> None:
        super().__setstate__(state)
        self._rows = None

    @overload  # type: ignore[override]
    def shuffle(self, seed: int = 0, *, buffer: None = None, name: str | None = None) -> Dataset[T]: ...
    @overload
    def shuffle(self, seed: int = 0, *, buffer: int, name: str | None = None) -> Stream[T]: ...
    def shuffle(self, seed: int = 0, *, buffer: int | None = None, name: str | None = None) -> Stream[T]:
        """All records in an order that follows from `seed`, worked out one by one: no memory, any length.

        In front of a `repeat` each epoch has an order of its own. With `buffer`, block by block as a stream's.

        Order: a function of `seed`, epoch and number.   Memory: none.   Failure: none.   Resume: exact.
        """
        if buffer is not None:
            return super().shuffle(seed, buffer=buffer, name=name)
        return self._add(Shuffle(seed=seed, buffer=None, name=name))

    def narrow(self, *columns: str) -> Dataset[Any]:
        """The same records, which may lack all columns but these: what Parquet and Arrow need not read then."""
        if self._hooks or not all(map(is_index_node, self._nodes)):
            return self
        source = cast(RowSource, self._source)
        narrowed = source.narrow(columns)
        return self if narrowed is source else Dataset(narrowed, self._nodes)

    def _open(self) -> Rows:
        source = cast(RowSource, self._source)
        if self._hooks or source.has_hooks:  # those there are now, at each read
            return open_dataset_rows(source, bind_hooks(self._nodes, self._hooks))
        if self._rows is None:
            self._rows = open_dataset_rows(source, self._nodes)
        return self._rows

    def _read_one(self, index: Any) -> T:
        try:
            place = operator.index(index)
        except TypeError:
            raise TypeError(
                f"expected an integer, a slice, a list of places, a mask or a column, got {type(index).__name__}"
            ) from None
        record: Any = self._open().read_row(_check_place(place, len(self)))
        return cast(T, record)

    def _find_places(self, given: Sequence[Any]) -> tuple[int, ...]:
        size = len(self)
        if given and all(isinstance(each, bool) for each in given):
            if len(given) != size:
                raise IndexError(f"expected a mask of {size:,} values, one for each record, got {len(given):,}")
            return tuple(place for place, chosen in enumerate(given) if chosen)
        return tuple(_check_place(operator.index(each), size) for each in given)


class Column(Sequence[Any]):
    """One column of a dataset, read as it is asked for: `len`, `[i]`, slices, iteration, `np.asarray`."""

    __slots__ = ("_dataset", "_narrowed", "name")

    def __init__(self, dataset: Dataset[Any], name: str) -> None:
        self._dataset = dataset
        self._narrowed: Dataset[Any] | None = None
        self.name = name

    def __len__(self) -> int:
        return len(self._dataset)

    @overload
    def __getitem__(self, index: Number) -> Any: ...
    @overload
    def __getitem__(self, index: Places) -> Column: ...
    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, str):
            raise TypeError("expected an integer, a slice, a list of places or a mask, got str")
        chosen = self._open()[index]
        if isinstance(chosen, Dataset):
            column = Column(self._dataset[index], self.name)
            column._narrowed = chosen  # which has the file open already
            return column
        return read_column(chosen, self.name)

    def __iter__(self) -> Iterator[Any]:
        return (read_column(record, self.name) for record in self._open())

    def find_array(self) -> Any | None:
        """Vectors as an array of their own kind, over the file where one holds them; None of any other values."""
        data = self._open()
        return read_array(data._open(), self.name, range(len(data)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The values as an array `(records, …)`; ragged ones and texts as objects.

        Vectors that one file holds (NumPy's files, Arrow's lists of one length in one batch), whole or a slice of
        them, are not copied: the array is over the file itself, and not to be written.
        """
        array = self.find_array()
        if array is None:
            array = to_array(list(self))
        elif copy:
            array = array.copy()
        return array if dtype is None else array.astype(dtype, copy=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Column) and (self.name, self._dataset) == (other.name, other._dataset)

    def __hash__(self) -> int:
        return hash((self.name, self._dataset))

    def __repr__(self) -> str:
        return f"<Column {self.name!r} of {self._dataset!r}>"

    def __getstate__(self) -> Any:
        return self._dataset, self.name

    def __setstate__(self, state: Any) -> None:
        self._dataset, self.name = state
        self._narrowed = None

    def _open(self) -> Dataset[Any]:
        """The dataset with this column alone, where the other ones need not be read."""
        if self._narrowed is None:
            self._narrowed = self._dataset.narrow(self.name)
        return self._narrowed


def _parts_of(index: slice) -> tuple[Any, Any, Any]:
    return index.start, index.stop, index.step


def _to_bound(given: Any) -> int:
    """A part of a slice; one beyond any length is the largest there is, as a list takes it."""
    return max(-sys.maxsize, min(sys.maxsize, operator.index(given)))


def _check_place(index: int, size: int) -> int:
    if not -size <= index < size:
        raise IndexError(f"index {index} is out of range: there are {size:,} records")
    return index + size if index < 0 else index
