"""A method that is a tool: one tool of each instance, whoever takes it, and however often."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref

from modelscript import MODEL, Scripted, calling, saying

import tidemill as tm
from tidemill.agents import fan_out
from tidemill.calls.wire import Request, Response


class Shelf:
    """Counts who looks into it at once."""

    def __init__(self) -> None:
        self.looking = self.most = 0

    @tm.tool(concurrency=2)
    async def look(self) -> str:
        """Look into it."""
        self.looking += 1
        self.most = max(self.most, self.looking)
        for _ in range(5):
            await asyncio.sleep(0)
        self.looking -= 1
        return "empty"

    @tm.tool
    @classmethod
    def count(cls) -> int:
        """How many there are."""
        return 1


class Drawer(Shelf):
    """Another class of shelves."""


def answer(request: Request) -> Response:
    """The chief asks the panel; each of those looks three times."""
    messages = json.loads(request.body)["messages"]
    if messages[-1]["role"] == "tool":
        return saying("empty")
    asked = "chief" in messages[0]["content"]
    return calling(("panel", {"request": "look"})) if asked else calling(*[("look", {})] * 3)


def test_agents_over_one_bound_method_share_its_limit() -> None:
    """Each took the method of the instance by itself."""
    shelf = Shelf()
    pair = [tm.Agent(MODEL, name=name, tools=[shelf.look]) for name in ("left", "right")]
    chief = tm.Agent(MODEL, name="chief", instructions="You are the chief.", tools=[fan_out("panel", pair)])
    result = Scripted(chief, answer).run("?")
    assert result.output == "empty"
    assert shelf.most == 2


def test_a_method_is_one_tool_of_each_instance_and_keeps_none_of_them() -> None:
    one, two = Shelf(), Shelf()
    tools = [one.look, one.look, two.look, two.look, Shelf.count, one.count, Drawer.count]
    numbers = [tools.index(tool) for tool in tools]
    assert numbers == [0, 0, 2, 2, 4, 4, 6]
    gone = weakref.ref(two)
    del two, tools
    gc.collect()
    assert gone() is None
