"""A model of this process as a step: what it is called with, what it gives, and the state it is left in."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
import threading
from collections import Counter, OrderedDict
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import tidemill as tm
from tidemill.errors import ConfigError, DataError, ResourceError, WorkerError
from tidemill.models.steps.predict import Predict
from tidemill.resources.worker import THREAD_PREFIX

Record = dict[str, Any]
Tensor = torch.Tensor


def make_model(inputs: int = 3, outputs: int = 2) -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(inputs, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, outputs))


def read_flags(model: torch.nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def rows(count: int) -> list[Record]:
    return [{"id": number, "x": [float(number), 1.0, -1.0]} for number in range(count)]


def predict(records: Any, *args: Any, **fields: Any) -> list[Any]:
    with closing(tm.from_iterable(records).predict(*args, **fields).iterate()) as results:
        return [record["prediction"] for record in results]


def test_each_record_gets_its_result_in_order() -> None:
    model = make_model()
    results = list(tm.from_iterable(rows(100)).predict(model, "x", into="y", batch=8))
    with torch.no_grad():
        expected = model.eval()(torch.tensor([row["x"] for row in rows(100)])).tolist()
    assert [result["id"] for result in results] == list(range(100))
    assert [result["y"] for result in results] == [pytest.approx(each) for each in expected]


def test_a_plain_function_gets_the_list_of_values() -> None:
    """No torch is needed: scikit-learn, ONNX Runtime, anything that takes a batch."""
    assert predict(rows(5), lambda values: [sum(value) for value in values], "x") == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert predict(rows(2), lambda records: [record["id"] + 1 for record in records]) == [1, 2]


def test_a_function_cannot_change_the_record() -> None:
    def score(records: list[Record]) -> list[int]:
        return [record.pop("id") for record in records]

    assert [record["id"] for record in tm.from_iterable(rows(3)).predict(score)] == [0, 1, 2]


def test_it_is_called_itself_in_evaluation_mode_without_gradients() -> None:
    """Hooks run once a batch; afterwards the flags are what they were, in a submodule too."""
    model = make_model()
    model[1].eval()  # type: ignore[index]
    before = read_flags(model)
    seen: list[tuple[bool, bool, bool]] = []
    calls: Counter[str] = Counter()
    model.register_forward_pre_hook(lambda *_: calls.update(["pre"]))

    def note(module: torch.nn.Module, _: Any, output: Tensor) -> None:
        calls["forward"] += 1
        seen.append((module.training, torch.is_grad_enabled(), output.requires_grad))

    model.register_forward_hook(note)
    stream = tm.from_iterable(rows(40)).predict(model, "x")
    assert len(list(stream)) == 40
    assert calls["pre"] == calls["forward"] == len(seen)
    assert set(seen) == {(False, False, False)}
    assert read_flags(model) == before
    assert torch.is_grad_enabled()


def test_inference_mode_is_held_where_it_is_asked_for() -> None:
    seen: list[bool] = []
    model = make_model()
    model.register_forward_hook(lambda *_: seen.append(torch.is_inference_mode_enabled()))
    predict(rows(4), model, "x", inference=True)
    assert set(seen) == {True}


@pytest.mark.parametrize("way", ["to the end", "closed", "failed"])
def test_the_threads_end_and_the_model_is_put_back_whatever_ends_it(way: str) -> None:
    model = make_model()
    records = [*rows(50), {"x": None}] if way == "failed" else rows(50)
    results = tm.from_iterable(records).predict(model, "x", batch=4).iterate()
    next(results)
    names = {thread.name for thread in threading.enumerate()}
    assert {f"{THREAD_PREFIX}predict-model{part}" for part in ("", "-before", "-behind")} <= names
    assert read_flags(model) == [False] * 4
    if way == "closed":
        results.close()
    elif way == "failed":
        with pytest.raises(DataError, match=r"expected numbers, a list of them or an array, got null"):
            list(results)
        results.close()
    else:
        assert len(list(results)) == 49
    assert read_flags(model) == [True] * 4
    assert not any(thread.name.startswith(f"{THREAD_PREFIX}predict") for thread in threading.enumerate())


def test_a_pipeline_of_one_record_is_a_batch_of_one() -> None:
    shapes: list[Any] = []
    model = make_model()
    model.register_forward_hook(lambda _module, given, _output: shapes.append(tuple(given[0].shape)))
    pipe = tm.Pipeline([Predict(model=model, column="x")])
    assert len(pipe(rows(1)[0])["prediction"]) == 2
    assert shapes == [(1, 3)]


async def test_awaited_records_of_a_pipeline_share_a_batch() -> None:
    sizes: list[int] = []

    def score(values: list[Any]) -> list[int]:
        sizes.append(len(values))
        return [len(value) for value in values]

    async with tm.Pipeline([Predict(model=score, column="x", batch=4)]).aopen() as run:
        await asyncio.gather(*map(run, rows(8)))
    assert sizes == [4, 4]


@pytest.mark.parametrize("outer", ["recording", "no_grad"])
def test_gradients_flow_through_a_pipeline_as_through_the_model(outer: str) -> None:
    """`tm.Pipeline(prepare, model)(x)` is `model(prepare(x))`, bit for bit, hooks too; also within a `no_grad`."""
    model = make_model().eval()
    calls: Counter[str] = Counter()
    model.register_forward_pre_hook(lambda *_: calls.update(["pre"]))
    model.register_forward_hook(lambda *_: calls.update(["forward"]))
    model.register_full_backward_hook(lambda *_: calls.update(["backward"]))

    def prepare(values: list[float]) -> Tensor:
        return torch.tensor([values], requires_grad=True) * 0.5

    def run(call: Any) -> list[Tensor | None]:
        model.zero_grad()
        with torch.set_grad_enabled(outer == "recording"):
            output = call([1.0, 2.0, 3.0])
        if output.requires_grad:
            output.sum().backward()
        return [output.detach(), *(parameter.grad for parameter in model.parameters())]

    expected = run(lambda x: model(prepare(x)))
    once = dict(calls)
    calls.clear()
    found = run(tm.Pipeline(prepare, model))
    assert calls == once
    assert once["pre"] == once["forward"] == 1
    assert once.get("backward", 0) == (1 if outer == "recording" else 0)
    for one, other in zip(expected, found, strict=True):
        assert (one is None) == (other is None) == (outer == "no_grad" and one is not expected[0])
        assert one is None or torch.equal(one, other)  # type: ignore[arg-type]


def test_a_model_s_hooks_are_called_once_wherever_it_is_called() -> None:
    """Forward-pre and forward hooks see each record once, backward hooks where gradients are recorded."""
    model = make_model()
    seen: Counter[str] = Counter()
    model.register_forward_pre_hook(lambda _, given: seen.update({"pre": len(given[0])}))
    model.register_forward_hook(lambda _, given, output: seen.update({"forward": len(output)}))
    model.register_full_backward_hook(lambda _, given, output: seen.update({"backward": len(output[0])}))  # type: ignore[index]

    def take() -> dict[str, int]:
        taken = dict(seen)
        seen.clear()
        return taken

    predict(rows(20), model, "x", batch=8)
    assert take() == {"pre": 20, "forward": 20}
    x = torch.ones(5, 3, requires_grad=True)
    with tm.InferenceProfiler(model):
        model(x)
    assert take() == {"pre": 5, "forward": 5}
    with tm.InferenceProfiler(model), tm.gradients(True):
        model(x).sum().backward()
    assert take() == {"pre": 5, "forward": 5, "backward": 5}
    tm.Pipeline(torch.clone, model)(x).sum().backward()
    assert take() == {"pre": 5, "forward": 5, "backward": 5}


def test_gradient_mode_goes_along_to_a_pipeline_that_also_waits() -> None:
    """Its functions are called on the loop's thread, in the mode of whoever called it."""
    model = make_model().eval()

    async def wait(output: Tensor) -> Tensor:
        return output

    pipe = tm.Pipeline([torch.tensor, model, wait])
    assert pipe([[1.0, 2.0, 3.0]]).requires_grad
    with torch.no_grad():
        assert not pipe([[1.0, 2.0, 3.0]]).requires_grad


