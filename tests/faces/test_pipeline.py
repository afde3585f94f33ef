"""A pipeline is one callable: of a record, awaited, or of a stream."""

from __future__ import annotations

import asyncio
import functools
import pickle
from types import MethodType
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import tidemill as tm
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.single import Filter, FlatMap, Map, Select
from tidemill.models.steps.generate import Generate
from tidemill.testing import Fault, Faults, FaultServer

Record = dict[str, Any]


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]


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


def test_steps_are_given_one_after_the_other_or_as_a_list(server: FaultServer) -> None:
    """A pipeline among them stands for its steps, hooks included."""
    inner = tm.Pipeline(has_text, words)
    inner.register_before(lambda step, record: {"text": "a"}, step=0)
    for pipe in (tm.Pipeline(inner, len), tm.Pipeline([inner, len]), tm.Pipeline((inner, len))):
        assert len(pipe) == 3
        assert pipe == tm.Pipeline([has_text, words, len])
        assert pipe.hooks[0]
    assert tm.Pipeline() == tm.Pipeline([])
    assert tm.Pipeline(inner) == inner
    wrong: tuple[tuple[Any, ...], ...] = (("ab",), (3,), (len, [len]))
    for steps in wrong:
        with pytest.raises(tm.ConfigError, match=r"expected a step \(a node or a function\), got a"):
            tm.Pipeline(*steps)


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
    server.latency_s = 0.1  # so that calls overlap, on a busy machine too
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


def double(record: int) -> int:
    return 2 * record


def is_small(record: int) -> bool:
    return record < 10


def pair(record: int) -> list[int]:
    return [record, -record]


class Scale:
    """A step that is an object."""

    def __init__(self, by: int) -> None:
        self.by = by

    def __call__(self, record: int) -> int:
        return self.by * record


class Opened(Scale):
    """The same, to be entered."""

    log: list[str] = []  # noqa: RUF012 - shared by all copies

    def __enter__(self) -> Opened:
        self.log.append("enter")
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.log.append("failed" if kind else "exit")


def test_steps_are_nodes_callables_and_pipelines() -> None:
    """A pipeline within one stands for its steps; anything with `__call__` for a map."""
    inner = tm.Pipeline([double, Scale(3)])
    pipe = tm.Pipeline([inner, Filter(fn=is_small), str])
    assert pipe.step_names == ("map", "map_2", "filter", "map_3")
    assert list(pipe) == [Map(fn=double), inner[1], Filter(fn=is_small), Map(fn=str)]
    assert pipe(1) == "6"
    assert pipe(2) is None


def test_slices_are_pipelines() -> None:
    """So that a part of one can be tried alone."""
    pipe = tm.Pipeline([double, Filter(fn=is_small), FlatMap(fn=pair)])
    assert isinstance(pipe[1:3], tm.Pipeline)
    assert pipe[:2] | pipe[2:] == pipe
    assert pipe[-1:](3) == [3, -3]
    assert len(pipe[5:]) == 0
    with pytest.raises(IndexError, match="out of range"):
        pipe[3]
    with pytest.raises(TypeError, match="unsupported operand"):
        pipe | double  # type: ignore[operator]


def test_equality_and_hash_go_by_description_and_pickles_are_small() -> None:
    """In another process the same object is another one, and the pipeline the same."""
    pipe = tm.Pipeline([double, Map(fn=Scale(3), name="scaled")])
    pipe.register_after(lambda step, record, result: None)
    loaded = pickle.loads(pickle.dumps(pipe))
    assert loaded == pipe
    assert hash(loaded) == hash(pipe)
    assert loaded(1) == 6
    assert len(pickle.dumps(pipe)) < 1_000
    assert tm.Pipeline([double, Map(fn=Scale(4), name="scaled")]) != pipe
    assert tm.Pipeline([double, Map(fn=Scale(3), name="other")]) != pipe
    assert pipe != [*pipe]


def test_a_dataset_stays_one_where_steps_keep_its_places() -> None:
    """And is a stream behind one that may drop."""
    data = tm.Pipeline([double])(tm.dataset([1, 2, 3]))
    assert isinstance(data, tm.Dataset)
    assert (len(data), data[-1]) == (3, 6)
    assert not isinstance(tm.Pipeline([Filter(fn=is_small)])(data), tm.Dataset)


