"""A profiler holds a model in evaluation mode without gradients, measures, and puts everything back."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tidemill as tm
from tidemill.resources.devices import is_out_of_memory
from tidemill.testing import FakeDevice


@pytest.fixture
def device() -> FakeDevice:
    return FakeDevice()


def make_profiler(device: FakeDevice, *models: Any, **options: Any) -> tm.InferenceProfiler:
    return tm.InferenceProfiler(*models, device=device, clock=device.clock, **options)


class TestBlock:
    def test_a_model_is_in_evaluation_mode_without_gradients_and_then_as_before(self) -> None:
        model: Any = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
        with tm.InferenceProfiler(model) as prof:
            assert not model(torch.ones(1, 2)).requires_grad
            assert not model[1].training
        assert model[1].training
        assert torch.is_grad_enabled()
        assert prof.elapsed_s > 0
        assert (prof.report().modules, prof.report().switched, prof.report().gradients) == (3, 3, "on, off within")

    @pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
    def test_the_block_s_own_error_leaves_it(self, error: BaseException) -> None:
        model = nn.Dropout()
        with pytest.raises(type(error)) as caught, tm.InferenceProfiler(model) as prof:
            raise error
        assert caught.value is error
        assert model.training
        assert prof.report().blocks == 1

    def test_gradients_may_be_recorded(self) -> None:
        model = nn.Linear(1, 1)
        with torch.no_grad(), tm.InferenceProfiler(model, gradients=True):
            assert model(torch.ones(1, 1)).requires_grad

    def test_blocks_add_up(self, device: FakeDevice) -> None:
        prof = make_profiler(device)
        for _ in range(3):
            with prof:
                device.pass_host_time(2)
        assert (prof.elapsed_s, prof.report().blocks) == (6, 3)

    def test_a_block_within_another_of_its_profiler_is_counted_and_its_time_is_the_other_s(
        self, device: FakeDevice
    ) -> None:
        prof = make_profiler(device)
        with prof:
            device.pass_host_time(1)
            with prof:
                device.pass_host_time(2)
        assert (prof.elapsed_s, prof.host_s, prof.report().blocks) == (3, 3, 2)
        assert repr(prof) == "<InferenceProfiler: 2 blocks>"

    def test_the_time_so_far_is_known_within(self, device: FakeDevice) -> None:
        with make_profiler(device) as prof:
            device.pass_host_time(2)
            assert prof.elapsed_s == 2

    def test_as_a_decorator_each_call_is_a_block(self) -> None:
        model = nn.Dropout()
        prof = tm.InferenceProfiler(model, warmup=0)

        @prof
        def count_down(number: int) -> bool:
            return model.training or (number > 0 and count_down(number - 1))

        assert not count_down(2)
        assert model.training
        assert prof.report().blocks == 3
        assert prof.report().batches.count == 3

    def test_threads_profile_one_model(self) -> None:
        model = nn.Dropout()
        prof = tm.InferenceProfiler(model, warmup=0)

        def work() -> None:
            for _ in range(50):
                with prof, prof.batch(2):
                    assert not model.training

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert model.training
        assert (prof.report().blocks, prof.report().batches.items) == (200, 400)

    async def test_a_block_that_awaits_is_refused(self) -> None:
        model = nn.Dropout()
        with (
            pytest.raises(tm.ResourceError, match="an inference profiler is held by `test_a_block_that_awaits"),
            tm.InferenceProfiler(model),
        ):
            await anything()
        assert model.training

    async def test_a_block_that_does_not_await_works_in_a_coroutine(self) -> None:
        model = nn.Dropout()
        with tm.InferenceProfiler(model) as prof:
            assert not model.training
        await anything()
        assert prof.report().blocks == 1

    def test_a_coroutine_function_is_not_decorated(self) -> None:
        with pytest.raises(tm.ConfigError, match="cannot be held by `anything`, which suspends"):
            tm.InferenceProfiler()(anything)

    def test_a_failure_half_way_in_puts_back_what_was_changed(self, device: FakeDevice) -> None:
        model = nn.Dropout()

        class Broken(FakeDevice):
            def reset_peak(self) -> None:
                raise OSError("gone")

        prof = make_profiler(Broken(), model)
        with pytest.raises(OSError, match="gone"), prof:
            raise AssertionError("not reached")
        assert model.training
        assert torch.is_grad_enabled()
        with make_profiler(device, cache="on_exit"):
            pass
        assert device.clears == 1  # the depth of this thread's blocks is right again

    def test_a_failure_while_leaving_is_noted_and_all_else_put_back(self) -> None:
        model = nn.Dropout()

        class Broken(FakeDevice):
            def empty_cache(self) -> None:
                raise OSError("gone")

        error = ValueError("mine")
        with pytest.raises(ValueError, match="mine") as caught, make_profiler(Broken(), model):
            raise error
        assert caught.value.__notes__ == ["and while releasing: OSError: gone"]
        assert model.training

    def test_what_is_no_model_is_refused(self) -> None:
        with pytest.raises(tm.ConfigError, match="expected models, which can be called, got a dict"):
            tm.InferenceProfiler({})
        with pytest.raises(tm.ConfigError, match="expected a cache policy of on_exit, on_oom, threshold, never"):
            tm.InferenceProfiler(cache="always")  # type: ignore[arg-type]
        with pytest.raises(tm.ConfigError, match="expected a warm-up of 0 batches or more"):
            tm.InferenceProfiler(warmup=-1)
        with pytest.raises(tm.ConfigError, match="expected a warm-up of 0 batches or more, got '1'"):
            tm.InferenceProfiler(warmup="1")  # type: ignore[arg-type]
        with pytest.raises(tm.ConfigError, match="expected a threshold in bytes, got '1GB'"):
            tm.InferenceProfiler(cache="threshold", threshold_bytes="1GB")  # type: ignore[arg-type]


async def anything() -> None: ...


class TestTimes:
    def test_host_and_device_are_told_apart(self, device: FakeDevice) -> None:
        """The device still works when the host has long gone on: its time is that of its own events."""
        with make_profiler(device) as prof:
            for _ in range(4):
                with prof.batch(8):
                    device.launch(0.5)
                    device.pass_host_time(0.1)
        report = prof.report()
        assert (round(prof.host_s, 6), round(prof.device_s, 6), round(prof.elapsed_s, 6)) == (0.4, 2.0, 2.0)
        assert report.batches.device is not None
        assert report.batches.device.p99_s == pytest.approx(0.5, rel=0.13)

    def test_the_device_is_waited_for_once_when_figures_are_read(self, device: FakeDevice) -> None:
        with make_profiler(device) as prof:
            for _ in range(100):
                with prof.batch():
                    device.launch(1)
        assert device.synchronisations == 0
        prof.report(), prof.to_dict(), prof.elapsed_s
        assert device.synchronisations == 1

    def test_finished_batches_do_not_pile_up(self, device: FakeDevice) -> None:
        with make_profiler(device) as prof:
            for _ in range(1_000):
                with prof.batch():
                    device.launch(0.001)
                device.pass_host_time(0.002)
            assert len(prof._stopwatch._pending) <= 1

    def test_the_warm_up_is_kept_apart(self, device: FakeDevice) -> None:
        with make_profiler(device, warmup=2) as prof:
            for seconds in (9, 5, 1, 1, 1):
                with prof.batch(10):
                    device.pass_host_time(seconds)
        report = prof.report()
        assert (report.warmup.count, report.warmup.host.max_s) == (2, 9)
        assert (report.batches.count, report.batches.host.max_s, report.batches.throughput_per_s) == (3, 1, 10)

    def test_a_batch_outside_of_its_block_is_refused(self, device: FakeDevice) -> None:
        """It would measure nothing, silently."""
        prof = make_profiler(device)
        with pytest.raises(tm.ResourceError, match="none is open in this thread"), prof.batch(1):
            raise AssertionError("not reached")
        with prof:
            pass
        with pytest.raises(tm.ResourceError, match="none is open in this thread"), prof.batch(1):
            raise AssertionError("not reached")

    def test_a_batch_that_is_never_entered_is_told_as_the_block_ends(self, device: FakeDevice) -> None:
        """It measures nothing either, and would be missing from the figures."""
        prof = make_profiler(device)
        with pytest.raises(tm.ResourceError, match="measured while it is held, and 1 of 2 never were"), prof:
            prof.batch(8)
            with prof.batch(8):
                pass
        with pytest.raises(ValueError, match="mine") as caught, prof:
            prof.batch(8)
            raise ValueError("mine")
        assert "1 of 1 never were" in caught.value.__notes__[0]
        with pytest.raises(tm.ResourceError, match="none is open in this thread"):
            prof.batch(8)
        assert prof.report().blocks == 2

    @pytest.mark.parametrize("items", [-1, 2.5, None, "abc", torch.ones(2)], ids=lambda items: type(items).__name__)
    def test_what_is_no_number_of_items_is_refused(self, device: FakeDevice, items: Any) -> None:
        with make_profiler(device) as prof, pytest.raises(tm.ConfigError, match="expected how many items a batch has"):
            prof.batch(items)

    def test_a_batch_that_raises_counts(self, device: FakeDevice) -> None:
        with pytest.raises(ValueError, match="mine"), make_profiler(device, warmup=0) as prof, prof.batch(3):
            device.pass_host_time(2)
            raise ValueError("mine")
        assert (prof.report().batches.items, prof.report().batches.host.total_s) == (3, 2)

    def test_the_report_is_json_and_text(self, device: FakeDevice) -> None:
        with make_profiler(device, nn.Dropout(), warmup=0) as prof, prof.batch(3):
            device.pass_host_time(2)
        assert prof.to_dict()["batches"]["items"] == 3
        text = str(prof.report())
        assert "1 batch, 3 items, 1.5 items/s\n  host: 2 s, p50 2 s, p99 2 s, max 2 s" in text
        assert "1 module in evaluation mode, 1 switched and put back" in text
        assert "cache of fake:0 cleared 1 time" in text

    def test_the_text_tells_short_times_and_high_rates_as_a_person_would(self, device: FakeDevice) -> None:
        with make_profiler(device, warmup=0) as prof, prof.batch(30):
            device.pass_host_time(0.00025)
        assert "250 us in 1 block\n1 batch, 30 items, 120,000 items/s\n  host: 250 us, p50 250 us" in str(prof.report())

    def test_the_plot_has_a_bar_a_bucket(self, tmp_path: Path) -> None:
        """In a process of its own: matplotlib keeps its fonts' files open."""
        script = tmp_path / "plot.py"
        script.write_text(PLOT)
        done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout == "[1.0, 1.0, 1.0, 1.0, 2.0, 2.0]\n"
        assert (tmp_path / "batches.png").read_bytes().startswith(b"\x89PNG")


