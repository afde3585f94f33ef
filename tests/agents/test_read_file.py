"""`read_file` and `list_files`: everything below the folder, and nothing beside it."""

import os
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.agents.builtin.files import split_path
from tidemill.agents.builtin.read_file import FileText, Listed, list_files, read_file
from tidemill.agents.tools.refusal import RefusalError
from tidemill.errors import ConfigError, ResourceError

SECRET = "canary-outside-the-folder"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a text, beside a file that nobody may read."""
    (tmp_path / "secret.txt").write_text(SECRET)
    (tmp_path / "root-too").mkdir()
    (tmp_path / "root-too" / "secret.txt").write_text(SECRET)
    root = tmp_path / "root"
    (root / "notes").mkdir(parents=True)
    (root / "notes" / "tides.txt").write_text("high\nlow\nhigh\n")
    return root


def read(root: Path, path: str, **arguments: Any) -> FileText:
    found: FileText = read_file(root)(path=path, **arguments)
    return found


@pytest.mark.parametrize("path", ["notes/tides.txt", "./notes//tides.txt", "notes/./tides.txt"])
def test_a_text_is_read(root: Path, path: str) -> None:
    assert read(root, path) == FileText(path, "high\nlow\nhigh\n", 1, 3, 3)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../secret.txt", "has `..` in it"),
        ("notes/../../secret.txt", "has `..` in it"),
        ("notes/../notes/tides.txt", "has `..` in it"),
        ("..", "has `..` in it"),
        ("/etc/passwd", "is not below the folder"),
        ("//etc/passwd", "is not below the folder"),
        ("{root}/notes/tides.txt", "is not below the folder"),
        ("~/.ssh/id_rsa", "is not below the folder"),
        ("C:\\secret.txt", "is not below the folder"),
        ("..\\secret.txt", "there is no"),
        ("%2e%2e/secret.txt", "there is no"),
        ("notes/tides.txt\0.png", "NUL character"),
        ("notes/tides.txt/x", "is a file, not a folder"),
        ("notes", "is a folder, not a file"),
        (".", "is a folder, not a file"),
        ("x" * 300, "cannot be opened: file name too long"),
        ("a\ud800", "surrogate"),
    ],
)
def test_a_path_that_leads_out_or_nowhere_is_refused(root: Path, path: str, message: str) -> None:
    with pytest.raises(RefusalError, match=message) as caught:
        read(root, path.format(root=root))
    assert SECRET not in str(caught.value)


@given(st.text(alphabet="./~\\ab\0%", max_size=12))
def test_no_path_has_a_name_that_leads_up(path: str) -> None:
    """Whatever is not refused is names of the folder or below it, one after the other."""
    try:
        names = split_path(path)
    except RefusalError:
        return
    assert not any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names)


@pytest.mark.parametrize("target", ["../secret.txt", "{outside}/secret.txt", "notes/tides.txt", "nowhere"])
def test_a_link_is_not_followed(root: Path, target: str) -> None:
    """Not even one that stays within: where it leads could change."""
    (root / "link").symlink_to(target.format(outside=root.parent))
    with pytest.raises(RefusalError, match="`link` is a symbolic link, which is not followed"):
        read(root, "link")


@pytest.mark.parametrize("target", ["..", "{outside}", "../root-too", "notes"])
def test_a_link_to_a_folder_is_not_followed(root: Path, target: str) -> None:
    (root / "link").symlink_to(target.format(outside=root.parent))
    for path in ("link/secret.txt", "link/tides.txt"):
        with pytest.raises(RefusalError, match="`link` is a symbolic link, which is not followed"):
            read(root, path)
    with pytest.raises(RefusalError, match="is a symbolic link"):
        list_files(root)(path="link")


def test_the_folder_itself_may_be_reached_by_a_link(root: Path) -> None:
    """That one is the author's; where it led when the tool was made is where it stays."""
    link = root.parent / "link"
    link.symlink_to(root)
    made = read_file(link)
    link.unlink()
    link.symlink_to(root.parent)
    assert made(path="notes/tides.txt").lines == 3
    with pytest.raises(RefusalError, match="there is no `secret"):
        made(path="secret.txt")


@pytest.fixture
def swapping(root: Path) -> Iterator[Path]:
    """A folder in which a name is a folder and a link out of it by turns, as fast as a thread can."""
    (root / "good").mkdir()
    (root / "good" / "secret.txt").write_text("harmless")
    (root / "bad").symlink_to(root.parent)
    ended = threading.Event()

    def swap() -> None:
        while not ended.is_set():
            for name in ("good", "bad"):
                os.rename(root / name, root / "name")
                os.rename(root / "name", root / name)

    thread = threading.Thread(target=swap)
    thread.start()
    yield root
    ended.set()
    thread.join()


def test_a_link_that_is_swapped_in_meanwhile_leads_nowhere(swapping: Path) -> None:
    """Each name is opened from the folder above it and told not to be followed: there is no moment in between."""
    made, found = read_file(swapping), Counter[str]()
    link = "`name` is a symbolic link, which is not followed"
    while found.total() < 1_000 or not found["harmless"] or not found[link]:
        try:
            found[made(path="name/secret.txt").text] += 1
        except RefusalError as error:
            found[error.message] += 1
    others = {"there is no `name`", "`name` is a file, not a folder"}  # gone again when it was asked what it is
    assert set(found) <= {"harmless", link, *others}


