"""Parallel tools: the calls of one turn of a model, one after the other, gathered, and by an agent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import aiohttp

import tidemill as tm
from rows import Cell, Row, Setting, render_ratio
from tidemill.testing import Call, FaultProcess, FaultServer, ToolCalls
from workload import API_KEY, MODEL

LIMIT = 5
"""Calls at once of a tool that may not have more."""


class Shop:
    """What the tool asks: a server in another process, which takes its time and counts the requests it has at once.

    Attributes:
        began_at, ended_at: when the first request was made, and when the last one was answered.
    """

    def __init__(self, server: FaultProcess) -> None:
        self._server = server
        self.reset()

    def reset(self) -> None:
        """Count and time from here on."""
        self._server.reset()
        self.began_at = self.ended_at = 0.0

    @property
    def most(self) -> int:
        """Requests under way at once, at most."""
        return self._server.max_in_flight

    async def look_up(self, article: int) -> str:
        """Look an article up.

        Args:
            article: its number.
        """
        self.began_at = self.began_at or time.perf_counter()
        payload = {"model": MODEL, "messages": [{"role": "user", "content": f"article {article}"}]}
        async with aiohttp.request("POST", f"{self._server.base_url}/chat/completions", json=payload) as response:
            await response.read()
        self.ended_at = time.perf_counter()
        return f"article {article} is there"


def show_tools(setting: Setting) -> Row:
    """A turn with as many calls as one asks for, and one whose argument is misspelt."""
    asked = [("look_up", {"article": number}) for number in range(setting.calls)]
    asked.append(("look_up", {"artcle": setting.calls}))
    with FaultProcess(latency_s=setting.latency_s) as server:
        shop = Shop(server)
        naive = _measure(shop, lambda: asyncio.run(_call_one_by_one(shop, asked)))
        usual = _measure(shop, lambda: asyncio.run(_call_gathered(shop, asked)))
        ours = _measure(shop, lambda: _run_agent(tm.tool(shop.look_up), asked))
        bounded = _measure(shop, lambda: _run_agent(tm.tool(shop.look_up, concurrency=LIMIT), asked))
    cells = []
    for each, fate in (
        (naive, "the misspelt one ends the turn"),
        (usual, "the misspelt one is a `TypeError` in the list"),
        (ours, "the model is told which argument, and what was meant"),
    ):
        speed_up = "" if each is naive else f", {render_ratio(naive.taken_s / each.taken_s)}"
        told = sum("did you mean `article`" in text for text in each.texts)
        answered = sum("is there" in text for text in each.texts)
        counts = {"max_in_flight": each.most, "answered": answered, "told": told}
        cells.append(Cell(f"{each.taken_s:.3f} s{speed_up}, {each.most} in flight; {fate}", counts))
    cells[-1] = Cell(cells[-1].text, {**cells[-1].counts, "max_in_flight_bounded": bounded.most})
    return Row(
        "parallel tools",
        f"{setting.calls} calls of a tool of {setting.latency_s * 1e3:.0f} ms in one turn of a model, and one whose "
        "argument is misspelt: one by one / `asyncio.gather` / `tm.Agent`",
        cells,
        note=f"from the first request to the last answer; what is in flight is counted by the server that the tool "
        f"asks. With the arguments checked, a limit on time and slots for each call; where the tool may have {LIMIT} "
        f"calls at once, {bounded.taken_s:.3f} s, {bounded.most} in flight. `gather` with `return_exceptions=True`: "
        "without it, the misspelt call loses the others' results, as it does one by one",
    )


class _Measured(NamedTuple):
    """One way.

    Attributes:
        taken_s: from the first request to the last answer.
        most: requests under way at once, at most.
        texts: what the model would be told.
    """

    taken_s: float
    most: int
    texts: Sequence[str]


Asked = Sequence[tuple[str, dict[str, int]]]


def _measure(shop: Shop, call_all: Callable[[], Sequence[str]]) -> _Measured:
    shop.reset()
    texts = call_all()
    return _Measured(shop.ended_at - shop.began_at, shop.most, texts)


async def _call_one_by_one(shop: Shop, asked: Asked) -> Sequence[str]:
    texts: list[str] = []
    try:
        for _, arguments in asked:
            texts.append(await shop.look_up(**_pass_on(arguments)))
    except TypeError:
        return []  # whoever wrote the loop gets the exception, and the model nothing
    return texts


async def _call_gathered(shop: Shop, asked: Asked) -> Sequence[str]:
    async def call(arguments: dict[str, int]) -> str:
        return await shop.look_up(**_pass_on(arguments))

    calls: list[Awaitable[str]] = [call(arguments) for _, arguments in asked]
    return [str(found) for found in await asyncio.gather(*calls, return_exceptions=True)]


def _pass_on(arguments: dict[str, int]) -> Any:
    """The arguments as a model's JSON gives them."""
    return json.loads(json.dumps(arguments))


def _run_agent(tool: Any, asked: Asked) -> Sequence[str]:
    def reply(call: Call) -> str | ToolCalls:
        return "done" if call.results else ToolCalls(*asked)

    with FaultServer(reply=reply) as server:
        model = tm.model(f"openai/{MODEL}", base_url=server.base_url, api_key=API_KEY)
        with tm.Agent(model, tools=[tool]) as agent:
            result = agent("Which of the articles are there?")
    assert result.output == "done", result.stop_reason
    return [str(message["content"]) for message in result.history if message["role"] == "tool"]
