from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import random
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes

import tidemill as tm
from tidemill.data.files.codecs import CODECS
from tidemill.data.formats.format import Options, Rows
from tidemill.data.formats.saving import save_records
from tidemill.data.formats.tar import archive
from tidemill.data.formats.tar.tar import TAR
from tidemill.errors import ConfigError, DataError, ResourceError, StateError

FEW = settings(max_examples=40)

Member = tuple[str, bytes] | tarfile.TarInfo


def pack(members: Iterable[Member], form: int = tarfile.PAX_FORMAT) -> bytes:
    """An archive as Python's own module writes it: files, and members of any other kind."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as archive:
        for member in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member[0])
            body = b"" if isinstance(member, tarfile.TarInfo) else member[1]
            if not isinstance(member, tarfile.TarInfo):
                info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return file.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def save(folder: Path, data: bytes, name: str = "a.tar") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def read(path: Path, **options: Any) -> list[Any]:
    return outcomes(TAR.open(path, None, Options(**options)))


def by_number(rows: Rows) -> list[Any]:
    count = rows.count_rows()
    return outcomes(rows.iter_rows(0, count), count)  # type: ignore[arg-type]


def records(path: Path) -> list[Any]:
    found = read(path)
    assert all(outcome[0] == "record" for outcome in found), found
    return [outcome[1] for outcome in found]


def test_members_that_share_a_name_are_one_record(tmp_path: Path) -> None:
    """In the layout of WebDataset: the key goes to the first dot of the last component, what is behind is a column."""
    path = save(
        tmp_path,
        pack(
            [
                special("train", tarfile.DIRTYPE),
                ("train/0001.JPG", b"\xff\xd8"),
                ("train/0001.seg.png", b"\x89PNG"),
                ("train/0001.json", b'{"n": 18446744073709551616}'),
                ("train/0001.cls", b"7\n"),
                ("train/._0001.jpg", b"of another system"),
                ("./train/v1.0/0001.txt", "für".encode()),
                ("./train/v1.0/0001.meta.json", b"[1]"),
                ("train/0001.jpg", b"again, later"),
            ]
        ),
    )
    assert records(path) == [
        {"__key__": "train/0001", "jpg": b"\xff\xd8", "seg.png": b"\x89PNG", "json": {"n": 2**64}, "cls": 7},
        {"__key__": "train/v1.0/0001", "txt": "für", "meta.json": [1]},
        {"__key__": "train/0001", "jpg": b"again, later"},
    ]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_and_sizes_are_read_in_each_way_there_is_to_write_them(tmp_path: Path, form: int) -> None:
    """Prefixes, GNU's long names and numbers, pax headers, also in front of the whole archive."""
    long = "/".join(["folder" * 10] * (3 if form == tarfile.USTAR_FORMAT else 9))
    name = "é" * (40 if form != tarfile.USTAR_FORMAT else 4)
    path = save(tmp_path, pack([(f"{long}/{name}.txt", b"x" * 511), ("b.bin", b""), ("c.bin", bytes(513))], form))
    assert records(path) == [
        {"__key__": f"{long}/{name}", "txt": "x" * 511},
        {"__key__": "b", "bin": b""},
        {"__key__": "c", "bin": bytes(513)},
    ]
    head = b"\x80" + (3).to_bytes(11, "big")
    raw = bytearray(pack([("a.bin", b"abc")], tarfile.GNU_FORMAT))
    raw[124:136] = head
    assert records(save(tmp_path, sign(raw))) == [{"__key__": "a", "bin": b"abc"}]


def sign(raw: bytearray, at: int = 0) -> bytes:
    """With the checksum of the header at `at` made right."""
    raw[at + 148 : at + 156] = b" " * 8
    raw[at + 148 : at + 156] = b"%06o\0 " % sum(raw[at : at + 512])
    return bytes(raw)


