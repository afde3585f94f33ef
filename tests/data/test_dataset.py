from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.data.formats.jsonl import save_jsonl
from tidemill.data.rows.files import MAX_OPEN_PARTS
from tidemill.errors import ConfigError, DataError, ResourceError, StateError
from tidemill.stream.dataset import Dataset
from tidemill.stream.opening import dataset

FEW = settings(max_examples=60)

Save = Callable[[Path, Sequence[int]], Dataset[Any]]


def rows_of(sizes: Sequence[int]) -> list[dict[str, Any]]:
    return [{"n": n, "text": f"row {n}", "label": {"kind": "even", "scores": [n, n]}} for n in range(sum(sizes))]


def save_parts(folder: Path, sizes: Sequence[int], suffix: str) -> list[dict[str, Any]]:
    """Write files of these numbers of rows, and return the manifest's list of them."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = rows_of(sizes)
    schema = pa.Table.from_pylist(rows_of([1])).schema
    parts = []
    for index, size in enumerate(sizes):
        path = folder / f"part-{index:05}{suffix}"
        own, rows = rows[:size], rows[size:]
        if suffix == ".parquet":
            pq.write_table(pa.Table.from_pylist(own, schema=schema), path, row_group_size=3)
        else:
            save_jsonl(own, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        parts.append({"name": path.name, "rows": size, "bytes": path.stat().st_size, "sha256": digest})
    return parts


def save_run(folder: Path, sizes: Sequence[int], suffix: str = ".parquet") -> Path:
    """An output folder as a run leaves it."""
    parts = save_parts(folder, sizes, suffix)
    manifest = {"version": 1, "run_id": "r1", "format": suffix[1:], "rows": sum(sizes), "parts": parts}
    (folder / "_manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(params=["run parquet", "run jsonl", "folder parquet", "folder jsonl"])
def save(request: pytest.FixtureRequest) -> Save:
    kind, name = request.param.split()

    def open_saved(folder: Path, sizes: Sequence[int]) -> Dataset[Any]:
        for old in folder.glob("*"):
            old.unlink()
        if kind == "run":
            save_run(folder, sizes, f".{name}")
        else:
            save_parts(folder, sizes or [0], f".{name}")
        return dataset(folder)

    return open_saved


@FEW
@given(
    sizes=st.lists(st.integers(0, 8), max_size=7),
    cut=st.slices(20),
    again=st.slices(20),
    index=st.integers(-25, 25),
)
def test_a_dataset_is_the_sequence_of_its_rows(
    save: Save, tmp_path: Path, sizes: list[int], cut: slice, again: slice, index: int
) -> None:
    """Length, every index, slices of slices and iteration agree with the list of the rows."""
    data, rows = save(tmp_path / "out", sizes), rows_of(sizes)
    assert len(data) == len(rows)
    assert list(data) == rows
    assert list(data[cut]) == rows[cut]
    assert list(data[cut][again]) == rows[cut][again]
    assert [data[cut][i] for i in range(len(data[cut]))] == rows[cut]
    assert list(reversed(data)) == rows[::-1]
    if -len(rows) <= index < len(rows):
        assert data[index] == rows[index]
    else:
        with pytest.raises(IndexError, match=f"index {index} is out of range: there are {len(rows)} records"):
            data[index]


def test_it_says_what_it_is(tmp_path: Path) -> None:
    """`repr` has the number of records and the pipeline; of a view its own."""
    data = dataset(save_run(tmp_path / "out", [5, 2]))
    assert repr(data) == f"<Dataset: 7 records: dataset('{tmp_path}/out')>"
    assert repr(data[:2].select("n")) == f"<Dataset: 2 records: dataset('{tmp_path}/out') | slice | select>"
    assert repr(dataset(save_run(tmp_path / "none", []))) == f"<Dataset: 0 records: dataset('{tmp_path}/none')>"


def test_a_wrong_index_is_told_by_its_type(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="or a column, got float"):
        dataset(save_run(tmp_path, [3]))[1.5]  # type: ignore[call-overload]


def test_length_needs_no_part(tmp_path: Path) -> None:
    """The manifest knows the length; a part that is gone is told when a row of it is asked for."""
    folder = save_run(tmp_path / "out", [5, 2])
    (folder / "part-00001.parquet").unlink()
    data = dataset(folder)
    assert len(data) == 7
    assert data[4]["n"] == 4
    with pytest.raises(ResourceError, match=r"part-00001\.parquet: cannot be read"):
        data[5]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_a_part_that_changed_is_refused(tmp_path: Path, suffix: str) -> None:
    """Rows are never taken from a file that has another number of them than the manifest says."""
    folder = save_run(tmp_path / "out", [5, 2], suffix)
    data = dataset(folder)
    save_parts(folder, [4], suffix)
    with pytest.raises(StateError, match=r"part-00000\..*: expected 5 records, got 4: the file changed"):
        data[0]


def test_a_file_cut_while_it_is_open_is_told(tmp_path: Path) -> None:
    """A row that the index knows and the file no longer has is an error, never an end."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 0}\n{"n": 1}\n')
    data = dataset(path)
    assert len(data) == 2
    path.write_bytes(b'{"n": 0}\n')
    with pytest.raises(StateError, match="row 1 is gone: the file changed"):
        data[1]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_it_pickles_small_and_opens_anew(tmp_path: Path, suffix: str) -> None:
    """What travels to another process is names and sizes, however much was read."""
    data = dataset(save_run(tmp_path / "out", [300, 200], suffix))
    assert len(list(data)) == 500
    carried = pickle.dumps(data[100:])
    assert len(carried) < 900
    assert list(pickle.loads(carried)) == rows_of([500])[100:]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_threads_share_one(tmp_path: Path, suffix: str) -> None:
    """More parts than are held open, read from several threads at once."""
    sizes = [7] * (MAX_OPEN_PARTS * 2)
    data, rows = dataset(save_run(tmp_path / "out", sizes, suffix)), rows_of(sizes)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(data.__getitem__, [*range(len(rows)), *reversed(range(len(rows)))]))
    assert found == rows + rows[::-1]


