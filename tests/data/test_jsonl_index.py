from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from room import files_of_at_most

from tidemill.data.formats.format import Rows
from tidemill.data.formats.jsonl import JSONL
from tidemill.data.formats.line_index import CACHED_FROM_BYTES
from tidemill.errors import ConfigError, DataError, ResourceError, StateError

FEW = settings(max_examples=60)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tidemill" / "lines"


@pytest.fixture
def long(tmp_path: Path, cache: Path) -> Path:
    """A file whose index is kept: 3 blocks of a pass, with a line that begins a block."""
    return save(tmp_path / "long.jsonl", rows_of(9_000))


def rows_of(count: int, text: str = "x" * 1_000) -> list[dict[str, Any]]:
    return [{"n": n, "text": text} for n in range(count)]


def save(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return path


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))


lines = st.sampled_from(
    [
        b"{}",
        b'{"n": 1}',
        b' {"n": 2}',
        b"",
        b" ",
        b"\t\r",
        b"\v",
        b"oops",
        b" oops",
        b"[]",
        b'{"t":"%s"}' % (b"x" * 70_000),
    ]
)


@FEW
@given(st.lists(lines, max_size=12), st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans(), st.data())
def test_a_number_finds_what_reading_finds(
    tmp_path: Path, drawn: list[bytes], end: bytes, ended: bool, marked: bool, data: st.DataObject
) -> None:
    """Each line that is not blank is a record, or an error with its bytes and offset, as when the file is read."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" * marked + end.join(drawn) + end * ended)
    reader = JSONL.open(path)
    read = outcomes(reader)
    reader.close()
    rows = JSONL.open_rows(path)
    assert rows.count_rows() == len(read)
    assert outcomes(rows.iter_rows(0, len(read))) == read
    start, stop = sorted(data.draw(st.tuples(st.integers(0, len(read)), st.integers(0, len(read)))))
    assert outcomes(rows.iter_rows(start, stop)) == read[start:stop]
    good = [number for number, outcome in enumerate(read) if isinstance(outcome, dict)]
    indices = data.draw(st.lists(st.sampled_from(good), max_size=9)) if good else []
    assert rows.read_rows(indices) == [read[index] for index in indices]
    for number, outcome in enumerate(read):
        assert outcomes(rows.read_row(index) for index in [number]) == [outcome]
    rows.release()


def outcomes(records: Any) -> list[Any]:
    found: list[Any] = []
    while True:
        try:
            found.append(next(records))
        except StopIteration:
            return found
        except DataError as error:
            found.append((error.message, error.raw, error.offset))


def test_an_index_is_kept_and_takes_eight_bytes_a_record(long: Path, cache: Path) -> None:
    """It is made on first use, in the user's cache, and taken from there afterwards."""
    rows = JSONL.open_rows(long)
    assert not cache.exists()
    assert (rows.count_rows(), rows.columns()) == (9_000, ("n", "text"))
    (kept,) = cache.iterdir()
    assert kept.stat().st_size < 9_000 * 8 + 64
    first = kept.stat()
    assert JSONL.open_rows(long).read_rows([8_999, 0, 5_000]) == [rows_of(9_000)[n] for n in (8_999, 0, 5_000)]
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_a_small_file_needs_no_cache(tmp_path: Path, cache: Path) -> None:
    """It is indexed in the time a look into the cache takes."""
    path = save(tmp_path / "a.jsonl", rows_of(3))
    assert path.stat().st_size < CACHED_FROM_BYTES
    assert JSONL.open_rows(path).read_row(2)["n"] == 2
    assert not cache.exists()


