"""Where a stream ends: in a file of any format, a digest, another library's kind of data."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import gzip
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from torch.utils.data import DataLoader

import tidemill as tm

ROWS = [{"n": n, "text": f"number {n}"} for n in range(20)]


def rows_of(stream: Any) -> list[Any]:
    return list(stream)


@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "txt"])
def test_text_is_saved_packed_by_its_suffix(tmp_path: Path, suffix: str, packed: str) -> None:
    """What is saved is read again, whatever the codec."""
    path = tmp_path / f"deep/a.{suffix}{packed}"
    rows = [{"text": row["text"]} for row in ROWS]
    assert tm.from_iterable(rows).save(path) == len(rows)
    assert rows_of(tm.read(path)) == rows


@pytest.mark.parametrize("suffix", ["parquet", "pq", "arrow", "feather", "arrows"])
def test_tables_are_saved_by_their_suffix(tmp_path: Path, suffix: str) -> None:
    """What is saved is read again, and is a dataset."""
    path = tmp_path / f"a.{suffix}"
    assert tm.from_iterable(ROWS).save(path) == 20
    assert rows_of(tm.read(path)) == ROWS
    assert tm.dataset(path)[7] == ROWS[7]


def test_a_format_and_its_options_may_be_named(tmp_path: Path) -> None:
    """`format` and `compression` go before the suffix; a delimiter and an encoding are the format's own."""
    stream = tm.from_iterable([{"a": "é", "b": "1"}])
    stream.save(tmp_path / "a.out", format="csv", compression="gzip", delimiter=";", encoding="latin-1")
    assert gzip.decompress((tmp_path / "a.out").read_bytes()) == "a;b\r\né;1\r\n".encode("latin-1")
    assert tm.from_iterable([{"text": "a\nb"}]).save(tmp_path / "a.md", whole=True) == 1
    assert (tmp_path / "a.md").read_text() == "a\nb"


@pytest.mark.parametrize(
    ("path", "options", "told"),
    [
        ("a.out", {}, r"a\.out: expected a file that ends in \.jsonl.*\n.*or say format="),
        ("a", {"format": "json"}, "there is no format `json`"),
        ("a.jsonl", {"delimiter": ";"}, "the format `jsonl` has no option `delimiter`"),
        ("a.parquet.gz", {}, "expected a file that ends in"),
    ],
)
def test_what_cannot_be_saved_so_is_told_before_anything_is_read(
    tmp_path: Path, path: str, options: Any, told: str
) -> None:
    def fail() -> Any:
        raise AssertionError("something was read")

    with pytest.raises(tm.ConfigError, match=told):
        tm.from_iterable(fail).save(tmp_path / path, **options)
    assert list(tmp_path.iterdir()) == []


class Color(enum.Enum):
    RED = "red"


class Review(BaseModel):
    text: str
    stars: float = 1.0


@dataclasses.dataclass
class Point:
    x: float


class Name(str):
    __slots__ = ()


VALUES: list[Any] = [
    *(None, True, False, 0, 1, 1.0, -0.0, 0.0, 2**63, 2**64, 2**200, -(2**200), float("nan"), float("inf"), "", "1"),
    *("nan", "null", "\ud800", "\n", [], {}, [None], [float("nan")], {"a": None}, {"a": float("nan")}, {1: 2}),
    *({"1": 2}, [[]], [1, 2], [2, 1], [12], {"a": 1, "b": 2}, {"a": 2, "b": 1}, b"", b"1", {1}, {1, 2}),
    *(datetime.date(2024, 1, 1), "2024-01-01", datetime.datetime(2024, 1, 1), datetime.time(1), datetime.timedelta(1)),  # noqa: DTZ001
    *(datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), decimal.Decimal(1), decimal.Decimal("1.0"), 1j, Name("1")),
    *(Review(text="a"), Review(text="b"), {"text": "a", "stars": 1.0}, Point(1.0), Point(2.0), {"x": 1.0}),
    *(np.int64(1), np.int32(1), np.float64("nan"), np.arange(3), np.arange(3.0), np.arange(4).reshape(2, 2)),
    *(np.arange(4), np.array([None, "a"]), np.zeros((0, 2)), np.zeros((2, 0))),
    *(torch.arange(3), torch.arange(3.0), torch.ones(2, dtype=torch.bfloat16), torch.tensor(1), torch.ones(2, 0)),
    *(pa.array([1, 2]), pa.array([1, 2], pa.int8()), pa.table({"a": [1]}), pa.table({"b": [1]}), pa.scalar(1)),
]


