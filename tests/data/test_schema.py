from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from pydantic import BaseModel, Field
from resuming import check_resumes_everywhere, outcomes

import tidemill as tm
from tidemill.data.iteration import iterate
from tidemill.data.sources.read import Read
from tidemill.data.sources.schema import find_lacking, find_misfit, sample_shape
from tidemill.errors import ConfigError, DataError


class Review(BaseModel):
    id: int
    text: str
    tags: list[Literal["good", "bad"]] = Field(default_factory=list)


ARROW_FIELDS: list[pa.Field[Any]] = [
    pa.field("id", pa.int8(), nullable=False),
    pa.field("score", pa.float32()),
    pa.field("day", pa.date32()),
    pa.field("tags", pa.list_(pa.string())),
    pa.field("at", pa.struct([pa.field("x", pa.int64())])),
]
ARROW = pa.schema(ARROW_FIELDS)

GOOD = {"id": 1, "text": "fine"}
BAD = {"id": "x", "text": 3, "tags": ["good", "worse"]}


def save(path: Path, *rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def test_records_become_instances_of_the_model(tmp_path: Path) -> None:
    """A record that does not fit names each wrong field, has its bytes, and costs nothing but itself."""
    save(tmp_path / "a.jsonl", GOOD, BAD, {"id": "7", "text": "seven"})
    source = Read(path=f"{tmp_path}/a.jsonl", record_schema=Review)
    whole = check_resumes_everywhere(lambda state: iterate(source, (), state))
    assert [outcome[1] for outcome in whole if outcome[0] == "record"] == [
        Review(id=1, text="fine"),
        Review(id=7, text="seven"),
    ]
    message = (
        "the record does not fit `Review`: "
        "$.id: Input should be a valid integer, unable to parse string as an integer, got 'x'; "
        "$.text: Input should be a valid string, got 3; "
        "$.tags[1]: Input should be 'good' or 'bad', got 'worse'"
    )
    assert whole[1] == ("DataError", message, json.dumps(BAD).encode(), len(json.dumps(GOOD)) + 1)
    skipping: tm.Stream[Any] = tm.read(tmp_path / "a.jsonl", schema=Review, on_error="skip")
    assert list(skipping) == [
        Review(id=1, text="fine"),
        Review(id=7, text="seven"),
    ]


def test_a_misfit_says_where_it_stands(tmp_path: Path) -> None:
    """File and offset; and its bytes can be tried again."""
    save(tmp_path / "a.jsonl", GOOD, BAD)
    source = Read(path=f"{tmp_path}/a.jsonl", record_schema=Review)
    reader = source.open_part("a.jsonl")
    next(reader)
    with pytest.raises(DataError, match=r"a\.jsonl, byte 26: the record does not fit `Review`") as caught:
        next(reader)
    reader.close()
    with pytest.raises(DataError, match=r"does not fit `Review`: \$\.id: "):
        source.decode_record(caught.value.raw or b"")
    assert source.decode_record(b'{"id": 1, "text": ""}') == Review(id=1, text="")


def test_a_misfit_in_a_packed_file_can_be_tried_again(tmp_path: Path) -> None:
    """Its bytes are the record as JSON, since they do not stand anywhere as such."""
    tm.from_iterable([GOOD, BAD]).save(tmp_path / "a.jsonl.zst")
    source = Read(path=f"{tmp_path}/a.jsonl.zst", record_schema=Review)
    found = outcomes(source.open_part("a.jsonl.zst"))
    assert json.loads(found[1][2]) == BAD


def test_records_are_cast_to_an_arrow_schema_where_nothing_is_lost(tmp_path: Path) -> None:
    """Dicts with the schema's columns; a number out of range, a fraction, a strange column do not fit."""
    rows = [
        {"id": "1", "score": "0.5", "day": "2024-02-29", "tags": ["a", 1], "at": {"x": 1.0}},
        {"id": 2},
        {"id": 128},
        {"id": 1.5},
        {"id": None},
        {"score": 1},
        {"id": 1, "other": 2},
        {"id": 1, "at": {"x": "y"}},
    ]
    save(tmp_path / "a.jsonl", *rows)
    source = Read(path=f"{tmp_path}/a.jsonl", record_schema=ARROW)
    found = check_resumes_everywhere(lambda state: iterate(source, (), state))
    assert [outcome[1] for outcome in found if outcome[0] == "record"] == [
        {"id": 1, "score": 0.5, "day": datetime.date(2024, 2, 29), "tags": ["a", "1"], "at": {"x": 1}},
        {"id": 2, "score": None, "day": None, "tags": None, "at": None},
    ]
    for outcome, expected in zip(
        found[2:], ["$.id: ", "$.id: ", "$.id: ", "$.id: Field required", "$.other: Extra", "$.at.x: "], strict=True
    ):
        assert expected in outcome[1]


def test_a_schema_may_be_an_import_path_and_is_part_of_what_a_source_is() -> None:
    """A job file names it; another schema is another source."""
    named = Read.model_validate({"path": "a.jsonl", "schema": "tidemill.data.sources.read:Read"})
    assert named.record_schema is Read
    assert named.describe() != Read(path="a.jsonl").describe()
    assert Read(path="a", record_schema=ARROW).describe() != Read(path="a", record_schema=ARROW.remove(0)).describe()
    with pytest.raises(ConfigError, match=r"expected a Pydantic model, a pyarrow\.Schema or the import path of one"):
        Read(path="a", record_schema=int)
    encoded = columns(u=pa.run_end_encoded(pa.int32(), pa.int8()))
    with pytest.raises(ConfigError, match=r"cannot be checked for the Arrow type .* of the column `u`"):
        Read(path=__file__, format="text", record_schema=encoded).open_part(Path(__file__).name)


def test_columns_are_unified_over_a_sample(tmp_path: Path) -> None:
    """A column that some sampled files lack is None in their records."""
    for name, text in (("a", "id,text\n1,x\n"), ("b", "id,lang\n2,en\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    source = Read(path=f"{tmp_path}/*.csv")
    whole = check_resumes_everywhere(lambda state: iterate(source, (), state))
    assert [outcome[1] for outcome in whole] == [
        {"id": "1", "text": "x", "lang": None},
        {"id": "2", "text": None, "lang": "en"},
    ]


def test_a_file_with_other_columns_is_one_error(tmp_path: Path) -> None:
    """Behind the sample, a new column or one that is missing names both files; the files behind it are read."""
    for number in range(40):
        (tmp_path / f"{number:02}.csv").write_text(f"id,n\n{number},x\n")
    sampled = {number * 39 // 15 for number in range(16)}
    assert not {3, 4} & sampled
    (tmp_path / "03.csv").write_text("id,n,more\n3,x,y\n")
    (tmp_path / "04.csv").write_text("id\n3\n")
    source = Read(path=f"{tmp_path}/*.csv")
    whole = check_resumes_everywhere(lambda state: iterate(source, (), state))
    assert [outcome[0] for outcome in whole] == ["record"] * 3 + ["DataError"] * 2 + ["record"] * 35
    assert whole[3][1] == "column `more` is new: `00.csv` and those sampled with it have none"
    assert whole[4][1] == "column `n` is missing, which `00.csv` and all sampled with it have"
    assert source.compare_part("03.csv", {"misfit": True}) == "same"
    assert len(list(tm.read(f"{tmp_path}/*.csv", on_error="skip"))) == 38


def columns(**types: Any) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in types.items()])


def shapes(*schemas: pa.Schema) -> dict[str, pa.Schema]:
    return {f"{number}.parquet": schema for number, schema in enumerate(schemas)}


def test_types_of_one_kind_go_together() -> None:
    """Any width of integers, floats, texts; a column of nulls with any; not integers with floats."""
    files = shapes(
        columns(a=pa.int8(), b=pa.string(), c=pa.null()),
        columns(a=pa.uint64(), b=pa.dictionary(pa.int32(), pa.large_string()), c=pa.list_(pa.int8())),
    )
    shape = sample_shape(files, files.__getitem__, has_keys=False)
    assert find_misfit(shape, "x", files["0.parquet"]) is None
    other = columns(a=pa.float32(), b=pa.string(), c=pa.null())
    misfit = find_misfit(shape, "x.parquet", other)
    assert str(misfit).startswith("x.parquet: column `a` holds floats, in `0.parquet` it holds integers")
    nested = columns(a=pa.int8(), b=pa.string(), c=pa.list_(pa.string()))
    assert "column `c` holds a list of texts, in `1.parquet` it holds a list of integers" in str(
        find_misfit(shape, "x.parquet", nested)
    )


def test_of_two_kinds_that_of_the_most_files_counts() -> None:
    """The others are told when they are come to; of two files the first is right."""
    odd, even = columns(a=pa.int8()), columns(a=pa.string())
    files = shapes(odd, even)
    shape = sample_shape(files, files.__getitem__, has_keys=False)
    assert find_misfit(shape, "0.parquet", odd) is None
    told = str(find_misfit(shape, "1.parquet", even))
    assert told.startswith("1.parquet: column `a` holds texts, in `0.parquet` it holds integers")
    files = shapes(odd, even, even)
    shape = sample_shape(files, files.__getitem__, has_keys=False)
    told = str(find_misfit(shape, "0.parquet", odd))
    assert told.startswith("0.parquet: column `a` holds integers, in `1.parquet` it holds texts")
    assert find_misfit(shape, "2.parquet", even) is None


def test_the_sample_is_at_most_16_files_of_the_first_page() -> None:
    """Spread over it; nothing behind the page is looked at."""
    read: list[str] = []

    def read_schema(name: str) -> pa.Schema:
        read.append(name)
        return columns(a=pa.int8())

    def iter_names() -> Any:
        for number in range(1_000):
            yield f"{number:04}"
        raise AssertionError("asked for the second page")

    shape = sample_shape(iter_names(), read_schema, has_keys=False)
    assert len(read) == 16
    assert (read[0], read[-1]) == ("0000", "0999")
    assert find_lacking(shape, columns(a=pa.int8())) == {}


def test_partition_folders_give_columns(tmp_path: Path) -> None:
    """Integers where all of the sample are; escapes are read, Hive's null is None, and hidden files passed over."""
    save(tmp_path / "year=2023/city=S%C3%A3o/a.jsonl", {"n": 1})
    save(tmp_path / "year=2024/city=__HIVE_DEFAULT_PARTITION__/a.jsonl", {"n": 2, "year": "?"})
    save(tmp_path / "year=2024/_temporary/a.jsonl", {"n": 3})
    save(tmp_path / "other/a.jsonl", {"n": 4})
    (tmp_path / "_SUCCESS").touch()
    source = Read(path=tmp_path)
    assert list(source.parts()) == [
        "year=2023/city=S%C3%A3o/a.jsonl",
        "year=2024/city=__HIVE_DEFAULT_PARTITION__/a.jsonl",
    ]
    whole = check_resumes_everywhere(lambda state: iterate(source, (), state))
    assert [outcome[1] for outcome in whole] == [
        {"n": 1, "year": 2023, "city": "São"},
        {"n": 2, "year": 2024, "city": None},
    ]


def test_a_partition_that_differs_is_one_error(tmp_path: Path) -> None:
    """A value that is no integer where those of the sample are, and a key that is new, behind the sample."""
    for number in range(40):
        save(tmp_path / f"n={number + 100}/a.jsonl", {})
    source = Read(path=tmp_path)
    list(iterate(source, ()))
    save(tmp_path / "n=99x/a.jsonl", {})
    save(tmp_path / "n=990/m=1/a.jsonl", {})
    found = outcomes(iterate(source, ()))
    assert found[-1][1] == "expected an integer for `n` as in `n=100/a.jsonl`, got `99x`"
    assert found[-2][1].startswith("the folder's key `m` is new: `n=100/a.jsonl`")


def test_a_folder_holds_files_of_one_format(tmp_path: Path) -> None:
    """Two of them are told with a file of each; other files are passed over, and a format that is named takes all."""
    save(tmp_path / "a.jsonl", {"n": 1})
    (tmp_path / "b.doc").touch()
    assert list(tm.read(tmp_path)) == [{"n": 1}]
    assert list(Read(path=tmp_path, format="jsonl").parts()) == ["a.jsonl", "b.doc"]
    (tmp_path / "c.csv").write_text("n\n1\n")
    with pytest.raises(
        DataError, match=r"expected files of one format, got jsonl \(`a\.jsonl`\) and csv \(`c\.csv`\)"
    ) as told:
        list(Read(path=tmp_path).parts())
    assert told.value.hint.endswith("by a pattern, whose folders give no columns")
