"""One model on one device: three threads through which batches go, two of them on the device at most."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from tidemill.errors import DataError, ResourceError, TidemillError
from tidemill.models.torch.running.batch import Extent, Raised, Share, Size, TooLargeError
from tidemill.models.torch.running.inputs import Inputs, Preparing, call_model, count_elements
from tidemill.models.torch.running.outputs import split_outputs
from tidemill.models.torch.running.place import Place
from tidemill.models.torch.running.usage import Usage
from tidemill.resources.devices import is_out_of_memory
from tidemill.resources.profiling.cache import drop_locals
from tidemill.resources.states.gradients import gradients
from tidemill.resources.states.modes import evaluating
from tidemill.resources.worker import WorkerThread

ON_DEVICE = 2
"""Batches on a device at most: one that computes, one that is copied there meanwhile."""

USER_ERRORS = (Exception, SystemExit, KeyboardInterrupt)
"""What a model may raise to fail its records; real interrupts never come to these threads."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, and where it stands."""

    model: Any
    place: Place


class Replica:
    """Runs one model on one device. Belongs to one loop.

    A thread each makes inputs, computes, and takes outputs apart, so that these overlap. The computing thread loads
    the model, and holds it in evaluation mode without gradients for its life.

    Args:
        label: the device as the user named it, empty for where the model is.
        load: gives the model; called once, in the computing thread.
        prepare: what makes a model's inputs, given the model.
        finish: makes a record's result of its part of the outputs.
        inference: hold torch's inference mode in the place of `no_grad`.
        size: how large a batch may be, from now on.

    Attributes:
        size: the same; without room on the device it becomes smaller.
        taken: batches on their way through it; for whoever gives it more.
        usage: what went through it so far.
    """

    def __init__(
        self,
        label: str,
        load: Callable[[], Loaded],
        *,
        prepare: Callable[[Any], Preparing],
        finish: Callable[[Any], Any],
        inference: bool,
        size: Size,
    ) -> None:
        self._label = label
        self._load = load
        self._make_preparing = prepare
        self._finish_one = finish
        self._inference = inference
        self._slots = asyncio.Semaphore(ON_DEVICE)
        self._alone = asyncio.Lock()  # held by the batch that waits until nothing else is on the device
        self._held = ExitStack()
        self._opening: asyncio.Task[None] | None = None
        self._is_closed = False
        self._loaded: Loaded | None = None
        self._before: WorkerThread
        self._device: WorkerThread
        self._behind: WorkerThread
        self.size = size
        self.taken = 0
        self.usage = Usage()

    @property
    def place(self) -> Place | None:
        """Where its model runs; None before it is loaded."""
        return None if self._loaded is None else self._loaded.place

    @property
    def _model(self) -> Loaded:
        assert self._loaded is not None
        return self._loaded

    async def run(self, shares: Sequence[Share]) -> list[Any]:
        """The result of each share; `Raised` for one whose `finish` failed.

        Raises:
            TooLargeError: there is no room for so many; each half may have some.
            ResourceError: the model could not be loaded, or its device is lost.
            WorkerError: the model gave something else than a result for each: the run's failure.
            DataError: one share alone, and there is no room for it.
            Exception: what `prepare` or the model raised.
        """
        await self._open()
        inputs = await self._before.run(self._prepare, [share.value for share in shares])
        extent = Extent(len(shares), max(share.tokens for share in shares), count_elements(inputs) or len(shares))
        try:
            async with self._slots:
                outputs = await self._compute(inputs, extent)
            has_room = True
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            has_room, outputs = False, None
        if not has_room:
            outputs = await self._make_room(inputs, extent)
        return await self._behind.run(self._finish, outputs, len(shares))

    async def close(self) -> None:
        """Put the model back and end the threads, once what they are at has ended."""
        if self._opening is None:
            return
        self._is_closed = True
        await asyncio.wait([self._opening])
        self._opening.exception()  # looked at: whoever was to be told may be gone
        try:
            await self._device.run(self._held.close)
        finally:
            for thread in (self._before, self._device, self._behind):
                await thread.run(_nothing)
                thread.close()

    def describe(self) -> dict[str, Any]:
        """What went through it, as JSON."""
        usage, place = self.usage, self.place
        return {
            "batches": usage.batches,
            "records": usage.records,
            "busy_ratio": round(usage.busy_ratio, 4),
            "peak_bytes": None if place is None else place.read_peak(),
            "batch": self.size.most,
            **({} if self.size.most_tokens is None else {"batch_tokens": self.size.most_tokens}),
            "out_of_memory": usage.out_of_memory,
        }

    async def _open(self) -> None:
        """Load the model, once; a failure is that of all who ask."""
        if self._opening is None:
            name = f"predict-{self._label or 'model'}"
            self._before = WorkerThread(f"{name}-before")
            self._device = WorkerThread(name)
            self._behind = WorkerThread(f"{name}-behind")
            self._opening = asyncio.create_task(self._device.run(self._enter))
        await asyncio.shield(self._opening)

    async def _make_room(self, inputs: Inputs, extent: Extent) -> Any:
        """The outputs of a batch for which there was no room, if it is one record, for which there is when alone."""
        async with self._alone, AsyncExitStack() as held:
            for _ in range(ON_DEVICE):
                await held.enter_async_context(self._slots)
            await self._device.run(self._clear)
            if extent.records > 1:
                raise TooLargeError
            try:
                return await self._compute(inputs, extent)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
        raise DataError(
            f"the model has no room for this record on `{self._model.place.name}`, though it is alone there",
            hint="leave such records out, or make them shorter, in front of the step",
        )

    async def _compute(self, inputs: Inputs, extent: Extent) -> Any:
        """The outputs on the host."""
        started_at, flight = await self._device.run(self._launch, inputs, extent)
        outputs, done_at = await self._behind.run(self._land, flight)
        self.usage.note(extent.records, started_at, done_at)
        return outputs

    def _enter(self) -> None:
        """Load the model and enter what is held around it; in the computing thread.

        Raises:
            TidemillError: the run's failure, whatever it is: no record is to blame.
        """
        try:
            loaded = self._load()
            self._held.enter_context(loaded.place.hold())
            self._held.enter_context(evaluating(loaded.model))
            if "torch" in sys.modules:
                self._held.enter_context(gradients("inference" if self._inference else False))
            self._preparing = self._make_preparing(loaded.model)
        except BaseException as error:
            self._held.close()
            if isinstance(error, TidemillError):
                error.of = "run"
                raise
            raise ResourceError(f"the model cannot be loaded: {type(error).__name__}: {error}") from error
        self._loaded = loaded

    def _prepare(self, values: list[Any]) -> Inputs:
        self._check_open()
        with _letting_go(), _no_gradients():
            return self._model.place.pin(self._preparing.prepare(values))

    def _launch(self, inputs: Inputs, extent: Extent) -> tuple[float, Any]:
        self._check_open()
        if not self.size.has_room(extent):
            raise TooLargeError
        loaded = self._model
        started_at = time.perf_counter()
        with _letting_go():
            try:
                return started_at, loaded.place.launch(partial(call_model, loaded.model), inputs)
            except USER_ERRORS as error:
                if is_out_of_memory(error):
                    self.usage.out_of_memory += 1
                    self.size.shrink(extent)
                raise

    def _land(self, flight: Any) -> Any:
        with _letting_go():
            return flight.wait()

    def _finish(self, outputs: Any, count: int) -> list[Any]:
        results: list[Any] = []
        with _no_gradients():
            for row in split_outputs(outputs, count):
                try:
                    results.append(self._finish_one(row))
                except USER_ERRORS as error:
                    results.append(Raised(error))
        return results

    def _clear(self) -> None:
        with _letting_go():
            self._model.place.clear()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ResourceError("the step is closed, and computes nothing more")


def _no_gradients() -> Any:
    return gradients(False) if "torch" in sys.modules else ExitStack()


@contextmanager
def _letting_go() -> Iterator[None]:
    """Let go of the tensors in the frames that an error came through, wherever in the batch's way that is.

    Raises:
        ResourceError: it says that the device is lost, which may come up at any call behind the one that lost it.
    """
    try:
        yield
    except USER_ERRORS as error:
        drop_locals(error)
        if _is_device_lost(error) and not is_out_of_memory(error):
            raise ResourceError(
                f"the device is lost: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
                hint="run it again in a new process: what is sealed is kept, and the rest is computed anew",
            ) from error
        raise


def _is_device_lost(error: BaseException) -> bool:
    """Whether nothing more can be computed on the device in this process."""
    kind = getattr(sys.modules.get("torch"), "AcceleratorError", ())
    return isinstance(error, kind) or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


def _nothing() -> None:
    """Done once all that was given to the thread before is."""
