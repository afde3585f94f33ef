"""`Block`: one block of a profiler: everything it changes and begins, and the way back."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tidemill.errors import ResourceError
from tidemill.resources.devices import Device, find_devices
from tidemill.resources.memory import peak_rss_bytes
from tidemill.resources.profiling.cache import Caching, begin_block, end_block
from tidemill.resources.profiling.peaks import Peaks
from tidemill.resources.profiling.spans import Span, Stopwatch
from tidemill.resources.profiling.tensors import find_inference_tensors, name_tensors
from tidemill.resources.profiling.totals import Totals, count_graphs
from tidemill.resources.releasing import note_failures
from tidemill.resources.states.gradients import Gradients, describe_mode, find_mode
from tidemill.resources.states.modes import Evaluating

Undo = Callable[[BaseException | None], list[BaseException] | None]
"""Ends one part, told what ended the block; gives what failed."""


class Block:
    """One block: what it began, and ends the other way round. For one thread.

    Args:
        is_nested: whether it is within another one of its profiler, whose time has its own in it.
    """

    def __init__(self, caching: Caching, totals: Totals, stopwatch: Stopwatch, *, is_nested: bool) -> None:
        self._caching = caching
        self._totals = totals
        self._figures = totals.nested if is_nested else totals.blocks
        self._is_nested = is_nested
        self._stopwatch = stopwatch
        self._undo: list[Undo] = []
        self._devices: Sequence[Device] = ()
        self._span: Span | None = None
        self._made = 0
        self._entered = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds on the host so far."""
        return 0.0 if self._span is None else self._stopwatch.elapsed_ns(self._span) / 1e9

    def enter(self, models: tuple[Any, ...], gradients: Gradients, device: Device | None) -> None:
        """Change and begin everything, the clock last; on a failure half-way in what was begun is ended."""
        begin_block()
        self._undo.append(self._end_caching)
        try:
            modes = Evaluating(models)
            modes.enter_at(None)
            self._undo.append(lambda error: modes.leave())
            self._devices = find_devices(modes.modules) if device is None else (device,)
            self._totals.note_models(len(modes.modules), modes.changed)
            if sys.modules.get("torch") is not None:
                self._enter_gradients(gradients, modes.modules)
            self._begin_counting()
        except BaseException as error:
            note_failures(error, self.leave(error))
            raise

    def leave(self, error: BaseException | None) -> list[BaseException]:
        """End everything, the clock first; what failed, each part being tried."""
        failures: list[BaseException] = []
        while self._undo:
            try:
                failures += self._undo.pop()(error) or ()
            except BaseException as failure:  # noqa: BLE001 - each part is put back, and every failure told
                failures.append(failure)
        return failures

    def batch(self, items: int) -> AbstractContextManager[None]:
        """What measures a batch once it is entered."""
        self._made += 1
        return self._measure(items)

    @contextmanager
    def _measure(self, items: int) -> Iterator[None]:
        self._entered += 1
        figures = self._totals.begin_batch()
        graphs = count_graphs()
        span = self._stopwatch.begin(self._devices)
        try:
            yield
        finally:
            self._stopwatch.end(span, self._devices, figures, items=items)
            self._totals.note_graphs(count_graphs() - graphs, figures)

    def _enter_gradients(self, gradients: Gradients, modules: list[Any]) -> None:
        self._totals.note_gradients(describe_mode(find_mode()), describe_mode(gradients.mode))
        if gradients.mode == "inference":
            known = find_inference_tensors(modules)
            self._undo.append(lambda error: self._tell_inference_tensors(modules, known))
        gradients.enter_at(None)
        self._undo.append(lambda error: gradients.leave())

    def _begin_counting(self) -> None:
        peaks, rss_bytes, graphs = Peaks(), peak_rss_bytes(), count_graphs()
        self._undo.append(lambda error: self._note_memory(rss_bytes, peaks))
        self._undo.append(lambda error: peaks.end(self._devices))
        peaks.begin(self._devices)
        self._span = span = self._stopwatch.begin(self._devices)
        self._undo.append(lambda error: self._end_span(span, graphs))
        self._undo.append(lambda error: self._check_batches())

    def _note_memory(self, rss_bytes: int, peaks: Peaks) -> None:
        growth_bytes = 0 if self._is_nested else peak_rss_bytes() - rss_bytes
        self._totals.note_memory(growth_bytes, peaks.peak_bytes)

    def _check_batches(self) -> None:
        if unheld := self._made - self._entered:
            raise ResourceError(
                f"a batch is measured while it is held, and {unheld} of {self._made} never were",
                hint="with prof.batch(n): …",
            )

    def _end_span(self, span: Span, graphs: int) -> None:
        """Count the block, as a batch too where it had none."""
        totals = self._totals
        if self._entered:
            self._stopwatch.end(span, self._devices, self._figures)
            return
        figures = totals.begin_batch()
        self._stopwatch.end(span, self._devices, self._figures, figures)
        totals.note_graphs(count_graphs() - graphs, figures)

    def _tell_inference_tensors(self, modules: list[Any], known: dict[int, Any]) -> None:
        made = find_inference_tensors(modules)
        names = name_tensors(modules, made.keys() - known.keys()) if made.keys() - known.keys() else []
        if names:
            self._totals.note_inference_tensors(names)
            warnings.warn(
                f"inference mode made tensors that the model keeps, which no later backward may use: "
                f'{", ".join(names)}; fill them before the block, or leave out gradients="inference"',
                stacklevel=5,
            )

    def _end_caching(self, error: BaseException | None) -> None:
        self._totals.note_clears(end_block(self._caching, self._devices, error))
