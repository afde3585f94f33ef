"""`InferenceProfiler`: inference in a block: evaluation mode, no gradients, timed; all of it put back."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeVar

from tidemill.errors import ResourceError
from tidemill.resources.devices import Device
from tidemill.resources.profiling.block import Block
from tidemill.resources.profiling.cache import THRESHOLD_BYTES, CachePolicy, Caching
from tidemill.resources.profiling.counts import check_count
from tidemill.resources.profiling.report import ProfileReport
from tidemill.resources.profiling.spans import Stopwatch
from tidemill.resources.profiling.totals import Totals
from tidemill.resources.releasing import raise_failures
from tidemill.resources.states.gradients import GradientMode, Gradients
from tidemill.resources.states.modules import check_models
from tidemill.resources.states.state import check_decorated, check_result
from tidemill.resources.states.suspension import Site, check_suspension, find_site

F = TypeVar("F", bound=Callable[..., Any])


class InferenceProfiler:
    """Inference in a block: the models in evaluation mode, no gradients, the time measured; then all as it was before.

    `with tm.InferenceProfiler(model) as prof: model(x)`, then `prof.elapsed_s`. It may be entered again and again, and
    adds up; as a decorator each call is a block. Within, `with prof.batch(32):` measures batches by themselves; a
    block without any counts as one.

    Every part is put back whatever ends the block, whose own error leaves it as it is; what could not be put back is
    told as notes on that, and raised where there is none. A block that awaits or yields is refused: see
    `tm.evaluating`. Threads: any; a block belongs to the thread that entered it.

    Device time is taken by events, and the device waited for once, when figures are read. The cache of its allocator
    is cleared at most once, as the outermost block of the thread ends, never per batch: the memory is then free for
    other processes, and what is allocated next costs calls to the driver again.

    Args:
        models: torch modules and any other callables, which need no torch.
        gradients: what is recorded: False nothing, True all, `inference` is torch's inference mode, faster by a little.
            Buffers it makes into inference tensors are told, with a warning, as the block ends: training on would fail.
        cache: when the cache is cleared: `on_exit`, `on_oom` if memory ran out in the block, `threshold` if that much
            is kept unused, `never`. Before, the locals of a traceback's frames are dropped and garbage is collected.
        threshold_bytes: for `threshold`.
        warmup: so many batches, the first, are kept apart.
        device: where the time is taken; by default each accelerator that has tensors of the models.
        clock: the host's time, in nanoseconds.

    Raises: ConfigError: an argument cannot be used.
    """

    def __init__(
        self,
        *models: Any,
        gradients: GradientMode = False,
        cache: CachePolicy = "on_exit",
        threshold_bytes: int = THRESHOLD_BYTES,
        warmup: int = 1,
        device: Device | None = None,
        clock: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        check_models(models)
        self._models = models
        self._gradients = Gradients(gradients)
        self._caching = Caching(cache, threshold_bytes)
        self._device = device
        self._stopwatch = Stopwatch(clock)
        self._totals = Totals(check_count(warmup, "a warm-up of 0 batches or more"))
        self._open: dict[int, list[Block]] = {}  # by thread, each read and written in its own

    def __enter__(self) -> Self:
        return self.enter_at(find_site(sys._getframe(1)))

    def enter_at(self, site: Site | None) -> Self:
        """Enter it for a block that stands at `site`; None for one that cannot suspend.

        Raises:
            ResourceError: the block suspends.
        """
        check_suspension(site, "an inference profiler")
        blocks = self._open.get(threading.get_ident(), [])
        block = Block(self._caching, self._totals, self._stopwatch, is_nested=bool(blocks))
        block.enter(self._models, self._gradients.copy(), self._device)
        self._open[threading.get_ident()] = [*blocks, block]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        thread = threading.get_ident()
        blocks = self._open.get(thread)
        if not blocks:
            failure = ResourceError(
                "an inference profiler: left in another thread than it was entered in, without being entered, or twice",
                hint="hold it by `with`",
            )
            raise_failures(error, [failure], "an inference profiler was not left")
            return
        block = blocks.pop()
        if not blocks:
            del self._open[thread]
        raise_failures(error, block.leave(error), "what an inference profiler changed could not be put back")

    def __call__(self, fn: F) -> F:
        """`fn`, each of its calls in a block."""
        check_decorated(fn, "an inference profiler")

        @wraps(fn)
        def run(*args: Any, **kwargs: Any) -> Any:
            with self:
                return check_result(fn(*args, **kwargs), fn, "an inference profiler")

        return run  # type: ignore[return-value]  # it has the signature that `wraps` says

    def batch(self, items: int = 1) -> AbstractContextManager[None]:
        """Measure what happens within as one batch of so many items: `with prof.batch(32):`. One that raises counts.

        One that is made and not entered measures nothing: the block says so with a ResourceError as it ends.

        Raises:
            ConfigError: `items` is no number of items.
            ResourceError: no block of this profiler is open in this thread, so that nothing would be measured.
        """
        blocks = self._open.get(threading.get_ident())
        if not blocks:
            raise ResourceError(
                "a batch is measured within a block of its profiler, and none is open in this thread",
                hint="with tm.InferenceProfiler(model) as prof: … with prof.batch(n): …",
            )
        return blocks[-1].batch(check_count(items, "how many items a batch has", hint="with prof.batch(len(x)): …"))

    @property
    def elapsed_s(self) -> float:
        """Seconds of all blocks: of each the longer of host and device; of one that is open the host's so far."""
        self._stopwatch.read_out()
        blocks = self._open.get(threading.get_ident(), ())
        return self._totals.blocks.elapsed_s + (blocks[0].elapsed_s if blocks else 0.0)

    @property
    def host_s(self) -> float:
        """Seconds of all blocks that have ended, on the host: without waiting for a device."""
        self._stopwatch.read_out()
        return self._totals.blocks.host.total_s

    @property
    def device_s(self) -> float:
        """Seconds of all blocks that have ended, on the device: from what was queued first to what was queued last."""
        self._stopwatch.read_out()
        return self._totals.blocks.device.total_s

    def __repr__(self) -> str:
        return f"<InferenceProfiler: {self._totals.describe_blocks()}>"

    def report(self) -> ProfileReport:
        """What all blocks came to; printing it shows it in lines. Waits for the device."""
        self._stopwatch.read_out()
        return self._totals.report()

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON."""
        return self.report().to_dict()

    def plot(self, path: str | PathLike[str] | None = None) -> Any:
        """A matplotlib figure of how long the batches took; saved to `path` where one is given.

        Raises:
            ResourceError: matplotlib is not installed.
        """
        from tidemill.resources.profiling.plot import draw_batches

        self._stopwatch.read_out()
        return draw_batches(self._totals, path)
