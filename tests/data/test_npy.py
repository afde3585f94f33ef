"""Vectors in NumPy's files: rows and slices over the file itself, and files that are not what they say."""

from __future__ import annotations

import json
import os
import pickle
import random
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from numpy.lib import format as npy_format
from resuming import check_resumes_everywhere, outcomes, through_json

import tidemill as tm
from tidemill.data.files.mapping import PrivateMapping
from tidemill.data.formats.arrays.npy import NPY, NPZ
from tidemill.data.formats.format import Options
from tidemill.data.iteration import iterate
from tidemill.data.nodes.across import Shard
from tidemill.data.sources.read import Read
from tidemill.data.sources.rows import RowSource
from tidemill.errors import ConfigError, DataError, ResourceError, StateError, TidemillError
from tidemill.jobs.landing.stretch import SegmentLimits

VECTORS = np.arange(1200, dtype=np.float32).reshape(300, 4)
LABELS = np.arange(300)
LISTS: Any = pa.FixedSizeListArray  # whose stubs want the type of what is in them


def release(data: tm.Dataset[Any]) -> None:
    """Close the files that a dataset holds open."""
    assert isinstance(data.source, RowSource)
    data.source.rows.release()


@pytest.fixture
def npy(tmp_path: Path) -> Path:
    np.save(tmp_path / "a.npy", VECTORS)
    return tmp_path / "a.npy"


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez(tmp_path / "a.npz", vector=VECTORS, label=LABELS)
    return tmp_path / "a.npz"


def as_lists(record: Any) -> Any:
    """A record whose arrays can be compared."""
    return {name: each.tolist() if isinstance(each, np.ndarray) else each for name, each in record.items()}


def expected(start: int = 0, stop: int = 300, *, labels: bool = False) -> list[Any]:
    rows = [{"vector": VECTORS[n].tolist(), "label": n} for n in range(start, stop)]
    return rows if labels else [{"vector": row["vector"]} for row in rows]


def lies_over(array: np.ndarray[Any, Any]) -> Any:
    """What holds the numbers of an array."""
    holder: Any = array
    while isinstance(holder, np.ndarray):
        holder = holder.base
    return holder


def test_rows_of_an_array_are_records(npy: Path) -> None:
    """In order and by number; a row is not to be written, since others may have it too."""
    assert list(map(as_lists, tm.read(npy))) == expected()
    data = tm.dataset(npy)
    assert (len(data), data.columns) == (300, ("vector",))
    assert as_lists(data[-1]) == expected()[-1]
    assert [as_lists(each) for each in data.__getitems__([7, 2, 7])] == [expected()[n] for n in (7, 2, 7)]
    assert list(map(as_lists, data[3:9])) == expected(3, 9)
    assert list(map(as_lists, pickle.loads(pickle.dumps(data)).take(2))) == expected(0, 2)
    with pytest.raises(ValueError, match="read-only"):
        data[0]["vector"][0] = 1.0


def test_an_archive_gives_a_row_of_each_array(npz: Path) -> None:
    """`columns=` leaves arrays out, which then may have any number of rows."""
    assert list(map(as_lists, tm.read(npz))) == expected(labels=True)
    assert list(map(as_lists, tm.dataset(npz)[290:])) == expected(290, labels=True)
    assert list(tm.dataset(npz)["label"][:3]) == [0, 1, 2]
    np.savez(npz, vector=VECTORS, mean=VECTORS.mean(axis=0))
    assert list(map(as_lists, tm.read(npz, columns=["vector"]).take(2))) == expected(0, 2)
    with pytest.raises(DataError, match=r"of as many rows each, got `vector` with 300 and `mean` with 4"):
        next(iter(tm.read(npz)))
    with pytest.raises(DataError, match=r"expected a column `vecto`, got `vector`, `mean`\n.*did you mean `vector`"):
        next(iter(tm.read(npz, columns=["vecto"])))