PLOT = """
import tidemill as tm
from tidemill.testing import FakeDevice

device = FakeDevice()
with tm.InferenceProfiler(device=device, clock=device.clock, warmup=0) as prof:
    for milliseconds in (1, 1, 2, 40):
        with prof.batch():
            device.pass_host_time(milliseconds / 1e3)
figure = prof.plot("batches.png")
print(sorted(float(bar.get_height()) for bar in figure.axes[0].patches))
"""


class TestCache:
    def test_it_is_cleared_once_after_the_outermost_block(self, device: FakeDevice) -> None:
        with make_profiler(device):
            for _ in range(3):
                with make_profiler(device) as inner, inner.batch():
                    pass
            assert device.clears == 0
        assert device.clears == 1

    @pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), SystemExit(), GeneratorExit()])
    def test_on_each_way_out(self, device: FakeDevice, error: BaseException) -> None:
        with pytest.raises(type(error)), make_profiler(device):
            raise error
        assert device.clears == 1

    def test_garbage_is_collected_once_in_front_of_it(self, device: FakeDevice) -> None:
        phases: list[str] = []
        device.on_clear = lambda: phases.append("clear")

        def note(phase: str, info: dict[str, int]) -> None:
            if phase == "start" and info["generation"] == 2:
                phases.append("collect")

        gc.callbacks.append(note)
        try:
            with make_profiler(device):
                pass
        finally:
            gc.callbacks.remove(note)
        assert phases == ["collect", "clear"]

    def test_what_a_traceback_holds_is_dropped_first(self, device: FakeDevice) -> None:
        alive: list[bool] = []
        held: list[weakref.ref[Big]] = []
        device.on_clear = lambda: alive.append(held[0]() is not None)

        def compute() -> None:
            big = Big()
            held.append(weakref.ref(big))
            raise ValueError("mine")

        with pytest.raises(ValueError, match="mine"), make_profiler(device):
            compute()
        assert alive == [False]

    def test_neither_happens_where_no_device_is_initialised(self) -> None:
        collections: list[int] = []

        def note(phase: str, info: dict[str, int]) -> None:
            if info["generation"] == 2:
                collections.append(1)

        gc.callbacks.append(note)
        try:
            with pytest.raises(ValueError, match="mine") as caught, tm.InferenceProfiler(nn.Dropout()) as prof:
                fail(kept=3)
        finally:
            gc.callbacks.remove(note)
        assert collections == []
        assert caught.traceback[-1].frame.f_locals == {"kept": 3}
        assert prof.report().clears == {}

    def test_never(self, device: FakeDevice) -> None:
        with make_profiler(device, cache="never"):
            pass
        assert device.clears == 0

    @pytest.mark.parametrize(
        ("error", "clears"),
        [
            (torch.OutOfMemoryError("full"), 1),
            (MemoryError(), 1),
            (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1),
            (RuntimeError("other"), 0),
            (ExceptionGroup("of tasks", [ValueError(), torch.OutOfMemoryError("full")]), 1),
        ],
    )
    def test_on_out_of_memory_only(self, device: FakeDevice, error: BaseException, clears: int) -> None:
        with pytest.raises(type(error)), make_profiler(device, cache="on_oom"):
            raise error
        assert device.clears == clears
        assert is_out_of_memory(error) == (clears and not isinstance(error, ExceptionGroup))

    def test_on_out_of_memory_that_another_error_came_of(self, device: FakeDevice) -> None:
        with pytest.raises(RuntimeError, match="in batch 3"), make_profiler(device, cache="on_oom"):
            try:
                raise torch.OutOfMemoryError("full")
            except torch.OutOfMemoryError as error:
                raise RuntimeError("in batch 3") from error
        assert device.clears == 1

    @pytest.mark.parametrize(("kept", "clears"), [(99, 0), (100, 1)])
    def test_above_a_threshold_of_what_is_kept_unused(self, device: FakeDevice, kept: int, clears: int) -> None:
        with make_profiler(device, cache="threshold", threshold_bytes=100):
            device.allocate(kept)
            device.free(kept)
        assert device.clears == clears

    def test_what_an_inner_block_asks_for_is_done_after_the_outermost(self, device: FakeDevice) -> None:
        other = FakeDevice("fake:1")
        with make_profiler(device, cache="never"), make_profiler(other):
            pass
        assert (device.clears, other.clears) == (0, 1)

    def test_each_thread_has_an_outermost_block_of_its_own(self, device: FakeDevice) -> None:
        def work() -> None:
            with make_profiler(device):
                pass

        with make_profiler(device):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert device.clears == 1
        assert device.clears == 2


