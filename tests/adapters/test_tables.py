from __future__ import annotations

import datetime
import pickle
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from missing import error_without

import tidemill as tm
from tidemill.adapters.rows import from_arrow
from tidemill.adapters.tables import to_arrow, to_pandas, to_polars
from tidemill.errors import DataError

RECORDS: list[dict[str, Any]] = [
    {
        "n": n,
        "score": n / 2,
        "text": None if n == 3 else f"row {n}",
        "tags": ["a"] * (n % 3),
        "meta": {"day": datetime.date(2026, 1, 1 + n)},
    }
    for n in range(7)
]


def stream() -> tm.Stream[dict[str, Any]]:
    return tm.from_iterable(RECORDS)


def test_arrow_batches_are_bounded_and_read_when_asked_for() -> None:
    """Only the first batch is read before the reader is asked for more."""
    seen: list[int] = []
    reader = to_arrow(stream().observe(lambda record: seen.append(record["n"])), batch=3)
    assert len(seen) == 3
    assert reader.schema.names == ["n", "score", "text", "tags", "meta"]
    batches = list(reader)
    assert [batch.num_rows for batch in batches] == [3, 3, 1]
    assert pa.Table.from_batches(batches).to_pylist() == RECORDS


def test_an_empty_stream_has_no_batches() -> None:
    assert to_arrow(tm.from_iterable([])).read_all().num_rows == 0
    schema = pa.schema([("n", pa.int8())])
    assert to_arrow(tm.from_iterable([]), schema=schema).read_all().schema == schema
    assert list(to_pandas(tm.from_iterable([]))) == list(to_polars(tm.from_iterable([]))) == []


def test_a_column_that_comes_late_or_changes_is_told_with_its_record() -> None:
    """Drift is an error with column, record and the way out, never a lost column or value."""
    late = tm.from_iterable([{"a": 1}, {"a": 2}, {"a": 3, "b": 4}])
    with pytest.raises(DataError, match=r"record 2: expected the columns of the first batch, got `b` besides\n  give"):
        to_arrow(late, batch=2).read_all()
    schema = pa.schema([("a", pa.int64()), ("b", pa.int64())])
    assert to_arrow(late, batch=2, schema=schema).read_all()["b"].to_pylist() == [None, None, 4]
    changed = tm.from_iterable([{"a": None}, {"a": None}, {"a": None}, {"a": "x"}])
    with pytest.raises(DataError, match=r"column `a`, record 3: expected a value of the Arrow type null, got a str"):
        to_arrow(changed, batch=2).read_all()
    with pytest.raises(DataError, match="column `a`: its values have no one Arrow type"):
        to_arrow(tm.from_iterable([{"a": 1}, {"a": "x"}]))
    with pytest.raises(DataError, match="column `a`: its values have no one Arrow type"):
        to_arrow(tm.from_iterable([{"a": 2**70}]))
    with pytest.raises(DataError, match="record 1: expected a record with columns, got a int"):
        to_arrow(tm.from_iterable([{"a": 1}, 2]))


AT = datetime.datetime.fromisoformat("2026-01-02T12:00:00")


@pytest.mark.parametrize(
    ("first", "changed"),
    [
        (1, 1.5),
        ([1], [1.5]),
        ([1], {1.5}),
        ([1], np.array([1.5])),
        ({"x": 1}, {"x": 1, "y": 2}),
        ([{"x": 1}], [{"x": 1, "y": 2}]),
        (1.5, True),
        (AT.date(), AT),
        (AT, AT.replace(tzinfo=datetime.UTC)),
        (AT, pd.Timestamp("2026-01-02T12:00:00.000000001")),
        (b"x", "x"),
        ("x", b"x"),
        (["x"], [b"x"]),
        (["x"], "xy"),
        ([1], b"x"),
        ([1], np.array([True])),
        ([1], np.array([1.5, 2], object)),
        ([AT.date()], np.array([1, 2])),
    ],
)
def test_a_value_that_arrow_would_change_is_told(first: Any, changed: Any) -> None:
    """A later batch has the types of the first, and none of its values is cut to them."""
    records = tm.from_iterable([{"a": first}, {"a": None}, {"a": first}, {"a": changed}])
    for batches in (to_arrow(records, batch=2), to_pandas(records, batch=2), to_polars(records, batch=2)):
        with pytest.raises(
            DataError, match=r"column `a`, record 3: expected a value of the Arrow type .* would change"
        ):
            list(batches)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.large_list(pa.int64()), [1.5]),
        (pa.list_(pa.int64(), 1), [1.5]),
        (pa.list_view(pa.int64()), [1.5]),
        (pa.map_(pa.string(), pa.int64()), {"x": 1.5}),
        (pa.map_(pa.string(), pa.int64()), [(b"x", 1)]),
        (pa.dictionary(pa.int32(), pa.string()), b"x"),
        (pa.struct([("x", pa.int64())]), []),
        (pa.binary_view(), "x"),
        (pa.timestamp("ms"), AT.replace(microsecond=1)),
    ],
)
def test_a_schema_that_would_change_a_value_is_told(kind: pa.DataType, value: Any) -> None:
    """Whatever the kind of a column, its values are not cut to it."""
    reader = to_arrow(tm.from_iterable([{"a": None}, {"a": value}]), schema=pa.schema([("a", kind)]))
    with pytest.raises(DataError, match=r"column `a`, record 1: expected a value of the Arrow type .* would change"):
        reader.read_all()


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.int64(), 3.0),
        (pa.int64(), np.float64(3)),
        (pa.int64(), np.int8(3)),
        (pa.int64(), Decimal("3.0")),
        (pa.int64(), pa.scalar(3)),
        (pa.date32(), pa.scalar(AT.date())),
        (pa.timestamp("us"), pa.scalar(AT)),
        (pa.list_(pa.int64()), np.array([1.0, 2.0])),
        (pa.list_(pa.float32()), np.array([1, 2], "u1")),
        (pa.map_(pa.string(), pa.int64()), {"x": 3}),
        (pa.dictionary(pa.int32(), pa.string()), "x"),
        (pa.large_list(pa.string()), ["x", None]),
    ],
)
def test_an_equal_value_of_another_type_is_taken(kind: pa.DataType, value: Any) -> None:
    """What is equal in the column is no other value: 3.0 is 3."""
    records = tm.from_iterable([{"a": None}, {"a": value}])
    read = to_arrow(records, schema=pa.schema([("a", kind)])).read_all().to_pylist()
    assert read == [{"a": None}, {"a": pa.scalar(value, kind).as_py()}]