@pytest.mark.parametrize("text", ["y" * 1_000, "x" * 1_001, "x" * 999])
def test_an_index_of_a_file_that_changed_is_made_anew(long: Path, cache: Path, text: str) -> None:
    """Whether its size changed or only its bytes; it takes the place of the old one."""
    assert JSONL.open_rows(long).count_rows() == 9_000
    save(long, [*rows_of(8_000, text), *rows_of(1_000)])
    touch(long)
    assert JSONL.open_rows(long).read_row(7_999) == {"n": 7_999, "text": text}
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "short"])
def test_a_damaged_index_is_made_anew(long: Path, cache: Path, damage: str) -> None:
    """What a crash or a bad disk left is never followed."""
    assert JSONL.open_rows(long).count_rows() == 9_000
    (kept,) = cache.iterdir()
    raw = kept.read_bytes()
    flipped = raw[:5_000] + bytes([raw[5_000] ^ 1]) + raw[5_001:]
    kept.write_bytes({"cut": raw[:-8], "flipped": flipped, "empty": b"", "short": raw[:20]}[damage])
    assert JSONL.open_rows(long).read_row(7_000)["n"] == 7_000


def test_without_a_cache_the_index_is_in_memory(long: Path, cache: Path) -> None:
    """Where the folder cannot be made."""
    cache.parent.parent.write_bytes(b"a file where the folder would be")
    assert JSONL.open_rows(long).read_row(7_000)["n"] == 7_000


def test_with_a_full_cache_the_index_is_in_memory(long: Path, cache: Path) -> None:
    """What was begun there is removed."""
    with files_of_at_most(4_096):
        assert JSONL.open_rows(long).read_row(7_000)["n"] == 7_000
    assert list(cache.iterdir()) == []


def test_a_file_that_changes_while_it_is_open_is_told(long: Path) -> None:
    """No row is taken from a file by the index of another; opened anew, it is there."""
    rows = JSONL.open_rows(long)
    assert rows.read_row(3)["n"] == 3
    ahead = rows.iter_rows(0, 9_000)
    assert next(ahead)["n"] == 0
    save(long, rows_of(9_000, "other"))
    with pytest.raises(StateError, match="row 3 is gone: the file changed"):
        rows.read_row(3)
    with pytest.raises(StateError, match=r"row \d+ is gone: the file changed"):
        list(ahead)
    rows.release()
    assert rows.read_row(3) == {"n": 3, "text": "other"}


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # from Python 3.12 on, of any fork here
def test_threads_and_processes_share_rows(long: Path) -> None:
    """A pickle holds the path, not the index; a fork takes both along."""
    rows = JSONL.open_rows(long)
    with ThreadPoolExecutor(4) as pool:
        assert [row["n"] for row in pool.map(rows.read_row, range(0, 9_000, 7))] == list(range(0, 9_000, 7))
    assert len(pickle.dumps(rows)) < 500
    assert pickle.loads(pickle.dumps(rows)).read_row(8_000)["n"] == 8_000
    context = get_context("fork")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_send_numbers, args=(rows, send))
    child.start()
    send.close()
    assert receive.recv() == [5, 8_999]
    child.join()
    child.close()
    receive.close()


def _send_numbers(rows: Rows, send: Any) -> None:
    send.send([row["n"] for row in rows.read_rows([5, 8_999])])


def test_what_has_no_index_says_why(tmp_path: Path) -> None:
    """Compressed text is refused with what to do; a file that is not there is named on first use."""
    for suffix in (".gz", ".zst", ".bz2", ".xz"):
        with pytest.raises(ConfigError, match=r"cannot be a dataset: its text can only .*\n.*write it to Parquet"):
            JSONL.open_rows(tmp_path / f"a.jsonl{suffix}")
    with pytest.raises(ResourceError, match=r"none\.jsonl: cannot be read: No such file"):
        JSONL.open_rows(tmp_path / "none.jsonl").count_rows()


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    """Nor columns."""
    path = save(tmp_path / "a.jsonl", [])
    assert (JSONL.open_rows(path).count_rows(), JSONL.open_rows(path).columns()) == (0, ())
    assert list(JSONL.open_rows(path).iter_rows(0, 0)) == []