names = st.sampled_from(["a", "b", "train/a", "x" * 120])
suffixes = st.sampled_from(["jpg", "json", "txt", "cls", "seg.png"])
bodies = st.sampled_from([b"", b"1", b"{}", b"\xff", b"x" * 512, b"5" * 70_000])


@FEW
@given(st.lists(st.tuples(names, suffixes, bodies), max_size=12), st.booleans())
def test_every_record_has_its_outcome_and_every_position_resumes(
    tmp_path: Path, drawn: list[tuple[str, str, bytes]], packed: bool
) -> None:
    """Also one with a member that is not what its suffix says; by number the outcomes are those of reading."""
    data = pack([(f"{name}.{suffix}", body) for name, suffix, body in drawn], tarfile.GNU_FORMAT)
    path = save(tmp_path, data, "a.tar.gz" if packed else "a.tar")
    found = check_resumes_everywhere(lambda state: TAR.open(path, state))
    assert len(found) == sum(1 for n, (name, *_) in enumerate(drawn) if n == 0 or drawn[n - 1][0] != name)
    if not packed:
        rows = TAR.open_rows(path)
        assert rows.count_rows() == len(found)
        assert by_number(rows) == found


BAD: dict[str, tuple[Member, str]] = {
    "a link": (
        special("b.json", tarfile.SYMTYPE, "/etc/passwd"),
        "member `b.json`: it is a symbolic link, which is not",
    ),
    "a hard link": (special("b.json", tarfile.LNKTYPE, "a.txt"), "it is a hard link, which is not followed"),
    "a device": (special("b.json", tarfile.CHRTYPE), "it is a device, which is not followed"),
    "a pipe": (special("b.json", tarfile.FIFOTYPE), "it is a named pipe, which is not followed"),
    "an unknown kind": (special("b.json", b"V"), "it is of an unknown kind, b'V'"),
    "a way out": (("../../b.json", b"{}"), "member `../../b.json`: its name leads out of the archive"),
    "another way out": (("x/../../b.json", b"{}"), "its name leads out of the archive"),
    "an absolute name": (("/etc/b.json", b"{}"), "member `/etc/b.json`: its name leads out of the archive"),
    "no suffix": (("README", b"text"), "member `README`: expected a name with a suffix, which says its column"),
    "an empty suffix": (("b.", b"text"), "member `b.`: expected a name with a suffix"),
    "not JSON": (("b.json", b"{"), "member `b.json`: not JSON at line 1, column 2"),
    "not text": (("b.txt", b"\xff"), "member `b.txt`: invalid UTF-8: invalid start byte at byte 0"),
    "no number": (("b.cls", b"cat"), "member `b.cls`: expected a whole number, got b'cat'"),
    "its key as a column": (("b.__key__", b"c"), "the record has the column `__key__` twice"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("bad", "told"), BAD.values(), ids=list(BAD))
def test_a_member_that_may_not_be_read_costs_its_record(tmp_path: Path, bad: Member, told: str, packed: bool) -> None:
    """That one alone: it is told with archive, member and byte, and those around it are read."""
    data = pack([("a.txt", b"first"), bad, ("c.txt", b"last")])
    path = save(tmp_path, data, "a.tar.gz" if packed else "a.tar")
    found = check_resumes_everywhere(lambda state: TAR.open(path, state))
    assert [outcome[0] for outcome in found] == ["record", "DataError", "record"]
    reader = TAR.open(path)
    next(reader)
    with pytest.raises(DataError, match=r"(?s).*") as caught:
        next(reader)
    assert told in caught.value.message
    assert caught.value.where == f"{path}, byte 1024"
    assert [record["txt"] for record in reader] == ["last"]


def test_a_record_with_a_bad_member_is_told_once(tmp_path: Path) -> None:
    """As a whole, whichever of its members it is; two of one suffix leave it open which is meant."""
    path = save(
        tmp_path,
        pack(
            [
                ("a.jpg", b"1"),
                special("a.json", tarfile.SYMTYPE, "x"),
                ("a.txt", b"3"),
                ("b.png", b"1"),
                ("b.PNG", b"2"),
                ("c.txt", b"last"),
            ]
        ),
    )
    link, twice, last = read(path)
    assert link[1] == "record `a`: member `a.json`: it is a symbolic link, which is not followed"
    assert twice[1] == "member `b.PNG`: the record has the column `png` twice"
    assert last[1]["txt"] == "last"


def test_sparse_members_are_not_taken_for_whole_ones(tmp_path: Path) -> None:
    """Neither GNU's nor those of pax."""
    pax = tarfile.TarInfo("b.bin")
    pax.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "b.bin"}
    raw = bytearray(pack([("a.txt", b"first"), ("b.bin", b"")]))
    raw[1024 + 156 : 1024 + 157], raw[1024 + 482 : 1024 + 483] = b"S", b"\1"
    old = sign(raw[:1536] + bytes(512) + pack([("c.txt", b"last")]), 1024)
    for data in (pack([("a.txt", b"first"), pax, ("c.txt", b"last")]), old):
        first, sparse, last = read(save(tmp_path, data))
        assert (first[1]["txt"], last[1]["txt"]) == ("first", "last")
        assert sparse[1] == "record `b`: member `b.bin`: it is sparse"


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_record_over_the_limit_is_passed_over(tmp_path: Path, name: str) -> None:
    """All its members together count, and none of its bytes is held."""
    members = [("a.txt", b"ab"), ("b.txt", b"x" * 60), ("b.bin", b"y" * 60), ("b.png", b"z" * 90_000), ("c.txt", b"c")]
    path = save(tmp_path, pack(members), name)
    first, large, last = read(path, max_line_bytes=100)
    assert (first[1]["txt"], last[1]["txt"]) == ("ab", "c")
    assert large[1] == "record `b`: expected at most 100 bytes in a record, got 120 or more"
    assert len(read(path, max_line_bytes=90_120)) == 3