class Big:
    """What a frame may hold."""


def fail(kept: int) -> None:
    raise ValueError("mine")


class TestMemory:
    def test_the_peak_of_a_device_is_the_block_s_own(self, device: FakeDevice) -> None:
        device.allocate(1_000)
        device.free(900)
        with make_profiler(device) as outer:
            device.allocate(300)
            device.free(300)
            with make_profiler(device) as inner:
                device.allocate(50)
                device.free(50)
        assert outer.report().peak_device_bytes == {"fake:0": 400}
        assert inner.report().peak_device_bytes == {"fake:0": 150}

    def test_the_growth_of_the_process_is_told(self) -> None:
        with tm.InferenceProfiler() as small:
            pass
        with tm.InferenceProfiler() as large:
            held = bytearray(b"x") * (small.report().peak_rss_bytes + (64 << 20))
        del held
        assert small.report().peak_rss_growth_bytes < 1 << 20
        assert large.report().peak_rss_growth_bytes > 60 << 20


class Caching(nn.Module):
    """Keeps what it computed in a buffer and in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", None)
        self.last: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = x * 2
        self.last = self.seen
        return self.seen


def test_buffers_that_became_inference_tensors_are_told() -> None:
    """Training on would fail at the next backward, far from here."""
    model = nn.Sequential(nn.Identity(), Caching())
    with pytest.warns(UserWarning, match=r"tensors that the model keeps.*: 1\.seen") as caught:  # noqa: SIM117 - the place
        with tm.InferenceProfiler(model, gradients="inference") as prof:
            model(torch.ones(1))
    assert prof.report().inference_tensors == ("1.seen",)
    assert caught[0].filename == __file__


def test_compilations_behind_the_warm_up_are_told_apart() -> None:
    torch._dynamo.reset()
    compiled: Any = torch.compile(nn.Linear(2, 2), backend="eager", dynamic=False)
    with tm.InferenceProfiler(compiled) as prof:
        for rows in (1, 1, 3):
            with prof.batch(rows):
                compiled(torch.ones(rows, 2))
    assert (prof.report().compilations, prof.report().recompilations) == (2, 1)


def test_any_callable_is_a_model() -> None:
    from sklearn.linear_model import LinearRegression

    regression = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    with tm.InferenceProfiler(regression.predict) as prof, prof.batch(1):
        assert regression.predict([[2.0]])[0] == pytest.approx(4.0)
    assert (prof.report().modules, prof.report().warmup.items) == (0, 1)


def test_a_session_of_onnx_runtime_is_a_model(tmp_path: Path) -> None:
    """In a process of its own, at home in its own folder: the package keeps a file open there."""
    script = tmp_path / "session.py"
    script.write_text(SESSION)
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[2.0, 2.0, 2.0] 1\n"


SESSION = """
import base64

