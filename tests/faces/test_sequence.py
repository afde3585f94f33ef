"""A dataset is a full `Sequence`: whatever it is over, it agrees with the list of its records."""

from __future__ import annotations

import multiprocessing
import pickle
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tidemill as tm
from tidemill.data.sources.rows import RowSource
from tidemill.stream.dataset import Column

FEW = settings(max_examples=40)

SIZE = 11
ROWS: list[Any] = [{"n": n, "text": f"row {n % 4}", "scores": [n] * (n % 3)} for n in range(SIZE)]


class Numbered:
    """An object with numbers, and nothing else a list has."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int, /) -> Any:
        return self.rows[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Numbered) and self.rows == other.rows

    def __hash__(self) -> int:
        return hash(len(self.rows))


def save_rows(folder: Path, suffix: str) -> Path:
    """Two files of these rows."""
    for number, part in enumerate((ROWS[:4], ROWS[4:])):
        tm.from_iterable(part).save(folder / suffix / f"{number}.{suffix}")
    return folder / suffix


def save_groups(folder: Path) -> Path:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "groups.parquet", row_group_size=3)
    return folder / "groups.parquet"


def as_it_is(record: Any) -> Any:
    return record


KINDS: dict[str, Callable[[Path], tm.Dataset[Any]]] = {
    "jsonl": lambda folder: tm.dataset(save_rows(folder, "jsonl")),
    "parquet": lambda folder: tm.dataset(save_rows(folder, "parquet")),
    "row groups": lambda folder: tm.dataset(save_groups(folder)),
    "arrow": lambda folder: tm.dataset(save_rows(folder, "arrow")),
    "arrows": lambda folder: tm.dataset(save_rows(folder, "arrows")),
    "list": lambda folder: tm.dataset(ROWS),
    "object": lambda folder: tm.dataset(Numbered(ROWS)),
    "table": lambda folder: tm.dataset(pa.Table.from_pylist(ROWS)),
    "frame": lambda folder: tm.dataset(pd.DataFrame(ROWS)),
    "hugging face": lambda folder: tm.from_hf(datasets.Dataset.from_list(ROWS)),
    "joined": lambda folder: tm.dataset(ROWS[:4]) + tm.dataset(save_groups(folder))[4:],
    "mapped": lambda folder: tm.dataset(save_groups(folder)).map(as_it_is),
    "chosen": lambda folder: tm.dataset([None, *ROWS[::-1]])[:0:-1],
}


@pytest.fixture(params=KINDS)
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tm.Dataset[Any]]:
    made = KINDS[request.param](tmp_path)
    yield made
    release(made)


def release(data: tm.Dataset[Any]) -> None:
    """Close the files that a dataset keeps open while it is kept."""
    cast(RowSource, data.source).rows.release()


@FEW
@given(cut=st.slices(SIZE), again=st.slices(SIZE), index=st.integers(-SIZE - 3, SIZE + 3))
def test_numbers_and_slices_of_slices(data: tm.Dataset[Any], cut: slice, again: slice, index: int) -> None:
    """Length, records, negative numbers and the ends are those of the list, slice upon slice."""
    for view, rows in ((data, ROWS), (data[cut], ROWS[cut]), (data[cut][again], ROWS[cut][again])):
        assert len(view) == len(rows)
        assert list(view) == rows
        assert list(reversed(view)) == rows[::-1]
        if -len(rows) <= index < len(rows):
            assert view[index] == rows[index]
            assert view[np.int64(index)] == rows[index]
        else:
            with pytest.raises(IndexError, match=f"index {index} is out of range: there are {len(rows)} records"):
                view[index]


@FEW
@given(places=st.lists(st.integers(-SIZE, SIZE - 1), max_size=8), cut=st.slices(5))
def test_lists_of_places(data: tm.Dataset[Any], places: list[int], cut: slice) -> None:
    """Lists, tuples, ranges and arrays choose and order; `__getitems__` reads them at once."""
    chosen = [ROWS[place] for place in places]
    for given_as in (places, tuple(places), np.array(places, dtype=int), torch.tensor(places, dtype=torch.int64)):
        assert list(data[given_as]) == chosen
    assert list(data[places][cut]) == chosen[cut]
    assert data.__getitems__(places) == chosen
    assert list(data[range(1, 9, 3)]) == ROWS[1:9:3]
    with pytest.raises(IndexError, match="index 11 is out of range"):
        data[[*places, SIZE]]
    with pytest.raises(IndexError, match="index -12 is out of range"):
        data.__getitems__([*places, -SIZE - 1])


@FEW
@given(mask=st.lists(st.booleans(), min_size=SIZE, max_size=SIZE))
def test_masks(data: tm.Dataset[Any], mask: list[bool]) -> None:
    """A list of booleans, or an array of them, keeps those that are true."""
    kept = [row for row, is_kept in zip(ROWS, mask, strict=True) if is_kept]
    for given_as in (mask, np.array(mask), torch.tensor(mask), pd.Series(mask)):
        assert list(data[given_as]) == kept
    with pytest.raises(IndexError, match="expected a mask of 11 values, one for each record, got 10"):
        data[mask[:-1]]


def test_finding_records(data: tm.Dataset[Any]) -> None:
    """`in`, `index` and `count` look through it; `random.sample` and `random.choice` take it as they take a list."""
    assert ROWS[7] in data
    assert {"n": 99} not in data
    assert data.index(ROWS[7]) == 7
    assert data.index(ROWS[7], -5) == data.index(ROWS[7], 7, 8) == 7
    assert data.count(ROWS[7]) == 1
    assert data.count(None) == 0
    with pytest.raises(ValueError, match="no record equals"):
        data.index(ROWS[7], 8)
    assert random.Random(3).sample(data, 5) == random.Random(3).sample(ROWS, 5)
    assert random.Random(4).choice(data) == random.Random(4).choice(ROWS)
    assert isinstance(data, Sequence)


def test_going_by_numbers_ends(data: tm.Dataset[Any]) -> None:
    """The old way of iterating, by `IndexError`, ends where the list does; so do unpacking and `zip`."""
    found = []
    with pytest.raises(IndexError, match="out of range"):
        for number in range(100):
            found += [data[number]]
    assert found == ROWS
    first, *_, last = data
    assert (first, last) == (ROWS[0], ROWS[-1])
    assert [pair[0] == pair[1] for pair in zip(data, ROWS, strict=True)] == [True] * SIZE


@FEW
@given(cut=st.slices(SIZE), places=st.lists(st.integers(-SIZE, SIZE - 1), max_size=5))
def test_columns(data: tm.Dataset[Any], cut: slice, places: list[int]) -> None:
    """A name gives the column's values: by number, slice, list and mask, iterated, and as an array."""
    for name in ("n", "text", "scores"):
        values = [row[name] for row in ROWS]
        column = data[name]
        assert isinstance(column, Column)
        assert (len(column), list(column), column[-1]) == (SIZE, values, values[-1])
        assert list(column[cut]) == list(data[cut][name]) == values[cut]
        assert list(column[places]) == [values[place] for place in places]
        assert values[3] in column
        assert np.asarray(column[cut]).tolist() == values[cut]
    assert np.asarray(data["n"]).dtype == np.int64
    assert np.asarray(data["n"], dtype=np.float32).dtype == np.float32
    assert np.asarray(data["text"]).dtype == object
    assert data["n"][places] == data[places]["n"]
    assert hash(data["n"]) == hash(data["n"])
    with pytest.raises(tm.DataError, match=r"expected a column `textt`.*\n.*did you mean `text`"):
        data["textt"][0]
    with pytest.raises(TypeError, match="a list of places or a mask, got str"):
        data["n"]["text"]  # type: ignore[index]