def test_an_archive_cut_anywhere_loses_nothing_silently(tmp_path: Path) -> None:
    """The records in front of the cut are given; then it is told which one is not whole, and that is the end."""
    data = pack([("a.txt", b"first"), ("b.txt", b"x" * 600), ("b.json", b"{}"), ("c.txt", b"last")])
    whole = 512 + 512 + 512 + 1024 + 512 + 512 + 512 + 512
    for size in [0, 1, 511, 512, 600, 1024, 1100, 1536, 2000, 2560, 3000, 3072, 3584, 4000, whole - 1, whole]:
        path = save(tmp_path, data[:size])
        *good, end = check_resumes_everywhere(lambda state: TAR.open(path, state))  # noqa: B023 - used at once
        ends = [1024, 3584, whole + 1]
        assert [outcome[1]["__key__"] for outcome in good] == ["a", "b", "c"][: sum(size >= at + 512 for at in ends)]
        assert end[0] == "DataError"
        assert "it is cut: " in end[1]
        rows = TAR.open_rows(path)
        assert rows.count_rows() == len(good) + 1
        assert [each[0] for each in by_number(rows)] == ["record"] * len(good) + ["DataError"]
    path = save(tmp_path, data[:2000])
    *_, end = read(path)
    assert end[1] == (
        "the archive ends here: it is cut: 464 of the 600 bytes of a member are there; record `b` is not whole"
    )
    assert end[3] == 1024
    assert records(save(tmp_path, data[: whole + 512]))[-1] == {"__key__": "c", "txt": "last"}


def test_a_packed_archive_that_is_cut_says_so(tmp_path: Path) -> None:
    """In the words of what it is packed with."""
    body = os.urandom(4000)
    packed = gzip.compress(pack([("a.bin", body), ("b.bin", body[::-1]), ("c.bin", body)]))
    path = tmp_path / "a.tar.gz"
    path.write_bytes(packed[:7000])
    first, end = check_resumes_everywhere(lambda state: TAR.open(path, state))
    assert first[1] == {"__key__": "a", "bin": body}
    assert end[1].startswith("the archive ends here: the gzip stream ends early: the file is cut; record `b` is not")
    path.write_bytes(packed)
    assert len(read(path)) == 3


