"""One model on one device: three threads through which batches go, two of them on the device at most."""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from tidemill.errors import DataError, ResourceError
from tidemill.models.torch.inputs import Inputs, Preparing, call_model
from tidemill.models.torch.outputs import split_outputs, to_plain
from tidemill.models.torch.place import Place
from tidemill.resources.devices import is_out_of_memory
from tidemill.resources.states.gradients import gradients
from tidemill.resources.states.modes import evaluating
from tidemill.resources.worker import WorkerThread

ON_DEVICE = 2
"""Batches on a device at most: one that computes, one that is copied there meanwhile."""

USER_ERRORS = (Exception, SystemExit, KeyboardInterrupt)
"""What a model may raise to fail its records; real interrupts never come to these threads."""


class TooLargeError(Exception):
    """The batch is larger than what the device has room for: its halves are to be tried."""


@dataclass(frozen=True, slots=True)
class Raised:
    """Stands for the result of a record whose `finish` failed."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model, and where it stands."""

    model: Any
    place: Place


@dataclass
class Usage:
    """What went through a replica.

    Attributes:
        batches, records: computed; those that failed are not.
        busy_s: seconds in which a batch was on the device.
        first_at, last_at: when the first began and the last ended, by `time.perf_counter`.
        out_of_memory: how often there was no room for a batch.
    """

    batches: int = 0
    records: int = 0
    busy_s: float = 0.0
    first_at: float = 0.0
    last_at: float = 0.0
    out_of_memory: int = 0

    def note(self, records: int, started_at: float, done_at: float) -> None:
        """Note a batch; of several that overlap no moment counts twice."""
        if not self.batches:
            self.first_at = self.last_at = started_at
        self.batches += 1
        self.records += records
        self.busy_s += max(0.0, done_at - max(started_at, self.last_at))
        self.last_at = max(self.last_at, done_at)

    @property
    def busy_ratio(self) -> float:
        """The share of the time from first to last in which a batch was on the device."""
        span = self.last_at - self.first_at
        return min(1.0, self.busy_s / span) if span > 0 else 0.0


