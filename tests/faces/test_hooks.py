"""Hooks around the steps of a pipeline: what they see and replace, when they are bound, and where they go along."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import work
from pydantic import BaseModel

import tidemill as tm
from tidemill.data.nodes.across import Take
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Filter, Map, Select
from tidemill.data.steps.functions import record_function
from tidemill.models.steps.generate import Generate
from tidemill.testing import FaultServer


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]


@pytest.fixture
def labelled() -> Iterator[Node]:
    with FaultServer() as server:
        model = tm.model("openai/any", base_url=server.base_url, api_key="none")
        yield Generate(model=model, prompt="Label {{ text }}", output=Label, into="label")


def double(record: Any) -> Any:
    return 2 * record


def is_small(record: int) -> bool:
    return record < 10


def test_hooks_see_and_replace_what_goes_in_and_comes_out() -> None:
    """In the order of their registration, of every step or of one; None keeps."""
    pipe = tm.Pipeline([double, Filter(fn=is_small)])
    seen: list[Any] = []

    def note(*arguments: Any) -> None:
        seen.append(arguments)

    pipe.register_before(note)
    pipe.register_after(note)
    pipe.register_before(lambda step, record: record + 1, step="map")
    pipe.register_before(lambda step, record: 10 * record, step=0, prepend=True)
    assert pipe(0) == 2
    assert seen == [("map", 0), ("map", 1, 2), ("filter", 2), ("filter", 2, True)]
    pipe.register_after(lambda step, record, result: not result, step=-1)
    assert pipe(0) is None
    assert pipe(1) == 22


def test_a_handle_removes_its_hook() -> None:
    """By `remove`, which may be called twice, or by `with`; the same function may be registered twice."""
    pipe = tm.Pipeline([double])

    def add(step: str, record: int) -> int:
        return record + 1

    first, second = pipe.register_before(add), pipe.register_before(add)
    assert pipe(0) == 4
    first.remove()
    first.remove()
    assert pipe(0) == 2
    with second:
        assert pipe(0) == 2
    assert pipe(0) == 0


def test_hooks_are_bound_when_an_iteration_begins() -> None:
    """What is registered or removed later is for the next one; streams made before know of it, too."""
    pipe = tm.Pipeline([double])
    stream = pipe(tm.from_iterable([1, 2, 3])).map(str)
    early = iter(stream)
    handle = pipe.register_after(lambda step, record, result: -result)
    bound = iter(stream)
    assert list(early) == ["2", "4", "6"]
    handle.remove()
    assert list(bound) == ["-2", "-4", "-6"]
    assert list(stream) == ["2", "4", "6"]


def test_without_hooks_the_steps_functions_are_called_as_they_are() -> None:
    """The very same objects: nothing of ours stands between."""
    frames: list[Any] = []

    def look(record: int) -> int:
        frames.append(sys._getframe(1).f_code.co_name)
        return record

    pipe = tm.Pipeline([look])
    stream = pipe(tm.from_iterable([1, 2]))
    list(stream)
    plain = list(frames)
    frames.clear()
    list(tm.from_iterable([1, 2]).map(look))
    assert frames == plain
    frames.clear()
    with pipe.register_before(lambda step, record: None):
        list(stream)
    assert set(frames) == {"_call_hooked"}
    assert record_function(pipe[0]) is look


def test_hooks_are_no_part_of_equality_pickles_and_states() -> None:
    """A state taken with them is taken up without."""
    pipe, plain = tm.Pipeline([double]), tm.Pipeline([double])
    stream = pipe(tm.from_iterable([1, 2, 3]))
    pipe.register_after(lambda step, record, result: -result)
    assert (pipe, hash(pipe), pipe.fingerprint) == (plain, hash(plain), plain.fingerprint)
    assert stream == plain(tm.from_iterable([1, 2, 3]))
    iterator = stream.iterate()
    assert next(iterator) == -2
    assert list(plain(tm.from_iterable([1, 2, 3])).iterate(iterator.state())) == [4, 6]
    assert list(pickle.loads(pickle.dumps(stream))) == [2, 4, 6]
    assert pickle.loads(pickle.dumps(stream + stream)) == stream + stream


def test_hooks_go_along_where_a_pipeline_goes() -> None:
    """Into slices, and what is made of it, under the names it gave; the outermost goes in first and comes out last."""
    seen: list[Any] = []

    def noting(label: str) -> Any:
        return lambda *arguments: seen.append((label, *arguments))

    inner = tm.Pipeline([Map(fn=str, name="text"), Map(fn=double, name="twice")])
    inner.register_before(noting("inner"), step="twice")
    inner.register_after(noting("inner"), step="twice")
    outer = tm.Pipeline([Map(fn=double, name="doubled")]) | inner
    outer.register_before(noting("outer"), step=2)
    outer.register_after(noting("outer"), step=2)
    assert outer(1) == "22"
    around = [
        ("outer", "twice", "2"),
        ("inner", "twice", "2"),
        ("inner", "twice", "2", "22"),
        ("outer", "twice", "2", "22"),
    ]
    assert seen == around
    for again in (outer[1:], outer(tm.from_iterable([1])).pipeline[1:]):
        seen.clear()
        assert again(2) == "22"
        assert seen == around


@pytest.mark.parametrize("on", ["threads", "processes", "async"])
def test_hooks_around_a_parallel_map_are_called_by_the_consumer(on: Any) -> None:
    """Where they may use what is not safe in threads, or not there in another process."""
    threads: set[int] = set()
    pipe = tm.Pipeline([Map(fn=work.double_later if on == "async" else work.double, on=on, concurrency=2)])

    def shift(step: str, record: int) -> int:
        threads.add(threading.get_ident())
        if record == 3:
            raise ValueError("no threes")
        return record + 100

    pipe.register_before(shift)
    pipe.register_after(lambda step, record, result: (record, result))
    results = iter(pipe(tm.from_iterable([1, 2, 3, 4])))
    assert [next(results), next(results)] == [(101, 202), (102, 204)]
    with pytest.raises(tm.DataError, match="step `map`: ValueError: no threes"):
        next(results)
    assert list(results) == [(104, 208)]
    assert threads == {threading.get_ident()}


def test_hooks_of_datasets_are_called_by_number_and_in_joins() -> None:
    """What is read by number is what an iteration gives."""
    pipe = tm.Pipeline([double])
    data = pipe(tm.dataset([1, 2, 3]))
    assert data[0] == 2
    joined = data + data
    assert joined[3] == 2
    with pipe.register_after(lambda step, record, result: -result):
        assert [data[0], *data[1:]] == [-2, -4, -6]
        assert joined[3] == -2
        assert list(joined) == [-2, -4, -6] * 2
        assert next(iter(tm.mix([data, data], stop="all"))) == -2
    assert list(joined) == [2, 4, 6] * 2


def test_hooks_are_called_around_calls_and_steps_behind_them(labelled: Node) -> None:
    """Of a record alone, and of streams, also joined ones."""
    seen: list[tuple[Any, ...]] = []
    pipe = tm.Pipeline([labelled, Select(columns=("text", "label"))])
    pipe.register_before(lambda step, record: seen.append((step, "before")))
    pipe.register_before(lambda step, record: {"text": "else"}, step="generate")
    pipe.register_after(lambda step, record, result: seen.append((step, sorted(result))))
    names = ["label", "text"]
    around = [("generate", "before"), ("generate", names), ("select", "before"), ("select", names)]
    assert pipe({"text": "a"})["text"] == "else"
    assert seen == around
    seen.clear()
    stream = pipe(tm.from_iterable([{"text": "a"}]))
    assert [record["text"] for record in stream] == ["else"]
    assert seen == around
    seen.clear()
    assert [record["text"] for record in stream + stream] == ["else"] * 2
    assert seen == around * 2


def test_a_job_runs_without_hooks(tmp_path: Any) -> None:
    """What they replace is in no fingerprint."""
    pipe = tm.Pipeline([Select(columns=("n",))])
    pipe.register_after(lambda step, record, result: {"n": 0})
    stream = pipe(tm.from_iterable([{"n": 1}]))
    assert list(stream) == [{"n": 0}]
    stream.write(tmp_path / "out", progress=False)
    assert list(tm.dataset(str(tmp_path / "out"))) == [{"n": 1}]


def test_hooks_of_a_step_that_is_not_there_are_refused() -> None:
    """Or that has no record of its own."""
    pipe = tm.Pipeline([double, Filter(fn=is_small), Take(count=1)])
    with pytest.raises(tm.ConfigError, match="no step `filtre`\n  did you mean `filter`"):
        pipe.register_before(print, step="filtre")
    with pytest.raises(tm.ConfigError, match="the pipeline has 3 steps, and none at place 3"):
        pipe.register_after(print, step=3)
    with pytest.raises(tm.ConfigError, match="step `take` looks across records"):
        pipe.register_before(print, step="take")
