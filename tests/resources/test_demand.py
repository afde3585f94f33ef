"""Resources that are entered when they are first asked for, and not before."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tidemill.errors import ResourceError
from tidemill.resources.demand import OnDemand


class Door:
    """Notes what is done with it; `enter` blocks until it is unlocked."""

    def __init__(self, *, locked: bool = False, broken: bool = False) -> None:
        self.done: list[str] = []
        self.reached = threading.Event()
        self.unlocked = threading.Event()
        self._broken = broken
        if not locked:
            self.unlocked.set()

    @contextmanager
    def enter(self) -> Iterator[str]:
        self.reached.set()
        self.unlocked.wait()
        self.done.append("entered")
        if self._broken:
            raise ResourceError("the door is jammed")
        try:
            yield "inside"
        finally:
            self.done.append("left")


async def test_what_nobody_asks_for_is_never_entered() -> None:
    door = Door()
    await OnDemand(door.enter).close()
    assert door.done == []


async def test_the_first_enters_and_the_others_wait() -> None:
    """Once, whoever asks, and it is left once."""
    door = Door(locked=True)
    resource = OnDemand(door.enter)
    asking = [asyncio.create_task(resource.get()) for _ in range(5)]
    await asyncio.to_thread(door.reached.wait)
    assert not any(task.done() for task in asking)
    door.unlocked.set()
    assert await asyncio.gather(*asking) == ["inside"] * 5
    assert await resource.get() == "inside"
    await resource.close()
    await resource.close()
    assert door.done == ["entered", "left"]


async def test_what_cannot_be_entered_fails_everyone() -> None:
    """It is not tried again, and there is nothing to leave."""
    door = Door(broken=True)
    resource = OnDemand(door.enter)
    for _ in range(2):
        with pytest.raises(ResourceError, match="the door is jammed"):
            await resource.get()
    await resource.close()
    assert door.done == ["entered"]


@pytest.mark.parametrize("broken", [True, False])
async def test_who_is_cancelled_leaves_nothing_open(broken: bool) -> None:
    """The entering goes on, and closing waits for it."""
    door = Door(locked=True, broken=broken)
    resource = OnDemand(door.enter)
    asking = asyncio.create_task(resource.get())
    await asyncio.to_thread(door.reached.wait)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    closing = asyncio.create_task(resource.close())
    await asyncio.sleep(0)
    assert not closing.done()
    door.unlocked.set()
    await closing
    assert door.done == (["entered"] if broken else ["entered", "left"])


def test_the_interpreter_ends_in_peace_with_one_that_was_left_open() -> None:
    """What a model's own server is: released by the interpreter's end, when no executor takes work any more."""
    script = (
        "import tidemill as tm\n"
        "from tidemill.resources.bridge import Bridge\n"
        "from tidemill.resources.demand import OnDemand\n"
        "import atexit, contextlib\n"
        "bridge = Bridge()\n"
        "bridge.__enter__()\n"
        "@contextlib.contextmanager\n"
        "def door():\n"
        "    yield 'in'\n"
        "    print('out')\n"
        "async def make():\n"
        "    demand = OnDemand(door)\n"
        "    print(await demand.get())\n"
        "    return demand\n"
        "demand = bridge.run(make())\n"
        "atexit.register(lambda: bridge.run(demand.close()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("in\nout\n", "")
