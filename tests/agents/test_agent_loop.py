"""An agent's turns: what its model is asked, what becomes of tool calls, and how a run ends."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Literal

import pytest
from modelscript import MODEL, Scripted, calling, saying, told
from pydantic import BaseModel

import tidemill as tm
from tidemill.agents import fan_out
from tidemill.agents.calling.approval import Reject, Stop
from tidemill.agents.opening import make_specs
from tidemill.calls.limits import Budget, Price
from tidemill.calls.wire import Request, Response
from tidemill.errors import ConfigError, PermanentCallError
from tidemill.models.model import Model

PRICED = MODEL.model_copy(update={"price": Price(1, 2)})


class Answer(BaseModel):
    """What the typed agents here answer with."""

    city: str
    degrees: int


@tm.tool
async def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """The weather in a city.

    Args:
        city: its name.
        unit: of the temperature.
    """
    return f"{city}: 7 {unit}"


@tm.tool
async def broken(city: str) -> str:
    """Fails always."""
    raise ValueError(f"no such city: {city}")


def test_an_answer_without_tools_ends_the_run() -> None:
    agent = Scripted(tm.Agent(MODEL, instructions="Be brief."), [saying("hello")])
    result = agent.run("hi")
    assert (result.output, result.stop_reason, len(result.turns)) == ("hello", "finished", 1)
    assert agent.asked[0]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hi"},
    ]


def test_results_of_tools_go_back_in_order_marked_as_data() -> None:
    script = [calling(("weather", {"city": "Oslo"}), ("weather", {"city": "Rome", "unit": "F"})), saying("cold")]
    agent = Scripted(tm.Agent(MODEL, tools=[weather]), script)
    result = agent.run("how is it?")
    assert result.output == "cold"
    system, _user, assistant, first, second = agent.asked[1]["messages"]
    assert "data" in system["content"]
    assert [each["function"]["name"] for each in assistant["tool_calls"]] == ["weather", "weather"]
    assert (first["tool_call_id"], second["tool_call_id"]) == ("call_1", "call_2")
    assert "Oslo: 7 C" in first["content"]
    assert first["content"].startswith('<result tool="weather"')
    assert "Rome: 7 F" in second["content"]
    assert agent.asked[0]["tools"][0]["function"]["parameters"]["additionalProperties"] is False


def test_a_bad_call_is_told_and_mended_in_one_turn() -> None:
    script = [
        calling(("wether", {"city": "Oslo"}), ("weather", {"ctiy": "Oslo", "unit": "K"})),
        calling(("weather", {"city": "Oslo"})),
        saying("7 degrees"),
    ]
    agent = Scripted(tm.Agent(MODEL, tools=[weather]), script)
    assert agent.run("?").output == "7 degrees"
    unknown, invalid = agent.asked[1]["messages"][-2:]
    assert "did you mean `weather`" in unknown["content"]
    assert "did you mean `city`" in invalid["content"]
    assert "$.unit" in invalid["content"]


def test_an_output_is_checked_and_asked_again_with_the_failing_paths() -> None:
    script = [saying('{"city": "Oslo", "degrees": "cold"}'), saying('{"city": "Oslo", "degrees": 7}')]
    agent = Scripted(tm.Agent(MODEL, output=Answer), script)
    assert agent.run("?").output == Answer(city="Oslo", degrees=7)
    assert "$.degrees" in told(agent.asked[1])


def test_an_output_that_never_fits_ends_the_run_with_what_there_is() -> None:
    agent = Scripted(tm.Agent(MODEL, output=Answer, max_reasks=1), [saying("seven"), saying("about 7")])
    result = agent.run("?")
    assert (result.stop_reason, result.text, result.has_output) == ("no_output", "about 7", False)
    told = "ended without an answer: no_output, after 2 turns; the last turn: Your reply is not valid JSON"
    with pytest.raises(PermanentCallError, match=told):
        _ = result.output


def test_the_last_turn_asks_for_an_answer_without_tools() -> None:
    script = [calling(("weather", {"city": "Oslo"})), saying("so far: 7")]
    agent = Scripted(tm.Agent(MODEL, tools=[weather], max_turns=2), script)
    result = agent.run("?")
    assert (result.output, result.stop_reason) == ("so far: 7", "max_turns")
    assert agent.asked[1]["tool_choice"] == "none"
    assert "last turn" in told(agent.asked[1])


def test_a_model_that_calls_tools_to_the_end_has_no_output() -> None:
    script = [calling(("weather", {"city": "Oslo"}), text=f"looking {turn}") for turn in range(3)]
    result = Scripted(tm.Agent(MODEL, tools=[weather], max_turns=3), script).run("?")
    assert (result.stop_reason, result.has_output, result.text) == ("max_turns", False, "looking 2")


def test_the_same_failing_call_again_and_again_is_a_reason_to_stop() -> None:
    script = [calling(("broken", {"city": "Oslo"})) for _ in range(9)]
    result = Scripted(tm.Agent(MODEL, tools=[broken], max_repeats=3), script).run("?")
    assert (result.stop_reason, len(result.turns)) == ("repeated_error", 3)
    with pytest.raises(PermanentCallError, match="after 3 turns; the last turn: ValueError: no such city: Oslo"):
        _ = result.output


def test_failing_calls_that_differ_go_on() -> None:
    script = [calling(("broken", {"city": f"Oslo {turn}"})) for turn in range(5)]
    result = Scripted(tm.Agent(MODEL, tools=[broken], max_repeats=3), [*script, saying("none")]).run("?")
    assert result.output == "none"


def test_history_goes_on() -> None:
    agent = tm.Agent(MODEL, tools=[weather])
    first = Scripted(agent, [calling(("weather", {"city": "Oslo"})), saying("7")]).run("Oslo?")
    again = Scripted(agent, [saying("as I said")])
    result = again.run("and now?", history=first.history)
    roles = [each["role"] for each in again.asked[0]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert len(result.history) == 6


def test_history_is_bounded_in_tokens_and_turns_stay_whole() -> None:
    """Tokens are counted by what the provider told of the last request."""

    def answer(request: Request) -> Response:
        turn = request.body.count(b'"role":"tool"')
        usage = (len(request.body) // 4, 5)
        return calling(("weather", {"city": f"{turn} {'x' * 400}"}), usage=usage) if len(seen) < 6 else saying("done")

    seen: list[Request] = []

    def note(request: Request) -> Response:
        seen.append(request)
        return answer(request)

    agent = Scripted(tm.Agent(MODEL, tools=[weather], max_history_tokens=600), note)
    assert agent.run("the question").output == "done"
    messages = agent.asked[-1]["messages"]
    assert messages[1]["content"] == "the question"
    assert "earlier messages were left out" in messages[2]["content"]
    assert [each["role"] for each in messages[3:]] == ["assistant", "tool"] * ((len(messages) - 3) // 2)
    assert 5 <= len(messages) < 12


def test_a_budget_ends_the_run_with_what_there_is() -> None:
    script = [calling(("weather", {"city": "Oslo"}), text="looking", usage=(900, 90)) for _ in range(9)]
    agent = tm.Agent(PRICED, tools=[weather], max_tokens=100, budget=Budget(tokens=3_000))
    scripted = Scripted(agent, script)
    result = scripted.run("?")
    assert (result.stop_reason, result.text) == ("budget", "looking")
    assert 1 <= len(scripted.asked) < 4
    assert result.usage.input_tokens == 900 * len(scripted.asked)


def test_a_budget_without_a_ceiling_is_refused() -> None:
    with pytest.raises(ConfigError, match="a budget in usd or tokens needs max_tokens, which `agent` does not set"):
        tm.Agent(PRICED, budget=Budget(usd=1))
    with pytest.raises(ConfigError, match="that of `test/model` is not known"):
        tm.Agent(MODEL, max_tokens=5, budget=Budget(usd=1))


def test_cost_is_of_all_calls() -> None:
    script = [calling(("weather", {"city": "Oslo"}), usage=(1_000_000, 0)), saying("7")]
    result = Scripted(tm.Agent(PRICED, tools=[weather]), script).run("?")
    assert result.cost_usd == pytest.approx(1.0, abs=1e-3)


def test_a_refusal_ends_the_run() -> None:
    refusing = saying("")
    body = refusing.body.replace(b'"content":""', b'"content":null,"refusal":"I will not"')
    script = [type(refusing)(200, refusing.headers, body)]
    result = Scripted(tm.Agent(MODEL), script).run("?")
    assert (result.stop_reason, result.turns[-1].note) == ("refused", "I will not")
    with pytest.raises(PermanentCallError, match="answer: refused, after 1 turn; the last turn: I will not"):
        _ = result.output


def test_an_agent_is_a_tool_of_another_and_its_run_is_kept_within() -> None:
    critic = tm.Agent(MODEL, name="critic", description="Judges.", tools=[weather])
    writer = tm.Agent(MODEL, name="writer", tools=[critic])
    script = [
        calling(("critic", {"request": "is it cold in Oslo?"})),
        calling(("weather", {"city": "Oslo"})),
        saying("it is cold"),
        saying("the critic says it is cold"),
    ]
    agent = Scripted(writer, script)
    result = agent.run("?")
    assert result.output == "the critic says it is cold"
    assert agent.asked[1]["messages"][-1] == {"role": "user", "content": "is it cold in Oslo?"}
    assert "it is cold" in told(agent.asked[3])
    inside = result.turns[0].calls[0].outcome.value
    assert [turn["agent"] for turn in inside["turns"]] == ["critic", "critic"]
    assert result.usage.input_tokens == 40


def test_budgets_bind_agents_within() -> None:
    critic = tm.Agent(PRICED, name="critic", tools=[weather], max_tokens=100)
    writer = tm.Agent(PRICED, name="writer", tools=[critic], max_tokens=100, budget=Budget(calls=3))
    inside = [calling(("weather", {"city": f"{turn}"})) for turn in range(9)]
    result = Scripted(writer, [calling(("critic", {"request": "?"})), *inside]).run("?")
    assert result.stop_reason == "budget"
    assert "ended without an answer (budget of writer)" in result.turns[0].calls[0].outcome.content


def test_a_fan_out_asks_all_at_once_and_joins_their_answers() -> None:
    agents = [tm.Agent(MODEL, name=name) for name in ("left", "right")]
    chair = tm.Agent(MODEL, name="chair", tools=[fan_out("panel", agents, description="Both sides.")])
    replies = {"?": calling(("panel", {"request": "topic"})), "topic": saying("my view")}
    agent = Scripted(chair, lambda request: replies.get(told(__import__("json").loads(request.body)), saying("joined")))
    result = agent.run("?")
    assert result.output == "joined"
    assert '"left":"my view"' in result.turns[0].calls[0].outcome.content.replace(" ", "").replace("myview", "my view")


def test_a_hand_off_passes_the_conversation_on() -> None:
    other = tm.Agent(MODEL, name="sales", instructions="You sell.", tools=[weather])
    desk = tm.Agent(MODEL, name="desk", instructions="You greet.", handoffs=[other])
    script = [calling(("transfer_to_sales", {})), calling(("weather", {"city": "Oslo"})), saying("sold")]
    agent = Scripted(desk, script)
    result = agent.run("I want to buy")
    assert result.output == "sold"
    assert agent.asked[0]["messages"][0]["content"].startswith("You greet.")
    assert agent.asked[1]["messages"][0]["content"].startswith("You sell.")
    assert agent.asked[1]["messages"][1]["content"] == "I want to buy"
    assert [turn.agent for turn in result.turns] == ["desk", "sales", "sales"]


def test_agents_too_deep_within_each_other_are_refused() -> None:
    agent = tm.Agent(MODEL, name="a0")
    for depth in range(1, 3):
        agent = tm.Agent(MODEL, name=f"a{depth}", tools=[agent])
    with pytest.raises(ConfigError, match="4 deep"):
        tm.Agent(MODEL, name="a3", tools=[agent])


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two tools have the name `weather`"):
        tm.Agent(MODEL, tools=[weather, tm.Agent(MODEL, name="weather")])


def test_calls_that_need_approval_need_somebody_who_gives_it() -> None:
    @tm.tool(needs_approval=True)
    async def delete(name: str) -> str:
        """Delete a file."""
        return "gone"

    with pytest.raises(ConfigError, match="calls of `delete` need approval, and nobody gives it"):
        tm.Agent(MODEL, tools=[delete])
    seen: list[Any] = []

    def decide(request: Any) -> Any:
        seen.append(request.arguments)
        return Reject("not that one") if len(seen) == 1 else Stop("enough")

    script = [calling(("delete", {"name": "a"})), calling(("delete", {"name": "b"}))]
    result = Scripted(tm.Agent(MODEL, tools=[delete], approve=decide), script).run("?")
    assert result.stop_reason == "stopped"
    assert seen == [{"name": "a"}, {"name": "b"}]
    assert "not that one" in result.turns[0].calls[0].outcome.content


async def test_coroutine_tools_run_in_the_loop_of_whoever_awaits() -> None:
    """What a tool uses belongs there: a connection pool, a lock."""
    here = asyncio.get_running_loop()
    lock = asyncio.Lock()
    loops: list[Any] = []

    @tm.tool
    async def locked() -> str:
        """Uses the caller's lock."""
        async with lock:
            loops.append(asyncio.get_running_loop())
        return "ok"

    agent = Scripted(tm.Agent(MODEL, tools=[locked]), [calling(("locked", {})), saying("done")])
    assert (await agent.arun("?")).output == "done"
    assert loops == [here]