def test_a_packed_archive_is_a_stream_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, vector=VECTORS, label=LABELS)
    found = check_resumes(path)
    assert found == expected(labels=True)
    with pytest.raises(ConfigError, match=r"a packed archive cannot be a dataset: `vector`.*\n.*numpy\.savez"):
        len(tm.dataset(path))


def check_resumes(path: Path) -> list[Any]:
    """Go on from the state at some positions, the first and the last among them."""
    source = Read(path=str(path))
    whole = [as_lists(each) for each in tm.read(path)]
    for position in (0, 1, 255, 256, 257, len(whole)):
        walking = iterate(source, [])
        for _ in range(position):
            next(walking)
        state = through_json(walking.state())
        assert through_json(walking.state()) == state
        walking.close()
        assert [as_lists(each) for each in iterate(source, [], state)] == whole[position:]
    return whole


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_every_position_resumes(tmp_path: Path, suffix: str) -> None:
    """Of values that JSON can compare, at each; with a share of the rows as well."""
    tm.from_iterable([{"vector": n} for n in range(13)]).save(tmp_path / f"a{suffix}")
    tm.from_iterable([{"vector": n} for n in range(13, 20)]).save(tmp_path / f"b{suffix}")
    source = Read(path=str(tmp_path / f"*{suffix}"))
    whole = check_resumes_everywhere(partial(iterate, source, []))
    assert [outcome[1] for outcome in whole] == [{"vector": n} for n in range(20)]
    shares = [check_resumes_everywhere(partial(iterate, source, [Shard(rank=rank, world=3)])) for rank in range(3)]
    assert sorted(outcome[1]["vector"] for share in shares for outcome in share) == list(range(20))


def test_slices_and_columns_lie_over_the_file(npy: Path) -> None:
    """Whatever the slice; an array of several files is copied."""
    data = tm.dataset(npy)
    for places in (slice(None), slice(10, 20), slice(20, 10, -3), slice(None, None, -1), slice(5, 5)):
        array = np.asarray(data[places]["vector"])
        assert array.tolist() == VECTORS[places].tolist()
        assert isinstance(lies_over(array), PrivateMapping)
    whole = np.asarray(data["vector"])
    assert np.shares_memory(whole, np.asarray(data[10:20]["vector"]))
    assert np.shares_memory(whole, data[299]["vector"])
    assert not np.shares_memory(whole, np.array(data["vector"], copy=True))
    np.save(npy.with_name("b.npy"), VECTORS + 1)
    both = tm.dataset(npy.parent)
    joined = np.asarray(both[::-1]["vector"])
    assert joined.dtype == VECTORS.dtype
    assert joined[::-1].tolist() == [*VECTORS.tolist(), *(VECTORS + 1).tolist()]
    assert isinstance(lies_over(np.asarray(both[300:310]["vector"])), PrivateMapping)


def test_a_tensor_of_a_column_lies_over_the_file(npy: Path) -> None:
    """Writing to it changes neither the file nor another's view of it."""
    data = tm.dataset(npy)
    tensor = tm.collate({"vector": data[10:20]["vector"]})["vector"]
    assert tensor.data_ptr() == np.asarray(data["vector"]).ctypes.data + 10 * 16
    assert torch.equal(tensor, torch.from_numpy(VECTORS[10:20].copy()))
    row = tm.collate({"vector": data[3]["vector"]})["vector"]
    assert row.data_ptr() == data[3]["vector"].ctypes.data
    tensor.zero_()
    assert np.load(npy)[10:20].tolist() == VECTORS[10:20].tolist()
    assert next(iter(tm.read(npy).skip(10)))["vector"].tolist() == VECTORS[10].tolist()


