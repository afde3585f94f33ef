from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resuming import check_resumes_everywhere, outcomes

from tidemill.data.files import PartFile, compare_file, create_file, create_text, open_text, parse_path
from tidemill.data.formats.jsonl import open_jsonl, save_jsonl
from tidemill.data.sources.read import Read

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

FEW = settings(max_examples=25)


def pack_zstd(text: bytes) -> bytes:
    return zstd.compress(text, options={zstd.CompressionParameter.checksum_flag: 1})


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda text: gzip.compress(text, mtime=0),
    ".zst": pack_zstd,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
NAMES = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
BLOCKS_KEPT = {".zst": 1}
"""Codecs whose blocks come out whole or not at all: text in front of a cut is found a block at a time."""

suffixes = pytest.mark.parametrize("suffix", PACK)

ROWS = [{"n": n, "noise": random.Random(n).random()} for n in range(200)]
LINES = [json.dumps(row).encode() + b"\n" for row in ROWS]


def save(folder: Path, suffix: str, packed: bytes) -> Path:
    path = folder / f"a.jsonl{suffix}"
    path.write_bytes(packed)
    return path


def members(suffix: str, *texts: bytes) -> bytes:
    return b"".join(map(PACK[suffix], texts))


def read_text(path: Path) -> tuple[bytes, str]:
    file = PartFile(path)
    text = open_text(path, file)
    read = b"".join(iter(text.read, b""))
    file.close()
    return read, text.failure


@suffixes
def test_every_position_resumes(tmp_path: Path, suffix: str) -> None:
    """A bad line costs that line, a huge one too, a file may have several members, and resuming anywhere is exact."""
    huge = b'{"text": "' + b"x" * 200_000 + b'"}\n'
    texts = b"".join(LINES[:4]), b"{\n\n" + LINES[4] + b"\xff\n", huge + LINES[5][:-1]
    path = save(tmp_path, suffix, members(suffix, *texts))
    whole = check_resumes_everywhere(lambda state: open_jsonl(path, state, max_line_bytes=100_000))
    kinds = [outcome[0] for outcome in whole]
    assert kinds == ["record"] * 4 + ["DataError", "record", "DataError", "DataError", "record"]
    assert "invalid UTF-8" in whole[6][1]
    assert "at most 100,000 bytes" in whole[7][1]


@suffixes
def test_a_file_without_text_has_no_records(tmp_path: Path, suffix: str) -> None:
    """Neither a packed file of no text nor a file of no bytes is an error."""
    assert outcomes(open_jsonl(save(tmp_path, suffix, PACK[suffix](b"")))) == []
    assert outcomes(open_jsonl(save(tmp_path, suffix, b""))) == []