def test_a_corrupt_header_ends_the_archive(tmp_path: Path) -> None:
    """What lies behind could be part of a member's bytes: nothing is guessed."""
    raw = bytearray(pack([("a.txt", b"first"), ("b.txt", b"second"), ("c.txt", b"last")]))
    raw[1024 + 130] ^= 1
    path = save(tmp_path, bytes(raw))
    (end,) = check_resumes_everywhere(lambda state: TAR.open(path, state))
    assert end[1] == (
        "the archive ends here: there is no header of a member: its checksum is wrong; record `a` is not whole"
    )


@pytest.mark.parametrize(
    ("data", "told", "hint"),
    [
        (b"{}\n" * 400, "expected a tar archive: there is no header of a member: it has no number", ""),
        (gzip.compress(bytes(range(256)) * 8), "expected a tar archive: ", 'compression="gzip" unpacks it'),
        (b"", "expected a tar archive: it is cut: it ends without its end mark", ""),
    ],
)
def test_a_file_that_is_no_archive_is_told(tmp_path: Path, data: bytes, told: str, hint: str) -> None:
    """Once, and then it is at its end."""
    path = save(tmp_path, data)
    reader = TAR.open(path)
    with pytest.raises(DataError, match=told) as caught:
        next(reader)
    assert hint in caught.value.hint
    assert list(reader) == []


def test_archives_put_together_are_read_to_the_end(tmp_path: Path) -> None:
    """What stands behind an end mark is not lost, nor of the record in front of it."""
    path = save(tmp_path, pack([("a.txt", b"1")]) + pack([("b.txt", b"2")]))
    assert [record["txt"] for record in records(path)] == ["1", "2"]
    path = save(tmp_path, pack([("a.txt", b"1")]) * 2)
    found = check_resumes_everywhere(lambda state: TAR.open(path, state))
    assert [outcome[1] for outcome in found] == [{"__key__": "a", "txt": "1"}] * 2
    assert by_number(TAR.open_rows(path)) == found


@pytest.mark.parametrize("junk", [b"j", b"rubbish" * 100, pack([("b.txt", b"2")])[:600]])
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_no_archive_behind_an_end_mark_is_told_and_costs_no_record(
    tmp_path: Path, junk: bytes, packed: bool
) -> None:
    """It could be one that is corrupt. What is in front of the mark is whole, by its number too."""
    data = pack([("a.txt", b"1"), ("b.txt", b"2"), ("b.json", b"3")])
    path = save(tmp_path, data + junk, "a.tar.gz" if packed else "a.tar")
    *good, end = check_resumes_everywhere(lambda state: TAR.open(path, state))
    assert [outcome[1] for outcome in good] == [{"__key__": "a", "txt": "1"}, {"__key__": "b", "txt": "2", "json": 3}]
    assert end[1].startswith("the archive ends here: ")
    assert "`a`" not in end[1]
    assert end[3] == len(data)
    if not packed:
        *rows, last = by_number(TAR.open_rows(path))
        assert (rows, last[3]) == (good, end[3])


def test_a_lone_block_of_zeros_is_no_end_mark(tmp_path: Path) -> None:
    """A header that was lost: what stood behind it could be of the record."""
    data = bytearray(pack([("a.txt", b"1"), ("a.json", b"3")]))
    data[1024:1536] = bytes(512)
    (end,) = read(save(tmp_path, bytes(data)))
    assert end[1].endswith("record `a` is not whole")


