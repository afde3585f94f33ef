from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes

from tidemill.data.formats.jsonl import JSONL, open_jsonl, parse_line, save_jsonl
from tidemill.data.formats.lines import LineReader
from tidemill.data.formats.runs import RAW_KEPT_BYTES
from tidemill.errors import DataError, ResourceError, StateError
from tidemill.protocols import State

FEW = settings(max_examples=40)

records = st.dictionaries(st.text(max_size=4), st.none() | st.integers(-9, 9) | st.text(max_size=9), max_size=3)
bad_lines = st.sampled_from([b"{", b"\xff\xfe", b"[1]", b"null", b"3", b'"text"', b"{} {}", b"true", b'{"a": "\x80"}'])
blank_lines = st.sampled_from([b"", b"  ", b"\t"])
line_ends = st.sampled_from([b"\n", b"\r\n"])


@st.composite
def texts(draw: Any) -> tuple[bytes, list[Any]]:
    """A file's text, and what is expected of it: a record, or the raw bytes of a bad line."""
    text, expected = b"", []
    for kind in draw(st.lists(st.sampled_from(["record", "record", "record", "bad", "blank", "long"]), max_size=12)):
        if kind == "record":
            record = draw(records)
            line = json.dumps(record).encode()
            expected.append(("record", record))
        elif kind == "long":
            record = {"text": "x" * draw(st.sampled_from([100, 70_000, 140_000]))}
            line = json.dumps(record).encode()
            expected.append(("record", record))
        elif kind == "bad":
            line = draw(bad_lines)
            expected.append(("bad", line))
        else:
            line = draw(blank_lines)
        text += line + draw(line_ends)
    return (text.rstrip(b"\r\n") if draw(st.booleans()) else text), expected


def save(folder: Path, text: bytes, *, packed: bool = False) -> Path:
    path = folder / ("a.jsonl.gz" if packed else "a.jsonl")
    path.write_bytes(gzip.compress(text, mtime=0) if packed else text)
    return path


def short(found: list[Any]) -> list[Any]:
    return [outcome if outcome[0] == "record" else ("bad", outcome[2]) for outcome in found]


def read_all(path: Path, **options: Any) -> list[Any]:
    return outcomes(open_jsonl(path, **options))


@FEW
@given(texts(), st.booleans())
def test_every_line_has_its_outcome_and_every_position_resumes(
    tmp_path: Path, drawn: tuple[bytes, list[Any]], packed: bool
) -> None:
    """A bad line anywhere costs that line only, and resuming anywhere gives the uninterrupted tail."""
    text, expected = drawn
    path = save(tmp_path, text, packed=packed)
    assert short(check_resumes_everywhere(lambda state: open_jsonl(path, state))) == expected


@FEW
@given(texts())
def test_an_error_carries_the_bytes_and_where_they_stand(tmp_path: Path, drawn: tuple[bytes, list[Any]]) -> None:
    """`text[offset:]` begins with the raw bytes an error carries."""
    text, _ = drawn
    for outcome in read_all(save(tmp_path, text)):
        if outcome[0] != "record":
            assert text[outcome[3] :].startswith(outcome[2])


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b'{"a": ]}', "not JSON at column 7: unexpected character"),
        (b'{"a": "\xff"}', "invalid UTF-8: invalid start byte at byte 7 of the line"),
        (b"[1, 2]", "expected a JSON object, got a list"),
        (b'"text"', "expected a JSON object, got a string"),
        (b"12", "expected a JSON object, got a number"),
        (b"1.5", "expected a JSON object, got a number"),
        (b"false", "expected a JSON object, got a boolean"),
        (b"null", "expected a JSON object, got null"),
        (b'{"a": NaN}', "not JSON at column 7"),
        (b'{"a": Infinity}', "not JSON at column 7"),
        (b'{"a": "\0"}', "not JSON at column 8: unexpected control character"),
        (b"\0\0\0\0", "not JSON at column 1"),
        (b'{"a":' * 2_000 + b"1" + b"}" * 2_000, "not JSON at column 5122: depth limit exceeded"),
    ],
)
def test_a_bad_line_says_what_is_wrong_and_where(tmp_path: Path, line: bytes, cause: str) -> None:
    """An error names file, offset and cause; the lines around it are read."""
    path = save(tmp_path, b'{"n": 1}\n' + line + b'\n{"n": 2}\n')
    reader = open_jsonl(path)
    assert next(reader) == {"n": 1}
    with pytest.raises(DataError, match=cause) as caught:
        next(reader)
    assert caught.value.raw == line
    assert caught.value.offset == 9
    assert caught.value.where == f"{path}, byte 9"
    assert list(reader) == [{"n": 2}]


