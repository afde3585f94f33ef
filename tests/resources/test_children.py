"""Programs that are spoken with in frames, and that leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tidemill.errors import WorkerError
from tidemill.resources.children import Child, describe_exit

ECHO = """
import os, sys
while head := sys.stdin.buffer.read(4):
    frame = sys.stdin.buffer.read(int.from_bytes(head, "big"))
    sys.stdout.buffer.write(head + frame[::-1])
    sys.stdout.buffer.flush()
"""

LEAVES_GROUP = """
import os, subprocess, sys
nested = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(1000)"
left = subprocess.Popen([sys.executable, "-I", "-S", "-c", nested], stdout=subprocess.PIPE)
pid = left.stdout.readline().strip()
os.write(1, len(pid).to_bytes(4, "big") + pid)
"""


@asynccontextmanager
async def running(program: str, folder: Path, output: list[bytes] | None = None) -> AsyncIterator[Child]:
    """A Python program as a child, closed afterwards."""
    child = await Child.start(
        [sys.executable, "-I", "-S", "-c", textwrap.dedent(program)],
        environment={},
        folder=folder,
        on_output=([] if output is None else output).append,
    )
    try:
        yield child
    finally:
        await child.close()


@pytest.mark.parametrize("size", [0, 5, 3 << 20])
async def test_frames_of_any_size_go_there_and_back(size: int, tmp_path: Path) -> None:
    frame = os.urandom(size)
    async with running(ECHO, tmp_path) as child:
        child.send(frame)
        child.send(b"ab")
        assert await child.receive() == frame[::-1]
        assert await child.receive() == b"ba"


async def test_what_it_writes_to_its_error_output_is_handed_on_to_the_last_byte(tmp_path: Path) -> None:
    output: list[bytes] = []
    async with running("import os; os.write(2, b'x' * 300_000); os._exit(3)", tmp_path, output) as child:
        assert await child.receive() is None
        assert await child.close() == 3
        assert b"".join(output) == b"x" * 300_000


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("raise SystemExit(3)", 3, "with exit code 3"),
        ("import os; os.abort()", 134, "by SIGABRT"),
        ("import os; os.close(1); import time; time.sleep(1000)", 137, "by SIGKILL"),
    ],
)
async def test_how_it_ended_is_told(program: str, code: int, words: str, tmp_path: Path) -> None:
    async with running(program, tmp_path) as child:
        assert await child.receive() is None
        assert await child.close() == code
        assert child.has_ended
        assert describe_exit(code) == words


async def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    output: list[bytes] = []
    child = await Child.start(["no-such-program"], environment={}, folder=tmp_path, on_output=output.append)
    assert await child.receive() is None
    assert await child.close() == 127
    assert b"".join(output) == b"no-such-program: No such file or directory\n"


async def test_what_is_no_frame_is_refused(tmp_path: Path) -> None:
    async with running("print('hello world', flush=True); input()", tmp_path) as child:
        with pytest.raises(WorkerError, match="sent a frame of 1751477356 bytes, expected 67108864 at most"):
            await child.receive()


async def test_its_environment_and_folder_are_what_was_given_alone(tmp_path: Path) -> None:
    program = "import os; text = repr((sorted(os.environ), os.getcwd())).encode(); os.write(2, text)"
    output: list[bytes] = []
    child = await Child.start(
        [sys.executable, "-I", "-c", program], environment={"A": "1"}, folder=tmp_path, on_output=output.append
    )
    assert await child.receive() is None
    await child.close()
    names, folder = eval(b"".join(output))  # noqa: S307 - its own repr
    assert set(names) - {"LC_CTYPE"} == {"A"}  # Python itself sets that one
    assert folder == str(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
@pytest.mark.parametrize("rest", ["", "import time; time.sleep(1000)"], ids=["ends", "is closed"])
async def test_processes_that_left_its_group_end_with_it(rest: str, tmp_path: Path) -> None:
    async with running(LEAVES_GROUP + rest, tmp_path) as child:
        pid = await child.receive()
        assert pid is not None
        await child.close()
        assert not psutil.pid_exists(int(pid))


def open_fifo(folder: Path) -> tuple[Path, int]:
    """A named pipe, whose reading end is at its end once every process that writes to it is gone."""
    path = folder / "alive"
    os.mkfifo(path)
    return path, os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def read_until_gone(fd: int) -> bytes:
    """What was written to the pipe; waits for all who have it open."""
    os.set_blocking(fd, True)
    with os.fdopen(fd, "rb") as file:
        return file.read()


PARENT = """
import asyncio, os, psutil, signal, sys
from pathlib import Path
from tidemill.resources.children import Child

async def main():
    program = "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    program += "fd = os.open(sys.argv[1], os.O_WRONLY); os.write(fd, b'alive'); os.write(1, bytes(4)); time.sleep(1000)"
    command = [sys.executable, "-I", "-S", "-c", program, sys.argv[1]]
    folder = Path(sys.argv[2])
    child = await Child.start(command, environment={}, folder=folder, on_output=print, owns_folder=True)
    await child.receive()
    (folder / "file").touch()
    print(psutil.Process().children()[0].pid, flush=True)
    THEN
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "then",
    ["pass", "os.fork() or os.read(0, 1)"],
    ids=["alone", "while a fork of it lives on"],
)
def test_it_and_its_folder_end_with_its_parent_however_that_ends(then: str, tmp_path: Path) -> None:
    path, fd = open_fifo(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    command = [sys.executable, "-c", PARENT.replace("THEN", then), str(path), str(folder)]
    reader, writer = os.pipe()  # what a fork waits at
    with subprocess.Popen(command, stdin=reader, stdout=subprocess.PIPE) as parent:
        os.close(reader)
        assert parent.wait() == -signal.SIGKILL
        assert read_until_gone(fd) == b"alive"
        assert parent.stdout is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(int(parent.stdout.readline())).wait(60)
        os.close(writer)
    assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
async def test_it_ends_when_whoever_watches_over_it_is_killed(tmp_path: Path) -> None:
    path, fd = open_fifo(tmp_path)
    program = f"import os, time; os.open({str(path)!r}, os.O_WRONLY); os.write(1, bytes(4)); time.sleep(1000)"
    before = {each.pid for each in psutil.Process().children()}
    async with running(program, tmp_path) as child:
        assert await child.receive() == b""
        (keeper,) = (each for each in psutil.Process().children() if each.pid not in before)
        keeper.kill()
        assert await asyncio.to_thread(read_until_gone, fd) == b""
        assert await child.receive() is None
        assert await child.close() == 137