def test_a_step_that_is_a_context_manager_is_entered_for_each_call_and_each_open() -> None:
    """Told of the error that ends the block; one that fails to be entered is told before the record."""
    log = Opened.log = []
    pipe = tm.Pipeline([Opened(2), double])
    assert pipe(1) == 4
    assert log == ["enter", "exit"]
    with pipe.open() as run:
        assert [run(1), run(2)] == [4, 8]
        assert log == ["enter", "exit", "enter"]
    assert log == ["enter", "exit"] * 2
    with pytest.raises(KeyError, match="mine"), pipe.open():
        raise KeyError("mine")
    assert log[4:] == ["enter", "failed"]

    class Broken(Opened):
        def __enter__(self) -> Broken:
            raise OSError("no such database")

    with pytest.raises(tm.ResourceError, match="step `map_2`: `Broken` cannot be entered: OSError: no such database"):
        tm.Pipeline([Opened(2), Broken(1)])(1)
    assert log[6:] == ["enter", "failed"]


async def test_an_async_context_manager_is_entered_where_the_pipeline_is_awaited() -> None:
    """Called alone it has a loop, too."""
    log: list[str] = []

    class Client:
        async def __aenter__(self) -> None:
            log.append("enter")

        async def __aexit__(self, *_: object) -> None:
            log.append("exit")

        async def __call__(self, record: int) -> int:
            return 2 * record

    pipe = tm.Pipeline([Client()])
    assert await pipe.acall(1) == 2
    assert await asyncio.to_thread(pipe, 1) == 2
    assert log == ["enter", "exit"] * 2


def test_steps_behind_a_call_are_entered_once_an_iteration(server: FaultServer) -> None:
    """In the window that runs them."""
    log = Opened.log = []

    class Lengths(Opened):
        def __call__(self, record: Any) -> Any:
            return {"length": len(record["text"])}

    stream = tm.Pipeline([labelled(server), Lengths(1)])(tm.from_iterable([{"text": "a"}, {"text": "bb"}]))
    assert list(stream) == [{"length": 1}, {"length": 2}]
    assert log == ["enter", "exit"]
    iterator = stream.iterate()
    next(iterator)
    iterator.close()
    assert len(log) == 4
    assert log[2] == "enter"


def test_a_bound_forward_of_a_torch_module_is_refused(tmp_path: Any) -> None:
    """However it comes to be a step; the model itself is one, and so is a `forward` that is no module's."""
    torch = pytest.importorskip("torch")
    model, placed = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    whole = placed.forward
    # What accelerate makes of a module that it places, as transformers does for a `device_map`.
    placed.forward = functools.update_wrapper(functools.partial(lambda module, x: whole(x), placed), whole)
    decorated = torch.nn.Linear(1, 1)
    decorated.forward = MethodType(lambda module, x: x, decorated)
    for make in (
        lambda: tm.Pipeline([model.forward]),
        lambda: tm.Pipeline(print, placed.forward),
        lambda: tm.Pipeline([decorated.forward]),
        lambda: tm.from_iterable([1]).map(model.forward),
        lambda: tm.from_iterable([1]).with_columns(a=model.forward),
        lambda: Filter(fn=functools.partial(model.forward)),
    ):
        with pytest.raises(tm.ConfigError, match=r"(?s)the bound `forward` of a `Linear`.*pass the model itself"):
            make()
    (tmp_path / "models_here.py").write_text("import torch\n\nmodel = torch.nn.Linear(1, 1)\n")
    (tmp_path / "job.yaml").write_text(
        "source: {path: a.jsonl}\nsteps:\n  - map: models_here:model.forward\nsink: {path: out}\n"
    )
    with pytest.raises(tm.ConfigError, match=r"(?s)job.yaml:3.*the bound `forward` of a `Linear`"):
        tm.load_job(tmp_path / "job.yaml")

    class Own:
        def forward(self, record: int) -> int:
            return record

    assert tm.Pipeline([Own().forward])(1) == 1
    assert tm.Pipeline([model])(torch.ones(1)).requires_grad
    [step] = tm.Pipeline(torch.nn.Sequential(model))
    assert isinstance(step, Map), "one that can be iterated over is one step all the same"


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
