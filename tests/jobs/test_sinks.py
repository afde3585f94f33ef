"""What lands: Parquet of one fixed schema, or JSON lines; what does not fit is quarantined, not bent."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, Field, field_validator
from workbench import (
    FarSide,
    ask,
    check_folders,
    label,
    load_manifest,
    make_job,
    numbered,
    read_failed,
    read_output,
    run_job,
    write_records,
)

from tidemill.data.nodes.single import Map, Select
from tidemill.data.sources.iterable import FromIterable
from tidemill.errors import ConfigError
from tidemill.jobs.spec.job import JobSpec
from tidemill.protocols import Record

PARQUET = {"format": "parquet"}


def landing(folder: Path, records: list[Any], **sink: Any) -> JobSpec:
    """A job without calls: `records` land as they are, ten in a segment."""
    return make_job(folder, [], source=FromIterable(iterable=records), sink={**PARQUET, **sink}, max_errors=1_000)


async def land(folder: Path, records: list[Any], **sink: Any) -> tuple[list[Record], list[tuple[int, str]], pa.Schema]:
    """What lands of `records`, what is quarantined and why, and the schema of the parts."""
    job = landing(folder, records, **sink)
    report = await run_job(job, FarSide())
    assert report.outcome == "finished", report.reason
    failed = read_failed(job.folders)
    assert report.records["landed"] + len(failed) == len(records)
    assert {row.name for row in failed} <= {"sink"}
    check_folders(job.folders)
    parts = load_manifest(job.folders)["parts"] if job.sink.format == "parquet" else []
    schemas = [pq.read_schema(job.folders.output / part["name"]).remove_metadata() for part in parts]
    assert all(schema == schemas[0] for schema in schemas)
    messages = [(row.ordinal, row.error["message"].partition("\n")[0]) for row in failed]
    return read_output(job.folders), messages, schemas[0] if schemas else pa.schema([])


async def test_every_value_comes_back_as_it_was(tmp_path: Path) -> None:
    """Nested lists and records, nulls, empty ones."""
    records = [
        {"a": 1, "b": 1.5, "c": "x", "d": True, "e": [1, 2], "f": {"g": "y", "h": [{"i": 1}]}, "j": None},
        {"a": None, "b": None, "c": None, "d": None, "e": [], "f": {"g": None, "h": []}, "j": None},
        {"a": 3, "b": 2.0, "c": "", "d": False, "e": None, "f": None, "j": None},
    ]
    rows, failed, schema = await land(tmp_path, records)
    assert (rows, failed) == (records, [])
    assert schema.field("f").type == pa.struct([("g", pa.string()), ("h", pa.list_(pa.struct([("i", pa.int64())])))])


async def test_no_column_is_of_type_null(tmp_path: Path) -> None:
    """One that holds nothing at first is a string column, at any depth."""
    records: list[Record] = [{"id": number, "a": None, "b": [], "c": {"d": None}} for number in range(10)]
    rows, failed, schema = await land(tmp_path, [*records, {"id": 10, "a": "x", "b": ["y"], "c": {"d": "z"}}, {"a": 1}])
    kinds = ["int64", "string", "list<element: string>", "struct<d: string>"]
    assert [str(kind).replace("item", "element") for kind in schema.types] == kinds
    assert (len(rows), failed) == (11, [(11, "column `a` is string, got 1")])


@pytest.mark.parametrize(
    ("misfit", "message"),
    [
        ({"id": 10, "new": 1}, "column `new` is not in the output's schema (id, text, n)"),
        ({"id": "ten"}, "column `id` is int64, got 'ten'"),
        ({"id": 1.5}, "column `id` is int64, got 1.5"),
        ({"id": True}, "column `id` is int64, got True"),
        ({"id": 2**70}, "column `id` is int64: "),
        ({"id": 1, "text": ["x"]}, "column `text` is string, got ['x']"),
        ({"id": 1, "text": "\\udc80"}, "column `text` is string: "),
        ({"id": 1, "n": {"x": 1, "y": 2}}, "`n.y` is not in the output's schema"),
        ({"id": 1, "n": {"x": "1"}}, "column `n.x` is int64, got '1'"),
        ({"id": 1, 5: 6}, "expected column names that are strings, got 5"),
        ("a string", "expected a record (a dict), got a str"),
        (None, "expected a record (a dict), got None"),
        ([1], "expected a record (a dict), got a list"),
    ],
)
async def test_a_misfit_is_quarantined_with_its_column(tmp_path: Path, misfit: Any, message: str) -> None:
    """The others of its segment land; nothing is cut, cast or dropped to make it fit."""
    if isinstance(misfit, dict) and misfit.get("text") == "\\udc80":
        misfit["text"] = "\udc80"
    good = [{**record, "n": {"x": record["id"]}} for record in numbered(20)]
    rows, failed, _ = await land(tmp_path, [*good[:15], misfit, *good[15:]])
    assert rows == good
    assert [(ordinal, message in told) for ordinal, told in failed] == [(15, True)], failed


@pytest.mark.parametrize("misfit", ["a string", None, 5, [1], {5: 6}, {"id": {1, 2}}])
@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
async def test_a_misfit_in_the_first_segment(tmp_path: Path, misfit: Any, kind: str) -> None:
    """It neither ends the run nor decides the schema."""
    good = numbered(12)
    rows, failed, _ = await land(tmp_path, [misfit, *good], format=kind)
    assert (rows, [ordinal for ordinal, _ in failed]) == (good, [0])


async def test_values_of_two_types_in_the_first_segment(tmp_path: Path) -> None:
    """The first decides; whole numbers are fine in a column of floats."""
    rows, failed, schema = await land(tmp_path, [{"a": "x", "b": 1}, {"a": 2, "b": 2}, {"a": "z", "b": 2.5}])
    assert rows == [{"a": "x", "b": 1.0}, {"a": "z", "b": 2.5}]
    assert failed == [(1, "column `a` is string, got 2")]
    assert schema.field("b").type == pa.float64()


async def test_other_types_of_values(tmp_path: Path) -> None:
    """Dates, times and bytes keep their kind in Parquet."""
    records = [
        {
            "at": datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
            "day": datetime.date(2026, 1, 2),
            "raw": b"\x00\xff",
        }
    ]
    rows, failed, _ = await land(tmp_path, records)
    assert (rows, failed) == (records, [])


DAY = datetime.date(2026, 1, 2)
NOON = datetime.datetime.fromisoformat("2026-01-02T12:00:00")
EAST = datetime.timezone(datetime.timedelta(hours=5))
AT_ONE = datetime.time(1)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (DAY, NOON),
        (DAY, 5),
        (NOON, NOON.replace(tzinfo=EAST)),
        (NOON.replace(tzinfo=EAST), NOON),
        (NOON, pd.NaT),
        (NOON, 5),
        (np.datetime64("2026-01-02T12", "s"), NOON.replace(microsecond=1)),
        (AT_ONE, AT_ONE.replace(tzinfo=EAST)),
        (AT_ONE, 5),
        (datetime.timedelta(1), 5),
        (b"bytes", "text"),
        ({"within": DAY}, {"within": NOON}),
        ([DAY], [NOON]),
    ],
)
async def test_a_time_or_bytes_that_arrow_would_change(tmp_path: Path, first: Any, other: Any) -> None:
    """Arrow cuts it, moves it to another zone or makes another value of it: it is quarantined, in every segment."""
    records = [{"id": 0, "v": first}, {"id": 1, "v": other}, {"id": 2, "v": None}, {"id": 3, "v": first}]
    rows, failed, _ = await land(tmp_path, records)
    assert [(row["id"], row["v"]) for row in rows] == [(0, first), (2, None), (3, first)]
    assert [(ordinal, told.startswith("column `v")) for ordinal, told in failed] == [(1, True)]


async def test_what_pandas_has_nanoseconds_of(tmp_path: Path) -> None:
    """They land whole, with a zone or without, and durations too; where the column has none, they do not fit."""
    at = pd.Timestamp("2026-01-02T12:00:00.000000001")
    records = [{"a": at, "b": at.tz_localize("UTC"), "c": pd.Timedelta(1, "ns")}, {"a": NOON, "b": None, "c": None}]
    rows, failed, schema = await land(tmp_path, records)
    assert ([rows[0], rows[1]["a"]], failed) == ([records[0], NOON], [])
    assert schema.types == [pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.duration("ns")]
    coarse = landing(tmp_path / "coarse", [{"a": NOON, "c": datetime.timedelta(1)}] * 10 + [{"a": at}, records[0]])
    await run_job(coarse, FarSide(), limit=10)
    report = await run_job(coarse, FarSide())
    assert (report.records["landed"], report.records["quarantined"]) == (10, 2)


async def test_a_column_that_comes_later_or_is_missing(tmp_path: Path) -> None:
    """Columns of the first segment's records are all in the schema; one that a record lacks is null."""
    records = [{"id": 1}, {"id": 2, "note": "x"}, {"note": "y"}]
    rows, failed, schema = await land(tmp_path, records)
    assert rows == [{"id": 1, "note": None}, {"id": 2, "note": "x"}, {"id": None, "note": "y"}]
    assert (failed, schema.names) == ([], ["id", "note"])


