from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes

from tidemill.data.files import measure_file
from tidemill.data.formats.columnar.parquet import PARQUET
from tidemill.data.formats.format import Options, Rows
from tidemill.errors import DataError, ResourceError, StateError

FEW = settings(max_examples=25)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
numbers = st.integers(-(2**63), 2**63 - 1)
records = st.fixed_dictionaries(
    {
        "n": numbers | st.none(),
        "x": st.floats(allow_nan=False) | st.none(),
        "text": texts | st.none(),
        "raw": st.binary(max_size=5),
        "flag": st.booleans(),
        "meta": st.none() | st.fixed_dictionaries({"tags": st.lists(texts, max_size=3), "deep": st.none() | texts}),
    }
)


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"n": n, "text": f"row {n}", "meta": {"even": n % 2 == 0, "parts": [n, n]}} for n in range(count)]


def save(path: Path, rows: list[dict[str, Any]], *, group: int = 1_000, **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group, **options)
    return path


def read(path: Path, **options: Any) -> list[Any]:
    return check_resumes_everywhere(lambda state: PARQUET.open(path, state, Options(**options)))


def corrupt(path: Path, group: int) -> None:
    """Turn over the bytes of a row group's second column."""
    column = pq.ParquetFile(path).metadata.row_group(group).column(1)
    raw = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    for index in range(start, start + column.total_compressed_size):
        raw[index] ^= 0xFF
    path.write_bytes(raw)


@FEW
@given(st.lists(records, max_size=20))
def test_what_is_written_is_read_back(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """Numbers, text, bytes, booleans, None, lists and structs come back as they were."""
    path = tmp_path / "a.parquet"
    with path.open("wb") as file:
        assert PARQUET.save(iter(rows), file) == len(rows)
    assert [outcome[1] for outcome in read(path)] == rows


def test_every_position_of_several_row_groups_resumes(tmp_path: Path) -> None:
    """Within and between groups, of batches cut by the end of a group, and one that is empty."""
    path = tmp_path / "a.parquet"
    table = pa.Table.from_pylist(rows_of(70))
    with pq.ParquetWriter(path, table.schema) as writer:
        for start, stop in ((0, 30), (30, 30), (30, 31), (31, 70)):
            writer.write_table(table.slice(start, stop - start))
    assert [outcome[1] for outcome in read(path)] == rows_of(70)


def test_a_resume_within_a_long_group_gives_the_tail(tmp_path: Path) -> None:
    """Groups longer than a batch are gone on with in their middle."""
    rows = rows_of(5_000)
    path = save(tmp_path / "a.parquet", rows, group=3_000)
    reader = PARQUET.open(path)
    for stop in (0, 1, 255, 256, 257, 2_999, 3_000, 3_001, 5_000):
        reader = PARQUET.open(path)
        outcomes(reader, stop)
        state = reader.state()
        reader.close()
        again = PARQUET.open(path, state)
        assert [row["n"] for row in again] == list(range(stop, 5_000))
        again.close()


def test_a_resume_reads_no_group_in_front(tmp_path: Path) -> None:
    """What is corrupt there is not come to."""
    path = save(tmp_path / "a.parquet", rows_of(40), group=10)
    reader = PARQUET.open(path)
    outcomes(reader, 25)
    state = reader.state()
    reader.close()
    stat = path.stat()
    corrupt(path, 0)
    corrupt(path, 1)
    os.utime(path, ns=(0, stat.st_mtime_ns))
    assert [outcome[1]["n"] for outcome in outcomes(PARQUET.open(path, state))] == list(range(25, 40))


@pytest.mark.parametrize("checked", [True, False])
def test_a_corrupt_row_group_costs_itself(tmp_path: Path, checked: bool) -> None:
    """One error that says which and how many rows; the groups around it are read, from every position."""
    path = save(tmp_path / "a.parquet", rows_of(40), group=10, write_page_checksum=checked)
    corrupt(path, 1)
    found = read(path)
    assert [outcome[1]["n"] for outcome in found if outcome[0] == "record"] == [*range(10), *range(20, 40)]
    (error,) = (outcome for outcome in found if outcome[0] != "record")
    assert error[1].startswith("row group 1 is corrupt, 10 of its 10 rows are lost: ")
    reader = PARQUET.open(path)
    outcomes(reader, 10)
    with pytest.raises(DataError, match=r"a\.parquet, row group 1: row group 1 is corrupt"):
        next(reader)
    reader.close()


@FEW
@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(1, 255)), min_size=1, max_size=3))
def test_any_turned_bytes_are_taken_or_told(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    """Wherever a file is corrupt, reading raises data errors only, comes to an end, and resumes everywhere."""
    path = save(tmp_path / "a.parquet", rows_of(12), group=5)
    raw = bytearray(path.read_bytes())
    for place, flip in flips:
        raw[place % len(raw)] ^= flip
    path.write_bytes(raw)
    assert {outcome[0] for outcome in read(path)} <= {"record", "DataError"}


def test_text_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    """The rows around it are read."""
    column = pa.array([b"good", b"\xff\xfe", b"fine"]).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"n": [0, 1, 2], "text": column}), tmp_path / "a.parquet")
    first, error, last = read(tmp_path / "a.parquet")
    assert (first[1]["text"], last[1]["text"]) == ("good", "fine")
    assert error[1] == "a value has no form in Python: invalid UTF-8: invalid start byte at byte 0 of a text"
    with pytest.raises(DataError, match=r"row group 0, row 1: a value has no form"):
        list(PARQUET.open(tmp_path / "a.parquet"))