def test_a_bomb_ends_its_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros that unpack to hundreds of times their size are not gone through for ever."""
    monkeypatch.setattr(archive, "RATIO_FROM_BYTES", 1_000_000)
    for codec in CODECS:
        path = tmp_path / f"a.tar{codec.suffix}"
        data = pack([("a.txt", b"first"), ("b.bin", bytes(8_000_000)), ("c.txt", b"last")])
        with open(path, "wb") as file, codec.wrap(file) as packed:
            packed.write(data)
        first, end = read(path, max_line_bytes=1000)
        assert first[1]["txt"] == "first"
        assert end[1].startswith("the archive ends here: it unpacks to more than 250 times its size")
        with pytest.raises(
            DataError, match=r"more than 9 times its size(?s:.*)raise max_unpacked_ratio if such archives"
        ):
            list(tm.read(path, max_unpacked_ratio=9))
        whole = tm.read(path, max_unpacked_ratio=100_000, on_error="skip", max_line_bytes=1000)
        assert [each["txt"] for each in whole] == ["first", "last"]


def test_what_is_written_to_an_archive_is_read_back(tmp_path: Path) -> None:
    """By Python's own module and by WebDataset's layout, too; packed as the name says."""
    rows = [
        {"__key__": "train/1", "jpg": b"\xff", "cls": -3, "txt": "für", "json": {"a": [1, None]}, "box.json": 2.5},
        {"__key__": "train/2", "jpg": b"", "long.txt": "x" * 100_000},
        {"__key__": "x" * 200, "txt": ""},
    ]
    for name in ("a.tar", "a.tar.gz", "a.tar.zst"):
        assert tm.from_iterable(rows).save(tmp_path / name) == 3
        assert list(tm.read(tmp_path / name)) == rows
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        assert archive.getnames()[:3] == ["train/1.jpg", "train/1.cls", "train/1.txt"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"jpg": b""}, "expected a key, a text, in `__key__`"),
        ({"__key__": "a.b", "jpg": b""}, "expected a key that is a path without a suffix, got `a.b`"),
        ({"__key__": "../a", "jpg": b""}, "expected a key that is a path without a suffix"),
        ({"__key__": "/a", "jpg": b""}, "expected a key that is a path without a suffix"),
        ({"__key__": "a"}, "it has no column beside its key"),
        ({"__key__": "a", "JPG": b""}, "the column `JPG` is no suffix of a file"),
        ({"__key__": "a", "caption": "text"}, "a str in the column `caption` would not be read back as one"),
        ({"__key__": "a", "json": [1, float("nan")]}, r"\$\[1\] is nan, and JSON has no such number"),
        ({"__key__": "a", "cls": True}, "a bool in the column `cls` would not be read back as one"),
        ({"__key__": "a", "json": b""}, "Type is not JSON serializable"),
    ],
)
def test_a_record_that_would_not_be_read_back_is_refused(tmp_path: Path, row: dict[str, Any], told: str) -> None:
    """With its number; nothing is written."""
    with pytest.raises(DataError, match=f"record 1 cannot be written to a tar archive: {told}"):
        save_records([{"__key__": "0", "txt": ""}, row], tmp_path / "a.tar", TAR)
    assert not (tmp_path / "a.tar").exists()


def test_two_records_of_one_key_in_a_row_would_be_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the one in front of it has the same key, `a`, so both would be one"):
        save_records([{"__key__": "a", "txt": ""}, {"__key__": "a", "cls": 1}], tmp_path / "a.tar", TAR)


def grow(path: Path) -> None:
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("z.txt")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"z"))


def test_an_archive_that_grew_is_gone_on_with(tmp_path: Path) -> None:
    """What was read is not read again; an edited one is refused."""
    path = save(tmp_path, pack([("a.txt", b"1"), ("b.txt", b"2")]))
    reader = TAR.open(path)
    assert len(list(reader)) == 2
    state = reader.state()
    assert TAR.compare(path, state) == "same"
    grow(path)
    assert TAR.compare(path, state) == "grown"
    assert [record["txt"] for record in TAR.open(path, state)] == ["z"]
    raw = bytearray(path.read_bytes())
    raw[0] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StateError, match="the file was edited before byte 2048"):
        TAR.open(path, state)


def test_a_job_over_archives_goes_on_with_what_they_gained(tmp_path: Path) -> None:
    """Records of a grown archive follow those that landed, each once; a bad one is quarantined at its place."""
    bad = special("b.json", tarfile.SYMTYPE, "x")
    save(tmp_path, pack([("a.txt", b"a"), bad, ("c.txt", b"c")]))
    stream = tm.read(tmp_path / "*.tar").select("txt")
    for landed in (["a", "c"], ["a", "c"], ["a", "c", "z"]):
        report = stream.write(tmp_path / "out", max_errors=5, progress=False)
        assert report.records["quarantined"] == 1
        assert [row["txt"] for row in tm.dataset(tmp_path / "out")] == landed
        if report.done == 3 and report.before == 3:
            grow(tmp_path / "a.tar")


def test_an_archive_is_a_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number, in any order, its index kept; packed it has none, and one that changed is told."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rows = [{"__key__": f"{n:04d}", "bin": bytes([n % 256]) * 3000, "cls": n} for n in range(400)]
    save_records(rows, tmp_path / "a.tar", TAR)
    data = tm.dataset(tmp_path / "a.tar")
    assert (len(data), data[399], data[[7, 3]][0]["cls"], data.columns) == (
        400,
        rows[399],
        7,
        ("__key__", "bin", "cls"),
    )
    assert list(pickle.loads(pickle.dumps(data)).shuffle(1)) == list(data.shuffle(1)) != rows
    assert [path.suffix for path in (tmp_path / "cache/tidemill/members").iterdir()] == [".members"]
    grow(tmp_path / "a.tar")
    with pytest.raises(StateError, match="row 5 is gone: the file changed"):
        data[5]
    save_records(rows, tmp_path / "b.tar.gz", TAR)
    with pytest.raises(ConfigError, match="a gzip file cannot be a dataset"):
        tm.dataset(tmp_path / "b.tar.gz")


def test_shards_make_just_their_own_records(tmp_path: Path) -> None:
    """Each archive's records go round the ranks; one that fails is its own rank's failure."""
    members = [(f"{n:02d}.json", b"{" if n == 4 else b"%d" % n) for n in range(11)]
    path = save(tmp_path, pack(members))
    seen: list[Any] = []
    for rank in range(3):
        open_at: Callable[[Any], Any] = tm.read(path).shard(rank, 3).iterate
        seen += [(outcome[0], outcome[1]["json"] % 3 == rank) if outcome[0] == "record" else outcome[:1]
                 for outcome in check_resumes_everywhere(open_at)]  # fmt: skip
    assert sorted(map(len, seen)) == [1, *[2] * 10]
    assert all(each[1] for each in seen if len(each) == 2)


def test_the_file_that_is_gone_is_the_runs_failure(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="cannot be read: No such file"):
        TAR.open(tmp_path / "gone.tar")


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bytes_end_in_outcomes_alone(tmp_path: Path, seed: int) -> None:
    """Whatever an archive holds, reading it gives records and told failures, and resumes."""
    rng = random.Random(seed)
    data = pack([(f"{'x' * 120 if n == 2 else n}.json", json.dumps(n).encode()) for n in range(6)])
    for _ in range(25):
        raw = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        path = save(tmp_path, bytes(raw))
        found = read(path)
        assert found
        assert {outcome[0] for outcome in found} <= {"record", "DataError"}
        check_resumes_everywhere(lambda state: TAR.open(path, state))  # noqa: B023 - used at once
        counted = by_number(TAR.open_rows(path))
        assert [outcome[:2] for outcome in counted if outcome[0] == "record"] == [
            outcome for outcome in found if outcome[0] == "record"
        ]
