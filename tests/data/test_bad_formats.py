"""The failure table of archives, arrays, images and documents: under every policy, and in every shard."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from failing import Checks, Wrong, check_shared
from pdfs import ENCRYPTED, make_pdf
from resuming import check_resumes_everywhere, outcomes
from small_files import count_records, make_array, make_tar, write_good, write_packed

import tidemill as tm
from tidemill.data.formats.documents.html import HTML
from tidemill.data.formats.format import Format
from tidemill.data.formats.image import IMAGE
from tidemill.errors import ResourceError

PACKED = ("", ".gz", ".zst", ".bz2", ".xz")


@dataclass(frozen=True)
class Case:
    """A file: what it holds, and for each of its records None, or what its failure says and keeps."""

    suffix: str
    data: bytes
    found: tuple[Wrong | None, ...]
    options: tuple[tuple[str, Any], ...] = ()


def member(name: str, body: bytes, message: str, *, raw: bytes | None = None, **options: Any) -> Case:
    """An archive of two good members with one between them that is not."""
    data = make_tar(("a.txt", b"first"), (name, body), ("c.txt", b"last"))
    return Case(".tar", data, (None, Wrong(message, raw), None), tuple(options.items()))


def none(suffix: str, data: bytes, message: str, *, raw: bytes | None = None, **options: Any) -> Case:
    """A file that is one failure."""
    return Case(suffix, data, (Wrong(message, raw),), tuple(options.items()))


NUMBERS = np.arange(30)
NO_ARRAYS = "expected a `.npz` file, an archive of arrays: File is not a zip file"
NO_PDF = "expected a PDF, got a file that is none, or is corrupt as a whole"
PAGES = make_pdf(["One", "Two", "Three"])
JSON = b'{"n": 1}\n' * 10

ARCHIVES = {
    "not JSON": member("b.json", b"{", "member `b.json`: not JSON at line 1, column 2: unexpected end", raw=b"{"),
    "not text": member("b.txt", b"\xff", "member `b.txt`: invalid UTF-8: invalid start byte at byte 0", raw=b"\xff"),
    "a way out": member("../b.txt", b"2", "record `../b`: member `../b.txt`: its name leads out of the archive"),
    "no suffix": member("README", b"2", "record `README`: member `README`: expected a name with a suffix"),
    "huge": member("b.txt", b"2" * 500, "record `b`: expected at most 100 bytes in a record", max_line_bytes=100),
    "cut": Case(
        ".tar", make_tar(("a.txt", b"1"), ("b.txt", b"2"))[:1600], (None, Wrong("the archive ends here: it is cut: "))
    ),
    "rubbish": Case(
        ".tar",
        make_tar(("a.txt", b"1"), ("b.txt", b"2"))[:1024] + b"rubbish" * 200,
        (Wrong("the archive ends here: there is no header of a member: "),),
    ),
    "text": none(".tar", JSON, "expected a tar archive: "),
    "empty": none(".tar", b"", "expected a tar archive: it is cut: it ends without its end mark"),
    "no member": Case(".tar", bytes(1024), ()),
    "no page": none(".html", bytes(1_000), "expected HTML, got bytes that are no text", raw=bytes(1_000)),
    "huge page": none(
        ".html", b"<p>" * 50, "expected at most 50 bytes in a file, got 150", raw=(b"<p>" * 50)[:50], max_line_bytes=50
    ),
    "empty page": Case(".html", b"", ()),
}
"""What may be packed as a whole as well."""

FILES = {
    "npy cut": none(".npy", make_array(np.save, NUMBERS)[:-8], "the array is cut: 30 of int64 are 240 bytes, got 232"),
    "npy text": none(".npy", JSON, "expected an array of NumPy: the magic string is not correct"),
    "npy empty": none(".npy", b"", "expected an array of NumPy: EOF: reading magic string"),
    "npy objects": none(".npy", make_array(np.save, np.array([None])), "expected an array of numbers, got one of Pyt"),
    "npz cut": none(".npz", make_array(np.savez, n=NUMBERS)[:-8], NO_ARRAYS),
    "npz text": none(".npz", JSON, NO_ARRAYS),
    "npz empty": none(".npz", b"", NO_ARRAYS),
    "npz other rows": none(".npz", make_array(np.savez, n=NUMBERS, m=[1]), "expected arrays of as many rows each, got"),
    "packed npz cut": none(".npz", make_array(np.savez_compressed, n=NUMBERS)[:-8], NO_ARRAYS),
    "image empty": none(".jpg", b"", "expected a record, got an empty file"),
    "image huge": none(
        ".jpg", b"x" * 500, "expected at most 100 bytes in a file, got 500", raw=b"x" * 100, max_line_bytes=100
    ),
    "pdf page": Case(
        ".pdf", make_pdf(["One", "Two", "Three"], bad=[1]), (None, Wrong("the page is corrupt: Failed to load"), None)
    ),
    "pdf huge page": Case(
        ".pdf",
        make_pdf(["One", "Two" * 50, "Three"]),
        (None, Wrong("expected at most 100 bytes of text on a page, got 150"), None),
        (("max_line_bytes", 100),),
    ),
    "pdf pages": none(".pdf", PAGES, "expected at most 2 pages, got 3", max_pages=2),
    "pdf encrypted": none(".pdf", ENCRYPTED, "the file is encrypted and opens with a password only"),
    "pdf cut": none(".pdf", PAGES[:700], NO_PDF),
    "pdf text": none(".pdf", JSON, NO_PDF),
    "pdf empty": none(".pdf", b"", "expected a PDF, got an empty file"),
}


def check_case(folder: Path, case: Case, packed: str = "") -> None:
    """All that holds of a bad file; what the good records are is taken from reading them."""
    path = write_packed(folder / f"bad{case.suffix}{packed}", case.data)
    options = dict(case.options)
    records = outcomes(tm.read(path, **options).iterate())
    assert [each[0] == "record" for each in records] == [each is None for each in case.found], records
    found = tuple(each[1] if wrong is None else wrong for each, wrong in zip(records, case.found, strict=True))
    Checks(path, folder, found, options).check_all()


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("name", ARCHIVES)
def test_what_archives_and_pages_hold(tmp_path: Path, name: str, packed: str) -> None:
    """Of every codec, every fault costs itself: a record, or what lies behind it where no more can be known."""
    check_case(tmp_path, ARCHIVES[name], packed)


@pytest.mark.parametrize("name", FILES)
def test_what_files_hold(tmp_path: Path, name: str) -> None:
    """A page costs itself; a file that cannot be read is one failure, whatever it holds."""
    check_case(tmp_path, FILES[name])


@pytest.mark.parametrize("name", FILES)
def test_the_files_around_a_bad_one_are_read(tmp_path: Path, name: str) -> None:
    """By a job as by iteration: in quarantine is what failed, and in the output all else."""
    case = FILES[name]
    write_good(tmp_path / f"a{case.suffix}", case.suffix)
    (tmp_path / f"b{case.suffix}").write_bytes(case.data)
    write_good(tmp_path / f"c{case.suffix}", case.suffix)
    stream = tm.read(tmp_path / f"*{case.suffix}", **dict(case.options))
    whole = check_resumes_everywhere(stream.iterate)
    good = [True] * count_records(case.suffix)
    assert [each[0] == "record" for each in whole] == [*good, *(each is None for each in case.found), *good]
    check_shared(stream, whole)
    report = stream.write(tmp_path / "out", max_errors=100)
    failed = len([each for each in case.found if each is not None])
    assert (report.records["quarantined"], report.records["landed"]) == (failed, len(whole) - failed)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".npy", ".npz", ".packed.npz", ".pdf"])
@pytest.mark.parametrize("policy", ["raise", "skip", "catch"])
def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path, suffix: str, policy: str) -> None:
    """Its end is not taken for that of the data, nor for a fault of records: it is told, again and again."""
    path = write_packed(tmp_path / f"bad{suffix}", MAKE_LARGE[suffix.removesuffix(".gz")]())
    stream = tm.read(path)
    if policy != "raise":
        stream = stream.catch(to=tmp_path / "kept.jsonl" if policy == "catch" else None)
    iterator = stream.iterate()
    next(iterator)
    size = path.stat().st_size
    os.truncate(path, size // 2)
    with pytest.raises(ResourceError, match="the file was cut while it was read: it had"):
        list(iterator)
    with pytest.raises(ResourceError, match="the file was cut while it was read"):
        next(iterator)
    assert not iterator.losses.quarantined
    iterator.close()


MAKE_LARGE: dict[str, Callable[[], bytes]] = {
    ".tar": lambda: make_tar(*((f"{n}.bin", random.Random(n).randbytes(9_000)) for n in range(99))),
    ".npy": lambda: make_array(np.save, np.zeros((300, 1 << 14))),
    ".npz": lambda: make_array(np.savez, vector=np.zeros((300, 1 << 14))),
    ".packed.npz": lambda: make_array(np.savez_compressed, n=np.random.default_rng(1).random(99_000)),
    ".pdf": lambda: make_pdf([f"Page {number}" for number in range(99)]),
}
"""More than is read, or mapped, at a time."""


@pytest.mark.parametrize("form", [IMAGE, HTML], ids=["image", "html"])
def test_a_file_of_one_record_that_is_cut_before_it_is_read(tmp_path: Path, form: Format) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"<p>" * 60_000)
    reader = form.open(path)
    os.truncate(path, 100_000)
    for _ in range(2):
        with pytest.raises(ResourceError, match=r"it had 180,000 bytes, of which 100,000 were there"):
            next(reader)
    reader.close()


def test_an_array_that_is_exchanged_while_it_is_read_is_read_as_it_was(tmp_path: Path) -> None:
    """All windows that are mapped are of the file that was opened, as of a file that is read."""
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((5_000, 1_000)))
    iterator = tm.read(path).iterate()
    next(iterator)
    np.save(tmp_path / "b.npy", np.ones((5_000, 1_000)))
    (tmp_path / "b.npy").rename(path)
    assert not any(record["vector"][0] for record in iterator)


@pytest.mark.parametrize("policy", ["raise", "skip", "catch"])
def test_a_query_that_fails_is_never_at_its_end(tmp_path: Path, policy: str) -> None:
    """What it gave is given; then its failure, again and again, under every policy, and nothing is in quarantine."""
    path = tmp_path / "rows.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE rows (n INTEGER)")
        connection.executemany("INSERT INTO rows VALUES (?)", [(n,) for n in range(10)])
    sql = "SELECT CASE WHEN n < 6 THEN n ELSE json(n || '{') END AS n FROM rows"
    stream = tm.from_sql(sql, f"sqlite:///{path}", batch=2)
    if policy != "raise":
        stream = stream.catch(to=tmp_path / "kept.jsonl" if policy == "catch" else None)
    iterator = stream.iterate()
    assert [next(iterator)["n"] for _ in range(4)] == list(range(4))
    for _ in range(2):
        with pytest.raises(ResourceError, match=r"the rows cannot be fetched.*malformed JSON"):
            next(iterator)
    assert not iterator.losses.quarantined
    iterator.close()