def digest_of(*records: Any) -> str:
    return tm.from_iterable(list(records)).digest()


def test_records_that_differ_have_another_digest() -> None:
    """Whatever the kind of their values, on their own or within others."""
    for wrap in (lambda value: value, lambda value: {"a": [value]}):
        digests = [digest_of(wrap(value)) for value in VALUES]
        assert len(set(digests)) == len(VALUES)


def test_a_digest_is_of_values_not_of_how_they_lie_in_memory() -> None:
    """The order of columns, chunks, strides, gradients and tuples make no difference; the order of records does."""
    same: list[tuple[Any, Any]] = [
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"d": 2, "c": 1}, "a": 1}),
        ({"a": float("nan"), "b": 1}, {"b": 1, "a": float("nan")}),
        ({"a": 1, 2: 3}, {2: 3, "a": 1}),
        (np.arange(6).reshape(2, 3).T, np.arange(6).reshape(2, 3).T.copy()),
        (torch.ones(2, 3).T, torch.ones(3, 2, requires_grad=True)),
        (torch.ones(2, dtype=torch.complex64).conj(), torch.ones(2, dtype=torch.complex64).conj().resolve_conj()),
        (pa.chunked_array([[1], [2]]), pa.array([0, 1, 2]).slice(1)),
        (np.array(1), np.int64(1)),
        ((1, 2), [1, 2]),
        ({3, 1, 2}, frozenset([2, 3, 1])),
        (Color.RED, "red"),
        (uuid.UUID(int=1), str(uuid.UUID(int=1))),
        (bytearray(b"a"), memoryview(b"a")),
    ]
    for one, other in same:
        assert digest_of(one) == digest_of(other)
        assert digest_of({"a": None, "b": one}) == digest_of({"b": other, "a": None})
    assert digest_of(1, 2) != digest_of(2, 1)
    assert digest_of([1, 2]) != digest_of([1], [2])
    assert digest_of() != digest_of(None)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON_VALUES, JSON_VALUES)
def test_only_equal_values_have_equal_digests(one: Any, other: Any) -> None:
    is_same = repr(sort_keys(one)) == repr(sort_keys(other))
    assert (digest_of(one) == digest_of(other)) is is_same


def sort_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: sort_keys(value[key]) for key in sorted(value)}
    return [sort_keys(each) for each in value] if isinstance(value, list) else value


def test_a_digest_stays_what_it_was() -> None:
    """In other processes, and from version to version as long as `STATE_VERSION` stands: these were written down."""
    records = [{"text": "é", "n": 1.5, "at": datetime.date(2024, 1, 1)}, {"x": [2**70, float("nan"), b"a", {1, "a"}]}]
    assert digest_of(*records) == "6f1dcb4fcb948336e13729cf15b5cda984344d99a2ddb655bcb159489ad748c6"
    code = "import tidemill as tm; print(tm.from_iterable([{'x': {'a', 'b', 'c'}}]).digest())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        check=True,
        capture_output=True,
        text=True,
    )
    assert found.stdout.strip() == digest_of({"x": {"a", "b", "c"}})


def holding_itself() -> Any:
    values: list[Any] = []
    values.append(values)
    return values


@pytest.mark.parametrize("value", [object(), [object(), 2**70], {"a": holding_itself()}, torch.ones(2).to_sparse()])
def test_what_has_no_digest_is_told_with_its_record(value: Any) -> None:
    with pytest.raises(tm.DataError, match=r"record 1,000: expected plain values, got a (builtins.obj|value|torch)"):
        tm.from_iterable([*[1] * 1000, value]).digest()