import numpy as np
import onnxruntime

import tidemill as tm

DOUBLE = "CAg6PAoOCgF4CgF4EgF5IgNBZGQSBmRvdWJsZVoQCgF4EgsKCQgBEgUKAxIBbmIQCgF5EgsKCQgBEgUKAxIBbkIECgAQDQ=="  # y = x + x

session = onnxruntime.InferenceSession(base64.b64decode(DOUBLE), providers=["CPUExecutionProvider"])
prof = tm.InferenceProfiler(session.run, warmup=0)
(doubled,) = prof(session.run)(None, {"x": np.ones(3, dtype=np.float32)})
print(doubled.tolist(), prof.report().batches.count)
"""


def test_it_works_without_torch(tmp_path: Path) -> None:
    script = tmp_path / "plain.py"
    script.write_text(
        "import sys\n"
        "import tidemill as tm\n"
        "sys.modules['torch'] = None\n"
        "with tm.InferenceProfiler(abs) as prof:\n"
        "    with prof.batch(2):\n"
        "        abs(-1)\n"
        "print(prof.report().warmup.items, prof.report().gradients == '')\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "2 True\n"


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Every test leaves gradients on, and no block of this thread open."""
    yield
    assert torch.is_grad_enabled()
    from tidemill.resources.profiling.cache import _blocks

    assert (_blocks.depth, _blocks.due) == (0, {})
