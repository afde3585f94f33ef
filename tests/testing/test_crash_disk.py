"""Disks that crash, stop or fill up."""

import errno
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tidemill.disk import Disk
from tidemill.testing import Crash, CrashDisk, FullDisk, Snapshot, StoppingDisk


def open_ledger(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def commit_row(disk: Disk, connection: sqlite3.Connection, path: Path, value: str) -> None:
    connection.execute("BEGIN")
    connection.execute("INSERT INTO rows VALUES (?)", (value,))
    disk.commit(connection, path)


def read_rows(path: Path) -> list[str]:
    connection = open_ledger(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [row[0] for row in connection.execute("SELECT value FROM rows")]
    finally:
        connection.close()


def by_moment(disk: CrashDisk, operation: str, number: int = 0) -> dict[str, Snapshot]:
    """The three snapshots of the `number`th operation of that kind."""
    numbers = sorted({snapshot.number for snapshot in disk.snapshots if snapshot.operation == operation})
    return {snapshot.moment: snapshot for snapshot in disk.snapshots if snapshot.number == numbers[number]}


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def disk(tmp_path: Path, watched: Path) -> CrashDisk:
    return CrashDisk(watched, tmp_path / "snapshots")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_operation_has_three_snapshots(disk: CrashDisk, watched: Path) -> None:
    """Each operation is copied before, half through and after, in order, into folders of their own."""
    disk.make_folder(watched / "deep" / "er")
    disk.write_file(watched / "part", b"12345678")
    disk.sync_folder(watched)
    disk.remove(watched / "part")
    told = [(snapshot.operation, snapshot.moment) for snapshot in disk.snapshots]
    made = ["make_folder", "sync_folder"] * 2
    operations = [*made, "write", "rename", "sync_folder", "remove"]
    assert told == [(operation, moment) for operation in operations for moment in ("before", "half", "after")]
    assert len({snapshot.folder for snapshot in disk.snapshots}) == len(told)
    assert str(disk.snapshots[-1]) == "after remove part (operation 8)"


def test_content_never_synced_is_cut_in_half(disk: CrashDisk, watched: Path) -> None:
    """Half through its sync a file has half its bytes; after it, all."""
    disk.write_file(watched / "part", b"12345678")
    write = by_moment(disk, "write")
    assert contents(write["half"].folder) == {"part.tmp": b"1234"}
    assert contents(write["after"].folder) == {"part.tmp": b"12345678"}


def test_another_threads_open_file_is_cut_too(disk: CrashDisk, watched: Path) -> None:
    """A temporary file still being written when something else happens is unsynced in that copy."""
    with disk.create_file(watched / "big") as file:
        file.write(b"x" * 100)
        file.flush()
        disk.make_folder(watched / "other")
    assert contents(by_moment(disk, "make_folder")["after"].folder) == {"big.tmp": b"x" * 50}
    assert contents(watched) == {"big": b"x" * 100}


def test_a_rename_lasts_from_the_folders_sync_on(disk: CrashDisk, watched: Path) -> None:
    """Until then a crash may bring back the old name, and the content that stood under the new one."""
    (watched / "manifest").write_bytes(b"old")
    disk.write_file(watched / "manifest", b"new")
    disk.make_folder(watched / "other")
    lost = {"manifest": b"old", "manifest.tmp": b"new"}
    assert contents(by_moment(disk, "rename")["after"].folder) == {"manifest": b"new"}
    assert contents(by_moment(disk, "make_folder")["half"].folder) == lost
    assert contents(by_moment(disk, "make_folder")["after"].folder) == lost
    disk.sync_folder(watched)
    disk.make_folder(watched / "third")
    assert contents(by_moment(disk, "make_folder", -1)["after"].folder) == {"manifest": b"new"}


def test_a_file_renamed_twice_without_a_sync_goes_back_to_the_first(disk: CrashDisk, watched: Path) -> None:
    """What was durable last is what a crash brings back."""
    for text in (b"one", b"two"):
        disk.write_file(watched / "status", text)
    disk.make_folder(watched / "other")
    assert contents(by_moment(disk, "make_folder")["after"].folder) == {"status.tmp": b"two"}


def test_half_a_sync_keeps_some_of_the_names(disk: CrashDisk, watched: Path) -> None:
    """Names of one folder become durable one by one: a crash may keep any of them."""
    for name in ("a", "b"):
        disk.write_file(watched / name, name.encode())
    disk.sync_folder(watched)
    sync = by_moment(disk, "sync_folder")
    assert set(contents(sync["before"].folder)) == {"a", "b"}
    assert set(contents(sync["half"].folder)) == {"a.tmp", "b"}
    assert set(contents(sync["after"].folder)) == {"a", "b"}


def test_half_a_commit_is_no_commit(disk: CrashDisk, watched: Path) -> None:
    """The copies open as SQLite databases: without the transaction before and half through, with it after."""
    path = watched / "ledger.sqlite"
    connection = open_ledger(path)
    try:
        connection.execute("CREATE TABLE rows (value TEXT)")
        for value in ("a" * 5000, "b" * 5000):
            commit_row(disk, connection, path, value)
    finally:
        connection.close()
    commits = by_moment(disk, "commit", 1)
    half = commits["half"].folder / "ledger.sqlite-wal"
    sizes = [(commits[moment].folder / half.name).stat().st_size for moment in ("before", "half", "after")]
    assert sizes[0] < sizes[1] < sizes[2]
    counts = {moment: len(read_rows(snapshot.folder / path.name)) for moment, snapshot in commits.items()}
    assert counts == {"before": 1, "half": 1, "after": 2}


def test_commits_around_a_checkpoint_stay_readable(disk: CrashDisk, watched: Path) -> None:
    """A log that starts over, overwriting its own beginning, is torn there: every copy still opens whole."""
    path = watched / "ledger.sqlite"
    connection = open_ledger(path)
    try:
        connection.execute("PRAGMA wal_autocheckpoint=4")
        connection.execute("CREATE TABLE rows (value TEXT)")
        for number in range(12):
            commit_row(disk, connection, path, f"{number}" * 3000)
    finally:
        connection.close()
    for number in range(12):
        counts = {m: len(read_rows(s.folder / path.name)) for m, s in by_moment(disk, "commit", number).items()}
        assert counts == {"before": number, "half": number, "after": number + 1}


def test_half_a_removal_leaves_every_second_file(disk: CrashDisk, watched: Path) -> None:
    """A folder goes file by file; a single file goes at once."""
    run = watched / "run"
    run.mkdir()
    for name in "abcd":
        (run / name).write_bytes(b"")
    disk.remove(run / "d")
    disk.remove_folder(run)
    assert len(contents(by_moment(disk, "remove")["half"].folder)) == 4
    halves = by_moment(disk, "remove", 1)
    assert [len(contents(halves[moment].folder)) for moment in ("before", "half", "after")] == [3, 1, 0]


def test_folders_are_made_one_by_one_each_durable_before_the_next(disk: CrashDisk, watched: Path) -> None:
    """From the top down: a crash in between leaves the upper ones."""
    disk.make_folder(watched / "a" / "b")
    made = [snapshot for snapshot in disk.snapshots if snapshot.operation == "make_folder"]
    found = [sorted(path.name for path in snapshot.folder.rglob("*")) for snapshot in made]
    assert found == [[], [], ["a"], ["a"], ["a"], ["a", "b"]]


def test_equal_copies_are_known_as_equal(disk: CrashDisk, watched: Path) -> None:
    """`distinct_snapshots` has each tree once; the others name the first of their kind."""
    disk.sync_folder(watched)
    disk.sync_folder(watched)
    assert len(disk.snapshots) == 6
    assert [snapshot.folder for snapshot in disk.distinct_snapshots] == [disk.snapshots[0].folder]
    assert disk.snapshots[5].same_as == disk.snapshots[0].folder


def test_a_failing_operation_fails_and_the_next_goes_on(disk: CrashDisk, watched: Path) -> None:
    """An error of the system passes through."""
    with pytest.raises(FileNotFoundError, match="missing"):
        disk.sync_folder(watched / "missing")
    disk.write_file(watched / "part", b"1")
    assert contents(watched) == {"part": b"1"}


def test_operations_of_several_threads_take_turns(tmp_path: Path, watched: Path) -> None:
    """No operation happens between another and its copies; what `observe` sees is of that moment."""
    disk = CrashDisk(watched, tmp_path / "snapshots", observe=lambda: len(list(watched.glob("*"))))
    threads = [
        threading.Thread(target=disk.write_file, args=(watched / f"part-{number}", b"12")) for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(disk.snapshots) == 8 * 2 * 3
    assert [snapshot.number for snapshot in disk.snapshots] == sorted(snapshot.number for snapshot in disk.snapshots)
    assert disk.snapshots[-1].seen == 8


def test_copies_cannot_go_into_what_is_copied(watched: Path) -> None:
    """That would copy copies."""
    with pytest.raises(ValueError, match="cannot go into the watched folder"):
        CrashDisk(watched, watched / "snapshots")


@pytest.mark.parametrize(
    ("at", "moment", "left"),
    [(1, "before", {}), (1, "after", {}), (2, "before", {}), (2, "half", {}), (2, "after", {"part": b"1234"})],
)
def test_a_stopping_disk_ends_the_process_at_one_operation(watched: Path, at: int, moment: str, left: object) -> None:
    """The exception passes `except Exception`, and the files are left as the code leaves them."""
    disk = StoppingDisk(at, moment)  # type: ignore[arg-type]  # parametrized
    with pytest.raises(Crash, match=f"{moment} "):
        disk.write_file(watched / "part", b"1234")
    assert disk.is_stopped
    assert contents(watched) == left
    with pytest.raises(Crash, match=f"stopped at operation {at}"):
        disk.sync_folder(watched)


def test_a_stopping_disk_leaves_halves(watched: Path) -> None:
    """Half through a write the file is cut; half through a removal every second file is gone."""
    path = watched / "part.tmp"
    path.write_bytes(b"12345678")
    with pytest.raises(Crash, match="half write"):
        StoppingDisk(1, "half").perform("write", path, lambda: None)
    assert contents(watched) == {"part.tmp": b"1234"}
    (watched / "second").write_bytes(b"")
    with pytest.raises(Crash, match="half remove"):
        StoppingDisk(1, "half").remove_folder(watched)
    assert set(contents(watched)) == {"second"}


def test_a_disk_not_reached_stops_nothing(watched: Path) -> None:
    """The operations are listed, so that a test knows how many there are."""
    disk = StoppingDisk(100)
    disk.write_file(watched / "part", b"1")
    assert [operation for operation, _ in disk.operations] == ["write", "rename"]
    assert not disk.is_stopped


def _commit(disk: Disk, folder: Path) -> None:
    connection = sqlite3.connect(folder / "db")
    try:
        disk.commit(connection, folder / "db")
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("act", "error"),
    [
        (lambda disk, folder: disk.write_file(folder / "a", b"1"), OSError),
        (lambda disk, folder: disk.make_folder(folder / "a"), OSError),
        (_commit, sqlite3.OperationalError),
    ],
)
def test_a_full_disk_refuses_what_takes_room(
    watched: Path, act: Callable[[Disk, Path], None], error: type[Exception]
) -> None:
    """It fails as the system would, lets removals pass, and works again once there is room."""
    disk = FullDisk(room=1)
    disk.make_folder(watched / "first")
    with pytest.raises(error, match=r"No space left|is full") as caught:
        act(disk, watched)
    if isinstance(caught.value, OSError):
        assert caught.value.errno == errno.ENOSPC
    assert "a" not in contents(watched)
    disk.remove_folder(watched / "first")
    disk.make_room()
    act(disk, watched)