@pytest.mark.parametrize("suffix", ["arrow", "arrows", "parquet"])
def test_lists_of_one_length_lie_over_the_batch_that_holds_them(tmp_path: Path, suffix: str) -> None:
    """Of Arrow files that is the file, mapped; those of several batches are one array, of the numbers' own kind."""
    kind = pa.list_(pa.float32(), 4)
    table = pa.table({"vector": LISTS.from_arrays(VECTORS.ravel(), type=kind), "n": LABELS.tolist()})
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, path, row_group_size=100)
    else:
        make: Any = pa.ipc.new_file if suffix == "arrow" else pa.ipc.new_stream
        with make(path, table.schema) as writer:
            writer.write_table(table, max_chunksize=100)
    data = tm.dataset(path)
    for places in (slice(None), slice(110, 190), slice(190, 110, -7), slice(90, 210, 3)):
        array = np.asarray(data[places]["vector"])
        assert array.dtype == np.float32
        assert array.tolist() == VECTORS[places].tolist()
    column = data["vector"]
    first, again = np.asarray(column[110:120]), np.asarray(column[115:190])
    assert np.shares_memory(first, again)
    assert not first.flags.writeable
    assert torch.equal(tm.collate({"vector": column[95:105]})["vector"], torch.from_numpy(VECTORS[95:105].copy()))
    assert np.asarray(data["n"]).tolist() == LABELS.tolist()
    release(data)