def test_a_pipe_or_a_socket_is_not_read(root: Path) -> None:
    """Opening a pipe waits for a writer otherwise."""
    os.mkfifo(root / "pipe")
    with pytest.raises(RefusalError, match="`pipe` is no regular file"):
        read(root, "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))
        with pytest.raises(RefusalError, match="`socket` cannot be opened"):
            read(root, "socket")


def test_a_device_is_not_read() -> None:
    """`/dev/zero` has no end."""
    with pytest.raises(RefusalError, match="`zero` is no regular file"):
        read(Path("/dev"), "zero")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("notes/tide.txt", "did you mean `notes/tides.txt`?"),
        ("note/tides.txt", "did you mean `notes`?"),
        ("Notes/tides.txt", "did you mean `notes`?"),
        ("notes/zzz", "see list_files"),
    ],
)
def test_a_name_that_is_not_there_is_told_its_nearest(root: Path, path: str, hint: str) -> None:
    with pytest.raises(RefusalError, match="there is no") as caught:
        read(root, path)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        ("Mühle\r\nrun".encode(), "Mühle\r\nrun"),
        ("\ufeffMühle".encode(), "Mühle"),
        ("one\u2028two\x0cthree\rfour".encode(), "one\u2028two\x0cthree\rfour"),
    ],
)
def test_a_text_is_given_as_it_stands(root: Path, data: bytes, text: str) -> None:
    (root / "a").write_bytes(data)
    assert read(root, "a").text == text
    assert read(root, "a").lines == bool(data) + data.count(b"\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"a\0b", "bytes of 0 in it"), (b"\xff\xfe\xfd", "byte 0 is none of one"), (b"a\xe9", "byte 1")],
)
def test_what_is_no_text_is_refused(root: Path, data: bytes, message: str) -> None:
    (root / "a").write_bytes(data)
    with pytest.raises(RefusalError, match=message):
        read(root, "a")


def test_a_long_text_is_read_in_parts(root: Path) -> None:
    """By lines asked for, and by what one call gives; together the parts are the file."""
    text = "".join(f"{number} {'x' * (number % 90)}\n" for number in range(3_000))
    (root / "a").write_text(text)
    part = read(root, "a", max_lines=2_000)
    parts = [part]
    while part.next_line is not None:
        part = read(root, "a", start_line=part.next_line, max_lines=2_000)
        parts.append(part)
    assert "".join(part.text for part in parts) == text
    assert {part.total_lines for part in parts} == {3_000}
    assert max(len(part.text) for part in parts) <= 20_000
    assert [part.is_cut for part in parts] == [False] * len(parts)
    assert read(root, "a", start_line=10, max_lines=2).text.split()[0::2] == ["9", "10"]


def test_a_line_that_is_too_long_is_cut_and_said_to_be(root: Path) -> None:
    (root / "a").write_text("x" * 50_000 + "\nnext\n")
    found = read(root, "a")
    assert (len(found.text), found.is_cut, found.next_line) == (20_000, True, 2)


def test_no_line_behind_the_last_is_read(root: Path) -> None:
    with pytest.raises(RefusalError, match=r"`notes/tides.txt` has 3 lines"):
        read(root, "notes/tides.txt", start_line=4)


def test_of_a_huge_file_the_beginning_is_read(root: Path) -> None:
    """A character across the end of it is left out; how many lines there are is not known."""
    (root / "a").write_bytes("ab\nü".encode() + b"z" * 100)
    found = read_file(root, max_bytes=4)(path="a")
    assert (found.text, found.total_lines) == ("ab\n", None)


def test_a_sparse_file_of_a_terabyte_costs_its_beginning(root: Path) -> None:
    with open(root / "a", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RefusalError, match="bytes of 0"):
        read_file(root, max_bytes=1_000)(path="a")


def test_what_stands_in_a_folder_is_listed(root: Path) -> None:
    """Links by name alone: what they lead to is not looked at."""
    (root / "link").symlink_to("../secret.txt")
    os.mkfifo(root / "pipe")
    made = list_files(root)
    assert made().entries == [Listed("link", "link"), Listed("notes", "folder"), Listed("pipe", "other")]
    assert made(path="notes").entries == [Listed("notes/tides.txt", "file", 14)]


@pytest.mark.parametrize("path", ["..", "/", "notes/..", "nothing", "notes/tides.txt"])
def test_no_other_folder_is_listed(root: Path, path: str) -> None:
    with pytest.raises(RefusalError, match=r"`\.\.` in it|not below|there is no|not a folder"):
        list_files(root)(path=path)


def test_a_large_folder_is_listed_in_part(root: Path) -> None:
    for number in range(510):
        (root / "notes" / f"{number:03}").touch()
    found = list_files(root)(path="notes")
    assert (len(found.entries), found.entries[-1].path, found.is_cut) == (500, "notes/499", True)


def test_a_folder_that_is_gone_is_no_mistake_of_the_models(root: Path) -> None:
    made = read_file(root)
    shutil.rmtree(root)
    with pytest.raises(ResourceError, match="the folder cannot be opened"):
        made(path="notes/tides.txt")


def test_a_folder_that_is_none_is_the_authors_mistake(root: Path) -> None:
    for path in (root / "nothing", root / "notes" / "tides.txt"):
        with pytest.raises(ConfigError, match="is no folder"):
            read_file(path)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "path"),
        ({"path": ""}, "path"),
        ({"path": "a", "start_line": 0}, "start_line"),
        ({"path": "a", "mode": "w"}, "mode"),
    ],
)
def test_arguments_are_checked(root: Path, arguments: dict[str, Any], problem: str) -> None:
    assert problem in read_file(root).signature.check(arguments).render()