@pytest.mark.parametrize("keep", [0, 3, 60, -1])
def test_a_file_without_its_footer_is_one_error(tmp_path: Path, keep: int) -> None:
    """Empty, or cut anywhere: told once, at every position the same."""
    path = save(tmp_path / "a.parquet", rows_of(40))
    path.write_bytes(path.read_bytes()[:keep])
    ((kind, message, *_),) = read(path)
    assert kind == "DataError"
    assert message.startswith("expected a Parquet file: ")
    with pytest.raises(DataError, match=r"a\.parquet: expected a Parquet file"):
        PARQUET.read_schema(path)
    with pytest.raises(DataError, match=r"a\.parquet: expected a Parquet file"):
        PARQUET.open_rows(path).count_rows()


def test_columns_are_chosen(tmp_path: Path) -> None:
    """Only these are read; one that is not there, and a name that is there twice, are the file's error."""
    path = save(tmp_path / "a.parquet", rows_of(3))
    assert [outcome[1] for outcome in read(path, columns=("text", "n"))] == [
        {"n": n, "text": f"row {n}"} for n in range(3)
    ]
    assert PARQUET.read_schema(path, Options(columns=("text",))).names == ["text"]
    ((_, message, *_),) = read(path, columns=("other",))
    assert message == "expected a column `other`, got `n`, `text`, `meta`"
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), path)
    ((_, message, *_),) = read(path)
    assert message == "expected columns with names of their own, got `a` twice"


def test_another_file_is_told_by_its_footer(tmp_path: Path) -> None:
    """Rewritten with the same rows it is the same; with others it is edited, and no state of it is taken."""
    path = save(tmp_path / "a.parquet", rows_of(30))
    reader = PARQUET.open(path)
    outcomes(reader, 10)
    state = reader.state()
    reader.close()
    assert PARQUET.compare(path, state) == "same"
    save(path, rows_of(30))
    os.utime(path, ns=(0, 0))
    assert PARQUET.compare(path, state) == "same"
    assert len(outcomes(PARQUET.open(path, state))) == 20
    save(path, rows_of(31))
    assert PARQUET.compare(path, state) == "edited"
    with pytest.raises(StateError, match="the file is another than the one the state was taken of"):
        PARQUET.open(path, state)
    path.unlink()
    assert PARQUET.compare(path, state) == "edited"
    with pytest.raises(ResourceError, match=r"a\.parquet: cannot be read: No such file"):
        PARQUET.open(path)