@pytest.mark.parametrize("values", [(AT.date(), AT), (AT, AT.replace(tzinfo=datetime.UTC)), ("x", b"x"), (1.5, True)])
def test_values_of_one_batch_that_arrow_would_change(values: tuple[Any, Any]) -> None:
    records = tm.from_iterable([{"a": value} for value in values])
    with pytest.raises(DataError, match=r"column `a`, record \d: expected a value of the Arrow type .* would change"):
        to_arrow(records).read_all()
    with pytest.raises(DataError, match=r"the column `a` has no one Arrow type: .* would change"):
        list(records.batch(2, form="arrow"))


def test_nanoseconds_of_pandas_are_kept() -> None:
    records = tm.from_iterable([{"a": pd.Timestamp("2026-01-02T12:00:00.000000001")}])
    assert to_arrow(records).read_all().to_pylist() == list(records)
    assert next(iter(records.batch(1, form="arrow"))).to_pylist() == list(records)
    far = tm.from_iterable([{"a": AT.replace(year=1)}, *records])
    with pytest.raises(DataError, match=r"the column `a` has no one Arrow type: .* out of bounds"):
        list(far.batch(2, form="arrow"))


def test_pandas_frames_come_in_batches_and_go_back() -> None:
    frames = list(to_pandas(stream(), batch=3, types=pd.ArrowDtype))
    assert [len(frame) for frame in frames] == [3, 3, 1]
    assert [row for frame in frames for row in from_arrow(frame)] == RECORDS
    plain = next(to_pandas(stream(), batch=3))
    assert plain["n"].dtype == "int64"
    assert list(from_arrow(plain[["n", "score"]])) == [{"n": n, "score": n / 2} for n in range(3)]


def test_polars_frames_come_in_batches_and_go_back() -> None:
    frames = list(to_polars(stream(), batch=3))
    assert [len(frame) for frame in frames] == [3, 3, 1]
    assert [row for frame in frames for row in from_arrow(frame)] == RECORDS


@pytest.fixture(params=["arrow", "chunked arrow", "pandas", "indexed pandas", "polars", "batch reader"])
def table(request: pytest.FixtureRequest) -> Any:
    whole = pa.Table.from_pylist(RECORDS)
    frame = whole.to_pandas(types_mapper=pd.ArrowDtype)
    return {
        "arrow": whole,
        "chunked arrow": pa.concat_tables([whole[:3], whole[3:]]),
        "pandas": frame,
        "indexed pandas": frame.set_index(pd.Index(list("abcdefg"))),
        "polars": pl.from_arrow(whole),
        "batch reader": to_arrow(stream(), batch=2),
    }[request.param]


def test_rows_are_read_as_a_list_is(table: Any) -> None:
    """Indices, negative ones and slices, and several in one go, in the order asked for."""
    rows = from_arrow(table)
    assert len(rows) == 7
    assert list(rows) == RECORDS
    assert [rows[index] for index in (0, 3, -1)] == [RECORDS[0], RECORDS[3], RECORDS[6]]
    assert rows[1:6:2] == RECORDS[1:6:2]
    assert rows.read_rows([5, -7, 5]) == [RECORDS[5], RECORDS[0], RECORDS[5]]
    assert rows.read_rows([]) == []
    assert rows.columns == ("n", "score", "text", "tags", "meta")
    assert list(rows.iter_rows(2, 4)) == RECORDS[2:4]
    assert repr(rows) == "<ArrowRows: 7 rows, columns n, score, text, tags, meta>"
    assert list(pickle.loads(pickle.dumps(rows))) == RECORDS
    for wrong in (7, -8):
        with pytest.raises(IndexError, match="out of range"):
            rows[wrong]
        with pytest.raises(IndexError, match=f"index {wrong} is out of range: there are 7 rows"):
            rows.read_rows([0, wrong])


def test_rows_are_the_source_of_a_stream(table: Any) -> None:
    assert list(tm.from_iterable(from_arrow(table)).filter(lambda row: row["n"] > 4)) == RECORDS[5:]


def test_columns_are_not_converted_before_they_are_read() -> None:
    """A column of objects without one type stands in the way of its own rows only."""
    rows = from_arrow(pd.DataFrame({"x": [1, 2, "three"]}, dtype=object))
    assert rows[0:2] == [{"x": 1}, {"x": 2}]
    with pytest.raises(DataError, match="expected columns of one type each"):
        list(rows)


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(DataError, match="expected a table of Arrow, pandas or polars, got a list"):
        from_arrow([1])


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_a_missing_package_names_its_extra(package: str) -> None:
    code = f"from tidemill.adapters.tables import to_{package} as to; to([])"
    assert error_without(package, code).endswith(
        f'to_{package} needs the package {package}, which is not installed\n  pip install "tidemill[{package}]"'
    )
