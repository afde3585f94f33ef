"""Where a model runs: how its inputs get there, and how its outputs come back."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

from tidemill.models.torch.running.inputs import Inputs
from tidemill.models.torch.running.outputs import map_tensors
from tidemill.resources.devices import Device, find_devices
from tidemill.resources.profiling.peaks import Peaks
from tidemill.resources.states.modules import list_modules


class Flight(Protocol):
    """A batch on its way through a device."""

    def wait(self) -> tuple[Any, float]:
        """What the model gave, on the host, and when the device was done, by `time.perf_counter`; blocks until then."""
        ...


class Place(Protocol):
    """Where one model runs. `pin`, `launch` and `Flight.wait` are each called by a thread of their own."""

    @property
    def name(self) -> str:
        """As torch names the device."""
        ...

    def hold(self) -> AbstractContextManager[Any]:
        """What the computing thread holds for its life."""
        ...

    def pin(self, inputs: Inputs) -> Inputs:
        """The inputs where the device can fetch them from."""
        ...

    def launch(self, run: Callable[[Inputs], Any], inputs: Inputs) -> Flight:
        """Bring the inputs there, and have them computed; returns as soon as that is queued."""
        ...

    def clear(self) -> None:
        """Give back memory that nothing holds."""
        ...

    def read_peak(self) -> int | None:
        """The most bytes that tensors took on the device while it was held; None where nobody counts them."""
        ...


class Landed:
    """A batch that was computed at once."""

    def __init__(self, outputs: Any) -> None:
        self._outputs = outputs
        self._done_at = time.perf_counter()

    def wait(self) -> tuple[Any, float]:
        return self._outputs, self._done_at


class Host:
    """The processor: nothing is copied."""

    name = "cpu"

    def hold(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def pin(self, inputs: Inputs) -> Inputs:
        return inputs

    def launch(self, run: Callable[[Inputs], Any], inputs: Inputs) -> Flight:
        return Landed(map_tensors(_detach, run(inputs)))

    def clear(self) -> None:
        gc.collect()

    def read_peak(self) -> int | None:
        return None


class Accelerator:
    """A device of torch: inputs are copied on a stream of their own while it computes, outputs behind it.

    Args:
        device: its memory and cache.
    """

    def __init__(self, device: Device) -> None:
        import torch

        self.name = device.name
        self._held = device
        self._device = torch.device(device.name)
        self._module: Any = torch.get_device_module(self._device)
        self._pins = self._device.type in ("cuda", "xpu")
        self._peaks = Peaks()
        self._copying: Any = None  # the stream for inputs; of the computing thread

    @contextmanager
    def hold(self) -> Iterator[None]:
        with self._module.device(self._device) if hasattr(self._module, "device") else nullcontext():
            self._peaks.begin([self._held])
            try:
                yield
            finally:
                self._peaks.end([self._held])

    def pin(self, inputs: Inputs) -> Inputs:
        return map_inputs(_pin, inputs) if self._pins else inputs

    def launch(self, run: Callable[[Inputs], Any], inputs: Inputs) -> Flight:
        brought = self._bring(inputs)
        outputs = map_tensors(_detach, run(brought))
        fetched = map_tensors(_fetch, outputs)
        event = self._module.Event(blocking=True) if self._device.type == "cuda" else self._module.Event()
        event.record()
        return _Queued(fetched, event, (inputs, brought, outputs))

    def _bring(self, inputs: Inputs) -> Inputs:
        def bring(tensor: Any) -> Any:
            return tensor.to(self._device, non_blocking=True)

        if not self._pins:
            return map_inputs(bring, inputs)
        if self._copying is None:
            self._copying = self._module.Stream(self._device)
        with self._module.stream(self._copying):
            brought = map_inputs(bring, inputs)
        self._module.current_stream(self._device).wait_stream(self._copying)
        return brought

    def clear(self) -> None:
        gc.collect()
        self._held.empty_cache()

    def read_peak(self) -> int | None:
        self._peaks.update([self._held])
        return self._peaks.peak_bytes.get(self.name) or None


class _Queued:
    """A batch in a device's queue.

    Args:
        fetched: what the outputs become on the host.
        event: behind the copy of them.
        held: what the device still reads from; kept until it is done, as streams do not know of each other's memory.
    """

    def __init__(self, fetched: Any, event: Any, held: Any) -> None:
        self._fetched = fetched
        self._event = event
        self._held = held

    def wait(self) -> tuple[Any, float]:
        self._event.synchronize()
        self._held = None
        return self._fetched, time.perf_counter()


def find_place(model: Any) -> Place:
    """Where `model` stands: the device of its first tensor."""
    devices = find_devices(list_modules((model,)))
    return Accelerator(devices[0]) if devices else Host()


def find_default_device() -> str:
    """The accelerator there is, else the processor; for what loads a model and is not told where to."""
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None else str(found)


def map_inputs(fn: Callable[[Any], Any], inputs: Inputs) -> Inputs:
    """The inputs with `fn` of each tensor."""
    return Inputs(map_tensors(fn, inputs.args), map_tensors(fn, inputs.named))


def _detach(tensor: Any) -> Any:
    return tensor.detach()


def _fetch(tensor: Any) -> Any:
    return tensor.to("cpu", non_blocking=True)


def _pin(tensor: Any) -> Any:
    return tensor.pin_memory() if tensor.device.type == "cpu" and not tensor.is_pinned() else tensor
