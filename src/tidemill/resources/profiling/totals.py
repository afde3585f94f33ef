"""`Totals`: what all blocks of a profiler come to."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterable, Mapping

from tidemill.resources.memory import peak_rss_bytes
from tidemill.resources.profiling.report import Batches, ProfileReport
from tidemill.resources.profiling.spans import Figures


class Totals:
    """What all blocks of a profiler come to. Threads: any.

    Args:
        warmup: so many batches, the first, are kept apart.

    Attributes:
        blocks: the blocks that have ended; `nested` those within another one.
        measured: their batches, without `warm`, those of the warm-up.
    """

    def __init__(self, warmup: int) -> None:
        self._warmup = warmup
        self._lock = threading.Lock()  # guards the counts; figures are written by `Stopwatch`, behind its own
        self.blocks = Figures()
        self.nested = Figures()
        self.measured = Figures()
        self.warm = Figures()
        self._begun = 0
        self._modules = 0
        self._switched = 0
        self._gradients = ""
        self._rss_growth_bytes = 0
        self._peak_bytes: dict[str, int] = {}
        self._inference_tensors: dict[str, None] = {}
        self._graphs = 0
        self._graphs_again = 0
        self._clears: Counter[str] = Counter()

    def begin_batch(self) -> Figures:
        """Where the batch that begins now counts."""
        with self._lock:
            self._begun += 1
            return self.warm if self._begun <= self._warmup else self.measured

    def note_models(self, modules: int, switched: int) -> None:
        """So many modules are in evaluation mode, so many of them were not."""
        with self._lock:
            self._modules = max(self._modules, modules)
            self._switched = max(self._switched, switched)

    def note_gradients(self, before: str, within: str) -> None:
        """What is recorded outside of the block, and within."""
        self._gradients = f"{before}, {within} within"

    def note_memory(self, rss_growth_bytes: int, peak_bytes: Mapping[str, int]) -> None:
        """How much a block raised the most this process has held, and the most that devices held in it."""
        with self._lock:
            self._rss_growth_bytes += rss_growth_bytes
            for name, peak in peak_bytes.items():
                self._peak_bytes[name] = max(self._peak_bytes.get(name, 0), peak)

    def note_graphs(self, graphs: int, figures: Figures) -> None:
        """How many graphs were compiled in a batch that counts in `figures`."""
        with self._lock:
            self._graphs += graphs
            if figures is self.measured and (self._warmup or self._begun > 1):
                self._graphs_again += graphs

    def note_inference_tensors(self, names: Iterable[str]) -> None:
        """Modules keep these since."""
        with self._lock:
            self._inference_tensors.update(dict.fromkeys(names))

    def note_clears(self, devices: Iterable[str]) -> None:
        """The caches of these were cleared."""
        with self._lock:
            self._clears.update(devices)

    def describe_blocks(self) -> str:
        """How many blocks have ended, without waiting for a device."""
        count = self.blocks.host.count + self.nested.host.count
        return f"{count:,} block{'' if count == 1 else 's'}"

    def report(self) -> ProfileReport:
        """All of it."""
        with self._lock:
            return ProfileReport(
                blocks=self.blocks.host.count + self.nested.host.count,
                elapsed_s=self.blocks.elapsed_s,
                batches=Batches.of(self.measured),
                warmup=Batches.of(self.warm),
                peak_rss_bytes=peak_rss_bytes(),
                peak_rss_growth_bytes=self._rss_growth_bytes,
                peak_device_bytes=dict(self._peak_bytes),
                modules=self._modules,
                switched=self._switched,
                gradients=self._gradients,
                inference_tensors=tuple(self._inference_tensors),
                compilations=self._graphs,
                recompilations=self._graphs_again,
                clears=dict(self._clears),
            )


def count_graphs() -> int:
    """Graphs that torch has compiled in this process so far."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return 0 if dynamo is None else int(dynamo.counters["stats"]["unique_graphs"])
