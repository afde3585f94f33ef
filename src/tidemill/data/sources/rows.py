"""Rows as a source: what a dataset is over, and what its steps by number make of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from tidemill.data.entering.entered import Entered
from tidemill.data.formats.format import Rows
from tidemill.data.nodes.node import Node, step_names
from tidemill.data.reader import PartReader
from tidemill.data.rows.index import Index, fold_index, full_index, is_index_node
from tidemill.data.rows.reader import open_row_reader
from tidemill.data.rows.views import EnteredRows, IndexedRows, MappedRows, ObjectRows
from tidemill.data.steps.functions import check_entering, enter_step, has_managers, is_async, record_function
from tidemill.errors import ConfigError, DataError
from tidemill.protocols import Growth, Source, State

ROWS_PART = "rows"
"""The name of the one part of rows."""


class RowSource(ABC):
    """A source whose records have numbers: a dataset's. One part, in the order of the numbers.

    Frozen, equal by description; pickles without what is open.
    """

    _opened: Rows | None  # without a value: of a `Config` it would hide the private attribute

    @abstractmethod
    def open_rows(self) -> Rows:
        """The rows, opened anew."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The source as JSON."""

    @abstractmethod
    def show(self) -> str:
        """The source in a line, as its user would write it."""

    @property
    def has_hooks(self) -> bool:
        """Whether there may be hooks around steps within it, which are bound as it is read."""
        return False

    def stamp(self) -> str:
        """What tells the rows from others of the same description: a checksum of their files; empty when unknown."""
        return ""

    @property
    def rows(self) -> Rows:
        """The rows, opened on first use and shared by all that read them; with hooks each time anew."""
        if self.has_hooks:
            return self.open_rows()
        opened: Rows | None = getattr(self, "_opened", None)
        if opened is None:
            opened = self._opened = self.open_rows()
        return opened

    def parts(self, start: str | None = None) -> Sequence[str]:
        """The one part."""
        return (ROWS_PART,)

    def open_part(self, part: str, state: State | None = None) -> PartReader:
        """All rows, from the first or from `state`."""
        return self.open_view(full_index(self.rows.count_rows()), state)

    def open_view(self, index: Index, state: State | None) -> PartReader:
        """The rows an index names, from the first or from `state`."""
        return open_row_reader(self.rows, index, self.stamp(), state)

    def narrow(self, columns: tuple[str, ...]) -> RowSource:
        """The same rows with these columns alone, where that saves reading; else, and where one is missing, itself."""
        return self

    def decode_record(self, raw: bytes) -> Any:
        """Not possible: rows are not made of bytes of their own."""
        raise DataError("expected a row of a dataset, which cannot be made from bytes", raw=raw)

    def compare_part(self, part: str, state: State) -> Growth:
        """Whether the rows are those that `state` was taken of, or have those before others now."""
        is_same = state["stamp"] == self.stamp() and state["size"] == self.rows.count_rows()
        return "same" if is_same else self.compare_stamp(state["stamp"])

    def compare_stamp(self, stamp: str) -> Growth:
        """What became of rows that had this stamp, and have another one or another number now."""
        return "edited"

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """Rows given, and how many there are."""
        return state["row"] if state else 0, self.rows.count_rows()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}


class ObjectSource(RowSource):
    """An object with `__len__` and `__getitem__` as a source: a list, a table, another library's dataset."""

    def __init__(self, items: Any) -> None:
        if not (hasattr(items, "__len__") and hasattr(items, "__getitem__")) or isinstance(items, (str, bytes)):
            raise ConfigError(
                f"expected a path, or an object with `__len__` and `__getitem__`, got a {type(items).__name__}",
                hint="a stream of what can only be iterated: tidemill.from_iterable(…)",
            )
        self.items = items

    def open_rows(self) -> Rows:
        return ObjectRows(self.items)

    def narrow(self, columns: tuple[str, ...]) -> RowSource:
        narrow = getattr(self.items, "narrow", None)
        if narrow is None or not set(columns) <= set(self.items.columns):
            return self
        return ObjectSource(narrow(columns))

    def describe(self) -> dict[str, Any]:
        return {"object": type(self.items).__qualname__, "size": len(self.items)}

    def show(self) -> str:
        return f"dataset({type(self.items).__name__})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ObjectSource):
            return False
        if self.items is other.items:
            return True
        with suppress(ValueError):  # arrays of other shapes; of the same ones, the answer is an array
            return type(self.items) is type(other.items) and (self.items == other.items) is True
        return False

    def __hash__(self) -> int:
        return hash(("object", type(self.items).__qualname__, len(self.items)))


