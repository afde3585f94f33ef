"""A pipeline is one callable: of a record, awaited, or of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import tidemill as tm
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.single import Filter, FlatMap, Map, Select
from tidemill.models.generate import Generate
from tidemill.testing import Fault, Faults, FaultServer

Record = dict[str, Any]


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(keep_calls=True) as server:
        yield server


@pytest.fixture
def pipe(server: FaultServer) -> tm.Pipeline:
    """Drops records without text, labels the others."""
    return tm.Pipeline([Filter(fn=has_text), labelled(server)])


def labelled(server: FaultServer) -> Generate:
    model = tm.model("openai/any", base_url=server.base_url, api_key="none", limits=tm.Limits(concurrency=4))
    return Generate(model=model, prompt="Label {{ text }}", output=Label, into="label")


def has_text(record: Record) -> bool:
    return bool(record["text"])


def words(record: Record) -> list[Record]:
    return [{"text": word} for word in record["text"].split()]


def test_of_a_record_it_gives_its_result(pipe: tm.Pipeline, server: FaultServer) -> None:
    result = pipe({"text": "fine"})
    assert result["text"] == "fine"
    assert result["label"]["sentiment"] in ("positive", "negative")
    assert server.billed == 1


def test_of_a_record_that_is_dropped_it_gives_none(pipe: tm.Pipeline, server: FaultServer) -> None:
    assert pipe({"text": ""}) is None
    assert server.requests == 0


def test_behind_a_flat_map_it_gives_a_list(server: FaultServer) -> None:
    pipe = tm.Pipeline([FlatMap(fn=words), Filter(fn=lambda record: record["text"] != "b"), labelled(server)])
    assert [child["text"] for child in pipe({"text": "a b c"})] == ["a", "c"]
    assert pipe({"text": "a"})[0]["text"] == "a"
    assert pipe({"text": ""}) == []


async def test_awaited_it_gives_the_same_in_the_running_loop(pipe: tm.Pipeline) -> None:
    result = await pipe.acall({"text": "fine"})
    assert result == await asyncio.to_thread(pipe, {"text": "fine"})
    assert await pipe.acall({"text": ""}) is None


async def test_the_sync_form_works_inside_a_running_loop(pipe: tm.Pipeline) -> None:
    assert pipe({"text": "fine"}) == await pipe.acall({"text": "fine"})


async def test_held_open_it_runs_many_records_at_once_within_its_limits(pipe: tm.Pipeline, server: FaultServer) -> None:
    server.latency_s = 0.02
    async with pipe.aopen() as run:
        results = await asyncio.gather(*(run({"text": f"record {number}"}) for number in range(20)))
    assert [result["text"] for result in results] == [f"record {number}" for number in range(20)]
    assert server.max_in_flight == 4
    assert server.stats()["connections"] < 20


def test_held_open_it_keeps_its_connections(pipe: tm.Pipeline, server: FaultServer) -> None:
    before = server.stats()["connections"]
    with pipe.open() as run:
        for number in range(5):
            assert run({"text": f"{number}"})["label"]
    assert server.stats()["connections"] == before + 2  # one for the five, one for this look


def test_of_a_stream_it_gives_a_stream(pipe: tm.Pipeline, server: FaultServer) -> None:
    stream = pipe(tm.from_iterable([{"text": "one"}, {"text": ""}, {"text": "two"}]))
    assert isinstance(stream, tm.Stream)
    assert server.requests == 0
    assert [record["text"] for record in stream] == ["one", "two"]
    assert stream.pipeline == pipe


def test_steps_that_look_across_records_are_refused_for_one(server: FaultServer) -> None:
    pipe = tm.Pipeline([labelled(server), Take(count=2)])
    with pytest.raises(tm.ConfigError, match="step `take` looks across records, and the pipeline was called on one"):
        pipe({"text": "fine"})
    assert len(list(pipe(tm.from_iterable([{"text": "a"}] * 5)))) == 2
    assert server.billed == 2


def test_a_record_that_fails_raises(pipe: tm.Pipeline, server: FaultServer) -> None:
    server.faults = Faults(matching=[("Label bad", Fault("status", status=400, content="too rude"))])
    with pytest.raises(tm.PermanentCallError, match="too rude") as caught:
        pipe({"text": "bad"})
    assert caught.value.attempts == 1
    with pytest.raises(KeyError, match="text"):
        pipe({"texts": "bad"})


async def test_what_is_in_flight_for_a_record_that_fails_is_cancelled(server: FaultServer) -> None:
    """No task and no call is left when the error arrives."""
    server.faults = Faults(matching=[("Label bad", Fault("status", status=400)), ("Label", Fault("stall"))])
    pipe = tm.Pipeline([FlatMap(fn=words), labelled(server)])
    with pytest.raises(tm.PermanentCallError, match="400"):
        await pipe.acall({"text": "a b bad"})
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert (await asyncio.to_thread(server.wait_idle))["in_flight"] == 0


async def test_cancelling_reaches_the_socket(server: FaultServer) -> None:
    server.faults = Faults(matching=[("Label", Fault("stall"))])
    task = asyncio.create_task(tm.Pipeline([labelled(server)]).acall({"text": "a"}))
    await asyncio.to_thread(server.wait_for, requests=1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await asyncio.to_thread(server.wait_idle))["in_flight"] == 0


async def test_coroutine_functions_are_awaited() -> None:
    async def shout(record: Record) -> Record:
        await asyncio.sleep(0)
        return {"text": record["text"].upper()}

    pipe = tm.Pipeline([shout, Filter(fn=has_text)])
    assert await pipe.acall({"text": "a"}) == {"text": "A"}
    assert await pipe.acall({"text": ""}) is None


def test_stop_iteration_out_of_a_function_is_an_error() -> None:
    def stop(record: Record) -> Record:
        return next(iter(()))

    with pytest.raises(tm.WorkerError, match="raised StopIteration"):
        tm.Pipeline([stop])({"text": "a"})


def test_pipelines_are_sequences_of_steps_and_join() -> None:
    first, second = tm.Pipeline([has_text]), tm.Pipeline([Select(columns=("text",), name="columns")])
    both = first | second
    assert len(both) == 2
    assert both[0] == Map(fn=has_text)
    assert both.step_names == ("map", "columns")
    assert both == tm.Pipeline([has_text, Select(columns=("text",), name="columns")])
    assert both != first
    assert hash(both) == hash(first | second)
    assert len({first | second, both}) == 1
    assert both.fingerprint != first.fingerprint
    assert repr(both) == "<Pipeline: map | columns>"
    assert repr(tm.Pipeline()) == "<Pipeline: no steps>"
    with pytest.raises(tm.ConfigError, match=r"expected a step \(a node or a function\), got a str"):
        tm.Pipeline(["my_steps:has_text"])  # type: ignore[list-item]


def test_a_job_file_s_pipeline_takes_its_prompts_and_keys_from_its_folder(
    tmp_path: Any, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-0123456789abcdef\n")
    (tmp_path / "prompt.txt").write_text("Say {{ text }}")
    (tmp_path / "job.yaml").write_text(
        f"source: {{path: a.jsonl}}\nmodels: {{m: {{model: openai/any, base_url: {server.base_url}}}}}\n"
        "steps:\n  - generate: {model: m, prompt: {file: prompt.txt}}\nsink: {path: out}\n"
    )
    assert tm.load_job(tmp_path / "job.yaml").pipeline({"text": "a"})["reply"]
    assert server.calls[0].message == "Say a"
    assert server.calls[0].headers["authorization"] == "Bearer sk-0123456789abcdef"