def test_a_stream_is_pytorchs_kind() -> None:
    """`torch()` shares records out among the workers of a loader."""
    stream = tm.from_iterable(ROWS)
    with pytest.raises(tm.ConfigError, match="expected rank and world together"):
        stream.torch(rank=0)
    loader: Any = DataLoader(stream.torch(), batch_size=None, num_workers=2)
    assert sorted(record["n"] for record in loader) == list(range(20))
    assert [record["n"] for record in stream.torch(rank=1, world=3, even="drop")] == [1, 4, 7, 10, 13, 16]


def test_a_stream_and_a_dataset_are_hugging_faces_kinds_and_back() -> None:
    """Features are kept there and back; what came as a dataset goes as it was."""
    features = datasets.Features({"n": datasets.Value("int16"), "text": datasets.Value("string")})
    owned = datasets.Dataset.from_list(ROWS, features=features)
    data = tm.from_hf(owned)
    assert isinstance(data, tm.Dataset)
    assert (len(data), data[3], list(data["n"]), list(data[2:4])) == (20, ROWS[3], list(range(20)), ROWS[2:4])
    assert data.to_hf() is owned
    assert data == tm.from_hf(owned)
    assert data[5:].to_hf().features == features
    assert data.filter(lambda record: record["n"] > 3).to_hf().features == features
    stream = tm.from_hf(owned.to_iterable_dataset())
    assert not isinstance(stream, tm.Dataset)
    assert repr(stream).startswith("<Stream: from_hf(")
    assert list(stream.filter(lambda record: record["n"] > 17)) == ROWS[18:]
    assert stream.to_hf().features == features
    mapped = tm.from_iterable(ROWS).to_hf()
    assert isinstance(mapped, datasets.IterableDataset)
    assert list(mapped) == ROWS
    with pytest.raises(tm.ConfigError, match=r"got the splits 'train'\n  take one: `dataset\['train'\]`"):
        tm.from_hf(datasets.DatasetDict(train=owned))


def test_records_go_into_tables_in_batches() -> None:
    """Arrow, pandas and polars, `batch` rows at a time."""
    stream = tm.from_iterable(ROWS)
    assert [part.num_rows for part in stream.to_arrow(8)] == [8, 8, 4]
    fields: list[Any] = [("n", pa.int8()), ("text", pa.string())]
    assert stream.to_arrow(schema=pa.schema(fields)).read_all().to_pylist() == ROWS
    assert [len(frame) for frame in stream.to_pandas(15)] == [15, 5]
    assert pd.concat(stream.to_pandas(7)).to_dict("records") == ROWS
    assert pl.concat(stream.to_polars(6)).to_dicts() == ROWS


@pytest.mark.parametrize("make", [pa.Table.from_pylist, pd.DataFrame, pl.DataFrame])
def test_a_table_is_a_dataset(make: Any) -> None:
    """Of Arrow, pandas or polars, with columns by name."""
    data = tm.dataset(make(ROWS))
    assert (len(data), data[7], data[-1], list(data)) == (20, ROWS[7], ROWS[19], ROWS)
    assert list(data["n"][5:8]) == [5, 6, 7]
    assert data == tm.dataset(make(ROWS))
    assert data != tm.dataset(make(ROWS[1:]))
    assert data.columns == ("n", "text")


def test_a_stream_is_grains_kind() -> None:
    """A dataset by number, a stream with states."""
    assert tm.dataset(ROWS).to_grain()[3] == ROWS[3]
    records = iter(tm.from_iterable(ROWS).to_grain())
    assert [next(records) for _ in range(4)] == ROWS[:4]
    records.close()  # type: ignore[attr-defined]


def test_what_cannot_be_a_dataset_is_told(tmp_path: Path) -> None:
    """A stream says why; a dataset is one as it is."""
    data = tm.dataset(ROWS)
    assert tm.dataset(data) is data
    with pytest.raises(tm.ConfigError, match="a stream cannot be a dataset: its records have no numbers"):
        tm.dataset(data.filter(bool))  # type: ignore[call-overload]
    with pytest.raises(tm.ConfigError, match="expected storage_options beside an address alone"):
        tm.dataset(ROWS, storage_options={"key": "a"})  # type: ignore[call-overload]
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert tm.dataset(tmp_path / "a.parquet").take(3)[2] == ROWS[2]
