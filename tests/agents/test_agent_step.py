"""The `agent` step: in a stream, a pipeline and a job file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import jobagents
import pyarrow.parquet as pq
import pytest
from pydantic import BaseModel, Field

import tidemill as tm
from tidemill.agents.step import RunAgent
from tidemill.errors import ConfigError, DataError, PermanentCallError, StateError
from tidemill.jobs.ledger.folder import locate_run
from tidemill.jobs.running.comparison import compare_estimate
from tidemill.jobs.running.request import RunRequest
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.running.transcripts import read_transcripts
from tidemill.resources.bridge import Bridge
from tidemill.testing import Call, FaultServer, ToolCalls

HERE = Path(__file__).parent

JOB = """
source: {path: questions.jsonl}
models:
  fast: {model: test/model, base_url: BASE}
steps:
  - agent:
      agent: {model: fast, tools: [jobagents:add], name: counter, instructions: Count.}
      prompt: "{{ question }}"
sink: {path: out}
"""


def add_up(call: Call) -> str | ToolCalls:
    """Calls `add` once, wrongly first where the question says so, then tells its result."""
    if not call.results and "mistake" in call.message:
        return ToolCalls(("add", {"a": 1.5}))
    if not call.results:
        return ToolCalls(("add", {"a": len(call.message), "b": "1"}), text="let me see")
    if "was not called" in call.results[-1]:
        return ToolCalls(("add", {"a": 1, "b": 1}))
    return f"it is {call.results[-1].splitlines()[1]}"


@pytest.fixture
def adding() -> Iterator[tm.Model]:
    """A model that adds by the tool it has."""
    with FaultServer(reply=add_up) as server:
        yield tm.model("test/model", base_url=server.base_url)


@pytest.fixture
def job(tmp_path: Path, adding: tm.Model) -> Path:
    """A job file over two questions."""
    path = tmp_path / "job.yaml"
    path.write_text(JOB.replace("BASE", str(adding.base_url)))
    (tmp_path / "jobagents.py").write_text((HERE / "jobagents.py").read_text())
    lines = (json.dumps({"id": number, "question": text}) + "\n" for number, text in enumerate(["abc", "a mistake"]))
    (tmp_path / "questions.jsonl").write_text("".join(lines))
    return path


def make_agent(model: tm.Model, **fields: Any) -> tm.Agent:
    return tm.Agent(model, **{"tools": [jobagents.add], "name": "counter", **fields})


def test_a_stream_is_answered(adding: tm.Model) -> None:
    records: list[dict[str, Any]] = [{"q": "x" * number} for number in range(20)]
    stream = tm.from_iterable(records).agent(make_agent(adding), "{{ q }}", concurrency=5)
    assert [record["answer"] for record in stream] == [f"it is {number + 1}" for number in range(20)]


def test_a_pipeline_answers_one_record(adding: tm.Model) -> None:
    pipe = tm.Pipeline(RunAgent(agent=make_agent(adding), prompt="{{ q }}", into="found"))
    assert pipe({"q": "abc"}) == {"q": "abc", "found": "it is 4"}


def test_tools_get_what_the_record_makes() -> None:
    def reply(call: Call) -> str | ToolCalls:
        return call.results[-1].splitlines()[1] if call.results else ToolCalls(("scale", {"number": 7}))

    with FaultServer(reply=reply) as server:
        agent = tm.Agent(tm.model("test/model", base_url=server.base_url), tools=[jobagents.scale])
        records: list[dict[str, Any]] = [{"factor": 2}, {"factor": 3}]
        stream = tm.from_iterable(records).agent(agent, "?", deps=jobagents.make_deps)
        assert [record["answer"] for record in stream] == ["14", "21"]


@dataclass(frozen=True)
class Bill:
    """A reply whose JSON form is another than its fields."""

    total: Annotated[Decimal, Field(alias="sum")]
    due: date


class Named(BaseModel):
    """A reply whose key is another than its field."""

    total: int = Field(alias="sum")


@pytest.mark.parametrize("output", [jobagents.Total, Named, Bill, list[Named]])
def test_an_output_lands_as_generate_lands_it(output: Any, tmp_path: Path) -> None:
    """In the same form as JSON, and in a column of the same type."""
    texts = {jobagents.Total: '{"total": 3}', Bill: '{"sum": "1.5", "due": "2026-10-02"}'}
    text = texts.get(output, '{"sum": 3}')
    with FaultServer(reply=lambda _: f'{{"value": [{text}]}}' if output == list[Named] else text) as server:
        model = tm.model("openai/test", base_url=server.base_url, api_key="none")
        records: list[dict[str, Any]] = [{"q": 1}]
        asked = tm.from_iterable(records)
        answered = asked.agent(tm.Agent(model, output=output), "{{ q }}", on_limit="land")
        generated = asked.generate(model, prompt="{{ q }}", output=output, into="answer")
        assert list(answered) == list(generated)
        answered.write(tmp_path / "answered", progress=False)
        generated.write(tmp_path / "generated", progress=False)
    one, other = (pq.read_schema(next((tmp_path / name).glob("*.parquet"))) for name in ("answered", "generated"))
    assert one.equals(other)


def test_a_run_without_an_answer_fails_its_record_or_lands_null(adding: tm.Model) -> None:
    agent = make_agent(adding, max_turns=1, output=jobagents.Total, max_reasks=0)
    records: list[dict[str, Any]] = [{"q": "abc"}]
    stream = tm.from_iterable(records)
    with pytest.raises(PermanentCallError, match="the agent `counter` ended without an answer: max_turns"):
        list(stream.agent(agent, "{{ q }}"))
    [landed] = stream.agent(agent, "{{ q }}", on_limit="land", transcript="how")
    assert landed["answer"] is None
    assert json.loads(landed["how"])["stop_reason"] == "max_turns"


def test_agents_that_hand_over_to_each_other_answer_with_one_output(adding: tm.Model) -> None:
    """Their answers land in one column, which has one type."""
    sales = tm.Agent(adding, name="sales")
    desk = tm.Agent(adding, name="desk", output=jobagents.Total, handoffs=[tm.Agent(adding, handoffs=[sales])])
    with pytest.raises(ConfigError, match=r"(?s)`sales`, which may take over from `desk`.*tools in place of handoffs"):
        RunAgent(agent=desk.replace("handoffs", [sales]), prompt="{{ q }}")
    with pytest.raises(ConfigError, match="`agent`, which may take over from `desk`, answers with another output"):
        RunAgent(agent=desk, prompt="{{ q }}")
    RunAgent(agent=desk.replace("handoffs", [sales.replace("output", jobagents.Total)]), prompt="{{ q }}")


def test_hooks_see_what_an_agent_is_asked_and_has_answered(adding: tm.Model) -> None:
    """Around the step, in a stream and in a run of one record."""
    seen: list[Any] = []
    pipe = tm.Pipeline(RunAgent(agent=make_agent(adding), prompt="{{ q }}"))
    with (
        pipe.register_before(lambda _, record: {**record, "q": "abcd"}),
        pipe.register_after(lambda _, __, result: seen.append(result["answer"])),
    ):
        records: list[dict[str, Any]] = [{"q": "a"}, {"q": "ab"}]
        assert [record["answer"] for record in pipe(tm.from_iterable(records))] == ["it is 5"] * 2
        assert pipe({"q": "a"})["answer"] == "it is 5"
    assert seen == ["it is 5"] * 3


def test_a_column_that_is_not_there_fails_the_record(adding: tm.Model) -> None:
    with pytest.raises(DataError, match="question"):
        list(tm.from_iterable([{"q": 1}]).agent(make_agent(adding), "{{ question }}"))


def test_a_job_file_runs_and_shows_each_turn(job: Path) -> None:
    assert tm.load_job(job).run().records["landed"] == 2
    first, second = read_transcripts(locate_run(job.parent / "out"), 5)
    assert [turn["text"] for turn in first["turns"]] == ["let me see", "it is 4"]
    assert first["turns"][0]["asked"] == [{"role": "user", "content": "abc"}]
    assert first["turns"][0]["calls"][0]["value"] == 4
    wrong, right = (turn["calls"][0] for turn in second["turns"][:2])
    assert (wrong["outcome"], right["outcome"]) == ("told", "ok")
    assert "expected an integer, got 1.5" in wrong["content"]


def test_the_report_has_the_tree_of_models_and_tools(job: Path) -> None:
    calls = tm.load_job(job).run().calls
    shares = calls["shares"]
    assert shares["agent/counter"]["calls"] == 5
    assert shares["agent/counter/add"]["counts"] == {"invalid": 1, "ok": 2}


def test_the_chain_and_the_file_are_one_job(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = tm.load_job(job)
    monkeypatch.chdir(job.parent)
    import jobagents as own  # the module as the job file found it

    model = tm.model("test/model", base_url="http://127.0.0.1:1/v1")
    agent = tm.Agent(model, tools=[own.add], name="counter", instructions="Count.")
    stream = tm.read("questions.jsonl").agent(agent, "{{ question }}")
    assert stream.job("out").fingerprint == loaded.fingerprint
    assert stream.job("out") == loaded


def test_a_job_is_written_as_a_file_again(job: Path) -> None:
    loaded = tm.load_job(job)
    again = job.with_name("again.yaml")
    again.write_text(loaded.to_yaml())
    assert tm.load_job(again).fingerprint == loaded.fingerprint


def test_tools_that_come_along_are_written_as_they_were_named(job: Path) -> None:
    """With their settings, which are found wrong all at once, each at its place and with the name that was meant."""
    ours = "{list_files: {root: .}}, {mcp: {command: [server], allow: [a]}}"
    job.write_text(job.read_text().replace("jobagents:add", f"jobagents:add, {ours}"))
    loaded = tm.load_job(job)
    again = job.with_name("again.yaml")
    again.write_text(loaded.to_yaml())
    assert "list_files" in again.read_text()
    assert tm.load_job(again).fingerprint == loaded.fingerprint
    job.write_text(job.read_text().replace("root: .", "rot: .").replace("command: [server]", "comand: [server]"))
    with pytest.raises(ConfigError, match=r"(?s)did you mean `root`.*did you mean `command`"):
        tm.load_job(job)


def test_another_tool_is_another_job(job: Path) -> None:
    """What a tool does belongs to the result: a run is not gone on with after it changed."""
    tm.load_job(job).run(limit=1)
    source = job.with_name("jobagents.py")
    source.write_text(source.read_text().replace("return a + b", "return b + a"))
    job.write_text(job.read_text().replace("Count.", "Count well."))
    with pytest.raises(StateError, match="instructions"):
        tm.load_job(job).run()


def test_mistakes_in_a_file_are_told_with_their_places(job: Path) -> None:
    text = job.read_text().replace("jobagents:add", "jobagents:ad").replace("name: counter", "max_turn: 3")
    job.write_text(text)
    with pytest.raises(ConfigError) as caught:
        tm.load_job(job)
    told = str(caught.value)
    assert "job.yaml:7" in told
    assert "did you mean `max_turns`" in told
    assert "`ad`" in told


def test_an_attempt_that_an_agent_s_own_budget_forbids_is_none_of_the_job_s(adding: tm.Model, tmp_path: Path) -> None:
    """Neither counted, nor held for maybe billed, nor taken from the job's budget, which has room for one at a time."""
    agent = make_agent(adding, budget={"calls": 1})
    records: list[dict[str, Any]] = [{"q": "abc"}, {"q": "abcd"}]
    stream = tm.from_iterable(records).agent(agent, "{{ q }}", on_limit="land", concurrency=1)
    report = stream.write(tmp_path / "out", budget=tm.Budget(calls=5), progress=False)
    assert (report.outcome, report.records["landed"]) == ("finished", 2)
    told = {name: report.calls[name] for name in ("calls", "attempts", "failed", "unknown_usage")}
    assert told == {"calls": 4, "attempts": 4, "failed": 0, "unknown_usage": 0}  # of each a reply and a tool's result