async def test_cancelling_reaches_the_tool() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    @tm.tool
    async def waits() -> str:
        """Waits for ever."""
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    agent = Scripted(tm.Agent(MODEL, tools=[waits]), [calling(("waits", {}))])
    task = asyncio.create_task(agent.arun("?"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


def test_plain_tools_run_in_threads_with_deps() -> None:
    names: list[str] = []

    @tm.tool
    def look(context: tm.Context[dict[str, int]], key: str) -> int:
        """Look up."""
        names.append(threading.current_thread().name)
        return context.deps[key]

    agent = Scripted(tm.Agent(MODEL, tools=[look]), [calling(("look", {"key": "a"})), saying("41")])
    result = agent.run("?", deps={"a": 41})
    assert result.turns[0].calls[0].outcome.value == 41
    assert names[0] != threading.current_thread().name


def test_an_agent_prints_a_line_a_turn() -> None:
    script = [calling(("weather", {"city": "Oslo"}), text="let me look"), saying("7 degrees")]
    result = Scripted(tm.Agent(MODEL, tools=[weather]), script).run("?")
    assert str(result).splitlines() == [
        "  1  agent: 'let me look'; weather(city='Oslo') → Oslo: 7 C",
        "  2  agent: '7 degrees'",
        "finished: '7 degrees'",
    ]
    assert result.transcript()["turns"][0]["calls"][0]["value"] == "Oslo: 7 C"


def test_wrong_models_and_settings_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        tm.Agent("openai/gpt-4.1-mini", max_turns=0, instrctions="x")
    told = str(caught.value)
    assert "did you mean `instructions`" in told
    assert "max_turns" in told


def test_a_model_description_is_taken_by_name() -> None:
    assert tm.Agent("openai/gpt-4.1-mini").model == Model(model="openai/gpt-4.1-mini")


@tm.tool
def find_room(city: str, guests: int) -> str:
    """Find a room."""
    return f"a room for {guests} in {city}"


@pytest.mark.parametrize(
    ("name", "fields", "strict"),
    [
        ("openai/m", {}, (True, False)),
        ("anthropic/m", {}, (True, True)),
        ("openai/m", {"replies": "prompt"}, (False, False)),
        ("gemini/m", {}, (False, False)),
        ("test/m", {"base_url": "http://scripted.invalid/v1"}, (False, False)),
        ("test/m", {"base_url": "http://scripted.invalid", "wire_format": "anthropic"}, (False, False)),
    ],
)
def test_arguments_are_held_to_their_schema_by_who_can(name: str, fields: Any, strict: tuple[bool, ...]) -> None:
    """Those with a default not by OpenAI, which would have them written each time; unknown servers are not asked."""
    agent = tm.Agent(tm.model(name, **fields), tools=[find_room, weather], output=Answer)
    specs = make_specs(agent.list_tools(), agent)
    assert tuple(spec.strict for spec in specs) == strict
    assert [spec.name for spec in specs] == ["find_room", "weather"]


def test_what_a_prompt_shows_of_agents_tools_and_results_is_one_line() -> None:
    """What was given, and not each default of the model and the schema of each tool."""
    agent = tm.Agent(MODEL, tools=[weather], max_turns=4)
    assert repr(agent) == f"Agent(model={MODEL.model!r}, tools=(<tool weather(city, unit)>,), max_turns=4)"
    assert (
        repr(Scripted(agent, [saying("7 degrees")]).run("?")) == "<AgentResult of agent: finished, 1 turn, '7 degrees'>"
    )
