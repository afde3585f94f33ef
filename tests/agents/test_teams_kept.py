"""What a run keeps of agents within agents: through a stop, in a run that reuses it, and for whoever looks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from modelscript import MODEL, Scripted, calling, saying

import tidemill as tm
from tidemill.agents import RefusalError, fan_out
from tidemill.calls.limits import Budget
from tidemill.errors import ConfigError
from tidemill.jobs.ledger.folder import locate_run
from tidemill.jobs.running.inspect import read_replies
from tidemill.jobs.running.transcripts import read_transcripts
from tidemill.testing import Call, Fault, Faults, FaultServer, ToolCalls
from tidemill.view.agents import iter_turn_lines

CALLED: list[str] = []
"""What `weigh` was called with."""


@tm.tool
def weigh(thing: str) -> int:
    """Weigh something."""
    CALLED.append(thing)
    return len(thing)


def answer(call: Call) -> str | ToolCalls:
    """A chief asks the scales, which weigh; then each says what it was told."""
    system = json.dumps(call.payload["messages"][0])
    if call.results:
        told = call.results[-1].splitlines()[1]
        if "Twice." in system and call.body.count(b'"role":"tool"') == 1:
            return ToolCalls(("scales", {"request": "and now?"}))
        return f"{'about ' if 'Be vague' in system else ''}{told}"
    return (
        ToolCalls(("weigh", {"thing": "lamp"})) if "Weigh." in system else ToolCalls(("scales", {"request": "lamp?"}))
    )


@pytest.fixture
def serving() -> Iterator[FaultServer]:
    CALLED.clear()
    with FaultServer(reply=answer, keep_calls=True) as server:
        yield server


def make_chief(server: FaultServer, *, how: str = "", **fields: Any) -> tm.Agent:
    model = tm.model("test/model", base_url=server.base_url, limits=tm.Limits(max_attempts=1))
    scales = tm.Agent(model, name="scales", instructions=f"Weigh. {how}", tools=[weigh], max_tokens=50)
    return tm.Agent(model, name="chief", tools=[scales], max_tokens=50, **fields)


def make_stream(chief: tm.Agent, **options: Any) -> Any:
    records: list[dict[str, Any]] = [{"q": "how heavy?"}]
    return tm.from_iterable(records).agent(chief, "{{ q }}", transcript="how", **options)


def test_an_agent_that_changed_is_asked_anew_by_a_run_that_reuses_its_answer(
    serving: FaultServer, tmp_path: Path
) -> None:
    """What its caller asks is the same; the answer of another agent is none. Its tool's result is used again."""
    make_stream(make_chief(serving)).write(tmp_path / "one", progress=False)
    changed = make_stream(make_chief(serving, how="Be vague."))
    changed.write(tmp_path / "two", reuse=tmp_path / "one", progress=False)
    assert [record["answer"] for record in tm.dataset(tmp_path / "two")] == ["about 4"]
    assert CALLED == ["lamp"]
    asked = len(serving.calls)
    changed.write(tmp_path / "three", reuse=tmp_path / "two", progress=False)
    assert len(serving.calls) == asked


def refuse_the_chief(call: Call) -> Fault | None:
    """At the second turn of the chief, its key."""
    return Fault("unauthorized") if call.results and b"Weigh." not in call.body else None


def fail_the_scales(call: Call) -> Fault | None:
    """At the second turn of the scales, with a complaint about the request."""
    return Fault("status", status=400) if call.results and b"Weigh." in call.body else None


@pytest.fixture
def stopped(serving: FaultServer, tmp_path: Path) -> Callable[..., Any]:
    """Runs a job up to the chief's second turn, at which its endpoint refuses the key; then to its end."""

    def run(chief: tm.Agent, **options: Any) -> Any:
        stream, out = make_stream(chief, **options), tmp_path / "out"
        serving.faults = Faults(script=refuse_the_chief)
        assert "401" in stream.write(out, progress=False).reason
        serving.faults = Faults()
        stream.write(out, progress=False)
        assert CALLED[0] == "lamp"
        [record] = tm.dataset(out)
        return record, locate_run(out)

    return run