@suffixes
@FEW
@given(st.data())
def test_a_cut_file_gives_what_stands_before_the_cut(tmp_path: Path, suffix: str, data: Any) -> None:
    """The text of whole blocks in front of the cut is read, then there is one error, the same after resuming."""
    packed = members(suffix, b"".join(LINES[:100]), b"".join(LINES[100:]))
    first = len(PACK[suffix](b"".join(LINES[:100])))
    size = data.draw(st.integers(1, len(packed) - 1).filter(lambda size: size != first))
    path = save(tmp_path, suffix, packed[:size])
    *good, last = outcomes(open_jsonl(path))
    assert [outcome[1] for outcome in good] == ROWS[: len(good)]
    assert len(good) >= (100 if size > first else 0)
    assert last[1] == f"the {NAMES[suffix]} stream ends early: the file is cut"
    for position in (0, len(good) // 2, len(good), len(good) + 1):
        walking = open_jsonl(path)
        outcomes(walking, position)
        assert outcomes(open_jsonl(path, walking.state())) == [*good, last][position:]
        walking.close()


@suffixes
@FEW
@given(st.data())
def test_a_corrupt_file_ends_in_one_error(tmp_path: Path, suffix: str, data: Any) -> None:
    """A flipped bit in the second member costs nothing of the first; the error comes last, and resuming agrees."""
    first = PACK[suffix](b"".join(LINES[:100]))
    packed = bytearray(first + PACK[suffix](b"".join(LINES[100:])))
    position = data.draw(st.integers(len(first), len(packed) - 1))
    packed[position] ^= 1 << data.draw(st.integers(0, 7))
    path = save(tmp_path, suffix, bytes(packed))
    found = outcomes(open_jsonl(path))
    assert [outcome[1] for outcome in found[:100]] == ROWS[:100]
    about_stream = [outcome for outcome in found if f"the {NAMES[suffix]} stream" in str(outcome[1])]
    if found != [("record", row) for row in ROWS]:  # a flag that says nothing may be flipped
        assert about_stream == found[-1:]
    walking = open_jsonl(path)
    outcomes(walking, len(found) - 1)
    state = walking.state()
    assert outcomes(walking) == found[-1:]
    assert outcomes(open_jsonl(path, state)) == found[-1:]
    assert outcomes(open_jsonl(path, walking.state())) == []


@suffixes
def test_text_before_a_corrupt_checksum_is_not_lost(tmp_path: Path, suffix: str) -> None:
    """What was unpacked before the error is given, but for the last byte or, of Zstandard and bzip2, block."""
    texts = [bytes(random.Random(n).choices(b"abcdefgh", k=1_500_000)) for n in range(2)]
    packed = bytearray(members(suffix, *texts))
    at = {".gz": -8, ".zst": -1, ".bz2": -7, ".xz": -12}[suffix]
    packed[at] ^= 0x10
    read, failure = read_text(save(tmp_path, suffix, bytes(packed)))
    whole = b"".join(texts)
    assert failure.startswith(f"the {NAMES[suffix]} stream is corrupt (")
    assert whole.startswith(read)
    assert len(whole) - len(read) <= {".gz": 0, ".zst": 131_072, ".bz2": 900_000, ".xz": 1}[suffix]


@suffixes
def test_what_is_no_member_is_an_error(tmp_path: Path, suffix: str) -> None:
    """Plain text under a packed name, and junk behind a member, are told as such."""
    name = NAMES[suffix]
    message = f"the {name} stream is corrupt (incorrect header check)"
    [plain] = outcomes(open_jsonl(save(tmp_path, suffix, b'{"n": 1}\n')))
    assert plain[1].startswith(f"expected a file of {name}, got another (incorrect header check)")
    other = ".zst" if suffix == ".gz" else ".gz"
    [packed] = outcomes(open_jsonl(save(tmp_path, suffix, PACK[other](LINES[0]))))
    assert packed[1].startswith(f"expected a file of {name}, got one of {NAMES[other]} (incorrect header check)")
    good, junk = outcomes(open_jsonl(save(tmp_path, suffix, PACK[suffix](LINES[0]) + b"no")))
    assert (good[0], junk[1]) == ("record", message)


def test_padding_and_skippable_frames_are_passed_over(tmp_path: Path) -> None:
    """Zero bytes between members of gzip and xz, frames of Zstandard that hold no text."""
    for suffix in (".gz", ".xz"):
        path = save(tmp_path, suffix, PACK[suffix](LINES[0]) + bytes(512) + PACK[suffix](LINES[1]) + bytes(4))
        assert outcomes(open_jsonl(path)) == [("record", row) for row in ROWS[:2]]
    frame = b"\x52\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"none"
    path = save(tmp_path, ".zst", frame + PACK[".zst"](LINES[0]) + frame + PACK[".zst"](LINES[1]))
    assert outcomes(open_jsonl(path)) == [("record", row) for row in ROWS[:2]]


@suffixes
def test_what_is_saved_is_read_and_the_same_each_time(tmp_path: Path, suffix: str) -> None:
    """A suffix says how a file is packed, for writing too."""
    path = tmp_path / f"a.jsonl{suffix}"
    assert save_jsonl(ROWS, path) == len(ROWS)
    packed = path.read_bytes()
    assert outcomes(open_jsonl(path)) == [("record", row) for row in ROWS]
    assert len(packed) < sum(map(len, LINES))
    save_jsonl(ROWS, path)
    assert path.read_bytes() == packed


@suffixes
def test_compression_says_what_the_suffix_does_not(tmp_path: Path, suffix: str) -> None:
    """A packed file under any name, a plain one under a packed name."""
    (tmp_path / "a.jsonl").write_bytes(PACK[suffix](b"".join(LINES)))
    source = Read(path=f"{tmp_path}/*.jsonl", compression=NAMES[suffix])
    assert list(source.parts()) == ["a.jsonl"]
    assert [outcome[1] for outcome in outcomes(source.open_part("a.jsonl"))] == ROWS
    path = save(tmp_path, suffix, b"".join(LINES))
    source = Read(path=path, compression="none")
    reader = source.open_part(path.name)
    assert [outcome[1] for outcome in outcomes(reader)] == ROWS
    assert source.compare_part(path.name, reader.state()) == "same"


@suffixes
def test_growth_and_edits_of_packed_files_are_told(tmp_path: Path, suffix: str) -> None:
    """A member behind those read is growth; another byte among them is an edit."""
    path = save(tmp_path, suffix, PACK[suffix](LINES[0]))
    reader = open_jsonl(path)
    outcomes(reader)
    path.write_bytes(members(suffix, LINES[0], LINES[1]))
    assert compare_file(path, reader.state()) == "grown"
    assert outcomes(open_jsonl(path, reader.state())) == [("record", ROWS[1])]
    path.write_bytes(members(suffix, LINES[2], LINES[1]))
    assert compare_file(path, reader.state()) == "edited"


@suffixes
def test_a_file_of_zeros_stays_flat(tmp_path: Path, suffix: str) -> None:
    """Blocks of text are bounded however small they are packed."""
    path = save(tmp_path, suffix, PACK[suffix](bytes(8_000_000)))
    file = PartFile(path)
    blocks = [len(block) for block in iter(open_text(path, file).read, b"")]
    file.close()
    assert sum(blocks) == 8_000_000
    assert max(blocks) <= 64 * 1024


def test_a_file_that_is_not_finished_is_not_there(tmp_path: Path) -> None:
    """An error while a file is written leaves neither it nor a part of it, on disk or elsewhere."""
    for path in (tmp_path / "a.jsonl.zst", parse_path("memory://test_packed/a.jsonl.zst")):
        with pytest.raises(RuntimeError, match="stop"), create_file(path) as file, create_text(path, file) as text:
            text.write(b"{}\n")
            raise RuntimeError("stop")
        assert list(tmp_path.iterdir()) == []
        assert compare_file(path, {}) == "edited"