def test_sums_and_equality(data: tm.Dataset[Any], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """`+` goes on in the other; what says the same is equal and has one hash, and only that."""
    both = data + tm.dataset(ROWS[:2])
    assert isinstance(both, tm.Dataset)
    assert list(both) == ROWS + ROWS[:2]
    assert [both[number] for number in range(-3, 0)] == [ROWS[-1], *ROWS[:2]]
    assert list(both[9:12]) == [*ROWS[9:], ROWS[0]]
    again = KINDS[request.node.callspec.params["data"]](tmp_path)
    for one, other in ((data, again), (data[2:], again[2:]), (data.map(as_it_is), again.map(as_it_is)), (both, both)):
        assert one == other
        assert hash(one) == hash(other)
    assert both == again + tm.dataset(ROWS[:2])
    release(again)
    assert len({data, again, data[1:], data[2:], data.take(3), data["n"], data["text"], both}) == 7
    assert data != ROWS
    with pytest.raises(TypeError, match="unsupported operand"):
        data + 1  # type: ignore[operator]


def read_some(data: tm.Dataset[Any]) -> Any:
    return len(data), data[3], list(data[2:9:3]), list(data["n"]), list(data.shuffle(1))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_the_same(tmp_path: Path, method: str) -> None:
    """By fork and by spawn, after records were read here; what is pickled is small, and holds nothing that is open."""
    kinds = [make(tmp_path) for make in KINDS.values()]
    here = [read_some(data) for data in kinds]
    assert all(len(pickle.dumps(data)) < 6000 for data in kinds)
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.map(read_some, kinds, chunksize=20) == here
        pool.close()
        pool.join()
    for data in kinds:
        release(data)


@pytest.mark.parametrize(
    "values", [[["a", "b"], ["c", "d"]], [[None, 1], [2, 3]], [["a"]], [[1], [2, 3]], [{"a": 1}], ["a", None], [None]]
)
def test_a_column_without_numbers_is_an_array_of_objects(values: list[Any]) -> None:
    """One for each record, lists of one length included."""
    array = np.asarray(tm.dataset([{"a": value} for value in values])["a"])
    assert array.dtype == np.dtype(object)
    assert (array.shape, list(array)) == ((len(values),), values)


def test_a_slice_beyond_any_length() -> None:
    """As a list takes it."""
    data, far = tm.dataset(ROWS), 10**20
    for cut in (slice(far), slice(far, None), slice(-far, far), slice(None, None, far), slice(far, -far, -1)):
        assert list(data[cut]) == ROWS[cut]


def test_an_empty_dataset() -> None:
    """Is false, has no record, and no column says so until it is asked."""
    data: tm.Dataset[Any] = tm.dataset([])
    assert (len(data), list(data), bool(data), list(data[:3]), list(data["a"]), data.columns) == (
        0,
        [],
        False,
        [],
        [],
        (),
    )
    assert np.asarray(data["a"]).shape == (0,)
    with pytest.raises(IndexError, match="index 0 is out of range: there are 0 records"):
        data[0]


def test_a_column_reads_no_other(tmp_path: Path) -> None:
    """Of Parquet, and of Arrow: one whose bytes are gone is not missed."""
    path = tmp_path / "a.parquet"
    table = pa.table({"n": list(range(500)), "text": [f"number {n}" for n in range(500)]})
    pq.write_table(table, path, row_group_size=100, compression="none", use_dictionary=False)
    data = tm.dataset(path)
    chunk = pq.ParquetFile(path).metadata.row_group(2).column(1)
    with path.open("r+b") as file:
        file.seek(chunk.data_page_offset)
        file.write(b"\xff" * chunk.total_compressed_size)
    assert list(data["n"]) == list(range(500))
    assert list(data[150:350]["n"][::50]) == [150, 200, 250, 300]
    with pytest.raises(tm.DataError, match="row group 2 is corrupt"):
        data["text"][250]
    with pytest.raises(tm.DataError, match="row group 2 is corrupt"):
        data[250]


def test_a_column_behind_a_step_is_the_steps() -> None:
    """What a function makes of whole records is asked of whole records."""
    data = tm.dataset(pa.Table.from_pylist(ROWS)).map(lambda record: {"n": record["n"] + len(record["text"])})
    assert list(data["n"]) == [row["n"] + len(row["text"]) for row in ROWS]
    assert list(tm.dataset(ROWS).rename({"n": "m"})["m"]) == list(range(SIZE))
