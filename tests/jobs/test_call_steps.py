"""Steps that call, each kind in a whole job: in a file and as a chain, tried, run, counted and billed."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from workbench import (
    FarSide,
    ask,
    make_job,
    make_model,
    numbered,
    read_failed,
    read_output,
    run_job,
    vector_of,
    write_records,
)

import tidemill as tm
from tidemill.calls.limits import Budget, Limits
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Map
from tidemill.jobs.running.inspect import count_reasons, read_failures, read_replies
from tidemill.models.model import Model
from tidemill.models.steps.branches import Gather
from tidemill.models.steps.call import Call
from tidemill.models.steps.embed import Embed
from tidemill.testing import FaultServer, error_response

STEPS = """\
import tidemill as tm


async def look_up(record, key):
    async def fetch():
        return {"id": record["id"]}

    found = await tm.gather(user=fetch(), size=lambda: len(record["text"]))
    return {"key": key, **found}
"""

JOB = """\
source: {{path: records.jsonl}}
models:
  fast: {{model: openai/any, base_url: "{base_url}", api_key: none, price: {{input: 1, output: 2}}}}
steps:
  - call: {{fn: my_steps:look_up, into: hit, columns: [id, text], limits: {{concurrency: 4}}, retry_on: [OSError]}}
  - embed: {{model: fast, text: "{{{{ text }}}} {{{{ hit.size }}}}", batch_size: 8}}
  - generate:
      model: fast
      messages: [{{role: user, content: "Say {{{{ text }}}}"}}]
      examples: [{{input: Say hello, output: Hello}}]
      temperature: {{column: heat}}
      n: 2
      seed: 1
      into: said
      max_tokens: 9
  - call: my_steps:look_up
  - gather:
      again: {{call: my_steps:look_up}}
      note: {{generate: {{model: fast, prompt: "Note {{{{ text }}}}", max_tokens: 9}}}}