def test_how_far_it_is_read_is_told_in_bytes(tmp_path: Path) -> None:
    """By the share of its rows; unknown of a file that is gone."""
    path = save(tmp_path / "a.parquet", rows_of(40), group=10)
    reader = PARQUET.open(path)
    outcomes(reader, 20)
    size = path.stat().st_size
    assert measure_file(path, None) == (0, size)
    assert measure_file(path, reader.state()) == (size // 2, size)
    outcomes(reader)
    assert measure_file(path, reader.state()) == (size, size)
    path.unlink()
    assert measure_file(path, None) is None


@FEW
@given(st.lists(st.integers(0, 69), max_size=12), st.integers(0, 70), st.integers(0, 70))
def test_rows_are_found_by_number(tmp_path: Path, indices: list[int], start: int, stop: int) -> None:
    """One, several in any order and more than once, and a range, over groups of their own."""
    rows = rows_of(70)
    data = PARQUET.open_rows(save(tmp_path / "a.parquet", rows, group=9))
    assert (data.count_rows(), data.columns()) == (70, ("n", "text", "meta"))
    assert data.read_rows(indices) == [rows[index] for index in indices]
    assert [data.read_row(index) for index in indices] == [rows[index] for index in indices]
    assert list(data.iter_rows(start, stop)) == rows[start:stop]
    assert list(pickle.loads(pickle.dumps(data)).iter_rows(start, stop)) == rows[start:stop]
    data.release()
    assert data.read_rows(indices) == [rows[index] for index in indices]


def test_rows_of_a_corrupt_group_are_told_and_the_others_found(tmp_path: Path) -> None:
    """By number and in a range; going on behind the error, no row is given twice or from beyond the range."""
    path = save(tmp_path / "a.parquet", rows_of(40), group=10)
    corrupt(path, 1)
    data = PARQUET.open_rows(path)
    assert data.read_rows([25, 3]) == [rows_of(40)[25], rows_of(40)[3]]
    with pytest.raises(DataError, match="row group 1 is corrupt"):
        data.read_row(15)
    rows = data.iter_rows(5, 25)
    assert [next(rows)["n"] for _ in range(5)] == [5, 6, 7, 8, 9]
    with pytest.raises(DataError, match="row group 1 is corrupt, 10 of its 10 rows are lost"):
        next(rows)
    assert [row["n"] for row in rows] == [20, 21, 22, 23, 24]


def test_threads_share_rows(tmp_path: Path) -> None:
    """Each finds its own, whatever group the others read."""
    rows = rows_of(400)
    data = PARQUET.open_rows(save(tmp_path / "a.parquet", rows, group=7))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(data.read_row, range(399, -1, -1))) == rows[::-1]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # from Python 3.12 on, of any fork here
def test_a_forked_process_shares_rows(tmp_path: Path) -> None:
    """The file that the parent opened is read by both, each at places of its own."""
    rows = rows_of(400)
    data = PARQUET.open_rows(save(tmp_path / "a.parquet", rows, group=7))
    assert data.read_row(0) == rows[0]
    context = get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_send_rows, args=(data, send))
    child.start()
    send.close()
    assert list(map(data.read_row, range(400))) == rows
    assert receive.recv() == rows[::-1]
    child.join()
    child.close()
    receive.close()


def _send_rows(data: Rows, send: Any) -> None:
    send.send(list(map(data.read_row, range(399, -1, -1))))


def test_types_widen_over_all_records() -> None:
    """What the first thousand records say is not the last word; a missing column is None."""
    rows: list[dict[str, Any]] = [{"a": None, "n": 1, "m": {"x": []}} for _ in range(1_500)]
    rows += [{"a": "text", "n": 0.5, "m": {"x": [1], "y": "z"}, "late": True}]
    out = BytesIO()
    PARQUET.save(rows, out)
    table = pq.read_table(out)
    assert table.to_pylist()[0] == {"a": None, "n": 1.0, "m": {"x": [], "y": None}, "late": None}
    assert table.to_pylist()[-1] == rows[-1]


DAY = date(2026, 1, 2)
NOON = datetime.fromisoformat("2026-01-02T12:00:00")


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        ([7], "record 0 has no columns: expected a dict with names, got a int"),
        ([{}], "record 0 has no columns: expected a dict with names, got an empty one"),
        ([{"n": 1}, {3: 1}], "record 1 has no columns: expected a dict with names, got other keys than text"),
        ([{"n": 1}, {"n": 2}, {"n": "x"}], "record 2 has a value in the column `n` that fits no Arrow type"),
        ([{"n": 1}, {"n": 2**63}], r"record 1 has a value in the column `n` .*too large"),
        ([{"n": "x"}, {"n": "\ud800"}], r"record 1 has a value in the column `n` .*surrogates not allowed"),
        ([{"n": 1}] * 1_024 + [{"n": "x"}], "records from number 1024 on have other types than those before"),
        ([{"n": 2**60 + 1}] * 1_024 + [{"n": 0.5}], "the column `n` has no one type that keeps its values"),
        ([{"n": {}}], "the records have no form in Parquet"),
        ([{"n": DAY}, {"n": None}, {"n": NOON}], r"record 2 has a value .* date32\[day\] would change datetime"),
        (
            [{"n": NOON}, {"n": NOON.replace(tzinfo=UTC)}],
            r"record 1 has a value .* timestamp\[us\] would change datetime",
        ),
        ([{"n": NOON.replace(year=1)}, {"n": pd.Timestamp(1)}], "record 1 has a value .* out of bounds for nanosecond"),
        ([{"n": time(1, tzinfo=UTC)}], r"record 0 has a value .* time64\[us\] would change datetime\.time"),
        ([{"n": timedelta(1)}, {"n": 5}], r"record 1 has a value .* duration\[us\] would change 5"),
        ([{"n": "text"}, {"n": b"bytes"}], r"record 0 has a value .* binary would change 'text'"),
        ([{"n": {"m": [1.5]}}, {"n": {"m": [True]}}], r"record 1 has a value .* would change True"),
        (
            [{"n": ["text"]}] * 1_024 + [{"n": [b"bytes"]}],
            "from number 1024 on have other types .* `n` is list<item: binary>",
        ),
        ([{"n": {"m": Decimal("1.1")}}] * 1_024 + [{"n": {"m": 1.5}}], "from number 1024 on have other types"),
    ],
)
def test_what_has_no_form_in_parquet_is_told(rows: list[Any], cause: str) -> None:
    """The error names the record or the column."""
    with pytest.raises(DataError, match=cause):
        PARQUET.save(rows, BytesIO())