def test_vectors_that_may_be_null_are_values(tmp_path: Path) -> None:
    kind = pa.list_(pa.float32(), 2)
    table = pa.table({"vector": pa.array([[1, 2], None], kind), "held": pa.array([[1, 2], [3, None]], kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    data = tm.dataset(tmp_path / "a.parquet")
    assert np.asarray(data["vector"]).tolist() == [[1.0, 2.0], None]
    assert np.asarray(data["held"]).tolist() == [[1.0, 2.0], [3.0, None]]
    assert np.asarray(data[:1]["vector"]).tolist() == [[1.0, 2.0]]


def test_a_tensor_of_an_arrow_column_lies_over_it() -> None:
    """Of lists of one length within lists, and of a slice; a batch of a table copies nothing."""
    kind = pa.list_(pa.list_(pa.float32(), 2), 2)
    inner = LISTS.from_arrays(VECTORS.ravel(), type=pa.list_(pa.float32(), 2))
    column = LISTS.from_arrays(inner, type=kind)
    batch = pa.record_batch({"vector": column}).slice(10, 20)
    tensor = tm.collate(batch)["vector"]
    assert tensor.shape == (20, 2, 2)
    assert tensor.data_ptr() == VECTORS.ctypes.data + 10 * 16
    assert torch.equal(tensor.reshape(20, 4), torch.from_numpy(VECTORS[10:30]))


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_job_lands_vectors(npz: Path, tmp_path: Path, form: Any) -> None:
    """In Parquet as lists of one length, of the file's own numbers."""
    tm.read(npz).map(add_norm).write(tmp_path / "out", format=form, segment=SegmentLimits(records=120))
    data = tm.dataset(tmp_path / "out")
    assert [record["vector"] for record in data] == VECTORS.tolist()
    if form == "parquet":
        assert np.asarray(data["vector"]).dtype == np.float32
    ragged = tm.from_iterable([{"v": np.ones(n)} for n in (1, 2)] + [{"v": None}])
    ragged.write(tmp_path / "ragged", format=form)
    assert [record["v"] for record in tm.dataset(tmp_path / "ragged")] == [[1.0], [1.0, 1.0], None]


def add_norm(record: Any) -> Any:
    return {**record, "norm": float(np.linalg.norm(record["vector"]))}


def test_what_a_record_holds_outlives_the_dataset(npy: Path) -> None:
    """A row keeps its stretch of the file mapped, and nothing else does."""
    data = tm.dataset(npy)
    row = data[7]["vector"]
    release(data)
    del data
    npy.unlink()
    assert row.tolist() == VECTORS[7].tolist()


DTYPES = ["<f8", ">f4", "<f2", "<i8", ">u2", "|b1", "<c8", "<U3", "|S2", "<M8[ns]", "<m8[s]"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(9,), (9, 3), (9, 2, 2), (9, 0), (0, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_kinds_shapes_and_orders(tmp_path: Path, dtype: str, shape: tuple[int, ...], order: Any) -> None:
    """Each is given as it is: the numbers that `numpy.load` gives, of its byte order."""
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype).copy(order)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", vector=array)
    for path in (tmp_path / "a.npy", tmp_path / "a.npz"):
        found = [record["vector"] for record in tm.read(path)]
        assert len(found) == shape[0]
        for row, wanted in zip(found, array, strict=True):
            assert np.array_equal(row, wanted)
        column = np.asarray(tm.dataset(path)["vector"]) if shape[0] else array
        assert np.array_equal(column, array)
        assert column.dtype == array.dtype


def test_big_endian_numbers_become_tensors(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VECTORS.astype(">f4"))
    tensor = tm.collate({"vector": tm.dataset(tmp_path / "a.npy")["vector"]})["vector"]
    assert torch.equal(tensor, torch.from_numpy(VECTORS))


def test_fields_of_structured_values_are_columns(tmp_path: Path) -> None:
    kind = np.dtype([("id", "<i4"), ("vector", "<f4", (2,))])
    np.save(tmp_path / "a.npy", np.array([(n, (n, -n)) for n in range(5)], kind))
    data = tm.dataset(tmp_path / "a.npy")
    assert list(map(as_lists, data)) == [{"id": n, "vector": [n, -n]} for n in range(5)]
    assert list(tm.read(tmp_path / "a.npy", columns=["id"])) == [{"id": n} for n in range(5)]
    assert np.asarray(data["vector"]).tolist() == [[n, -n] for n in range(5)]


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 8)


def cut_header(path: Path) -> None:
    os.truncate(path, 20)


def put_objects(path: Path) -> None:
    np.save(path, np.array([{"n": 1}], dtype=object))


def put_value(path: Path) -> None:
    np.save(path, np.float32(1.5))


def put_text(path: Path) -> None:
    path.write_bytes(b'{"n": 1}\n')


def put_third(path: Path) -> None:
    header = b"{'descr': [('\xc3\xa4\xe2\x82\xac', '<f4')], 'fortran_order': False, 'shape': (0,)}".ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x03\x00" + len(header).to_bytes(4, "little") + header)


BAD_ARRAYS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, r"the array is cut: 300 × 4 of float32 are 4,800 bytes, got 4,792"),
    "header": (cut_header, r"expected an array of NumPy: EOF: reading array header"),
    "empty": (lambda path: path.write_bytes(b""), r"expected an array of NumPy: EOF: reading magic string"),
    "objects": (put_objects, r"got one of Python objects, which are pickled: reading them may run any code"),
    "value": (put_value, r"expected an array with rows, got a single value \(0-d\)"),
    "text": (put_text, r"expected an array of NumPy: the magic string is not correct"),
    "third": (put_third, r"expected a file of NumPy's format 1\.0 or 2\.0, got 3\.0"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_an_array_that_is_none(npy: Path, name: str) -> None:
    """One failure names the file; the next file is read."""
    spoil, message = BAD_ARRAYS[name]
    spoil(npy)
    np.save(npy.with_name("b.npy"), VECTORS[:2])
    stream = tm.read(npy.parent / "*.npy", on_error="skip")
    with pytest.raises(DataError, match=message):
        next(iter(tm.read(npy)))
    with pytest.raises(DataError, match=message):
        len(tm.dataset(npy))
    assert list(map(as_lists, stream)) == expected(0, 2)
    assert [kind for kind, *_ in check_resumes_everywhere(tm.read(npy).iterate)] == ["DataError"]


def write_members(path: Path, **members: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)


BAD_ARCHIVES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (cut, r"expected a `\.npz` file, an archive of arrays: File is not a zip file"),
    "text": (put_text, r"expected a `\.npz` file, an archive of arrays: File is not a zip file"),
    "none": (write_members, r"expected an archive of arrays, got one without any"),
    "other": (partial(write_members, a_txt=b"x"), r"expected an archive of `\.npy` arrays, got `a\.txt`"),
    "no array": (partial(write_members, a_npy=b"x"), r"array `a`: expected an array of NumPy: EOF: reading magic"),
    "objects": (lambda path: np.savez(path, a=np.array([None])), r"array `a`: .*Python objects, which are pickled"),
    "value": (lambda path: np.savez(path, a=np.float32(1)), r"array `a`: expected an array with rows"),
}


@pytest.mark.parametrize("name", BAD_ARCHIVES)
def test_an_archive_that_is_none(npz: Path, name: str) -> None:
    spoil, message = BAD_ARCHIVES[name]
    spoil(npz)
    with pytest.raises(DataError, match=message):
        next(iter(tm.read(npz)))
    assert [kind for kind, *_ in check_resumes_everywhere(tm.read(npz).iterate)] == ["DataError"]


def spoil(raw: bytearray, rng: random.Random, name: str) -> bytes:
    """Some bytes changed, put in or taken out, near where a file says what it holds."""
    for _ in range(rng.randrange(1, 4)):
        near_end = name.endswith(".npz") and rng.random() < 0.5
        place = len(raw) - rng.randrange(160) if near_end else rng.randrange(160)
        at = max(0, min(len(raw) - 1, place))
        how = rng.randrange(5)
        if how < 2:
            raw[at] = rng.randrange(256)
        elif how == 2:
            raw[at:at] = b"%d" % rng.randrange(100)
        elif how == 3:
            raw[at] ^= 1 << rng.randrange(8)
        else:
            del raw[at:]
            raw += b"x"
    return bytes(raw)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "packed.npz"])