def test_a_budget_needs_a_ceiling_for_the_agents_model(job: Path) -> None:
    job.write_text(job.read_text() + "budget: {tokens: 1000}\n")
    with pytest.raises(ConfigError, match=r"budget\.tokens needs a ceiling for every call"):
        tm.load_job(job).check()


def test_a_trial_shows_every_request_and_result(job: Path) -> None:
    [trial] = tm.load_job(job).preview(1)
    assert [exchange.reply for exchange in trial.exchanges][-1] == "it is 4"
    assert any("<result" in str(exchange.reply) for exchange in trial.exchanges)


def test_an_estimate_tells_that_it_is_of_the_first_turn(job: Path) -> None:
    """It is the least there will be, and what the run came to is no deviation from it."""
    loaded = tm.load_job(job)
    first, second, *_ = loaded.estimate().describe()
    assert first == "2 records, 2 or more calls"
    assert re.fullmatch(r"\d+ or more tokens in, \d+ or more out", second)
    assert "of the first turn alone" in str(loaded.estimate())
    with Bridge() as bridge:
        request = RunRequest(estimate=loaded.estimate().to_dict())
        report = bridge.run(Runner(loaded.spec, request).run())
    assert report.calls["calls"] == 7
    told = compare_estimate(report)
    assert re.findall(r"or more (\w+)[ \w]* \(came to within\)", told) == ["calls", "tokens", "tokens"]


def test_a_job_s_budget_ends_what_agents_below_ask_for(tmp_path: Path) -> None:
    """They wait for no refund of the execution that they are in, which ends after them."""

    def reply(call: Call) -> str | ToolCalls:
        return "done" if call.results or "inner" in call.message else ToolCalls(("writer", {"request": "inner"}))

    with FaultServer(reply=reply) as server:
        model = tm.model("test/model", base_url=server.base_url, price=tm.Price(1, 1))
        outer = tm.Agent(model, tools=[tm.Agent(model, name="writer", max_tokens=10)], max_tokens=10)
        stream = tm.from_iterable([{"q": "abc"}]).agent(outer, "{{ q }}")
        report = stream.write(tmp_path / "out", budget=tm.Budget(calls=2), progress=False)
        assert "the budget allows no further call" in str(report.reason)
        assert (report.exit_code, server.requests) == (3, 1)