def test_whole_numbers_are_exact(tmp_path: Path) -> None:
    """Signed and unsigned ones; written back they are the same."""
    rows = [{"n": n} for n in (-(2**63), 2**63 - 1, 2**63, 2**64 - 1, 2**64)]
    path = tmp_path / "a.jsonl"
    save_jsonl(rows, path)
    assert [outcome[1] for outcome in read_all(path)] == rows


def test_a_byte_order_mark_is_no_part_of_the_first_record(tmp_path: Path) -> None:
    """A UTF-8 file may begin with a byte order mark."""
    path = save(tmp_path, b'\xef\xbb\xbf{"n": 1}\n{"n": 2}\n')
    whole = check_resumes_everywhere(lambda state: open_jsonl(path, state))
    assert whole == [("record", {"n": 1}), ("record", {"n": 2})]
    path.write_bytes(b"\xef\xbb\xbf")
    assert read_all(path) == []


@pytest.mark.parametrize("packed", [False, True])
def test_an_empty_file_has_no_records(tmp_path: Path, packed: bool) -> None:
    """Nothing is not an error; neither is a `.gz` file of no bytes."""
    path = save(tmp_path, b"", packed=packed)
    assert read_all(path) == []
    path.write_bytes(b"")
    assert read_all(path) == []


@FEW
@given(st.lists(st.sampled_from([1, 20, 29, 30, 31, 32, 33, 70_000, 140_000]), max_size=8), line_ends, st.booleans())
def test_a_line_over_the_limit_is_passed_over(tmp_path: Path, sizes: list[int], end: bytes, packed: bool) -> None:
    """A line of just the limit is read, wherever blocks end; a longer one is an error with a cut head."""
    limit = 30
    lines = [b'{"a":"%s"}' % (b"x" * (size - 8)) if size >= 8 else b"{}" for size in sizes]
    path = save(tmp_path, b"".join(line + end for line in lines), packed=packed)
    whole = check_resumes_everywhere(lambda state: open_jsonl(path, state, max_line_bytes=limit))
    assert short(whole) == [
        ("record", json.loads(line)) if len(line) <= limit else ("bad", line[:limit]) for line in lines
    ]


def test_a_line_over_the_limit_names_size_and_way_out(tmp_path: Path) -> None:
    """The error of a huge line has the first 64 KiB of it."""
    path = save(tmp_path, b'{"a":"' + b"x" * 300_000 + b'"}\n{}\n')
    reader = open_jsonl(path, max_line_bytes=200_000)
    with pytest.raises(DataError, match=r"at most 200,000 bytes in a line, got 300,009\n.*max_line_bytes") as caught:
        next(reader)
    assert caught.value.raw is not None
    assert len(caught.value.raw) == RAW_KEPT_BYTES
    assert list(reader) == [{}]


@FEW
@given(st.integers(1, 2_000), st.integers(0, 1 << 30))
def test_a_cut_gzip_file_gives_what_stands_before_the_cut(tmp_path: Path, size: int, seed: int) -> None:
    """The records in front of the cut are read, then one error, at every position the same after resuming."""
    rng = random.Random(seed)
    lines = [json.dumps({"n": n, "noise": rng.random()}).encode() + b"\n" for n in range(60)]
    packed = gzip.compress(b"".join(lines), mtime=0)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed[: min(size, len(packed) - 1)])
    *good, last = check_resumes_everywhere(lambda state: open_jsonl(path, state))
    assert [outcome[1]["n"] for outcome in good] == list(range(len(good)))
    assert last[1] == "the gzip stream ends early: the file is cut"
    assert b"".join(lines[len(good) :]).startswith(last[2])