@pytest.mark.parametrize("empty", [{}, [{}], {"within": {}}])
async def test_an_object_without_fields_has_no_column(tmp_path: Path, empty: Any) -> None:
    """Parquet has none for it: its records are quarantined, and the run goes on."""
    rows, failed, _ = await land(tmp_path, [{"id": number, "a": empty if number < 10 else "b"} for number in range(12)])
    assert [row["id"] for row in rows] == [10, 11]
    assert [ordinal for ordinal, _ in failed] == list(range(10))
    assert all(told.startswith("column `a` is string, got ") for _, told in failed)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 2)])
async def test_arrays_without_numbers(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """They come back as lists of none, and a column of them takes others of any length."""
    longer = np.ones((3,) * len(shape), "f4")
    job = landing(tmp_path, [*({"v": np.zeros(shape, "f4")} for _ in range(10)), {"v": longer}])
    await run_job(job, FarSide(), limit=10)
    await run_job(job, FarSide())
    assert [row["v"] for row in read_output(job.folders)] == [np.zeros(shape).tolist()] * 10 + [longer.tolist()]


async def test_records_without_columns(tmp_path: Path) -> None:
    """Parquet has no rows without a column: they are quarantined, and the first with one decides the schema."""
    job = landing(tmp_path, [{}] * 10 + numbered(2))
    await run_job(job, FarSide(), limit=10)
    report = await run_job(job, FarSide())
    assert (report.outcome, read_output(job.folders)) == ("finished", numbered(2))
    told = {row.error["message"].partition("\n")[0] for row in read_failed(job.folders)}
    assert told == {"the record has no columns, without which Parquet holds none"}


async def test_all_of_the_first_segment_misfits(tmp_path: Path) -> None:
    """No part is written for it, and the schema is that of the first that holds a record."""
    rows, failed, _ = await land(tmp_path, [*range(10), *numbered(5)])
    assert (rows, [ordinal for ordinal, _ in failed]) == (numbered(5), list(range(10)))


async def test_the_schema_is_fixed_over_runs(tmp_path: Path) -> None:
    """A resumed run writes parts of the same schema."""
    records = [*numbered(10), {"id": 10, "text": 5}, *numbered(20, 11)]
    job = landing(tmp_path, records)
    await run_job(job, FarSide(), limit=10)
    report = await run_job(job, FarSide())
    assert (report.records["landed"], report.records["quarantined"]) == (19, 1)


class Row(BaseModel):
    """A given schema."""

    id: int
    kind: Literal["a", "b"] = "a"
    score: float | None = None
    tags: list[str] = []


async def test_a_given_schema(tmp_path: Path) -> None:
    """Columns in the model's order, whatever the first segment holds."""
    rows, failed, schema = await land(
        tmp_path, [{"tags": ["x"], "id": 1}, {"id": 2, "score": 1}, {"id": "3"}], schema=Row
    )
    assert schema.names == ["id", "kind", "score", "tags"]
    assert rows == [
        {"id": 1, "kind": None, "score": None, "tags": ["x"]},
        {"id": 2, "kind": None, "score": 1.0, "tags": None},
    ]
    assert failed == [(2, 'the record is not of sink.schema: $.id: expected an integer, got "3"')]


class Colour(enum.StrEnum):
    RED = "red"


class Strict(BaseModel):
    """A schema that says more than types."""

    id: int
    text: str = Field(max_length=9)
    label: Literal["a", "b"]
    day: datetime.date | None = None
    price: decimal.Decimal = decimal.Decimal(0)
    colour: Colour = Field(default=Colour.RED, serialization_alias="color")
    score: float = 0.0


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("misfit", "told"),
    [
        ({"label": None}, "$.label: expected `a` or `b`, got null"),
        ({"label": "c"}, '$.label: expected `a` or `b`, got "c"'),
        ({"text": "far too long"}, '$.text: expected text of at most 9 characters, got "far too long"'),
        ({"id": "1"}, '$.id: expected an integer, got "1"'),
        ({"id": 1.0}, "$.id: expected an integer, got 1.0"),
        ({"score": True}, "$.score: expected a number, got true"),
        ({"day": "tomorrow"}, "$.day: expected a date (YYYY-MM-DD)"),
        ({"color": "blue"}, '$.colour: expected `red`, got "blue"'),
        ({"id": "1", "label": "c"}, '$.id: expected an integer, got "1"; $.label: expected `a`'),
        (["text"], "$.text: missing key"),
        (["id", "text", "label"], "$.id: missing key (an integer); $.text: missing key"),
        ("a string", "expected a record (a dict), got a str"),
    ],
)
async def test_a_record_that_is_not_of_the_schema(tmp_path: Path, kind: str, misfit: Any, told: str) -> None:
    """It fails at the sink with the failing paths; the others land as they came."""
    whole = {"id": 1, "text": "fine", "label": "a", "day": "2026-01-02", "price": "1.5", "color": "red", "score": 2}
    good: list[Any] = [whole, {**whole, "score": float("inf")}, {**whole, "id": 2, "day": None}]
    wrong = {**whole, **misfit} if isinstance(misfit, dict) else misfit
    if isinstance(misfit, list):
        wrong = {name: value for name, value in whole.items() if name not in misfit}
    if kind == "jsonl":
        del good[1]  # JSON has no infinity
    rows, failed, _ = await land(tmp_path, [good[0], wrong, *good[1:]], schema=Strict, format=kind)
    assert [row["id"] for row in rows] == [record["id"] for record in good]
    assert rows[0] == whole
    assert [(ordinal, told in message) for ordinal, message in failed] == [(1, True)], failed


