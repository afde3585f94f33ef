"""Prediction on a device that is faked: what is on it at once, what overlaps, and what happens without room."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill import testing
from tidemill.calls.outgoing import LaneStopped
from tidemill.errors import DataError, ResourceError
from tidemill.models.steps.predict import Predict
from tidemill.models.torch.running.inputs import Inputs
from tidemill.models.torch.running.place import Accelerator, Host, Place, find_place
from tidemill.models.torch.running.predicting import Predictor
from tidemill.models.torch.running.replica import ON_DEVICE
from tidemill.models.torch.running.usage import Usage
from tidemill.resources.devices import Memory

WAIT_S = 30.0

Record = dict[str, Any]


class FakeDevice:
    """A device with so much room, on which a batch is computed when `is_due` says so.

    Attributes:
        launched: the values of each batch that was let onto it, in order.
        most: the most batches that were on it at once.
        refused: the sizes of those for which there was no room.
        cleared: how often its cache was.
    """

    name = "fake:0"

    def __init__(
        self,
        *,
        room: int = 1 << 30,
        is_due: Callable[[FakeDevice, int], bool] = lambda device, number: True,
        error: Callable[[], BaseException] = lambda: torch.OutOfMemoryError("fake"),
        measure: Callable[[Any], int] = len,
    ) -> None:
        self.launched: list[list[Any]] = []
        self.most = 0
        self.refused: list[int] = []
        self.cleared = 0
        self.held = 0
        self._on_device = 0
        self._room = room
        self._is_due = is_due
        self._error = error
        self._measure = measure
        self._changed = threading.Condition()

    def hold(self) -> AbstractContextManager[Any]:
        @contextmanager
        def hold() -> Iterator[None]:
            self.held += 1
            yield
            self.held -= 1

        return hold()

    def pin(self, inputs: Inputs) -> Inputs:
        return inputs

    def launch(self, run: Callable[[Inputs], Any], inputs: Inputs) -> FakeFlight:
        values = inputs.args[0]
        if self._measure(values) > self._room:
            self.refused.append(len(values))
            raise self._error()
        outputs = run(inputs)
        with self._changed:
            self._on_device += 1
            self.most = max(self.most, self._on_device)
            self.launched.append(values)
            self._changed.notify_all()
        return FakeFlight(self, outputs, len(self.launched) - 1)

    def land(self, number: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._is_due(self, number), WAIT_S)
            self._on_device -= 1

    def wait_for_launches(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.launched) >= count, WAIT_S)

    def look_again(self) -> None:
        """Ask again what is due."""
        with self._changed:
            self._changed.notify_all()

    def clear(self) -> None:
        assert self._on_device == 0
        self.cleared += 1

    def read_peak(self) -> int | None:
        return 4_096


class FakeFlight:
    def __init__(self, device: FakeDevice, outputs: Any, number: int) -> None:
        self._device = device
        self._outputs = outputs
        self._number = number

    def wait(self) -> tuple[Any, float]:
        self._device.land(self._number)
        return self._outputs, time.perf_counter()


def echo(values: list[Any]) -> list[Any]:
    return list(values)


def play(
    device: Place, values: Sequence[Any], model: Callable[..., Any] = echo, **fields: Any
) -> tuple[list[Any], dict[str, Any]]:
    """What comes of records that all come at once: results or errors, and what is said of the device."""

    async def main() -> tuple[list[Any], dict[str, Any]]:
        predictor = Predictor(Predict(model=model, column="x", **fields), "predict", find_place=lambda model: device)
        runs = (predictor.run({"x": value}, _no_call) for value in values)
        results = await asyncio.gather(*runs, return_exceptions=True)
        described = predictor.describe()[device.name]
        await predictor.close()
        assert predictor.gathering.held == predictor.gathering.working == 0
        return results, described

    results, described = asyncio.run(main())
    return [each if isinstance(each, BaseException) else each["prediction"] for each in results], described


def _no_call(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing is asked outside")


def test_two_batches_are_on_the_device_and_never_more() -> None:
    """The second is launched while the first computes: each lands only once the next is there."""
    count = 20
    device = FakeDevice(is_due=lambda device, number: len(device.launched) >= min(number + ON_DEVICE, count))
    results, described = play(device, range(4 * count), batch=4)
    assert results == list(range(4 * count))
    assert device.most == ON_DEVICE
    assert [len(values) for values in device.launched] == [4] * count
    assert described["batches"] == count
    assert described["records"] == 4 * count
    assert described["peak_bytes"] == 4_096
    assert device.held == 0


def test_the_next_batch_is_made_ready_while_one_computes() -> None:
    """Also on the processor, where nothing is copied."""
    begun: list[int] = []
    changed = threading.Condition()

    def prepare(values: list[int]) -> tuple[list[int]]:
        with changed:
            begun.append(values[0])
            changed.notify_all()
        return (values,)

    def model(values: list[int]) -> list[int]:
        with changed:
            assert changed.wait_for(lambda: len(begun) >= min(values[0] + 2, 10), WAIT_S)
        return values

    async def main() -> list[Any]:
        predictor = Predictor(Predict(model=model, column="x", prepare=prepare, batch=1), "predict")
        results = await asyncio.gather(*(predictor.run({"x": value}, _no_call) for value in range(10)))
        await predictor.close()
        return results

    assert [result["prediction"] for result in asyncio.run(main())] == list(range(10))


def test_an_accelerator_s_results_come_back_behind_an_event() -> None:
    """Torch's own processor has streams and events of that kind, which do nothing; its memory is faked."""
    held = Held(name="cpu")
    place = Accelerator(held)
    model = torch.nn.Linear(2, 2)
    values = [[float(number), 1.0] for number in range(20)]
    results, described = play(place, values, model, batch=4)
    with torch.no_grad():
        assert results == [pytest.approx(row) for row in model(torch.tensor(values)).tolist()]
    assert described["peak_bytes"] == 1_000
    place.clear()
    assert held.clears == 1