def test_what_was_called_within_a_finished_agent_is_kept_when_its_caller_goes_on(stopped: Any, serving: Any) -> None:
    """Its outcome is recalled, and nothing asks for what is within: that is in the archive all the same."""
    record, folder = stopped(make_chief(serving))
    assert record["answer"] == "4"
    assert len(list(read_replies(folder, 99))) == 6
    [shown] = read_transcripts(folder, 9)
    [call] = shown["turns"][0]["calls"]
    assert [turn["agent"] for turn in call["turns"]] == ["scales", "scales"]
    assert call["turns"][0]["calls"][0]["value"] == 4


def test_what_a_finished_agent_spent_counts_when_its_caller_goes_on(stopped: Any, serving: Any) -> None:
    """In the tokens of the whole run, and against its budget."""
    whole = json.loads(next(iter(make_stream(make_chief(serving))))["how"])
    CALLED.clear()
    record, _ = stopped(make_chief(serving))
    assert json.loads(record["how"])["tokens"] == whole["tokens"]


def test_a_budget_holds_over_a_stop_for_agents_within(stopped: Any, serving: FaultServer) -> None:
    """Five calls in all: three before the stop, and two behind it, of which one is of the agent within."""
    chief = make_chief(serving, instructions="Twice.", budget=Budget(calls=5))
    record, _ = stopped(chief, on_limit="land")
    assert json.loads(record["how"])["stop_reason"] == "budget"
    assert len(serving.calls) == 5 + 1


def test_a_run_without_an_answer_is_kept_whole(serving: FaultServer) -> None:
    """Of an agent within that came to its bound, and of one whose model failed: how far each came is there to see."""
    chief = make_chief(serving)
    [scales] = chief.tools
    short = chief.replace("tools", [scales.replace("max_turns", 1)])
    serving.faults = Faults(script=fail_the_scales)
    for agent, reason in ((short, "max_turns"), (chief, "failed")):
        with agent:
            kept = agent("how heavy?").turns[0].calls[0].outcome
        assert (kept.kind, kept.value["stop_reason"], len(kept.value["turns"])) == ("error", reason, 1)
        assert kept.value["tokens"][0] > 0


def test_how_far_a_turn_came_is_kept_when_a_deadline_ends_it() -> None:
    """What has ended is there with its result, what has not is said to have been cut off, and the turn counts."""

    @tm.tool
    async def look(place: str) -> str:
        """Look somewhere: in the cellar for ever."""
        if place == "cellar":
            await asyncio.Event().wait()
        return f"an empty {place}"

    turn = calling(("look", {"place": "shed"}), ("look", {"place": "cellar"}), text="looking")
    result = Scripted(tm.Agent(MODEL, tools=[look], budget=Budget(deadline=0.3)), [turn]).run("?")
    assert (result.stop_reason, result.text, len(result.turns)) == ("deadline", "looking", 1)
    assert [call.outcome.kind for call in result.turns[0].calls] == ["ok", "cancelled"]
    assert result.turns[0].calls[0].outcome.value == "an empty shed"
    assert [message["role"] for message in result.history] == ["user", "assistant"]


def test_turns_of_agents_asked_together_and_handed_over_to_are_shown_by_name(tmp_path: Path) -> None:
    """A line for each turn, under the agent whose it was, a tool whose name looks like a hand-off among its calls."""

    @tm.tool
    async def transfer_to_savings(amount: int) -> str:
        """Move money."""
        return f"moved {amount}"

    def reply(call: Call) -> str | ToolCalls:
        system = str(call.payload["messages"][0]["content"])
        if "Judge" in system:
            return "fine"
        if "Sell" in system:
            return "sold"
        if call.results:
            return ToolCalls(("transfer_to_sales", {}), ("transfer_to_savings", {"amount": 2}))
        return ToolCalls(("transfer_to_savings", {"amount": 1}), ("panel", {"request": "well?"}))

    with FaultServer(reply=reply) as server:
        model = tm.model("test/model", base_url=server.base_url)
        judges = [tm.Agent(model, name=name, instructions="Judge.") for name in ("left", "right")]
        sales = tm.Agent(model, name="sales", instructions="Sell.")
        desk = tm.Agent(model, name="desk", tools=[fan_out("panel", judges), transfer_to_savings], handoffs=[sales])
        records: list[dict[str, Any]] = [{"q": "?"}]
        tm.from_iterable(records).agent(desk, "{{ q }}", name="desk").write(tmp_path / "out", progress=False)
    [shown] = read_transcripts(locate_run(tmp_path / "out"), 9)
    assert [turn["agent"] for turn in shown["turns"]] == ["desk", "desk", "sales"]
    assert [call.get("value") for call in shown["turns"][1]["calls"]] == [None, "moved 2"]
    lines = list(iter_turn_lines(shown["turns"]))
    assert (
        lines[0]
        == "  1  desk: transfer_to_savings(amount=1) → moved 1; panel(request='well?') → left: fine; right: fine"
    )
    assert [line.split(":")[0].split() for line in lines[1:3]] == [["1", "left"], ["2", "right"]]


