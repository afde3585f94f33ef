"""The ledger: what is durable, what goes when a segment is sealed, and the lock it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from workbench import write_records

from tidemill.disk import Disk
from tidemill.errors import ResourceError, StateError
from tidemill.jobs.ledger.database import Ledger, SealRecord, open_ledger
from tidemill.jobs.records.chunk import PartPosition
from tidemill.testing import FullDisk


def seal(ledger: Ledger, *, run_pass: int, sealed: int, number: int = 1) -> None:
    ledger.seal(SealRecord(number, {"number": number}, {}, [], {}, run_pass, sealed))


@settings(max_examples=50)
@given(
    frames=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20)), max_size=12),
    run_pass=st.integers(0, 2),
    sealed=st.integers(0, 21),
)
def test_a_frame_goes_when_all_it_speaks_of_is_sealed(
    tmp_path_factory: pytest.TempPathFactory, frames: list[tuple[int, int]], run_pass: int, sealed: int
) -> None:
    """Of the sealed pass, and never one that speaks of a record that is not sealed."""
    with open_ledger(tmp_path_factory.mktemp("run") / "ledger.sqlite", Disk()) as ledger:
        for position, (frame_pass, last) in enumerate(frames):
            ledger.append(frame_pass, last, f"{position}".encode(), {})
        seal(ledger, run_pass=run_pass, sealed=sealed)
        left = [
            str(position).encode()
            for position, (frame_pass, last) in enumerate(frames)
            if frame_pass != run_pass or last >= sealed
        ]
        assert list(ledger.iter_frames()) == left
        assert list(ledger.iter_frames(run_pass)) == [body for body in left if frames[int(body)][0] == run_pass]


def test_what_is_committed_is_there_again(tmp_path: Path) -> None:
    """Values, positions in reading order, segments in sealing order."""
    path = tmp_path / "ledger.sqlite"
    positions = [
        PartPosition("b", 0, 3, {"offset": 9}, 2),
        PartPosition("a", 2),
        PartPosition("ü", 1, 5, {"offset": 1}, done=True),
    ]
    with open_ledger(path, Disk()) as ledger:
        ledger.save_meta({"run": {"id": 1}, "lease": None})
        ledger.save_parts(positions)
        ledger.seal(SealRecord(2, {"number": 2}, {1: {"number": 1}}, [PartPosition("a", 3)], {"counts": [1]}, 0, 0))
    with open_ledger(path, Disk()) as ledger:
        assert (ledger.load_meta("run"), ledger.load_meta("none", 5)) == ({"id": 1}, 5)
        assert ledger.load_meta("counts") == [1]
        assert ledger.load_parts() == [positions[0], positions[2], PartPosition("a", 3)]
        assert ledger.load_segments() == [{"number": 1}, {"number": 2}]
        ledger.clear()
    with open_ledger(path, Disk()) as ledger:
        assert (ledger.load_meta("run"), ledger.load_parts(), ledger.load_segments()) == (None, [], [])


def test_only_one_may_hold_it(tmp_path: Path) -> None:
    """The second is refused at once; when the first lets go the next one may."""
    path = tmp_path / "ledger.sqlite"
    with (
        open_ledger(path, Disk()),
        pytest.raises(StateError, match="another process is running on this run folder"),
        open_ledger(path, Disk()),
    ):
        pass
    with open_ledger(path, Disk()) as ledger:
        assert list(ledger.iter_frames()) == []


def test_a_commit_that_fails_leaves_what_was(tmp_path: Path) -> None:
    """Nothing of its transaction is there, and the ledger goes on."""
    disk = FullDisk(2)
    with open_ledger(tmp_path / "ledger.sqlite", disk) as ledger:
        ledger.append(0, 1, b"kept", {"meter": 1})
        with pytest.raises(ResourceError, match="the run cannot be written: database or disk is full"):
            ledger.append(0, 2, b"lost", {"meter": 2})
        disk.make_room()
        assert (list(ledger.iter_frames()), ledger.load_meta("meter")) == ([b"kept"], 1)
        ledger.append(0, 3, b"again", {"meter": 3})
        assert list(ledger.iter_frames()) == [b"kept", b"again"]


def test_files_that_are_no_ledger(tmp_path: Path) -> None:
    """Another format, another file, a folder that is not there: each says what it is."""
    path = tmp_path / "ledger.sqlite"
    with open_ledger(path, Disk()):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateError, match="expected a ledger of format 2, got 99"), open_ledger(path, Disk()):
        pass
    other = write_records(tmp_path / "other", ["this is no database at all, and more than a hundred bytes long"] * 3)
    with pytest.raises(ResourceError, match="this is not a ledger"), open_ledger(other, Disk()):
        pass
    with pytest.raises(ResourceError, match="the ledger cannot be opened"), open_ledger(tmp_path / "a" / "b", Disk()):
        pass
