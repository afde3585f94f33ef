from __future__ import annotations

import csv
import gzip
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes

from tidemill.data.files import BLOCK_BYTES
from tidemill.data.formats.csv import CSV
from tidemill.data.formats.format import Options
from tidemill.errors import ConfigError, DataError, StateError

FEW = settings(max_examples=30)

words = st.text(st.sampled_from('ab,"\n\r\t\0 ä'), max_size=6)
fields = words | st.sampled_from(["x" * 70_000, 'y"\n' * 30_000])
names = st.lists(st.text(st.sampled_from('ab,"\n ä'), min_size=1, max_size=4), min_size=1, max_size=3, unique=True)


def save(folder: Path, text: bytes, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(text, mtime=0) if name.endswith(".gz") else text)
    return path


def read(path: Path, **options: Any) -> list[Any]:
    """The outcomes, after checking that reading resumes at each of them."""
    return check_resumes_everywhere(lambda state: CSV.open(path, state, Options(**options)))


def rows(found: list[Any]) -> list[Any]:
    return [outcome[1] if outcome[0] == "record" else outcome[2] for outcome in found]


@FEW
@given(names, st.data(), st.sampled_from(["a.csv", "a.tsv", "a.csv.gz"]))
def test_what_is_written_is_read_back(tmp_path: Path, columns: list[str], data: st.DataObject, name: str) -> None:
    """Any text, with quotes, delimiters and line ends inside, comes back as it was; None as empty text."""
    values = data.draw(st.lists(st.lists(fields | st.none(), min_size=len(columns), max_size=len(columns)), max_size=8))
    records = [dict(zip(columns, row, strict=True)) for row in values]
    out = BytesIO()
    assert CSV.save(iter(records), out, Options(delimiter="\t" if name == "a.tsv" else None)) == len(records)
    path = save(tmp_path, out.getvalue(), name)
    expected = [{key: value or "" for key, value in record.items()} for record in records]
    assert read(path) == [("record", record) for record in expected]


@FEW
@given(st.text(st.sampled_from('ab,"\n\r '), max_size=40), st.sampled_from([4, 9, 1 << 20]))
def test_any_bytes_resume_and_are_accounted_for(tmp_path: Path, text: str, limit: int) -> None:
    """However broken the quoting, each position resumes, and an error's bytes stand where it says."""
    raw = b"c,d\n" + text.encode()
    path = save(tmp_path, raw)
    for outcome in read(path, max_line_bytes=limit):
        if outcome[0] != "record":
            assert raw[outcome[3] :].startswith(outcome[2])
        else:
            assert outcome[1].keys() == {"c", "d"}


@FEW
@given(
    st.lists(
        st.sampled_from(["1,2", '"a\nb",2', '"",""', "1", "1,2,3", '"a"b,1', "\xff,1", "", '"x""y",z']), max_size=9
    )
)
def test_a_bad_row_costs_itself(tmp_path: Path, lines: list[str]) -> None:
    """Rows with the wrong number of fields, bad quoting or bad encoding are errors; those around them are read."""
    path = save(tmp_path, b"".join(line.encode("latin-1") + b"\n" for line in ["c,d", *lines]))
    good = {"1,2": ["1", "2"], '"a\nb",2': ["a\nb", "2"], '"",""': ["", ""], '"x""y",z': ['x"y', "z"]}
    expected = [dict(zip("cd", good[line], strict=True)) if line in good else line.encode("latin-1") for line in lines]
    assert rows(read(path)) == [each for each in expected if each != b""]


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        (b"1", "expected 2 fields as in the header, got 1"),
        (b"1,2,3", "expected 2 fields as in the header, got 3"),
        (b'"1"2,3', "not CSV: ',' expected after '\"'"),
        (b"1\r2,3", "not CSV: new-line character seen in unquoted field"),
        (b"\xff,1", "invalid UTF-8: invalid start byte at byte 0 of the row"),
    ],
)
def test_a_bad_row_says_what_is_wrong_and_where(tmp_path: Path, row: bytes, cause: str) -> None:
    """An error names file, offset and cause, and carries the row."""
    path = save(tmp_path, b"c,d\n1,2\n" + row + b"\n3,4\n")
    reader = CSV.open(path)
    assert next(reader) == {"c": "1", "d": "2"}
    with pytest.raises(DataError, match=cause) as caught:
        next(reader)
    assert (caught.value.raw, caught.value.offset, caught.value.where) == (row, 8, f"{path}, byte 8")
    assert list(reader) == [{"c": "3", "d": "4"}]