def test_a_call_that_is_sealed_and_in_the_ledger_still_is_shown_once(serving: FaultServer, tmp_path: Path) -> None:
    """The ledger drops a group of calls when all of them are sealed: here those of the last record never are."""

    def refuse_the_last(call: Call) -> Fault | None:
        is_last = call.results and b"heavy 9" in call.body
        return Fault("unauthorized", delay_s=0.5) if is_last else None

    serving.faults = Faults(script=refuse_the_last)
    records: list[dict[str, Any]] = [{"q": f"how heavy {number}?"} for number in range(10)]
    chief, out = make_chief(serving), tmp_path / "out"
    report = tm.from_iterable(records).agent(chief, "{{ q }}").write(out, progress=False)
    assert report.records["landed"] > 0
    folder = locate_run(out)
    shown = [run["record"] for run in read_transcripts(folder, 99)]
    assert len(shown) == len(set(shown)) >= report.records["landed"]
    calls = [(each["record"], each["call"]) for each in read_replies(folder, 999)]
    assert len(calls) == len(set(calls))


def test_children_of_one_record_are_shown_apart(serving: FaultServer, tmp_path: Path) -> None:
    """Agents that answer them at once have their calls kept as they come."""
    records: list[dict[str, Any]] = [{"q": "how heavy?"}]
    stream = tm.from_iterable(records).agent(make_chief(serving), "{{ q }}", name="first")
    stream = stream.flat_map(lambda record: [record] * 6).agent(
        make_chief(serving), "{{ q }}", into="also", name="second"
    )
    stream.write(tmp_path / "out", progress=False)
    shown = read_transcripts(locate_run(tmp_path / "out"), 99)
    assert sorted(run["record"] for run in shown) == ["0", *(f"0.{child}" for child in range(6))]
    assert {len(run["turns"]) for run in shown} == {2}


def test_the_same_call_refused_again_and_again_ends_the_run() -> None:
    """Though what the model is told of each bears a mark of its own."""

    @tm.tool
    async def look(place: str) -> str:
        """Look somewhere."""
        raise RefusalError(f"{place} is out of bounds")

    script = [calling(("look", {"place": "roof"})) for _ in range(5)] + [saying("none")]
    assert Scripted(tm.Agent(MODEL, tools=[look], max_repeats=3), script).run("?").stop_reason == "repeated_error"


def test_calls_of_one_turn_that_fail_alike_are_one_failure() -> None:
    """The model has not been told of any of them yet. The last one is named by the error."""

    @tm.tool
    async def look(place: str) -> str:
        """Look somewhere."""
        raise RefusalError(f"{place} is out of bounds")

    turn = calling(*[("look", {"place": "roof"})] * 5)
    agent = tm.Agent(MODEL, tools=[look], max_repeats=2)
    assert Scripted(agent, [turn, saying("none")]).run("?").output == "none"
    result = Scripted(agent, [turn, turn, saying("none")]).run("?")
    with pytest.raises(
        tm.PermanentCallError, match="repeated_error, after 2 turns; the last turn: roof is out of bounds"
    ):
        _ = result.output


def test_a_class_is_no_agent() -> None:
    classes: list[Any] = [tm.Agent]
    with pytest.raises(ConfigError, match="Agent"):
        tm.Agent(MODEL, tools=classes)
    with pytest.raises(ConfigError, match="expected an agent, got"):
        fan_out("panel", classes)


def test_agents_asked_together_are_told_apart_by_their_names() -> None:
    same = [tm.Agent(MODEL, name="north"), tm.Agent(MODEL, name="north")]
    with pytest.raises(ConfigError, match="two agents have the name `north`"):
        fan_out("panel", same)
    others: list[Any] = [tm.Agent(MODEL), weigh]
    with pytest.raises(ConfigError, match="expected an agent, got"):
        fan_out("panel", others)
