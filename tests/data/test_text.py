from __future__ import annotations

import gzip
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes

from tidemill.data.formats.format import Options
from tidemill.data.formats.text import TEXT
from tidemill.errors import ConfigError, DataError, StateError

FEW = settings(max_examples=40)
WHOLE = Options(whole=True)

one_line = st.text(st.characters(exclude_characters="\n\ufeff", exclude_categories=["Cs"]), max_size=8).map(
    lambda text: text.rstrip("\r")
)
lines = one_line | st.sampled_from(["x" * 70_000, "y" * 140_000])


def save(folder: Path, raw: bytes, name: str = "a.txt") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(raw, mtime=0) if name.endswith(".gz") else raw)
    return path


def read(path: Path, **options: Any) -> list[Any]:
    return check_resumes_everywhere(lambda state: TEXT.open(path, state, Options(**options)))


def texts(found: list[Any]) -> list[Any]:
    return [outcome[1]["text"] if outcome[0] == "record" else outcome[2] for outcome in found]


@FEW
@given(st.lists(lines, max_size=12), st.sampled_from(["utf-8", "utf-7", "gb18030"]), st.booleans())
def test_written_lines_are_read_back(tmp_path: Path, drawn: list[str], encoding: str, packed: bool) -> None:
    """Blank lines, and line separators that are no line ends, are kept."""
    out = BytesIO()
    assert TEXT.save(({"text": line} for line in drawn), out, Options(encoding=encoding)) == len(drawn)
    path = save(tmp_path, out.getvalue(), "a.txt.gz" if packed else "a.txt")
    assert texts(read(path, encoding=encoding)) == drawn


@FEW
@given(st.lists(st.sampled_from([b"good", b"", b"\xff", b"nul\0", b"\xc3\xa4", b"x" * 70_000, b"a\rb"]), max_size=9))
def test_a_line_in_another_encoding_costs_itself(tmp_path: Path, drawn: list[bytes]) -> None:
    """It is an error with its bytes and offset; the lines around it are read."""
    raw = b"\r\n".join(drawn) + b"\r\n" * bool(drawn)
    found = read(save(tmp_path, raw))
    assert texts(found) == [line if line == b"\xff" else line.decode() for line in drawn]
    for outcome in found:
        if outcome[0] != "record":
            assert outcome[1] == "invalid UTF-8: invalid start byte at byte 0 of the line"
            assert raw[outcome[3] :].startswith(outcome[2])


def test_other_encodings_are_named(tmp_path: Path) -> None:
    """Latin-1 is read as it is; UTF-16 only as whole files; a codec that makes no text is none."""
    path = save(tmp_path, b"\xe4\n\xf6")
    assert texts(read(path, encoding="latin-1")) == ["ä", "ö"]
    with pytest.raises(ConfigError, match=r"lines in utf-16 cannot be told apart.*\n.*`whole`"):
        TEXT.open(path, None, Options(encoding="utf-16"))
    with pytest.raises(ConfigError, match="there is no encoding `base64`"):
        TEXT.open(path, None, Options(encoding="base64"))
    assert texts(read(save(tmp_path, "ä\nö".encode("utf-16")), encoding="utf-16", whole=True)) == ["ä\nö"]


@pytest.mark.parametrize("name", ["a.md", "a.md.gz"])
def test_a_whole_file_is_one_record(tmp_path: Path, name: str) -> None:
    """It has the text, line ends as they are, and the path."""
    path = save(tmp_path, b"\xef\xbb\xbf# one\r\n\ntwo", name)
    assert read(path, whole=True) == [("record", {"text": "# one\r\n\ntwo", "path": str(path)})]
    assert read(save(tmp_path, b"", name), whole=True) == []


def test_a_whole_file_that_cannot_be_taken_is_one_error(tmp_path: Path) -> None:
    """Another encoding, or a size over the limit."""
    path = save(tmp_path, b"good\n\xff")
    ((_, message, raw, _),) = read(path, whole=True)
    assert (message, raw) == ("invalid UTF-8: invalid start byte at byte 5 of the file", b"good\n\xff")
    path = save(tmp_path, b"x" * 300_000)
    ((_, message, raw, _),) = read(path, whole=True, max_line_bytes=100_000)
    assert (message, len(raw)) == ("expected at most 100,000 bytes in a file, got 300,000", 64 * 1024)