@FEW
@given(st.integers(20, 1_500), st.integers(1, 255))
def test_a_corrupt_gzip_file_ends_in_one_error(tmp_path: Path, position: int, flip: int) -> None:
    """Whatever bits are flipped, there is at most one error about the stream, it is last, and resuming agrees."""
    packed = bytearray(gzip.compress(b"".join(b'{"n": %d}\n' % (n * n) for n in range(600)), mtime=0))
    packed[position] ^= flip
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed)
    found = read_all(path)
    state_at_end = open_jsonl(path)
    outcomes(state_at_end)
    assert outcomes(open_jsonl(path, state_at_end.state())) == []
    assert "gzip" in found[-1][1]
    assert sum("gzip" in outcome[1] for outcome in found if outcome[0] != "record") == 1


def test_text_before_a_corrupt_byte_is_not_lost(tmp_path: Path) -> None:
    """Blocks are decoded up to the very symbol that is wrong, not to the block before."""
    packed = bytearray(gzip.compress(b"".join(b'{"n": %d}\n' % n for n in range(2_000)), mtime=0))
    packed[-8] ^= 1  # the checksum in the trailer: all text stands before it
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed)
    *good, last = read_all(path)
    assert len(good) == 2_000
    assert last[1] == "the gzip stream is corrupt (incorrect data check)"


def test_gzip_members_follow_each_other(tmp_path: Path) -> None:
    """Appended members and zero padding are one text; anything else behind a member is an error."""
    members = [gzip.compress(b'{"n": %d}\n' % n, mtime=0) for n in range(5)]
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(b"".join(members) + bytes(512))
    whole = check_resumes_everywhere(lambda state: open_jsonl(path, state))
    assert whole == [("record", {"n": n}) for n in range(5)]
    path.write_bytes(members[0] + b"no gzip")
    assert read_all(path)[-1][1] == "the gzip stream is corrupt (incorrect header check)"


def test_a_state_holds_the_checksum_of_the_bytes_read(tmp_path: Path) -> None:
    """The checksum covers the file's raw bytes up to the furthest one read, also when bytes are read again."""
    path = save(tmp_path, b"".join(b'{"n": %d}\n' % n for n in range(40_000)))
    raw = path.read_bytes()
    reader = open_jsonl(path)
    state: State = reader.state()
    for _ in range(10):
        outcomes(reader, 3_000)
        state = reader.state()
        frontier, crc = state["crc"]
        assert zlib.crc32(raw[:frontier]) == crc
        assert state["offset"] <= frontier
        reader.close()
        reader = open_jsonl(path, state)
    outcomes(reader)
    assert reader.state()["crc"] == [len(raw), zlib.crc32(raw)]


@pytest.mark.parametrize("packed", [False, True])
def test_growth_is_told_from_edits(tmp_path: Path, packed: bool) -> None:
    """Rewriting the same bytes is `same`, more behind them `grown`, other ones before the state `edited`."""
    text = b'{"n": 1}\n{"n": 2}\n'
    path = save(tmp_path, text, packed=packed)
    reader = open_jsonl(path)
    outcomes(reader)
    state = reader.state()
    raw = path.read_bytes()
    assert JSONL.compare(path, state) == "same"
    path.write_bytes(raw)
    touch(path)
    assert JSONL.compare(path, state) == "same"
    more = b'{"n": 3}\n'
    path.write_bytes(raw + (gzip.compress(more) if packed else more))
    assert JSONL.compare(path, state) == "grown"
    assert outcomes(open_jsonl(path, state)) == [("record", {"n": 3})]
    save(tmp_path, b'{"n": 0}\n{"n": 2}\n{"n": 3}\n', packed=packed)
    assert JSONL.compare(path, state) == "edited"
    with pytest.raises(StateError, match="the file was edited before byte 18, where the state stands"):
        open_jsonl(path, state)
    path.unlink()
    assert JSONL.compare(path, state) == "edited"