def test_files_with_any_byte_wrong(tmp_path: Path, name: str) -> None:
    """They are read, or refused with an error of ours; nothing else comes through."""
    path = tmp_path / name
    save = {"a.npy": np.save, "a.npz": np.savez, "packed.npz": np.savez_compressed}[name]
    save(path, np.arange(40, dtype=np.float32).reshape(10, 4))
    whole, rng = path.read_bytes(), random.Random(22)
    outcomes_seen = set()
    for _ in range(250):
        path.write_bytes(spoil(bytearray(whole), rng, name))
        try:
            outcomes_seen.add(f"{len(list(tm.read(path)))} records")
        except TidemillError as error:
            outcomes_seen.add(type(error).__name__)
    assert {"DataError", "10 records"} <= outcomes_seen


def test_a_packed_array_that_is_corrupt(tmp_path: Path) -> None:
    """What stands in front of that is given, and the failure says how many rows are lost."""
    path = tmp_path / "a.npz"
    array = np.random.default_rng(0).integers(0, 9, (40_000, 4))
    np.savez_compressed(path, vector=array)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 64] = bytes(64)
    path.write_bytes(bytes(raw))
    found = outcomes(tm.read(path).iterate())
    assert 1_000 < len(found) < 40_000
    kind, message, *_ = found[-1]
    assert (kind, message.startswith(f"{40_001 - len(found):,} of its 40,000 rows are lost: ")) == ("DataError", True)


def test_a_state_is_of_the_numbers_before_it(npy: Path, npz: Path) -> None:
    """A file written again with the same numbers is the same; one with others is edited, and refused."""
    for path, write in ((npy, np.save), (npz, partial(np.savez))):
        source = Read(path=str(path))
        reader = source.open_part(path.name)
        list(islice(reader, 100))
        state = through_json(reader.state())
        reader.close()
        os.utime(path, ns=(1, 1))
        assert source.compare_part(path.name, state) == "same"
        read, size = source.measure_part(path.name, state) or (0, 0)
        assert 0.3 < read / size < 0.4
        changed = VECTORS.copy()
        changed[50] = 0
        write(path, changed)
        assert source.compare_part(path.name, state) == "edited"
        with pytest.raises(StateError, match="another than the one the state was taken of"):
            source.open_part(path.name, state)
    with pytest.raises(ResourceError, match="No such file"):
        NPY.open(npy.with_name("gone.npy"))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_state_of_an_array_by_column_is_of_all_of_it(tmp_path: Path, order: Any) -> None:
    path = tmp_path / "a.npy"
    np.save(path, VECTORS.copy(order))
    reader = NPY.open(path)
    next(reader)
    state = through_json(reader.state())
    reader.close()
    changed = VECTORS.copy(order)
    changed[299] = 0
    np.save(path, changed)
    os.utime(path, ns=(1, 1))
    assert NPY.compare(path, state) == ("same" if order == "C" else "edited")