class Touchy(BaseModel):
    """A schema whose validator fails as no validator should."""

    id: int

    @field_validator("id")
    @classmethod
    def _divide(cls, value: int) -> int:
        return 1 // value and value


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
async def test_a_schema_whose_validator_breaks(tmp_path: Path, kind: str) -> None:
    """That is the failure of the record it broke on."""
    rows, failed, _ = await land(tmp_path, [{"id": 1}, {"id": 0}, {"id": 1}], schema=Touchy, format=kind)
    assert (len(rows), [ordinal for ordinal, _ in failed]) == (2, [1])
    assert failed[0][1].startswith("sink.schema fails on the record: ZeroDivisionError")


class Odd(BaseModel):
    """A schema no column can hold."""

    value: int | str


async def test_a_schema_that_is_none(tmp_path: Path) -> None:
    """Told before anything is called, with the way out."""
    with pytest.raises(ConfigError, match=r"`Odd\.value` may be int64 or string, and a column holds one type"):
        await run_job(landing(tmp_path, numbered(3), schema=Odd), FarSide())


async def test_output_columns_are_typed_by_their_models(tmp_path: Path) -> None:
    """Also when no reply of the first segment says more than null."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    job = make_job(tmp_path, [label(), ask(into="note")], sink=PARQUET)
    await run_job(job, FarSide())
    (part,) = load_manifest(job.folders)["parts"]
    schema = pq.read_schema(job.folders.output / part["name"])
    assert schema.field("label").type == pa.struct([("sentiment", pa.string()), ("topic", pa.string())])
    assert (schema.names, schema.field("note").type) == (["id", "text", "label", "note"], pa.string())


def flatten(record: Record) -> Record:
    return {**record, "label": record["label"]["sentiment"]}


async def test_a_step_behind_the_call_may_change_its_column(tmp_path: Path) -> None:
    """A `map` that takes the reply apart, or a `select` that leaves it out, decides what the columns are."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    job = make_job(tmp_path, [label(), Map(fn=flatten)], sink=PARQUET)
    report = await run_job(job, FarSide())
    assert (report.records["landed"], report.records["quarantined"]) == (5, 0)
    assert {row["label"] for row in read_output(job.folders)} <= {"positive", "negative"}
    job = make_job(tmp_path, [label(), Select(columns=("id",))], sink={**PARQUET, "path": "ids"})
    await run_job(job, FarSide())
    assert read_output(job.folders) == [{"id": number} for number in range(5)]