budget: {{usd: 5, calls: 500}}
sink: {{path: out}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_steps.py").write_text(STEPS)
    write_records(tmp_path / "records.jsonl", [{**record, "heat": 0.5} for record in numbered(20)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_job_file_of_every_kind_of_call(folder: Path, fault_server: FaultServer) -> None:
    """It is the chain that says the same, it can be tried, and what it lands has the types of its columns."""
    (folder / "job.yaml").write_text(JOB.format(base_url=fault_server.base_url))
    job = tm.load_job("job.yaml")
    job.check()
    (folder / "again.yaml").write_text(job.to_yaml())
    assert tm.load_job("again.yaml") == job
    trial = job.preview(1)[0]
    assert [exchange.step for exchange in trial.exchanges] == [
        *("call", "embed", "generate", "generate", "call_2", "gather.again", "gather.note")
    ]
    assert trial.exchanges[-1].cost_usd is not None
    assert trial.exchanges[0].request == {"id": 0, "text": "review 0."}
    assert trial.exchanges[1].request["input"] == "review 0. 9"
    assert trial.exchanges[1].reply.endswith(", …")  # type: ignore[union-attr]
    assert "call: {'id': 0" in repr(trial)
    assert job.preview(1, call=False)[0].exchanges[0].reply is None
    report = job.run(progress=False)
    assert (report.outcome, report.records["landed"]) == ("finished", 20)
    [part] = (folder / "out").glob("*.parquet")
    kinds = {field.name: str(field.type) for field in pq.read_schema(part)}
    assert kinds["note"] == "string"
    assert kinds["said"] == "list<element: string>"
    assert kinds["embedding"].startswith("fixed_size_list<element: float>[")
    rows = list(tm.dataset("out"))
    assert [row["hit"]["user"]["id"] for row in rows] == list(range(20))
    assert len({row[name]["key"] for row in rows for name in ("hit", "result", "again")}) == 60


async def test_the_parts_of_a_batch_s_bill_are_the_bill(tmp_path: Path) -> None:
    """What the ledger's rows say sums up to what the far side billed, whatever shared a request."""
    write_records(tmp_path / "records.jsonl", numbered(45))
    job = make_job(tmp_path, [Embed(model=make_model(), column="text", batch_size=7)])
    far = FarSide()
    report = await run_job(job, far)
    assert [row["embedding"] for row in read_output(job.folders)] == [vector_of(f"review {n}.") for n in range(45)]
    replies = read_replies(job.folders, 100)
    assert sum(reply["tokens"][0] for reply in replies) == report.calls["input_tokens"] == sum(map(len, far.questions))
    assert replies[0]["reply"].startswith("3 numbers: ")
    assert max(far.requests) == 7
    assert report.calls["calls"] == len(far.requests)


async def test_batches_are_full_as_far_as_records_are_there(tmp_path: Path) -> None:
    """Behind another call, whose replies come one by one, records wait for each other and not for a clock."""
    write_records(tmp_path / "records.jsonl", numbered(64))
    steps = [ask(into="note"), Embed(model=make_model(), text="{{ note }}", batch_size=16)]
    far = FarSide(latency_s=0.01)
    job = make_job(tmp_path, steps, sink={"segment": {"records": 64}})
    await run_job(job, far)
    assert sum(far.requests) == 64
    assert len(far.requests) <= 12  # the first few while what was read was still little
    assert max(far.requests) == 16


def share(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "text": f"text {record['id'] % 4}"}


async def test_identical_requests_at_temperature_0_are_billed_once(tmp_path: Path) -> None:
    """Each record has a row of its own, so a later run finds them all."""
    records = [share(record) for record in numbered(40)]
    write_records(tmp_path / "records.jsonl", records)
    far = FarSide(latency_s=0.01)
    job = make_job(tmp_path, [ask(temperature=0)])
    report = await run_job(job, far)
    assert report.records["landed"] == 40
    coalesced = report.calls["coalesced"]
    assert len(far.billed) + coalesced == 40
    assert coalesced >= 10
    replies = read_replies(job.folders, 100)
    assert len(replies) == 40
    assert Counter(reply["attempts"] for reply in replies) == {0: coalesced, 1: 40 - coalesced}
    assert len({(row["text"], row["reply"]) for row in read_output(job.folders)}) == 4
    far.forget()
    again = make_job(tmp_path, [ask(temperature=0)], sink={"path": "new"})
    assert (await run_job(again, far, reuse=str(job.folders.output))).reused == 40
    assert far.billed == []


async def test_a_step_whose_params_may_change_the_price_has_no_dollars(tmp_path: Path) -> None:
    """Of one lane, the known price goes on to count for the others."""
    write_records(tmp_path / "records.jsonl", numbered(5))
    model = Model(model="openai/gpt-4.1-mini", api_key="none")
    vectors = Model(model="openai/text-embedding-3-small", api_key="none")
    flex = {"service_tier": "flex"}
    steps: list[Any] = [ask(model=model), ask(model=model, into="b", params=flex)]
    steps.append(Embed(model=vectors, column="text", into="c", params=flex))
    assert [step.find_price() is None for step in steps] == [False, True, True]
    report = await run_job(make_job(tmp_path, steps, sink={"path": "both"}), FarSide())
    alone = await run_job(make_job(tmp_path, steps[:1], sink={"path": "one"}), FarSide())
    assert report.calls["usd"] == pytest.approx(alone.calls["usd"])
    assert alone.calls["usd"] > 0
    assert report.calls["input_tokens"] > alone.calls["input_tokens"]


async def test_samples_of_one_record_are_never_shared(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", numbered(10))
    far = FarSide(latency_s=0.01)
    report = await run_job(make_job(tmp_path, [ask(temperature=0, n=3)]), far)
    assert (len(far.billed), report.calls["coalesced"]) == (30, 0)


def leave(record: dict[str, Any]) -> None:
    if record["id"] == 3:
        raise SystemExit(3)
    if record["id"] == 4:
        raise KeyboardInterrupt
    if record["id"] == 5:
        raise ValueError("5 is not there")


async def leave_later(record: dict[str, Any]) -> None:
    await asyncio.sleep(0)
    leave(record)


@pytest.mark.parametrize("fn", [leave, leave_later])
async def test_whatever_a_function_raises_fails_its_record(tmp_path: Path, fn: Any) -> None:
    """An exit too: the run and the others go on."""
    write_records(tmp_path / "records.jsonl", numbered(10))
    job = make_job(tmp_path, [Call(fn=fn)], max_errors=10)
    report = await run_job(job, FarSide())
    assert report.records == {"landed": 7, "dropped": 0, "skipped": 0, "quarantined": 3}
    errors = [(row.error["type"], row.error["message"]) for row in read_failed(job.folders)]
    assert [kind for kind, _ in errors] == ["WorkerError", "WorkerError", "ValueError"]
    assert errors[2][1] == "5 is not there"


def refuse_all(record: dict[str, Any]) -> None:
    raise ConnectionRefusedError("the database is down")


async def test_a_function_s_far_side_that_is_gone_stops_the_run(tmp_path: Path) -> None:
    """Behind a breaker of the step's own, resumable, with no record blamed."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    limits = Limits(concurrency=8, outage_s=0.5, max_attempts=100)
    job = make_job(tmp_path, [Call(fn=refuse_all, name="database", limits=limits)])
    report = await run_job(job, FarSide())
    assert (report.outcome, report.exit_code) == ("failed", 3)
    assert "call://database" in report.reason
    assert report.records["quarantined"] == 0


@pytest.mark.parametrize("budget", [Budget(usd=1), Budget(tokens=10), Budget(calls=12)])
async def test_a_budget_holds_for_functions_by_what_it_bounds(tmp_path: Path, budget: Budget) -> None:
    """Their calls cost neither dollars nor tokens; each attempt counts as a call."""
    write_records(tmp_path / "records.jsonl", numbered(20))
    job = make_job(tmp_path, [Call(fn=share, columns=("id",))], budget=budget)
    report = await run_job(job, FarSide())
    assert report.calls["attempts"] == (12 if budget.calls else 20)
    assert report.exit_code == (3 if budget.calls else 0)


async def test_the_branches_of_a_step_are_under_way_at_once(tmp_path: Path) -> None:
    """Each gets the record as it came and has a column of its own; a failure says its branch."""
    write_records(tmp_path / "records.jsonl", numbered(10))
    far = FarSide(lambda question: error_response(400, "no") if "review 3." in question else None)
    both = {"one": ask("One: {{ text }}"), "two": {"call": {"fn": share, "columns": ["id"]}}}
    job = make_job(tmp_path, [Gather(branches=both, name="facts")], max_errors=5)
    report = await run_job(job, far)
    assert [step["step"] for step in report.steps] == ["source", "facts", "sink"]
    assert list(read_output(job.folders)[0]) == ["id", "text", "one", "two"]
    [failed] = read_failed(job.folders)
    assert (failed.name, failed.branch) == ("facts", "one")
    assert failed.error["message"].startswith("branch `one`, http://far.invalid/v1")
    assert {reply["step"] for reply in read_replies(job.folders, 100)} == {"facts"}
    assert {reply["call"] for reply in read_replies(job.folders, 100)} == {0, 1_000_000}
    far.script = lambda question: None
    assert (await run_job(job, far, retry=True)).records["landed"] == 10
    new = make_job(tmp_path, [Gather(branches=both, name="facts")], sink={"path": "new"})
    far.forget()
    assert (await run_job(new, far, reuse=str(job.folders.output))).reused == 20
    assert far.billed == []


def lose(record: dict[str, Any]) -> Any:
    found: Any = None
    return found["name"]


def decode(record: dict[str, Any]) -> Any:
    return json.loads(record["text"])


@pytest.mark.parametrize(
    ("step", "place", "at"),
    [
        (Call(fn=lose), "call", "in lose"),
        (Call(fn=decode), "call", "in decode"),
        (Gather(branches={"user": {"call": lose}, "size": {"call": {"fn": share}}}), "gather.user", "in lose"),
        (Map(fn=lose), "map", "in lose"),
    ],
)
async def test_an_error_of_the_user_s_own_code_says_where_it_came_from(
    tmp_path: Path, step: Node, place: str, at: str
) -> None:
    """The innermost place in it, whatever library it called, and the branch."""
    write_records(tmp_path / "records.jsonl", numbered(1))
    job = make_job(tmp_path, [ask("Say {{ text }}"), step])
    await run_job(job, FarSide())
    [failed] = read_failures(job.folders, 2)
    assert failed["step"] == place
    assert re.fullmatch(rf"test_call_steps\.py:\d+ {at}", failed["at"])
    [(count, reason)] = count_reasons(job.folders)
    assert count == 1
    assert reason.startswith(f"{place}: ")
    assert reason.endswith(f"({failed['at']})")


def test_a_stream_names_the_branch_that_failed() -> None:
    stream = tm.from_iterable([{"id": 1}]).gather(user=Call(fn=lose), size=Call(fn=share))
    iterator: Any = iter(stream)
    with closing(iterator) as records, pytest.raises(tm.DataError, match="TypeError") as told:
        next(records)
    assert (told.value.step, told.value.where) == ("gather.user", "step `gather.user`")


@pytest.mark.parametrize(
    ("branches", "told"),
    [
        ({}, "branches"),
        ({"a": {"embed": {"model": "openai/x", "column": "a"}}}, "unknown key `branches.a.embed`"),
        ({"a": {}}, "expected one of `generate` and `call`, got none"),
        ({"a": {"call": {"fn": len, "into": "b"}}}, "a branch's column has the branch's name, `a`"),
        ({"a": {"call": {"fn": len, "name": "b"}}}, "call.name` is the whole step's"),
        ({"a": {"call": {"fn": len, "on_error": "skip"}}}, "call.on_error` is the whole step's"),
    ],
)
def test_branches_that_are_none_are_refused(branches: Any, told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        Gather(branches=branches)


async def test_plain_iteration_and_one_record_go_through_the_same_steps() -> None:
    """In an iteration of records that are there at once, a request takes as many as it may."""
    with FaultServer(keep_calls=True) as server:
        model = tm.model("openai/any", base_url=server.base_url, api_key="none")
        embedded = tm.from_iterable(numbered(40)).embed(model, "text", batch_size=20)
        stream = embedded.call(share, into="shared").gather(size={"call": len})
        rows = await asyncio.to_thread(list, stream)
        assert [row["shared"]["id"] for row in rows] == list(range(40))
        assert {row["size"] for row in rows} == {4}
        assert sum(len(call.payload["input"]) for call in server.calls) == 40
        assert len(server.calls) < 10
        pipeline = tm.Pipeline(stream.pipeline)
        assert (await pipeline.acall({"id": 1, "text": "one"}))["shared"]["text"] == "text 1"


async def test_a_bad_text_is_found_among_its_batch(tmp_path: Path) -> None:
    write_records(tmp_path / "records.jsonl", numbered(40))
    far = FarSide(lambda question: error_response(400, "no") if "review 17." in question else None)
    job = make_job(tmp_path, [Embed(model=make_model(), column="text", batch_size=8)], max_errors=5)
    report = await run_job(job, far)
    assert report.records["quarantined"] == 1
    assert [row.record["id"] for row in read_failed(job.folders)] == [17]


def test_an_estimate_tells_the_branches_apart() -> None:
    """Each with its model's tokens; a function's calls cost none."""
    model = tm.model("openai/any", base_url="http://far.invalid/v1", api_key="none", price=tm.Price(1, 2))
    note = {"generate": {"model": model, "prompt": "Note {{ text }}", "max_tokens": 5}}
    estimate = tm.from_iterable(numbered(20)).gather(note=note, size={"call": len}).estimate()
    assert [(step.step, step.calls) for step in estimate.steps] == [("gather.note", 20), ("gather.size", 20)]
    assert estimate.steps[0].output_tokens_high == 100
    assert estimate.steps[1].usd_high == 0