@pytest.mark.parametrize(
    ("more", "growth"), [(b'\n{"n": 2}\n', "grown"), (b'\r\n{"n": 2}\n', "grown"), (b'1}\n{"n": 2}\n', "cut")]
)
def test_growth_within_the_last_line_is_told(tmp_path: Path, more: bytes, growth: str) -> None:
    """A last line without its end was read as it stood; what goes on in that line changes it."""
    path = save(tmp_path, b'{"n": 1}')
    reader = open_jsonl(path)
    outcomes(reader)
    path.write_bytes(b'{"n": 1}' + more)
    assert JSONL.compare(path, reader.state()) == growth
    if growth == "cut":
        with pytest.raises(StateError, match="cut in the middle of the line that ended at byte 8"):
            open_jsonl(path, reader.state())


def test_an_edit_behind_the_state_is_none(tmp_path: Path) -> None:
    """Of a plain file what was read ahead of the records given does not count."""
    lines = [b'{"n": %d}\n' % n for n in range(60)]
    path = save(tmp_path, b"".join(lines))
    reader = open_jsonl(path)
    outcomes(reader, 20)
    state = reader.state()
    reader.close()
    lines[43] = b'{"n": "other"}\n'
    save(tmp_path, b"".join(lines))
    assert JSONL.compare(path, state) == "grown"
    assert outcomes(open_jsonl(path, state))[23] == ("record", {"n": "other"})
    lines[19] = b'{"n": "other"}\n'
    save(tmp_path, b"".join(lines))
    assert JSONL.compare(path, state) == "edited"