@pytest.mark.parametrize("size", [3, 10_000])
def test_a_quote_that_is_never_closed_costs_its_line(tmp_path: Path, size: int) -> None:
    """The rows behind a stray quote are read, however many there are."""
    path = save(tmp_path, b'c,d\n1,"2\n' + b"3,4\n" * size)
    found = outcomes(CSV.open(path))
    assert found[0][1:] == (
        "a quote is opened and not closed within 67,108,864 bytes or the end of the file",
        b'1,"2',
        4,
    )
    assert rows(found[1:]) == [{"c": "3", "d": "4"}] * size
    assert rows(read(save(tmp_path, b'c,d\n1,"2\n3,4\n'), max_line_bytes=4)) == [b'1,"2', {"c": "3", "d": "4"}]


def test_a_file_cut_within_its_one_column_ends_in_one_error(tmp_path: Path) -> None:
    """Where any line could be a row, none of an open quote's is taken for one."""
    assert rows(read(save(tmp_path, b'c\nx\n"one\ntwo\nthree'))) == [{"c": "x"}, b'"one\ntwo\nthree']


@pytest.mark.parametrize(
    ("header", "cause"),
    [
        (b"a,,b", "a name of its own for each column, got an empty name"),
        (b"a,b,a", "a name of its own for each column, got the name `a` twice"),
        (b'"a"b', "not CSV"),
        (b'"a', "a quote is opened and not closed"),
        (b"\xff", "invalid UTF-8"),
    ],
)
def test_a_header_that_names_no_columns_is_the_one_error_of_its_file(tmp_path: Path, header: bytes, cause: str) -> None:
    """Rows without names are not read; the error carries the header."""
    path = save(tmp_path, header + b"\n1,2,3\n")
    ((kind, message, raw, offset),) = read(path)
    assert (kind, offset) == ("DataError", 0)
    assert cause in message
    assert raw == header
    with pytest.raises(DataError, match=cause):
        CSV.read_schema(path)


def test_a_byte_order_mark_line_ends_and_blank_lines_are_no_data(tmp_path: Path) -> None:
    """What Excel writes is read."""
    path = save(tmp_path, b'\xef\xbb\xbfc,d\r\n1,"2\r\n"\r\n\r\n\r\n3,4')
    assert rows(read(path)) == [{"c": "1", "d": "2\r\n"}, {"c": "3", "d": "4"}]


@pytest.mark.parametrize("text", [b"", b"\n", b"\xef\xbb\xbf", b"a,b", b"a,b\n"])
def test_a_file_without_rows_has_no_records(tmp_path: Path, text: bytes) -> None:
    """Neither an empty file nor a header alone is an error."""
    assert read(save(tmp_path, text)) == []


def test_other_encodings_and_delimiters(tmp_path: Path) -> None:
    """They are named; what cannot be one is refused."""
    path = save(tmp_path, "ä;b\n1,0;ß\n".encode("cp1252"))
    assert rows(read(path, encoding="cp1252", delimiter=";")) == [{"ä": "1,0", "b": "ß"}]
    with pytest.raises(ConfigError, match="expected one character as delimiter"):
        CSV.open(path, None, Options(delimiter=", "))
    with pytest.raises(ConfigError, match="lines in utf-16 cannot be told apart"):
        CSV.open(path, None, Options(encoding="utf-16"))
    with pytest.raises(ConfigError, match="there is no encoding `utf-99`"):
        CSV.open(path, None, Options(encoding="utf-99"))


def test_a_huge_field_is_read_up_to_the_limit(tmp_path: Path) -> None:
    """The standard library's limit on fields is neither in the way nor changed for others."""
    before = csv.field_size_limit()
    huge = "x" * 400_000
    path = save(tmp_path, f'c,d\n"{huge}",1\n2,3\n"{huge}\n{huge}",1\n'.encode())
    assert rows(read(path)) == [{"c": huge, "d": "1"}, {"c": "2", "d": "3"}, {"c": f"{huge}\n{huge}", "d": "1"}]
    long, good, *rest = read(path, max_line_bytes=100_000)
    assert long[1] == "expected at most 100,000 bytes in a line, got 400,005"
    assert rows([good]) == [{"c": "2", "d": "3"}]
    assert [outcome[1] for outcome in rest] == [
        "expected at most 100,000 bytes in a line, got 400,002",
        "expected at most 100,000 bytes in a line, got 400,004",
    ]
    assert csv.field_size_limit() == before


