"""Functions that tests have called in processes of their own."""

from __future__ import annotations

import asyncio
import ctypes
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from tidemill.agents.tools.context import Context
from tidemill.agents.tools.told import Told

calls = 0


class Reading(BaseModel):
    level: float


def where_am_i(meeting: str = "") -> dict[str, int]:
    """This process and how often it was asked; with a place to meet, once another process has been asked, too."""
    global calls
    calls += 1
    if meeting:
        meet(meeting)
    return {"pid": os.getpid(), "group": os.getpgrp(), "calls": calls}


def meet(path: str) -> None:
    """Wait for another process that is there, too: a named pipe opens once both its ends do."""
    try:
        os.mkfifo(path)
    except FileExistsError:
        os.close(os.open(path, os.O_WRONLY))
    else:
        os.close(os.open(path, os.O_RDONLY))


async def measure(level: float) -> Reading:
    await asyncio.sleep(0)
    return Reading(level=level)


def shout(text: str) -> str:
    sys.stdout.write(text)
    sys.stdout.flush()
    sys.stderr.write(text)
    return input() if text == "ask" else text


def hang(path: str, leaves: bool = False) -> None:
    """Start a child that takes no signal but the last, and may leave for a session of its own, write both ids, wait."""
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=leaves)
    assert child.stdout is not None
    child.stdout.readline()
    with open(path, "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    signal.pause()


def repeat(text: str, times: int) -> str:
    return times * text


def leave() -> int:
    """A child that goes on in a session of its own."""
    code = "import signal; signal.pause()"
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True).pid


def split(share: int) -> Told:
    return Told({"share": share}, {"share": share, "rest": [1, 2]})


def split_wrong() -> Told:
    return Told("a part", {1, 2})


def crash(how: str) -> None:
    if how == "segfault":
        ctypes.string_at(0)
    os._exit(7)


class OddError(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("odd")
        self.fn: Callable[[], Any] = lambda: None


def refuse(how: str) -> None:
    if how == "odd":
        raise OddError
    if how == "exit":
        sys.exit(3)
    raise LookupError(how)


def flicker(context: Context[Any]) -> int:
    if context.attempt < 2:
        raise ConnectionResetError
    return context.attempt


def give_set() -> Any:
    return {"tags": {1, 2}}


def photograph() -> dict[str, bytes]:
    """A picture of one pixel."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (1, 1)).save(buffer, format="PNG")
    return {"shot": buffer.getvalue()}