@pytest.mark.parametrize("torn", [True, False])
def test_a_gzip_file_that_was_cut_may_become_whole(tmp_path: Path, torn: bool) -> None:
    """The line that the cut fell into is read as a whole one then, behind the error; of the same file nothing more."""
    rows = [{"n": n, "text": hashlib.sha256(b"%d" % n).hexdigest()} for n in range(2_000)]
    text = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    whole = gzip.compress(text[:50_000], mtime=0) + gzip.compress(text[50_000:], mtime=0)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(whole[: len(whole) // 2] if torn else gzip.compress(text[:50_000], mtime=0)[:-8])
    reader = open_jsonl(path)
    *good, last = outcomes(reader)
    state = reader.state()
    assert last[1] == "the gzip stream ends early: the file is cut"
    assert outcomes(open_jsonl(path, state)) == []
    path.write_bytes(whole)
    assert JSONL.compare(path, state) == "grown"
    assert [*good, *outcomes(open_jsonl(path, state))] == [("record", row) for row in rows]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    """A missing file is a resource error with its path."""
    with pytest.raises(ResourceError, match=r"none\.jsonl: cannot be read: No such file"):
        open_jsonl(tmp_path / "none.jsonl")


def test_a_state_behind_the_text_is_refused(tmp_path: Path) -> None:
    """A state whose offset the text never reaches belongs to another file."""
    path = save(tmp_path, b"{}\n", packed=True)
    reader = open_jsonl(path)
    outcomes(reader)
    with pytest.raises(StateError, match="stands at byte 99 of the text, which ends at 3"):
        open_jsonl(path, {**reader.state(), "offset": 99})


def test_a_reader_may_be_used_in_another_thread(tmp_path: Path) -> None:
    """Opened here, read there, asked for its state here again."""
    path = save(tmp_path, b"".join(b'{"n": %d}\n' % n for n in range(30_000)))
    reader = open_jsonl(path)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.extend(outcomes(reader, 20_000)))
    thread.start()
    thread.join()
    assert [outcome[1]["n"] for outcome in found] == list(range(20_000))
    assert outcomes(open_jsonl(path, reader.state()), 1) == [("record", {"n": 20_000})]
    reader.close()
    reader.close()


def test_a_reader_left_behind_closes_its_file(tmp_path: Path) -> None:
    """Dropping a reader, begun or not, leaves no file open: an open one warns, and warnings are errors here."""
    path = save(tmp_path, b"{}\n" * 100)
    reader: LineReader | None = open_jsonl(path)
    reader = open_jsonl(path)
    assert next(reader) == {}
    reader = None
    assert reader is None


@pytest.mark.parametrize("name", ["out.jsonl", "new/out.jsonl.gz"])
def test_saved_records_are_read_back(tmp_path: Path, name: str) -> None:
    """What `save_jsonl` writes is what is read; the same records give the same bytes."""
    path = tmp_path / name
    rows = [{"n": n, "text": "ä" * n} for n in range(1_000)]
    assert save_jsonl(iter(rows), path) == 1_000
    assert [outcome[1] for outcome in read_all(path)] == rows
    first = path.read_bytes()
    save_jsonl(rows, path)
    assert path.read_bytes() == first
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_failed_save_leaves_no_file(tmp_path: Path) -> None:
    """A record that is not JSON is named by its number, and what stood there before stays."""
    path = tmp_path / "out.jsonl"
    save_jsonl([], path)
    with pytest.raises(DataError, match="record 1 is not JSON: Type is not JSON serializable: object"):
        save_jsonl([{}, {"a": object()}], path)
    assert path.read_bytes() == b""
    assert [each.name for each in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_raw_line_is_parsed_alone() -> None:
    """`parse_line` is how a refused line is tried again."""
    assert parse_line(b'{"n": 1}\r\n') == {"n": 1}
    with pytest.raises(DataError, match="expected a JSON object, got a list"):
        parse_line(b"[]")


def touch(path: Path) -> None:
    import os

    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000_000))


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**40, -(10**40)])
@pytest.mark.parametrize("text", ["plain", "with\n" * 30])
def test_integers_of_any_size_are_exact(tmp_path: Path, number: int, text: str) -> None:
    """Also among lines with many escapes, which another parser reads; as a stream and by number."""
    records = [{"text": text, "pad": "x" * pad, "n": [number, 0.12345678901234567]} for pad in range(20)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert list(open_jsonl(path)) == records
    rows = JSONL.open_rows(path)
    assert rows.read_rows(range(20)) == records
    assert list(rows.iter_rows(3, 9)) == records[3:9]
    rows.release()
    assert JSONL.decode(json.dumps(records[0]).encode()) == records[0]


@pytest.mark.parametrize("number", ["1" + "0" * 5_000, "[" * 1_010 + str(2**64) + "]" * 1_010])
def test_an_integer_that_cannot_be_exact_is_told(tmp_path: Path, number: str) -> None:
    """It never becomes another number."""
    (tmp_path / "a.jsonl").write_text(f'{{"n": 1}}\n{{"n": {number}}}\n{{"n": 2}}\n')
    first, wrong, last = outcomes(open_jsonl(tmp_path / "a.jsonl"))
    assert (first[1], last[1]) == ({"n": 1}, {"n": 2})
    assert wrong[1].startswith(("cannot be read exactly: ", "not JSON at column 7: number is infinity"))


@pytest.mark.parametrize("record", [{"n": 2**70, "s": "é"}, {"n": json.loads("[" * 300 + "]" * 300)}])
def test_what_is_read_can_be_written(tmp_path: Path, record: Any) -> None:
    """Integers over 64 bits and values nested deep, which the quicker writer refuses."""
    assert save_jsonl([{"n": 1}, record], tmp_path / "a.jsonl") == 2
    assert list(open_jsonl(tmp_path / "a.jsonl")) == [{"n": 1}, record]
    for other in ({**record, "s": {1}}, {**record, "s": (1,), "n": 2**70}, {**record, "s": float("nan")}):
        with pytest.raises(DataError, match="record 0 is not JSON"):
            save_jsonl([other], tmp_path / "b.jsonl")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just("null"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=4), inner) | st.lists(st.floats(), min_size=16),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=4), values, max_size=4))
def test_a_number_is_written_as_it_is_or_refused(record: Any) -> None:
    """NaN and infinity, which would come back as None, wherever they stand and whatever stands beside them."""
    file = io.BytesIO()
    try:
        json.dumps(record, allow_nan=False)
    except ValueError:
        with pytest.raises(DataError, match="record 0 is not JSON: "):
            JSONL.save([record], file)
    else:
        assert JSONL.save([record], file) == 1
        assert json.loads(file.getvalue()) == record