def test_what_has_no_form_in_an_array(tmp_path: Path) -> None:
    """Told with the number of the record."""
    cases: list[tuple[list[Any], str]] = [
        ([{"vector": [1.0]}, {"vector": [1.0, 2.0]}], r"record 1 does not fit the first: .*float64 \(1,\).*\(2,\)"),
        ([{"vector": 1}, {"vector": 1.5}], r"record 1 does not fit the first: expected one int64 .* got one float64"),
        ([{"vector": "x"}], r"record 0 has no form in an array: .* got a str"),
        ([{"vector": [[1], [1, 2]]}], r"record 0 has no form in an array: .* got a list"),
        ([{"x": 1}], r"record 0 is not one column `vector`.*\n.*rename.*\.npz"),
    ]
    for records, message in cases:
        with pytest.raises(DataError, match=message):
            tm.from_iterable(records).save(tmp_path / "a.npy")
    with pytest.raises(DataError, match="record 1 has other columns than the first"):
        tm.from_iterable([{"x": 1}, {"y": 1}]).save(tmp_path / "a.npz")
    tm.from_iterable([{"x": [1, 2], "y": 0.5}] * 3).save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert {name: archive[name].shape for name in archive} == {"x": (3, 2), "y": (3,)}
    assert list(map(as_lists, tm.read(tmp_path / "a.npz"))) == [{"x": [1, 2], "y": 0.5}] * 3


def test_columns_have_arrow_types(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.zeros((2, 3, 4), np.float32), b=np.zeros(2, ">i2"))
    schema = NPZ.read_schema(tmp_path / "a.npz", Options())
    assert schema is not None
    assert str(schema.field("b").type) == "int16"
    assert str(schema.field("a").type).count("fixed_size_list") == 2


def resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmRSS"))) * 1024


@pytest.fixture
def large(tmp_path: Path) -> Iterator[Path]:
    """An array of 10 GB, nothing of which is stored but its header and a row in the middle."""
    path = tmp_path / "large.npy"
    with path.open("wb") as file:
        npy_format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (ROWS, 1024)})
        start = file.tell()
        file.seek(start + ROWS // 2 * 4096)
        file.write(np.full(1024, 7, np.float32).tobytes())
        file.truncate(start + ROWS * 4096)
    yield path
    path.unlink()


ROWS = 2_621_440


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process's memory")
def test_ten_gigabytes_take_the_memory_of_what_is_read(large: Path) -> None:
    """By row, by slice, as a tensor, and gone through: nothing is copied, and what lies behind is let go of."""
    data = tm.dataset(large)
    before = resident_bytes()
    assert len(data) == ROWS
    for number in range(0, ROWS, 40_000):
        assert data[number]["vector"].shape == (1024,)
    assert data[ROWS // 2]["vector"].sum() == 7 * 1024
    assert np.asarray(data[ROWS // 2 - 5 : ROWS // 2 + 5]["vector"]).sum() == 7 * 1024
    tensor = tm.collate({"vector": data["vector"]})["vector"]
    assert tensor.shape == (ROWS, 1024)
    assert tensor[ROWS // 2].sum() == 7 * 1024
    assert resident_bytes() - before < 64 << 20
    peak = 0
    for number, record in enumerate(tm.read(large).take(100_000)):
        assert record["vector"][0] == 0
        if number % 10_000 == 0:
            peak = max(peak, resident_bytes())
    assert peak - before < 192 << 20
    state = tm.read(large).skip(100_000).iterate().state()
    assert len(json.dumps(state)) < 4_000
