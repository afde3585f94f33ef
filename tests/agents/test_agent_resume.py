"""A job of agents that goes on: what was decided, executed and told is so still, and what was in flight is known."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque  # which a function's fingerprint does not look into
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from shop import open_shop

import tidemill as tm
from tidemill.agents import ApprovalRequest, Modify, Reject, Told, mcp_server, openapi
from tidemill.errors import StateError
from tidemill.jobs.ledger.folder import locate_run
from tidemill.jobs.running.transcripts import read_transcripts
from tidemill.testing import Call, FaultServer, ToolCalls

SERVER = Path(__file__).with_name("toolserver.py")


class Sittings:
    """A job over one record whose model gives a list of replies, and a tool that ends its first sitting.

    Attributes:
        asked: the messages of each request to the model.
        ends_when: what the tool waits for before it ends the sitting.
    """

    def __init__(self, out: Path, url: str, agent: dict[str, Any]) -> None:
        self.asked: list[list[dict[str, Any]]] = []
        self.ends_when: Callable[[], bool] = lambda: True
        self._is_over = False
        self._out = out

        @tm.tool
        async def leave() -> str:
            """Ends the sitting, once."""
            while not self.ends_when():  # noqa: ASYNC110 - of another thread
                await asyncio.sleep(0)
            if not self._is_over:
                self._is_over = True
                raise StateError("the sitting is over")
            return "stayed"

        tools = [*agent.pop("tools"), leave]
        self._agent = tm.Agent(tm.model("test/model", base_url=url), tools=tools, **agent)

    def run(self) -> tm.Report:
        """A sitting."""
        records: list[dict[str, Any]] = [{"id": 1}]
        stream = tm.from_iterable(records).agent(self._agent, "Go on.", transcript="how")
        return stream.write(self._out, progress=False)

    def run_twice(self) -> dict[str, Any]:
        """The record of the second sitting, which goes on where the first one was ended."""
        assert "the sitting is over" in str(self.run())
        assert self.run().records["landed"] == 1
        [record] = tm.dataset(self._out)
        return record


@contextmanager
def sitting(out: Path, *replies: str | ToolCalls, **agent: Any) -> Iterator[Sittings]:
    """A job whose model gives these replies, one after another."""
    found: list[Sittings] = []

    def reply(call: Call) -> str | ToolCalls:
        found[0].asked.append(call.payload["messages"])
        turn: int = sum(message["role"] == "assistant" for message in found[0].asked[-1])
        return replies[turn]

    with FaultServer(reply=reply) as server:
        found.append(Sittings(out, server.base_url, agent))
        yield found[0]


LEAVE = ToolCalls(("leave", {}))


@pytest.mark.parametrize(
    ("on_tool_error", "told", "executed"),
    [("continue", ["ok", "error", "ok"], ["a", "b"]), ("fail_fast", ["ok", "error", "cancelled"], ["a"])],
)
def test_siblings_of_a_failed_call_are_what_they_were(
    tmp_path: Path, on_tool_error: str, told: list[str], executed: list[str]
) -> None:
    """Those that had ended are kept, those that were left out are not made up for, and the model is asked the same."""
    made = deque[str]()

    @tm.tool
    async def note(text: str) -> str:
        """Note a text."""
        made.append(text)
        return text

    @tm.tool
    async def fail() -> str:
        """Fail."""
        raise ValueError("always")

    calls = ToolCalls(("note", {"text": "a"}), ("fail", {}), ("note", {"text": "b"}))
    options: dict[str, Any] = {"tools": [note, fail], "on_tool_error": on_tool_error, "parallel": 1}
    with sitting(tmp_path / "out", calls, LEAVE, "done", **options) as job:
        record = job.run_twice()
    assert [*made] == executed
    assert [call["outcome"] for call in json.loads(record["how"])["turns"][0]["calls"]] == told
    assert [len(messages) for messages in job.asked] == [2, 6, 8]  # each reply was asked for once


def test_a_call_that_was_cancelled_is_told_as_that(tmp_path: Path) -> None:
    """Recalled, with its siblings: nothing of the turn is executed again, the one in flight at the failure neither."""
    begun = deque[str]()
    waiting = asyncio.Event()

    @tm.tool
    async def wait() -> str:
        """Wait."""
        begun.append("wait")
        waiting.set()
        await asyncio.Event().wait()
        return "never"

    @tm.tool
    async def fail() -> str:
        """Fail, once the other is under way."""
        await waiting.wait()
        begun.append("fail")
        raise ValueError("always")

    calls = ToolCalls(("wait", {}), ("fail", {}))
    options: dict[str, Any] = {"tools": [wait, fail], "on_tool_error": "cancel"}
    with sitting(tmp_path / "out", calls, LEAVE, "done", **options) as job:
        record = job.run_twice()
    assert [*begun] == ["wait", "fail"]
    first = json.loads(record["how"])["turns"][0]
    assert [call["outcome"] for call in first["calls"]] == ["cancelled", "error"]


def test_what_was_decided_is_not_asked_about_again(tmp_path: Path) -> None:
    """An approval, a change and a refusal are recalled with their calls; one that had no end is decided on anew."""
    asked = deque[int]()
    paid = deque[int]()

    def decide(request: ApprovalRequest) -> bool | Modify | Reject:
        amount = request.arguments["amount"]
        asked.append(amount)
        if amount == 3:
            return Reject("too dear")
        return Modify({"amount": 20}) if amount == 2 else True

    @tm.tool(needs_approval=True)
    async def pay(amount: int, context: tm.Context[Any]) -> str:
        """Pay."""
        if amount == 4 and 4 not in paid:
            paid.append(amount)
            await asyncio.Event().wait()
        paid.append(amount)
        return f"paid {amount}, {context.forgotten} forgotten"

    calls = ToolCalls(*[("pay", {"amount": amount}) for amount in (1, 2, 3)])
    last = ToolCalls(("pay", {"amount": 4}), ("leave", {}))
    options: dict[str, Any] = {"tools": [pay], "approve": decide, "parallel": 2}
    with sitting(tmp_path / "out", calls, last, "done", **options) as job:
        job.ends_when = lambda: 4 in paid
        record = job.run_twice()
    assert sorted(asked) == [1, 2, 3, 4, 4]
    assert sorted(paid) == [1, 4, 4, 20]
    first, second, _ = json.loads(record["how"])["turns"]
    assert [call["outcome"] for call in first["calls"]] == ["ok", "ok", "denied"]
    assert first["calls"][1]["arguments"] == {"amount": 20}
    assert second["calls"][0]["value"] == "paid 4, 3 forgotten"


def test_a_result_is_cut_for_the_model_and_kept_whole(tmp_path: Path) -> None:
    """In the ledger, from which it is recalled, and in the transcripts; so is what a `Told` keeps back."""
    whole = "tide " * 1_000

    @tm.tool(max_result="1KiB")
    def read() -> str:
        """Read."""
        return whole

    @tm.tool
    def count() -> Told:
        """Count."""
        return Told("two", [{"id": 1}, {"id": 2}])

    with sitting(tmp_path / "out", ToolCalls(("read", {}), ("count", {})), LEAVE, "done", tools=[read, count]) as job:
        record = job.run_twice()
    told = [message["content"] for message in job.asked[-1] if message["role"] == "tool"]
    assert len(told[0]) < 1_400
    assert "These are the first 1,024 of 5,000 bytes" in told[0]
    assert told[1].splitlines()[1] == "two"
    [shown] = read_transcripts(locate_run(tmp_path / "out"), 1)
    for turns in (json.loads(record["how"])["turns"], shown["turns"]):
        assert [call["value"] for call in turns[0]["calls"]] == [whole, [{"id": 1}, {"id": 2}]]


def test_a_write_that_was_in_flight_is_sent_again_with_its_key(tmp_path: Path) -> None:
    """The API cannot tell whether it was heard before but by the key; what it had answered is not sent again."""
    lamp, chair = ({"name": name, "price": 9} for name in ("lamp", "chair"))
    with open_shop() as shop:

        def decide(request: ApprovalRequest) -> bool:
            shop.silences = int(len(shop.seen) == 1)  # the chair is ordered for the first time
            return True

        decide.__tidemill_version__ = "1"  # type: ignore[attr-defined]  # whatever the shop has seen
        tools = openapi(f"{shop.url}/openapi.json", ["add_item"])
        replies: list[str | ToolCalls] = [
            ToolCalls(("add_item", lamp)),
            ToolCalls(("add_item", chair), ("leave", {})),
            "done",
        ]
        with sitting(tmp_path / "out", *replies, tools=tools, approve=decide) as job:
            job.ends_when = lambda: len(shop.seen) > 1
            record = job.run_twice()
        shop.drain()
        names = [json.loads(each.body)["name"] for each in shop.seen]
        keys = [each.headers["idempotency-key"] for each in shop.seen]
    assert names == ["lamp", "chair", "chair"]
    assert keys[1] == keys[2] != keys[0]
    assert record["answer"] == "done"


def count_servers() -> int:
    """The MCP servers that are children of this process."""
    return sum(str(SERVER) in each.cmdline() for each in psutil.Process().children())


def test_an_mcp_server_lives_from_the_first_run_to_the_end_of_its_job(tmp_path: Path) -> None:
    seen = deque[int]()
    source = mcp_server([sys.executable, str(SERVER)], approve=False, allow=["add"])

    @tm.tool
    def look() -> int:
        """How many servers there are."""
        seen.append(count_servers())
        return seen[-1]

    replies: list[str | ToolCalls] = [ToolCalls(("add", {"a": 1, "b": 2}), ("look", {})), LEAVE, "done"]
    with sitting(tmp_path / "out", *replies, tools=[source, look]) as job:
        assert count_servers() == 0
        assert "the sitting is over" in str(job.run())
        assert ([*seen], count_servers()) == ([1], 0)
        job.run()
    assert ([*seen], count_servers()) == ([1], 0)