async def test_json_lines(tmp_path: Path) -> None:
    """Each record as it is, whatever its columns and the size of its numbers; what JSON cannot hold is quarantined."""
    records: list[Any] = [{"a": 1}, {"b": [None, {"c": "ü"}]}, {"a": {1, 2}}, {"a": "\udc80"}, {"n": [2**70]}, {}]
    rows, failed, _ = await land(tmp_path, records, format="jsonl")
    assert rows == [{"a": 1}, {"b": [None, {"c": "ü"}]}, {"n": [2**70]}, {}]
    assert [ordinal for ordinal, _ in failed] == [2, 3]


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (float("nan"), "$.a is nan"),
        ([1, {"b": (None, float("-inf"))}], "$.a[1].b[1] is -inf"),
        ([*[1.5] * 20, float("inf"), float("-inf")], "$.a[20] is inf"),
        (np.float32("nan"), "$.a is nan"),
        (np.array([[1, 2], [3, np.inf]], "f2"), "$.a[1][1] is inf"),
    ],
)
async def test_numbers_that_json_lacks_are_quarantined(tmp_path: Path, value: Any, place: str) -> None:
    """As null they would come back as another value, and nobody be told; the record is kept as it was."""
    kept = [{"a": None}, {"a": "null", "b": [None]}, {"a": [1e308] * 20 + [None]}]
    rows, failed, _ = await land(tmp_path, [kept[0], {"a": value, "n": None}, *kept[1:]], format="jsonl")
    assert rows == kept
    assert failed == [(1, f"the record cannot be written as JSON: {place}, and JSON has no such number")]


