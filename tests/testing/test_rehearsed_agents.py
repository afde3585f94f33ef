"""A job with an agent on scripted replies: its tools are the real ones."""

from __future__ import annotations

from typing import Any

import pytest

import tidemill as tm
from tidemill.agents import fan_out
from tidemill.errors import ConfigError
from tidemill.testing import Asked, ToolCalls, UnansweredError, run


@tm.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def make_stream() -> Any:
    """A step whose agent asks one agent, two at once, and hands over to a fourth."""
    critic = tm.Agent("anthropic/claude-haiku-4-5", name="critic", tools=[add], max_tokens=99)
    panel = fan_out("panel", [tm.Agent("openai/gpt-4.1", name=name) for name in ("left", "right")])
    sales = tm.Agent("openai/gpt-4.1", name="sales")
    boss = tm.Agent("openai/gpt-4.1", name="boss", tools=[critic, panel], handoffs=[sales])
    records: list[dict[str, Any]] = [{"q": "well?"}]
    return tm.from_iterable(records).agent(boss, "{{ q }}")


def criticise(asked: Asked) -> str | ToolCalls:
    return f"it is {asked.results[0].splitlines()[1]}" if asked.results else ToolCalls(("add", {"a": 1, "b": 2}))


REPLIES: dict[str, Any] = {
    "agent": [
        ToolCalls(("critic", {"request": "how many?"}), ("panel", {"request": "which?"})),
        ToolCalls(("transfer_to_sales", {})),
    ],
    "agent.critic": criticise,
    "agent.left": "this",
    "agent.right": "that",
    "agent.sales": "sold",
}


def test_each_agent_of_a_step_has_replies_of_its_own() -> None:
    seen = run(make_stream(), REPLIES)
    assert [record["answer"] for record in seen.records] == ["sold"]
    assert [len(seen.calls[name]) for name in REPLIES] == [2, 2, 1, 1, 1]
    told, joined = seen.calls["agent"][1].results
    assert "it is 3" in told
    assert '{"left":"this","right":"that"}' in joined


def test_an_agent_without_replies_is_told_by_name() -> None:
    with pytest.raises(UnansweredError, match=r"step `agent\.critic` asked, and no reply was given for it: how many\?"):
        run(make_stream(), {name: reply for name, reply in REPLIES.items() if name != "agent.critic"})
    with pytest.raises(ConfigError, match=r"(?s)called `agent\.critik`.*did you mean `agent\.critic`"):
        run(make_stream(), {**REPLIES, "agent.critik": "?"})