def test_the_forward_of_a_module_is_refused_saying_why() -> None:
    reason = r"expected a callable model, got the bound `forward` of a `Sequential`(.|\n)*its hooks run"
    for forward in (make_model().forward, partial(make_model().forward)):
        with pytest.raises(ConfigError, match=reason):
            tm.from_iterable(rows(1)).predict(forward, "x")
    with pytest.raises(ResourceError, match=r"expected a callable model, got the bound `forward`"):
        predict(rows(1), load=lambda: make_model().forward, column="x")


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
def test_the_forward_of_a_scripted_module_is_refused() -> None:
    scripted = torch.jit.script(make_model())
    with pytest.raises(ConfigError, match="expected a callable model, got the bound `forward` of a `ScriptModule`"):
        tm.from_iterable(rows(1)).predict(scripted.forward, "x")


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({"column": "x"}, "expected `model`, or `load` in its place, got neither"),
    "both": ({"model": len, "load": len}, "expected `model`, or `load` in its place, got both"),
    "a class": ({"model": torch.nn.Linear}, r"expected a model, got the class `Linear`(.|\n)*give `load`"),
    "an API": (
        {"model": tm.model("openai/gpt-4.1-mini")},
        r"expected a model of this process(.|\n)*`generate` asks it",
    ),
    "ids of no column": ({"model": len, "pad": 0}, "`pad` is of the ids in a column, and the step names none"),
    "two that pad": ({"model": len, "column": "x", "prepare": len, "pad": 0}, "`prepare` makes the model's input"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_a_step_is_refused(case: str) -> None:
    fields, message = WRONG[case]
    with pytest.raises(ConfigError, match=message):
        tm.from_iterable(rows(1)).predict(**fields)


def test_a_coroutine_function_is_no_model() -> None:
    async def score(values: list[Any]) -> list[Any]:
        return values

    with pytest.raises(ConfigError, match=r"expected a plain function, got a coroutine function(.|\n)*is a `call`"):
        tm.from_iterable(rows(1)).predict(score)


def test_values_become_one_tensor_of_the_model_s_kind() -> None:
    """Lists, arrays and tensors of one shape are stacked; floats are of the type of the model's weights."""
    seen: list[Tensor] = []
    model = torch.nn.Linear(2, 1, dtype=torch.bfloat16)
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for value in ([1.0, 2.0], (1, 2.0), np.array([1.0, 2.0]), torch.tensor([1.0, 2.0])):
        assert len(predict([{"x": value}] * 3, model, "x")[0]) == 1
    assert {each.dtype for each in seen} == {torch.bfloat16}
    assert {each.shape[1:] for each in seen} == {torch.Size([2])}


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_whole_numbers_are_floats_to_a_model_that_looks_up_no_ids(kind: Any) -> None:
    """As JSON has 1 for 1.0: a record's result does not hang on what else is in its batch, or halved to be alone."""
    model = make_model().eval()
    given: list[list[Any]] = [[1, 2, 3], [1.0, 2.0, 3.0], [True, False, True], [0.5, 2, 3]]
    with torch.no_grad():
        expected = model(torch.tensor([[float(number) for number in each] for each in given])).tolist()
    records = [*({"x": kind(each)} for each in given), {"x": kind([1.0])}]
    results = [record["prediction"] for record in tm.from_iterable(records).predict(model, "x", on_error="skip")]
    assert results == [pytest.approx(each) for each in expected]


@pytest.mark.parametrize("wrap", [lambda model: model, torch.jit.script], ids=["plain", "scripted"])
@pytest.mark.filterwarnings("ignore:`torch.jit.script`:DeprecationWarning")
def test_whole_numbers_are_ids_to_a_model_that_looks_them_up(wrap: Any) -> None:
    table = wrap(torch.nn.Sequential(torch.nn.Embedding(5, 1), torch.nn.Flatten(), torch.nn.Linear(2, 1)))
    assert [len(each) for each in predict([{"ids": [1, 4]}, {"ids": [0, 2]}], table, "ids")] == [1, 1]


class Masked(torch.nn.Module):
    """Sums the ids that are real, and says how long the rows are."""

    def forward(self, ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor | None]:
        width = torch.full((len(ids),), ids.shape[1])
        return {"sum": (ids * attention_mask).sum(1), "width": width, "none": None}


def test_ids_of_several_lengths_are_padded_and_masked() -> None:
    records = [{"ids": list(range(length))} for length in (3, 5, 1, 0)]
    results = predict(records, Masked(), "ids", pad=9)
    assert [result["sum"] for result in results] == [3, 10, 0, 0]
    assert all(result.keys() == {"sum", "width"} for result in results)


def test_a_partial_of_a_module_is_that_module() -> None:
    class Scaled(torch.nn.Module):
        def forward(self, x: Tensor, by: float = 1.0) -> Tensor:
            assert not self.training
            return x.sum(1) * by

    assert predict(rows(3), partial(Scaled(), by=2.0), "x") == [0.0, 2.0, 4.0]


def test_a_stream_with_a_model_pickles() -> None:
    stream = tm.from_iterable(rows(5)).predict(make_model(), "x")
    assert list(pickle.loads(pickle.dumps(stream))) == list(stream)


def test_ids_of_several_lengths_need_a_pad() -> None:
    """Which meet in a batch is chance, so it is nobody's fault alone: the step lacks it."""
    records = [{"ids": [1] * length} for length in (2, 3)] * 20
    with pytest.raises(DataError, match=r"column `ids`: expected lists of one length, got .*\n *set `pad`") as caught:
        list(tm.from_iterable(records).predict(Masked(), "ids", on_error="skip"))
    assert caught.value.of == "run"


def test_a_batch_holds_so_many_ids_padding_too() -> None:
    shapes: list[tuple[int, ...]] = []

    class Noting(torch.nn.Module):
        def forward(self, ids: Tensor) -> Tensor:
            shapes.append(tuple(ids.shape))
            return ids.sum(1)

    lengths = [4, 9, 2, 30, 3, 3, 3, 3, 3, 3, 7, 8] * 8
    records = [{"ids": [1] * length} for length in lengths]
    assert predict(records, Noting(), "ids", pad=0, batch_tokens=24) == lengths
    assert all(count * longest <= 24 or count == 1 for count, longest in shapes)
    assert max(count for count, _ in shapes) > 1


def test_what_prepare_gives_is_what_the_model_is_called_with() -> None:
    def model(x: Tensor, scale: float = 1.0) -> Tensor:
        return x.sum(1) * scale

    def make(records: list[Record]) -> Tensor:
        return torch.tensor([record["x"] for record in records])

    assert predict(rows(3), model, prepare=make) == [0.0, 1.0, 2.0]
    assert predict(rows(3), model, prepare=lambda records: (make(records), 2.0)) == [0.0, 2.0, 4.0]
    assert predict(rows(3), model, prepare=lambda records: {"x": make(records), "scale": 3.0}) == [0.0, 3.0, 6.0]
    values = predict(rows(3), model, "x", prepare=torch.tensor, finish=lambda result: f"{result:.0f}")
    assert values == ["0", "1", "2"]


@dataclass
class Output:
    logits: Tensor
    names: list[str]


@pytest.mark.parametrize(
    "model",
    [
        lambda x: Output(x, ["n"] * len(x)),
        lambda x: OrderedDict(logits=x, names=["n"] * len(x), loss=None),
        lambda x: [{"logits": row, "names": "n"} for row in x.numpy()],
    ],
    ids=["dataclass", "mapping", "list"],
)
def test_outputs_are_taken_apart_by_record(model: Any) -> None:
    results = predict(rows(3), model, "x", prepare=torch.tensor)
    assert results == [{"logits": row["x"], "names": "n"} for row in rows(3)]


def test_a_tuple_is_several_outputs() -> None:
    assert predict(rows(2), lambda x: (x[:, 0], x[:, 1:]), "x", prepare=torch.tensor) == [
        [0.0, [1.0, -1.0]],
        [1.0, [1.0, -1.0]],
    ]


MISFITS = {
    "a row too few": (lambda x: x[1:], r"gave an output of the shape \(\d, 3\) for a batch of \d+ records: expected"),
    "one number": (lambda x: x.sum(), r"gave an output of the shape \(\) for a batch"),
    "a short list": (lambda x: [1], r"gave an output of 1 results for a batch of \d+ records: expected \d+, one for"),
    "one of several": (lambda x: {"a": x, "b": x[0]}, r"gave an output\['b'\] of the shape \(3,\)"),
    "a number": (lambda x: 1.5, r"gave an output that is a float for a batch"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_outputs_that_are_not_one_for_each_record_end_it(case: str) -> None:
    """It would be the wrong record's result: nothing is passed over."""
    model, message = MISFITS[case]
    records = tm.from_iterable(rows(8)).map(lambda record: record)
    with pytest.raises(WorkerError, match=f"^step `predict`: the model {message}"):
        list(records.predict(model, "x", prepare=torch.tensor, batch=8, on_error="skip"))
    with pytest.raises(WorkerError, match=message):
        list(records.predict(model, "x", prepare=torch.tensor, batch=8).catch("skip"))


def test_the_record_that_is_to_blame_fails_alone() -> None:
    """A model that raises for a batch is tried with its halves."""
    sizes: list[int] = []

    def score(values: list[list[float]]) -> list[float]:
        sizes.append(len(values))
        if any(value[0] == 13.0 for value in values):
            raise ValueError("thirteen")
        return [value[0] for value in values]

    stream = tm.from_iterable(rows(64)).predict(score, "x", batch=16, on_error="skip")
    assert [record["id"] for record in stream] == [number for number in range(64) if number != 13]
    assert 1 in sizes
    with (
        closing(tm.from_iterable(rows(64)).predict(score, "x", batch=16).iterate()) as results,
        pytest.raises(DataError, match="ValueError: thirteen") as caught,
    ):
        list(results)
    assert caught.value.record["id"] == 13
    assert caught.value.step == "predict"


@pytest.mark.parametrize("raised", [StopIteration, SystemExit, KeyboardInterrupt])
def test_what_would_end_more_than_a_record_fails_its_record(raised: type[BaseException]) -> None:
    def score(values: list[Any]) -> list[Any]:
        raise raised

    with pytest.raises(WorkerError, match=f"the function raised {raised.__name__}"):
        predict(rows(1), score, "x")


def test_a_finish_that_raises_fails_its_record() -> None:
    def check(result: float) -> float:
        assert result != 2.0, "two"
        return result

    stream = tm.from_iterable(rows(5)).predict(
        lambda values: [value[0] for value in values], "x", finish=check, on_error="skip"
    )
    assert [record["prediction"] for record in stream] == [0.0, 1.0, 3.0, 4.0]


def test_records_without_the_column_fail_alone() -> None:
    records = [rows(1)[0], {"y": 1}, rows(2)[1]]
    stream = tm.from_iterable(records).predict(make_model(), "x", on_error="skip")
    assert [record["id"] for record in stream] == [0, 1]
    with pytest.raises(DataError, match="expected a column `x`, got `y`"):
        predict(records, make_model(), "x")
    with pytest.raises(DataError, match="expected a record with columns, got a int"):
        predict([1], make_model(), "x")


def test_a_module_needs_to_know_what_its_tensor_is_made_of() -> None:
    with pytest.raises(ResourceError, match=r"a torch module takes tensors(.|\n)*set `column`, or `prepare`"):
        predict(rows(1), make_model())


def test_a_model_is_loaded_by_the_first_record_in_the_thread_that_computes() -> None:
    threads: list[str] = []

    def load() -> Any:
        threads.append(threading.current_thread().name)
        return make_model()

    assert list(tm.from_iterable([]).predict(load=load, column="x")) == []
    assert threads == []
    assert len(predict(rows(50), load=load, column="x")) == 50
    assert threads == [f"{THREAD_PREFIX}predict-model"]


def test_what_loads_is_told_the_device_if_it_has_a_parameter() -> None:
    told: list[str] = []

    def load(device: str) -> Any:
        told.append(device)
        return make_model().to(device)

    predict(rows(4), load=load, column="x")
    assert told == [str(torch.accelerator.current_accelerator() or "cpu")]
    told.clear()
    predict(rows(200), load=load, column="x", devices=("cpu", "cpu"), batch=4)
    assert told == ["cpu", "cpu"]


UNLOADED: dict[str, tuple[BaseException, type[BaseException], str]] = {
    "one of ours": (ConfigError("no such key"), ConfigError, "no such key"),
    "a foreign one": (
        OSError("no such weights"),
        ResourceError,
        "the model cannot be loaded: OSError: no such weights",
    ),
    "an exit": (SystemExit(3), ResourceError, "the model cannot be loaded: SystemExit: 3"),
}


@pytest.mark.parametrize("on_error", [None, "skip"])
@pytest.mark.parametrize("case", UNLOADED)
def test_a_model_that_cannot_be_loaded_ends_it(case: str, on_error: Any) -> None:
    """Whatever its `load` raises is no record's failure."""
    error, kind, message = UNLOADED[case]

    def load() -> Any:
        raise error

    with pytest.raises(kind, match=f"^step `predict`: {message}"):
        predict(rows(10), load=load, column="x", on_error=on_error)


@pytest.mark.parametrize("on_error", [None, "skip"])
def test_what_loads_has_to_give_a_model(on_error: Any) -> None:
    with pytest.raises(ResourceError, match="expected a model from `load`, got a int"):
        predict(rows(10), load=lambda: 5, column="x", on_error=on_error)


def test_each_device_has_a_replica_of_its_own() -> None:
    """The first has the model itself, the others copies: one that keeps something as it runs is run by one thread."""
    seen: dict[str, set[int]] = {}
    barrier = threading.Barrier(2)

    class Noting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(3, 1)
            self.met = False

        def forward(self, x: Tensor) -> Any:
            if not self.met:
                barrier.wait(10)
                self.met = True
            seen.setdefault(threading.current_thread().name, set()).add(id(self))
            return self.inner(x)

    model = Noting()
    expected = predict(rows(200), model.inner, "x")
    assert predict(rows(200), model, "x", batch=10, devices=("cpu", "cpu")) == [pytest.approx(x) for x in expected]
    assert sorted(map(len, seen.values())) in ([1, 1], [2])
    assert id(model) in set().union(*seen.values())
    assert len(set().union(*seen.values())) == 2


def test_a_model_that_cannot_be_copied_is_told_with_the_way_out() -> None:
    model = make_model()
    model.lock = threading.Lock()  # type: ignore[assignment]
    with pytest.raises(ResourceError, match=r"`Sequential` cannot be put on the device `cpu`(.|\n)*give `load`"):
        predict(rows(500), model, "x", devices=("cpu", "cpu"), batch=1)


def test_equal_models_say_the_same_and_other_weights_do_not() -> None:
    """Neither mode nor hooks count: a state is taken while the model is in evaluation mode."""
    one, same, other = make_model(), make_model().eval(), make_model()
    same.register_forward_hook(lambda *_: None)
    with torch.no_grad():
        other[0].weight[0, 0] += 1  # type: ignore[index]
    steps = [tm.Pipeline([Predict(model=model, column="x")]) for model in (one, same, other)]
    assert tm.Pipeline([one]).fingerprint != tm.Pipeline([other]).fingerprint
    assert steps[0] == steps[1]
    assert steps[0] != steps[2]
    before = steps[0].fingerprint
    one[2].bias.data.add_(1)  # type: ignore[index]
    assert steps[0].fingerprint != before
    one[2].bias.data.sub_(1)  # type: ignore[index]
    runtime: Any = {"batch": 7, "devices": ("cpu",), "inference": True}
    assert steps[0].fingerprint == tm.Pipeline([Predict(model=one, column="x", **runtime)]).fingerprint


def test_an_iteration_goes_on_from_its_state() -> None:
    model = make_model()
    stream = tm.from_iterable(rows(60)).predict(model, "x", batch=8)
    whole = list(stream)
    results = stream.iterate()
    begun = [next(results) for _ in range(21)]
    state = results.state()
    results.close()
    assert [*begun, *stream.iterate(state)] == [
        {**each, "prediction": pytest.approx(each["prediction"])} for each in whole
    ]


def test_an_iterator_that_a_script_keeps_says_nothing_as_the_interpreter_ends() -> None:
    """Where names of modules are gone already: it comes to that with torch, whose import changes the order."""
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True, check=True)
    assert done.stderr == ""


KEPT = """
import torch

import tidemill as tm

records = tm.from_iterable([{"id": number} for number in range(20)]).predict(sorted, "id", batch=4).iterate()
next(records)
records.close()
"""
