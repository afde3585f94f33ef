"""A job of agents that meet each of their bounds, in a process of its own, to be killed.

`python boundedworld.py FOLDER PORT`: agents answer the records of FOLDER/records.jsonl, by a model and tools that an
`agentworld.World` at PORT stands behind.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agentworld import complete

import tidemill as tm
from tidemill.calls.limits import Budget, Price
from tidemill.models.model import Model

BOUNDS: dict[str, dict[str, Any]] = {
    "usd": {"budget": Budget(usd=0.005), "max_tokens": 50},
    "tokens": {"budget": Budget(tokens=5_000), "max_tokens": 50},
    "calls": {"budget": Budget(calls=3)},
    "history": {"max_history_tokens": 256, "max_turns": 8},
    "tools": {"max_tool_calls": 3},
    "desk": {"budget": Budget(calls=9)},
}
"""By the step's name, what its agent may do. The desk hands over to sales, which may ask three times itself."""

CONCURRENCY = 4
DEADLINE_S = 3.0


def reply(messages: Sequence[dict[str, Any]], size: int) -> dict[str, Any]:
    """One more call of a tool, for ever, unless there is a last turn; billed by the size of what was asked."""
    last = str(messages[-1]["content"])
    if "last turn" in last:
        return complete({"role": "assistant", "content": "so far"}, "stop", size // 4)
    if messages[0]["content"].startswith("desk"):
        over = {"id": "over", "type": "function", "function": {"name": "transfer_to_sales", "arguments": "{}"}}
        return complete({"role": "assistant", "content": "over", "tool_calls": [over]}, "tool_calls", size // 4)
    question = next(each["content"] for each in messages if each["role"] == "user")
    turn = sum(each["role"] == "assistant" for each in messages)
    name = "wait" if "wait" in question and turn else "pay"
    written = json.dumps({"to": f"{question}, as was agreed upon", "amount": size})
    called = {"id": f"call-{size}", "type": "function", "function": {"name": name, "arguments": written}}
    is_cut = any("were left out" in str(each["content"]) for each in messages)
    said = {"role": "assistant", "content": f"{'cut' if is_cut else 'whole'}, {size}", "tool_calls": [called]}
    return complete(said, "tool_calls", size // 4)


def make_tools(world: str) -> list[Any]:
    def ask(path: str, key: str, to: str, amount: int) -> int:
        body = json.dumps({"key": key, "arguments": {"to": to, "amount": amount}}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{world}{path}", body)) as response:
            return int(json.loads(response.read())["done"])

    @tm.tool(timeout_s=30)
    def pay(to: str, amount: int, context: tm.Context[Any]) -> int:
        """Pay somebody."""
        return ask("/effect", context.key, to, amount)

    @tm.tool(timeout_s=None)
    def wait(to: str, amount: int, context: tm.Context[Any]) -> int:
        """Wait for somebody, which is for ever."""
        return ask("/wait", context.key, to, amount)

    return [pay, wait]


def make_stream(folder: Path, port: int) -> Any:
    """The job, as a stream: a step for each bound, or one that meets a deadline."""
    world = f"http://127.0.0.1:{port}"
    price = Price(1, 2)
    model = Model(model="test/model", base_url=f"{world}/v1", limits={"concurrency": CONCURRENCY}, price=price)
    stream = tm.read(str(folder / "records.jsonl"))
    bounds = BOUNDS if not (folder / "waits").exists() else {"deadline": {"budget": Budget(deadline=DEADLINE_S)}}
    for name, bound in bounds.items():
        given = {"tools": make_tools(world)}
        if name == "desk":
            sales = tm.Agent(model, name="sales", instructions="sales", budget=Budget(calls=3), **given)
            given = {"handoffs": [sales]}
        agent = tm.Agent(model, name=name, instructions=name, **given, **bound)
        options = {"into": name, "transcript": f"{name}_run", "name": name, "on_limit": "land"}
        stream = stream.agent(agent, "{{ question }}", concurrency=CONCURRENCY, **options)
    return stream


def run(folder: Path, port: int) -> None:
    """The job, to its end."""
    make_stream(folder, port).write(folder / "out", progress=False)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