def test_one_file_is_a_dataset(tmp_path: Path) -> None:
    """A single file, with a byte order mark, blank lines and no last line end."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"n": 0}\r\n\r\n  \n{"n": 1}\n\n{"n": 2}')
    assert list(dataset(path)) == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert list(dataset(str(path))[::-1]) == [{"n": 2}, {"n": 1}, {"n": 0}]
    path.write_bytes(b"")
    assert list(dataset(path)) == []


def test_a_bad_line_costs_its_own_row(tmp_path: Path) -> None:
    """The other rows are there; the bad one says file and offset."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 0}\noops\n{"n": 2}\n')
    data = dataset(path)
    assert (len(data), data[2]) == (3, {"n": 2})
    with pytest.raises(DataError, match=r"a\.jsonl, byte 9: not JSON") as caught:
        data[1]
    assert caught.value.raw == b"oops"


def test_what_cannot_be_a_dataset_says_why(tmp_path: Path) -> None:
    """A format without an index, a folder of two formats, of none, and no place at all."""
    save_jsonl([{}], tmp_path / "packed/a.jsonl.gz")
    for path in (tmp_path / "packed", tmp_path / "packed/a.jsonl.gz"):
        with pytest.raises(ConfigError, match=r"a gzip file cannot be a dataset.*\n.*tidemill\.read"):
            dataset(path)
    save_parts(tmp_path / "both", [1], ".jsonl")
    save_parts(tmp_path / "both", [1], ".parquet")
    with pytest.raises(ConfigError, match="expected files of one format, got jsonl and parquet side by side"):
        dataset(tmp_path / "both")
    (tmp_path / "a.csv").write_text("n\n1\n")
    with pytest.raises(ConfigError, match=r"CSV cannot be a dataset"):
        dataset(tmp_path / "a.csv")
    (tmp_path / "a.csv").rename(tmp_path / "a.odd")
    with pytest.raises(ConfigError, match=r"expected a file that ends in \.jsonl, .*, got `a\.odd`"):
        dataset(tmp_path / "a.odd")
    with pytest.raises(DataError, match=r"no _manifest\.json and no file of a known format in the folder"):
        dataset(tmp_path)
    with pytest.raises(DataError, match=r"expected a folder or a file, got `.*/none`, where there is nothing"):
        dataset(tmp_path / "none")
    (tmp_path / "b.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"b\.parquet: expected a Parquet file"):
        len(dataset(tmp_path / "b.parquet"))


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ({"version": 2, "parts": [], "format": "jsonl"}, "expected a manifest of version 1, got 2"),
        ({"version": 1, "parts": [], "format": "csv"}, "expected parts in parquet or jsonl, got 'csv'"),
        ({"version": 1, "format": "jsonl"}, r"expected the manifest of a run: KeyError\('parts'\)"),
        ([], "expected the manifest of a run: TypeError"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(tmp_path: Path, manifest: Any, message: str) -> None:
    """A manifest is read whole or not at all."""
    (tmp_path / "_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StateError, match=message):
        dataset(tmp_path)


def test_rows_the_manifest_does_not_know_are_not_read(tmp_path: Path) -> None:
    """A part left by a run that died while sealing is no part of the dataset."""
    folder = save_run(tmp_path / "out", [2])
    pq.write_table(pa.table({"n": [9]}), folder / "part-00001.parquet")
    assert [row["n"] for row in dataset(folder)] == [0, 1]