@pytest.mark.parametrize("whole", [False, True])
def test_a_cut_gzip_file_gives_no_head_of_a_line_as_a_line(tmp_path: Path, whole: bool) -> None:
    """What stands in front of the cut is an error, and is read once the file is whole."""
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"one\ntwo", mtime=0)[:-8])
    found = read(path, whole=whole)
    assert texts(found) == ([b"one\ntwo"] if whole else ["one", b"two"])
    assert found[-1][1] == "the gzip stream ends early: the file is cut"
    reader = TEXT.open(path, None, Options(whole=whole))
    outcomes(reader)
    state = reader.state()
    path.write_bytes(gzip.compress(b"one\ntwo", mtime=0) + gzip.compress(b"o\n", mtime=0))
    assert TEXT.compare(path, state, Options(whole=whole)) == "grown"
    tail = texts(outcomes(TEXT.open(path, state, Options(whole=whole))))
    assert tail == (["one\ntwoo\n"] if whole else ["twoo"])


def test_a_line_over_the_limit_is_passed_over(tmp_path: Path) -> None:
    """The lines around it are read."""
    path = save(tmp_path, b"one\n" + b"x" * 200_000 + b"\ntwo\n")
    assert texts(read(path, max_line_bytes=10)) == ["one", b"x" * 10, "two"]


def test_growth_is_read_as_far_as_it_is_new(tmp_path: Path) -> None:
    """Lines behind the state are; a whole file that grew is another one."""
    path = save(tmp_path, b"one\n")
    by_line, whole = TEXT.open(path), TEXT.open(path, None, WHOLE)
    outcomes(by_line)
    outcomes(whole)
    path.write_bytes(b"one\ntwo\n")
    assert texts(outcomes(TEXT.open(path, by_line.state()))) == ["two"]
    assert TEXT.compare(path, whole.state(), WHOLE) == "edited"
    with pytest.raises(StateError, match="the file was edited before byte 4"):
        TEXT.open(path, whole.state(), WHOLE)


@pytest.mark.parametrize(
    ("record", "options", "cause"),
    [
        ({"text": "a\nb"}, Options(), "record 0 is not one line"),
        ({"text": "a\r"}, Options(), "record 0 is not one line"),
        ({"text": 1}, Options(), "record 0 is not plain text"),
        ({"text": "a", "n": 1}, Options(), "record 0 is not plain text"),
        ("a", Options(), "record 0 is not plain text"),
        ({"text": "ä"}, Options(encoding="ascii"), "record 0 cannot be written in ascii"),
    ],
)
def test_what_has_no_form_as_text_is_told(record: Any, options: Options, cause: str) -> None:
    """The error names the record."""
    with pytest.raises(DataError, match=cause):
        TEXT.save([record], BytesIO(), options)


def test_a_whole_file_is_written_of_one_record() -> None:
    """A second one is told to go elsewhere."""
    out = BytesIO()
    assert TEXT.save([{"text": "a\nb\r", "path": "x"}], out, WHOLE) == 1
    assert out.getvalue() == b"a\nb\r"
    with pytest.raises(DataError, match="expected one record for a file that is one record"):
        TEXT.save([{"text": "a"}] * 2, BytesIO(), WHOLE)


def test_it_names_its_columns_and_has_no_rows_by_number(tmp_path: Path) -> None:
    """A refused line is decoded alone; a dataset is refused with what to do."""
    assert TEXT.decode(b"\xe4", Options(encoding="latin-1")) == {"text": "ä"}
    assert TEXT.read_schema(tmp_path / "a.txt").names == ["text"]
    assert TEXT.read_schema(tmp_path / "a.txt", WHOLE).names == ["text", "path"]
    with pytest.raises(ConfigError, match="plain text cannot be a dataset"):
        TEXT.open_rows(tmp_path / "a.txt")