async def test_parts_are_sealed_by_size(tmp_path: Path) -> None:
    """A stretch is cut by its bytes too."""
    records = [{"id": number, "text": "x" * 10_000} for number in range(20)]
    job = landing(tmp_path, records, segment={"records": 1_000, "size_bytes": 40_000})
    await run_job(job, FarSide())
    parts = load_manifest(job.folders)["parts"]
    assert 3 <= len(parts) <= 5
    assert read_output(job.folders) == records


class Size(enum.IntEnum):
    SMALL = 1


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
async def test_subclasses_of_plain_values(tmp_path: Path, kind: str) -> None:
    """Enumerations land as the plain values they are."""
    records = [{"i": 1, "s": "x"}, {"i": Size.SMALL, "s": Colour.RED}]
    rows, failed, _ = await land(tmp_path, records, format=kind)
    assert (rows, failed) == ([{"i": 1, "s": "x"}, {"i": 1, "s": "red"}], [])


@pytest.mark.parametrize("number", [fractions.Fraction(1, 3), 1j])
async def test_other_numbers_do_not_fit(tmp_path: Path, number: Any) -> None:
    """Nothing is cut to make it fit."""
    for column in ("i", "f"):
        folder = tmp_path / column
        rows, failed, _ = await land(folder, [{"i": 1, "f": 1.5}, {column: number}])
        assert (rows, [ordinal for ordinal, _ in failed]) == ([{"i": 1, "f": 1.5}], [1])