def test_nanoseconds_are_saved() -> None:
    """Those of pandas, which Arrow cuts by itself; the column has them all through."""
    at = pd.Timestamp("2026-01-02T12:00:00.000000001")
    rows = [{"at": NOON, "took": timedelta(1)}] * 1_024 + [{"at": at, "took": pd.Timedelta(1, "ns")}]
    out = BytesIO()
    PARQUET.save(rows, out)
    assert pq.read_table(out).to_pylist() == rows


def test_nan_and_more_rows_than_memory_holds_are_kept() -> None:
    """What is spooled to disk comes back, in several row groups, and the same records give the same bytes."""
    first, second = BytesIO(), BytesIO()
    for out in (first, second):
        PARQUET.save(({"text": str(n % 7) * 20_000, "x": float("nan")} for n in range(4_000)), out)
    assert first.getvalue() == second.getvalue()
    file = pq.ParquetFile(first)
    assert file.metadata.num_row_groups > 1
    assert [str(text)[0] for text in file.read().column("text").to_pylist()] == [str(n % 7) for n in range(4_000)]


def test_a_row_without_a_form_in_python_is_kept_whole(tmp_path: Path) -> None:
    """Its error carries it as an Arrow stream, in which everything is as it was; nothing is kept of a lost group."""
    column = pa.array([0, 2**62, 5], pa.timestamp("us"))
    pq.write_table(pa.table({"n": [1, 2, 3], "at": column}), tmp_path / "a.parquet")
    _, wrong, last = outcomes(PARQUET.open(tmp_path / "a.parquet"))
    assert (wrong[1], last[1]["n"]) == ("a value has no form in Python: date value out of range", 3)
    kept = pa.ipc.open_stream(wrong[2]).read_all()
    assert (kept["n"].to_pylist(), kept["at"].cast(pa.int64()).to_pylist()) == ([2], [2**62])
    with pytest.raises(DataError, match="a value has no form in Python: date value out of range"):
        PARQUET.decode(wrong[2])
    with pytest.raises(DataError, match="no bytes were kept of it: read its file anew"):
        PARQUET.decode(b"")
    with pytest.raises(DataError, match="expected a row as an Arrow stream"):
        PARQUET.decode(b"no row")


@pytest.mark.parametrize("size_bytes", [1_000, 4_000])
def test_groups_behind_the_end_of_a_file_that_was_cut_while_it_was_read(tmp_path: Path, size_bytes: int) -> None:
    """Each is told: pyarrow takes them for groups without rows."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(1_000)}), path, row_group_size=200)
    reader = PARQUET.open(path)
    rows = PARQUET.open_rows(path)
    assert (next(reader), rows.read_row(0)) == ({"n": 0}, {"n": 0})
    os.truncate(path, size_bytes)
    found = outcomes(reader)
    lost = [outcome for outcome in found if outcome[0] == "DataError"]
    assert lost
    assert len(found) - len(lost) + 200 * len(lost) >= 999
    assert lost[-1][1] == "row group 4 is corrupt, 200 of its 200 rows are lost: the file ends early"
    with pytest.raises(DataError, match="row group 4 is corrupt: the file ends early"):
        rows.read_row(999)
    rows.release()


def test_a_footer_that_miscounts_its_rows(tmp_path: Path) -> None:
    """Rows cannot be numbered then, and are not taken for fewer; what can be read is, as a stream."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(250)}), path, row_group_size=50)
    data = bytearray(path.read_bytes())
    place = data.rfind(b"\x16\x64")  # the last group's 50 rows, as a zigzag number
    data[place + 1] = 0x63
    path.write_bytes(data)
    assert pq.ParquetFile(path).metadata.row_group(4).num_rows == -50
    assert len([outcome for outcome in outcomes(PARQUET.open(path)) if outcome[0] == "record"]) >= 200
    rows = PARQUET.open_rows(path)
    with pytest.raises(DataError, match="expected row groups of 250 rows, as the footer says, got 200: it is corrupt"):
        rows.count_rows()