class Held(testing.FakeDevice):
    """A device that finds itself fuller after each look."""

    def read_memory(self) -> Memory:
        self.allocate(1_000)
        self.free(1_000)
        return super().read_memory()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="GPU: none is here")
def test_a_real_accelerator_computes_what_the_processor_does() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 8))
    values = torch.randn(500, 64).tolist()
    expected, _ = play(Host(), values, model, batch=32)
    place = find_place(model.to("cuda"))
    results, described = play(place, values, model, batch=32)
    assert results == [pytest.approx(row, abs=1e-4) for row in expected]
    assert (described["records"], described["out_of_memory"]) == (500, 0)
    assert described["peak_bytes"] > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="GPU: none is here")
def test_a_real_accelerator_without_room_halves_the_batch() -> None:
    total = torch.cuda.get_device_properties(0).total_memory

    class Large(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = torch.empty(len(x), total // 4 // 5, device=x.device)  # five rows fill the device
            rows[:, 0] = x[:, 0]
            return rows[:, :1] * self.weight

    model = Large().to("cuda")
    results, described = play(find_place(model), [[float(number)] for number in range(16)], model, batch=16)
    assert results == [[float(number)] for number in range(16)]
    assert described["out_of_memory"] >= 1
    assert described["batch"] <= 4


ERRORS: dict[str, Callable[[], BaseException]] = {
    "torch": lambda: torch.OutOfMemoryError("CUDA out of memory"),
    "python": MemoryError,
    "allocator": lambda: RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
}


@pytest.mark.parametrize("error", ERRORS)
def test_a_batch_without_room_goes_in_halves_and_later_ones_stay_small(error: str) -> None:
    device = FakeDevice(room=5, error=ERRORS[error])
    results, described = play(device, range(200), batch=16)
    assert results == list(range(200))
    assert device.refused == [16, 8]
    assert device.cleared == described["out_of_memory"] == 2
    assert described["batch"] == max(map(len, device.launched)) == 4


def test_a_record_without_room_fails_alone() -> None:
    """It is tried once more with nothing beside it; the others land."""
    device = FakeDevice(room=0)
    results, _ = play(device, range(1), batch=4)
    assert [type(each) for each in results] == [DataError]
    assert "the model has no room for this record on `fake:0`, though it is alone there" in str(results[0])
    assert results[0].of == "record"
    device = FakeDevice(room=1)
    assert play(device, range(10), batch=4)[0] == list(range(10))
    assert set(map(len, device.launched)) == {1}


def test_one_long_record_makes_the_batches_behind_it_no_smaller() -> None:
    """It is found and fails alone, or goes alone; what counts as too large is a batch's input, not its records."""
    device = FakeDevice(room=400, measure=torch.Tensor.numel)
    lengths = [500 if number == 5 else 90 if number == 70 else 3 for number in range(400)]
    values = [[number % 7] * length for number, length in enumerate(lengths)]
    results, described = play(device, values, Sum(), batch=32, pad=0)
    assert [type(each) for each in results].count(DataError) == 1
    assert isinstance(results[5], DataError)
    expected = [length * (number % 7) for number, length in enumerate(lengths)]
    assert [*results[:5], *results[6:]] == [*expected[:5], *expected[6:]]
    assert list(map(len, device.launched)).count(32) >= 5
    assert described["batch"] == 32


class Sum(torch.nn.Module):
    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return ids.sum(1)


def test_by_ids_a_batch_without_room_has_half_as_many() -> None:
    device = FakeDevice(room=40, measure=lambda values: len(values) * max(map(len, values)))
    values = [[1] * length for length in [10, 10, 5, 3] * 10]
    results, described = play(device, values, batch=64, batch_tokens=160)
    assert results == values
    assert described["batch_tokens"] == 40
    assert len(device.refused) == 2


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(["fine", "fine", "fine", "raises", "unfit"]), max_size=40),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_every_record_gets_its_own_result_or_error(kinds: list[str], batch: int, room: int) -> None:
    """Whatever fails and whatever there is room for."""

    def model(values: list[tuple[int, str]]) -> list[Any]:
        if any(kind == "raises" for _, kind in values):
            raise ValueError("raised")
        return [number for number, _ in values]

    def finish(number: int) -> int:
        if kinds[number] == "unfit":
            raise KeyError(number)
        return number

    device = FakeDevice(room=room)
    values = list(enumerate(kinds))
    results, _ = play(device, values, model, batch=batch, finish=finish) if values else ([], {})
    for (number, kind), result in zip(values, results, strict=True):
        if kind == "fine":
            assert result == number
        else:
            assert isinstance(result, ValueError if kind == "raises" else KeyError)
    assert device.most <= ON_DEVICE


class LosingDevice(FakeDevice):
    """A device that is lost, as comes up at one point of a batch's way."""

    def __init__(self, at: str) -> None:
        super().__init__(room=3 if at == "clear" else 4)
        self._at = at

    def _lose(self, at: str) -> None:
        if at == self._at:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore about it")

    def pin(self, inputs: Inputs) -> Inputs:
        self._lose("pin")
        return inputs

    def launch(self, run: Callable[[Inputs], Any], inputs: Inputs) -> FakeFlight:
        flight = super().launch(run, inputs)
        self._lose("launch")
        return flight

    def land(self, number: int) -> None:
        super().land(number)
        self._lose("land")

    def clear(self) -> None:
        self._lose("clear")


@pytest.mark.parametrize("at", ["pin", "launch", "land", "clear"])
def test_a_lost_device_is_nobodys_record(at: str) -> None:
    """Nothing more can be computed there in this process: no half is tried, wherever the loss comes up."""
    device = LosingDevice(at)
    results, _ = play(device, range(4), batch=4)
    assert {type(each) for each in results} == {ResourceError}
    told = "step `predict`: the device is lost: RuntimeError: CUDA error: an illegal memory access was encountered\n"
    assert {str(each).startswith(told) for each in results} == {True}
    assert device.launched == ([[0, 1, 2, 3]] if at in ("launch", "land") else [])


def test_a_stop_lets_go_of_what_no_device_has() -> None:
    """What is on its way through the device ends, the rest is as if it had not come."""
    release = threading.Event()
    device = FakeDevice(is_due=lambda device, number: release.is_set())

    async def main() -> list[Any]:
        predictor = Predictor(Predict(model=echo, column="x", batch=1), "predict", find_place=lambda model: device)
        runs = [asyncio.ensure_future(predictor.run({"x": value}, _no_call)) for value in range(20)]
        await asyncio.to_thread(device.wait_for_launches, ON_DEVICE)
        predictor.gathering.stop()
        assert predictor.gathering.working
        release.set()
        device.look_again()
        results = await asyncio.gather(*runs, return_exceptions=True)
        with pytest.raises(LaneStopped):
            await predictor.run({"x": 1}, _no_call)
        await predictor.close()
        return results

    results = asyncio.run(main())
    computed = [each["prediction"] for each in results if isinstance(each, dict)]
    assert computed == list(range(len(computed)))
    assert ON_DEVICE <= len(computed) < 20
    assert all(isinstance(each, LaneStopped) for each in results[len(computed) :])


def test_what_nobody_waits_for_is_not_computed() -> None:
    device = FakeDevice()

    async def main() -> None:
        predictor = Predictor(Predict(model=echo, column="x", batch=2), "predict", find_place=lambda model: device)
        predictor.gathering.may_join = lambda: True
        runs = [asyncio.ensure_future(predictor.run({"x": value}, _no_call)) for value in range(3)]
        await runs[0]
        runs[2].cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        predictor.gathering.may_join = lambda: False
        predictor.gathering.look_soon()
        await predictor.run({"x": 9}, _no_call)
        await predictor.close()

    asyncio.run(main())
    assert device.launched == [[0, 1], [9]]


@pytest.mark.parametrize("seed", range(3))
def test_cancelled_records_leave_the_others_alone(seed: int) -> None:
    rng = random.Random(seed)

    async def main() -> None:
        device = FakeDevice()
        predictor = Predictor(Predict(model=echo, column="x", batch=3), "predict", find_place=lambda model: device)
        runs = [asyncio.ensure_future(predictor.run({"x": value}, _no_call)) for value in range(60)]
        for _ in range(30):
            await asyncio.sleep(0)
            runs[rng.randrange(60)].cancel()
        results = await asyncio.gather(*runs, return_exceptions=True)
        given = {number: each for number, each in enumerate(results) if not isinstance(each, BaseException)}
        assert {number: each["prediction"] for number, each in given.items()} == {number: number for number in given}
        await predictor.close()

    asyncio.run(main())


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=20))
def test_no_moment_counts_as_busy_twice(spans: list[tuple[float, float]]) -> None:
    """Batches overlap on a device; each begins and ends behind the one before."""
    usage, started_at, done_at, union, end = Usage(), 0.0, 0.0, 0.0, 0.0
    for gap, length in spans:
        started_at += gap
        done_at = max(done_at, started_at) + length
        usage.note(1, started_at, done_at)
        union += done_at - max(started_at, end)
        end = done_at
    assert usage.busy_s == pytest.approx(union)
    assert 0 <= usage.busy_ratio <= 1
    assert usage.records == usage.batches == len(spans)