class RowView(RowSource):
    """The rows of a source that an index names, in its order."""

    def __init__(self, source: RowSource, index: Index) -> None:
        self._source = source
        self._index = index

    def open_rows(self) -> Rows:
        return IndexedRows(self._source.rows, self._index)

    def open_part(self, part: str, state: State | None = None) -> PartReader:
        return self._source.open_view(self._index, state)

    def compare_part(self, part: str, state: State) -> Growth:
        is_same = state["stamp"] == self.stamp() and state["size"] == len(self._index)
        return "same" if is_same else self.compare_stamp(state["stamp"])

    def compare_stamp(self, stamp: str) -> Growth:
        return self._source.compare_stamp(stamp)

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        return state["row"] if state else 0, len(self._index)

    def describe(self) -> dict[str, Any]:
        return self._source.describe()

    def show(self) -> str:
        return self._source.show()

    def stamp(self) -> str:
        return self._source.stamp()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RowView) and (self._source, self._index) == (other._source, other._index)

    def __hash__(self) -> int:
        return hash(self._source)


def find_folded(source: object, nodes: Sequence[Node]) -> frozenset[int]:
    """The places of the steps that choose and order rows of `source` by number, as far as rows keep their places."""
    if not isinstance(source, RowSource):
        return frozenset()
    folded = set()
    for index, node in enumerate(nodes):
        if is_index_node(node):
            folded.add(index)
        elif not node.keeps_places:
            break
    return frozenset(folded)


def choose_rows(source: Source, chosen: Sequence[tuple[Node, State | None]], epoch: tuple[int, ...]) -> Source:
    """`source`, of a dataset with the rows that the steps by number choose, in the order they have in this epoch.

    Args:
        chosen: each step with what a state says of it.

    Raises:
        DataError: a step picks a place that is not there.
    """
    if not (chosen and isinstance(source, RowSource)):
        return source
    try:
        return RowView(source, fold_index(full_index(source.rows.count_rows()), chosen, epoch))
    except IndexError as error:
        raise DataError(f"a step picks what is not there: {error}") from error


def is_dataset(source: object, nodes: Sequence[Node]) -> bool:
    """Whether the records behind `nodes` still have numbers."""
    return isinstance(source, RowSource) and all(is_index_node(node) or node.keeps_places for node in nodes)


def open_dataset_rows(source: RowSource, nodes: Sequence[Node]) -> Rows:
    """The rows of a dataset: those of `source` behind its steps.

    Steps that are context managers are entered for each read, since nobody says when the last one was.

    Raises:
        ConfigError: a step needs a loop.
    """
    names = step_names(tuple(nodes))
    chosen = [node for node in nodes if is_index_node(node)]
    steps = [(node, name) for node, name in zip(nodes, names, strict=True) if not is_index_node(node)]
    for node, name in steps:
        if is_async(node):
            raise ConfigError(
                "the function is a coroutine function, and nothing awaits it for one record of a dataset",
                where=f"step `{name}`",
                hint="iterate the dataset, or make it a plain function",
            )
        check_entering(node, name)
    rows = source.rows
    if chosen:
        rows = IndexedRows(rows, fold_index(full_index(rows.count_rows()), [(node, None) for node in chosen], ()))
    if any(has_managers(node) for node, _ in steps):
        return EnteredRows(rows, partial(_open_mapped, rows, steps))
    return _map_rows(rows, steps) if steps else rows


def _map_rows(rows: Rows, steps: Sequence[tuple[Node, str]]) -> Rows:
    return MappedRows(rows, [(record_function(node, name), name) for node, name in steps])


@contextmanager
def _open_mapped(rows: Rows, steps: Sequence[tuple[Node, str]]) -> Iterator[Rows]:
    """The rows behind steps that are entered meanwhile."""
    entered = Entered()
    try:
        yield _map_rows(rows, [(enter_step(node, name, entered), name) for node, name in steps])
    finally:
        entered.close()
