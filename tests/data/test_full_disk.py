"""What a full disk does to a step that keeps things in a folder, and to a file that is saved."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from room import files_of_at_most

import tidemill as tm
from tidemill.errors import ResourceError


def test_a_full_disk_is_told_with_its_folder_until_there_is_room(tmp_path: Path) -> None:
    """Again and again: an end would be taken for that of the data. What stands is gone on from."""
    stream = tm.from_iterable([{"n": n, "text": "long" * 100} for n in range(20)]).cache(tmp_path, part_bytes=2_000)
    records = stream.iterate()
    with files_of_at_most(1_000):
        for _ in range(3):
            with pytest.raises(ResourceError, match=rf"step `cache`: the step's folder fails: .*{tmp_path}") as told:
                list(records)
            assert told.value.of == "run"
    assert [path.name for path in tmp_path.glob("*/*")] == []
    assert [record["n"] for record in stream] == list(range(20))


def test_a_step_whose_folder_is_full_names_it(tmp_path: Path) -> None:
    stream = tm.from_iterable([{"n": n, "text": "long" * 100} for n in range(500)]).sort(
        "n", dir=tmp_path, memory="64KiB"
    )
    with files_of_at_most(1_000), pytest.raises(ResourceError, match=rf"step `sort`: .*File too large: {tmp_path}"):
        list(stream)
    assert [record["n"] for record in stream] == list(range(500))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.parquet", "a.arrow", "a.arrows", "a.txt.zst"])
def test_a_file_for_which_there_is_no_room_is_told_and_not_left(name: str, tmp_path: Path) -> None:
    records = [{"text": hashlib.sha256(b"%d" % n).hexdigest()} for n in range(2_000)]
    with (
        files_of_at_most(10_000),
        pytest.raises(ResourceError, match=rf"{tmp_path / name}: cannot be written: File too large"),
    ):
        tm.from_iterable(records).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ResourceError, match=r"disk\.py/a\.jsonl: cannot be written: "):
        tm.from_iterable(records).save(Path(__file__) / "a.jsonl")