@dataclass
class Size:
    """How large a batch may be.

    Attributes:
        most: records.
        most_tokens: their number times the longest; a longer record goes alone. None where nobody counts.
    """

    most: int
    most_tokens: int | None = None

    def fits(self, count: int, longest: int) -> bool:
        """Whether so many records go together."""
        return count <= self.most and (count == 1 or self.most_tokens is None or count * longest <= self.most_tokens)

    def shrink(self, count: int, longest: int) -> None:
        """Have the halves of such a batch be the largest that fit."""
        if self.most_tokens is None:
            self.most = min(self.most, (count + 1) // 2)
        else:
            self.most_tokens = min(self.most_tokens, (count + 1) // 2 * longest)


@dataclass(frozen=True, eq=False)
class Share:
    """One record's part of a batch: its value, and how many tokens that has."""

    value: Any
    tokens: int


@dataclass(eq=False)
class Replica:
    """Runs one model on one device. Belongs to one loop.

    A thread each makes inputs, computes, and takes outputs apart, so that these overlap. The computing thread loads
    the model, and holds it in evaluation mode without gradients for its life.

    Args:
        label: the device as the user named it, empty for where the model is.
        load: gives the model; called once, in the computing thread.
        prepare: makes a model's inputs, given the model.
        finish: makes a record's result of its part of the outputs.
        inference: hold torch's inference mode in the place of `no_grad`.
        size: how large a batch may be, from now on.

    Attributes:
        taken: batches on their way through it; for whoever gives it more.
        usage: what went through it so far.
    """

    label: str
    load: Callable[[], Loaded]
    prepare: Callable[[Any], Preparing]
    finish: Callable[[Any], Any] | None
    inference: bool
    size: Size
    taken: int = 0
    usage: Usage = field(default_factory=Usage)
    _opening: asyncio.Task[None] | None = None
    _is_closed: bool = False

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(ON_DEVICE)
        self._alone = asyncio.Lock()  # held by the batch that waits until nothing else is on the device
        self._held = ExitStack()
        self._loaded: Loaded
        self._preparing: Preparing

    @property
    def place(self) -> Place | None:
        """Where its model runs; None before it is loaded."""
        return self._loaded.place if hasattr(self, "_loaded") else None

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
        size = len(shares), max(share.tokens for share in shares)
        try:
            async with self._slots:
                outputs = await self._compute(inputs, *size)
            has_room = True
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            has_room, outputs = False, None
        if not has_room:
            outputs = await self._make_room(inputs, *size)
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
            name = f"predict-{self.label or 'model'}"
            self._before = WorkerThread(f"{name}-before")
            self._device = WorkerThread(name)
            self._behind = WorkerThread(f"{name}-behind")
            self._opening = asyncio.create_task(self._device.run(self._enter))
        await asyncio.shield(self._opening)

    async def _make_room(self, inputs: Inputs, count: int, longest: int) -> Any:
        """The outputs of a batch for which there was no room, if it is one record, for which there is when alone."""
        async with self._alone:
            for _ in range(ON_DEVICE):
                await self._slots.acquire()
            try:
                await self._device.run(self._clear)
                if count > 1:
                    raise TooLargeError
                return await self._compute(inputs, count, longest)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
            finally:
                for _ in range(ON_DEVICE):
                    self._slots.release()
        raise DataError(
            f"the model has no room for this record on `{self._loaded.place.name}`, though it is alone there",
            hint="leave such records out, or make them shorter, in front of the step",
        )

    async def _compute(self, inputs: Inputs, count: int, longest: int) -> Any:
        """The outputs on the host."""
        started_at, flight = await self._device.run(self._launch, inputs, count, longest)
        outputs, done_at = await self._behind.run(self._land, flight)
        self.usage.note(count, started_at, done_at)
        return outputs

    def _enter(self) -> None:
        """Load the model and enter what is held around it; in the computing thread."""
        loaded = self.load()
        try:
            self._held.enter_context(loaded.place.hold())
            self._held.enter_context(evaluating(loaded.model))
            if "torch" in sys.modules:
                self._held.enter_context(gradients("inference" if self.inference else False))
        except BaseException:
            self._held.close()
            raise
        self._preparing = self.prepare(loaded.model)
        self._loaded = loaded

    def _prepare(self, values: list[Any]) -> Inputs:
        self._check_open()
        with _no_gradients():
            return self._loaded.place.pin(self._preparing.prepare(values))

    def _launch(self, inputs: Inputs, count: int, longest: int) -> tuple[float, Any]:
        self._check_open()
        if not self.size.fits(count, longest):  # there was no room for the one before, which was as large
            raise TooLargeError
        model = self._loaded.model
        started_at = time.perf_counter()
        try:
            return started_at, self._loaded.place.launch(lambda brought: call_model(model, brought), inputs)
        except USER_ERRORS as error:
            if is_out_of_memory(error):
                self.usage.out_of_memory += 1
                self.size.shrink(count, longest)
            _let_go(error)
            raise

    def _land(self, flight: Any) -> Any:
        try:
            return flight.wait()
        except USER_ERRORS as error:
            _let_go(error)
            raise

    def _finish(self, outputs: Any, count: int) -> list[Any]:
        finish = to_plain if self.finish is None else self.finish
        results: list[Any] = []
        with _no_gradients():
            for row in split_outputs(outputs, count):
                try:
                    results.append(finish(row))
                except USER_ERRORS as error:
                    results.append(Raised(error))
        return results

    def _clear(self) -> None:
        self._loaded.place.clear()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ResourceError("the step is closed, and computes nothing more")


def _no_gradients() -> Any:
    return gradients(False) if "torch" in sys.modules else ExitStack()


def _let_go(error: BaseException) -> None:
    """Let go of the tensors in the frames that `error` came through.

    Raises:
        ResourceError: it says that the device is lost.
    """
    traceback.clear_frames(error.__traceback__)
    if _is_device_lost(error) and not is_out_of_memory(error):
        raise ResourceError(
            f"the device is lost: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            hint="run it again in a new process: what is sealed is kept, and the rest is computed anew",
        ) from error


def _is_device_lost(error: BaseException) -> bool:
    """Whether nothing more can be computed on the device in this process."""
    kind = getattr(sys.modules.get("torch"), "AcceleratorError", ())
    return isinstance(error, kind) or (isinstance(error, RuntimeError) and "CUDA error" in str(error))


def _nothing() -> None:
    """Done once all that was given to the thread before is."""