def test_a_cut_gzip_file_gives_the_rows_in_front(tmp_path: Path) -> None:
    """The row that the cut fell into is none, even where it looks whole, and is read once the file is."""
    text = b'c,d\n1,2\n3,"4\n5",6\n'
    path = tmp_path / "a.csv.gz"
    for stop in range(len(text)):
        path.write_bytes(gzip.compress(text[:stop], mtime=0)[:-8])
        *good, last = read(path)
        assert last[1] == "the gzip stream ends early: the file is cut"
        assert rows(good) == [{"c": "1", "d": "2"}][: stop // 8]
        reader = CSV.open(path)
        outcomes(reader)
        state = reader.state()
        path.write_bytes(gzip.compress(text[:stop], mtime=0) + gzip.compress(text[stop:], mtime=0))
        if CSV.compare(path, state) == "grown":
            tail = [*rows(good), *rows(outcomes(CSV.open(path, state)))]
            assert tail == [{"c": "1", "d": "2"}, b'3,"4\n5",6']


def test_growth_is_read_and_an_edit_refused(tmp_path: Path) -> None:
    """Rows appended are read from the state on; a header that changed is an edit."""
    path = save(tmp_path, b"c,d\n1,2\n")
    reader = CSV.open(path)
    outcomes(reader)
    state = reader.state()
    path.write_bytes(b"c,d\n1,2\n3,4\n")
    assert CSV.compare(path, state) == "grown"
    assert rows(outcomes(CSV.open(path, state))) == [{"c": "3", "d": "4"}]
    path.write_bytes(b"e,d\n1,2\n3,4\n")
    assert CSV.compare(path, state) == "edited"
    with pytest.raises(StateError, match="the file was edited before byte 8"):
        CSV.open(path, state)


def test_a_row_alone_is_not_decoded(tmp_path: Path) -> None:
    """Its names stand elsewhere."""
    with pytest.raises(DataError, match="expected a row with its header"):
        CSV.decode(b"1,2")


@pytest.mark.parametrize(
    ("records", "cause"),
    [
        ([{}], "record 0 has no header"),
        ([{"": 1}], "record 0 has no header"),
        ([7], "record 0 has no header"),
        ([{"a": 1}, 7], "record 1 has no columns: expected a dict, got a int"),
        ([{"a": 1}, {"b": 1}], "record 1 has columns that the first has not: `b`"),
        ([{"a": 1}, {"a": [1]}], "record 1 has a list as `a`, for which CSV has no form"),
        (
            [{"a": "x" * BLOCK_BYTES}, {"a": "b"}, {"a": "\ud800"}],
            r"record 2 holds U\+D800, which utf-8 has no form for",
        ),
    ],
)
def test_what_has_no_form_in_csv_is_told(records: list[Any], cause: str) -> None:
    """The error names the record and what is wrong with it."""
    with pytest.raises(DataError, match=cause):
        CSV.save(records, BytesIO())


def test_numbers_and_missing_columns_are_written(tmp_path: Path) -> None:
    """Numbers as Python writes them, nothing where a column is missing."""
    out = BytesIO()
    CSV.save([{"a": 1, "b": 0.5, "c": None}, {"b": True, "a": float("nan")}], out)
    assert out.getvalue() == b"a,b,c\r\n1,0.5,\r\nnan,True,\r\n"


def test_it_names_its_columns_and_has_no_rows_by_number(tmp_path: Path) -> None:
    """All columns are text; a dataset is refused with what to do."""
    path = save(tmp_path, b"c,d\n")
    assert CSV.read_schema(path).names == ["c", "d"]
    assert CSV.read_schema(save(tmp_path, b"")).names == []
    with pytest.raises(ConfigError, match=r"CSV cannot be a dataset.*\n.*write it to Parquet first"):
        CSV.open_rows(path)
