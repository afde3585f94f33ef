"""A sample of what comes out of a source half, spread over the source, and how much there is of it in all."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from tidemill.data.iteration import Records, iterate
from tidemill.data.nodes.across import Prefetch, Repeat, Shuffle, Skip, Take
from tidemill.data.nodes.keeping import Sort, iter_streams, place_folders
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Observe
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.rows import RowSource, is_dataset, open_dataset_rows
from tidemill.errors import ConfigError, DataError, ResourceError
from tidemill.jobs.live.glance import Glance
from tidemill.protocols import Source

MOST_PARTS = 10_000
"""Files whose size is asked for."""
STRATA = 8
"""Places of the source that are read from, each in a part of its own where there are so many."""


@dataclass(frozen=True, slots=True)
class SampleLimits:
    """How much is read for a sample.

    Attributes:
        records: that are kept.
        seconds: that reading takes, about.
        seed: what is read, where there is a choice, and which of what was read is kept.
        is_strict: whether a place is left out for which no time is left, and nothing told where what a join reads
            beside the records takes longer; else a record is read at each place, and that whole.
    """

    records: int = 200
    seconds: float = 1.0
    seed: int = 0
    is_strict: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read.

    Attributes:
        records: a sample of what comes out of the source half.
        places: where each of them came from.
        total: how many come out of it in all, about; None where that cannot be told.
        is_whole: whether all of it was gone through, so that `total` is exact.
        failed: of what was read, the records that failed.
        read: how many were gone through.
        given: how many came out of the source half.
        failure: what the first that failed did so with.
    """

    records: Sequence[Any]
    places: Sequence[str]
    total: float | None
    is_whole: bool
    failed: int
    read: int
    given: int
    failure: BaseException | None = None


def sample_source(source: Source, before: Sequence[Node], limits: SampleLimits) -> Sample:
    """A sample of the records of `source` behind the steps `before`.

    Of a dataset any rows, of files what they begin with, as far as the time goes: all of it, where that is little.
    The steps' functions are called with what is read.

    Raises:
        ConfigError: the source can be gone through only once.
        DataError, ResourceError: the source cannot be read; or not in time what a join reads beside it.
    """
    for read, _ in iter_streams(source, before):
        if isinstance(read, FromIterable) and iter_is_spent(read.iterable):
            raise ConfigError(
                f"an estimate reads a sample, and this {type(read.iterable).__name__} can be gone through only once",
                hint="give from_iterable the function that makes it: `make`, not `make()`",
            )
    if isinstance(source, RowSource) and is_dataset(source, before):
        return _sample_rows(source, before, limits)
    return _Sampling(source, before, limits).run()


def iter_is_spent(iterable: Any) -> bool:
    """Whether going through it leaves nothing for another time."""
    return not callable(iterable) and iter(iterable) is iterable


def _sample_rows(source: RowSource, before: Sequence[Node], limits: SampleLimits) -> Sample:
    rows = open_dataset_rows(source, before)
    count = rows.count_rows()
    places = random.Random(limits.seed).sample(range(count), min(limits.records, count))
    records: list[Any] = []
    kept: list[str] = []
    failures: list[BaseException] = []
    ends_at = time.monotonic() + limits.seconds
    for place in places:
        try:
            records.append(rows.read_row(place))
            kept.append(f"row {place}")
        except Exception as exc:  # noqa: BLE001 - it fails in the run as well, and is asked nothing
            failures.append(exc)
        if time.monotonic() > ends_at:
            break
    given, failed = len(records), len(failures)
    read = given + failed
    total, is_whole = count * len(records) / read if read else 0.0, not failed and read == count
    return Sample(records, kept, total, is_whole, failed, read, given, failures[0] if failures else None)


class _Count:
    """Counts what passes; the function of an `observe` step."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, record: Any) -> None:
        self.count += 1


class _Sampling:
    """Reads a stream's parts, and tells from their sizes what there is of each.

    Places are drawn all over the source, by size; the parts they lie in have their share of the time, the others what
    is left of it.

    Steps that only order records are left out; in the place of those that bound or repeat them, records are counted,
    and the bound is put on the total.
    """

    def __init__(self, source: Source, before: Sequence[Node], limits: SampleLimits) -> None:
        self._source = source
        self._limits = limits
        self._rng = random.Random(limits.seed)
        self._start = _Count()
        self._nodes: list[Node] = [Observe(fn=self._start)]
        self._bounds: list[tuple[Node, _Count]] = []
        for node in before:
            if isinstance(node, (Take, Skip, Repeat)):
                self._bounds.append((node, _Count()))
                self._nodes.append(Observe(fn=self._bounds[-1][1]))
            elif not isinstance(node, (Shuffle, Prefetch, Sort)):
                self._nodes.append(node)
        self._records: list[Any] = []
        self._places: list[str] = []
        self._passed = 0
        self._failed = 0
        self._unread = 0
        self._failure: BaseException | None = None

    def run(self) -> Sample:
        parts = list(islice(self._source.parts(), MOST_PARTS))
        sizes = self._measure(parts)
        chosen = self._choose(parts, sizes)
        ends_at = time.monotonic() + self._limits.seconds
        share = self._limits.seconds / sum(chosen.values())
        opened: list[str] = []
        found, is_whole, known = 0.0, len(parts) < MOST_PARTS, True
        for part in [*chosen, *(part for part in parts if part not in chosen)]:
            left = ends_at - time.monotonic()
            if left <= 0 and (part not in chosen or (self._limits.is_strict and opened)):
                break
            records, has_ended = self._read(part, chosen[part] * share if part in chosen else left)
            opened.append(part)
            is_whole = is_whole and has_ended
            known = known and records is not None
            found += records or 0.0
        if len(opened) < len(parts):
            found *= _find_factor(parts, sizes, opened)
            is_whole = False
        total = self._bound(found) if known else None
        exact, read = is_whole and not self._bounds, self._start.count + self._unread
        return Sample(
            self._records, self._places, total, exact, self._failed, read, self._passed, failure=self._failure
        )

    def _measure(self, parts: Sequence[str]) -> list[int | None]:
        """The size of each part, None where it does not tell."""
        measured = [self._source.measure_part(part, None) for part in parts]
        return [None if each is None else each[1] for each in measured]

    def _choose(self, parts: Sequence[str], sizes: Sequence[int | None]) -> dict[str, int]:
        """The parts to read, and how many strata of the source lie in each: the larger, the more."""
        weights = [size or 0 for size in sizes] if all(size is not None for size in sizes) else [1] * len(parts)
        total = sum(weights) or 1
        wanted = [(stratum + self._rng.random()) * total / STRATA for stratum in range(STRATA)]
        chosen: dict[str, int] = {}
        passed = 0
        for part, weight in zip(parts, weights, strict=True):
            passed += weight
            strata = sum(passed - weight <= place < passed for place in wanted)
            if strata:
                chosen[part] = strata
        return chosen or dict.fromkeys(parts[:1], 1)

    def _read(self, part: str, seconds: float) -> tuple[float | None, bool]:
        """Read a part for so long, one record at least.

        Returns: the records there are in all of it, None where it does not tell; and whether its end was come to.
        """
        start = self._start.count
        nodes = place_folders(self._nodes, Path(gettempdir(), "tidemill"))
        glance = Glance(seconds, beside_s=self._limits.seconds if self._limits.is_strict else None)
        records = iterate(self._source, glance.bound_steps(self._source, nodes), parts=[part])
        given, has_ended = 0, False
        try:
            while glance.goes_on(given) and not has_ended:
                given += 1
                try:
                    self._keep(next(records), records)
                except StopIteration:
                    has_ended = True
                except (Exception, SystemExit) as exc:  # noqa: BLE001 - it fails in the run as well, and is asked nothing
                    self._fail(exc)
            measured = self._source.measure_part(part, records.state()["source"])
        finally:
            records.close()
        if glance.is_beside_cut:
            raise ResourceError("what a join reads takes longer than an estimate may", where=f"part {part}")
        if has_ended and not glance.is_cut:
            return self._start.count - start, True
        read = self._start.count - start
        return (read * measured[1] / measured[0] if measured and measured[0] else None), False

    def _fail(self, error: BaseException) -> None:
        self._failed += 1
        self._unread += isinstance(error, DataError) and error.step == "source"
        self._failure = self._failure or error

    def _keep(self, record: Any, source: Records) -> None:
        """Every record read has the same chance to be of the sample (Vitter's algorithm R)."""
        self._passed += 1
        if len(self._records) < self._limits.records:
            self._records.append(record)
            self._places.append(source.origin().location)
        elif (place := self._rng.randrange(self._passed)) < self._limits.records:
            self._records[place], self._places[place] = record, source.origin().location

    def _bound(self, found: float) -> float | None:
        """How many of so many source records come out of the source half."""
        count, total = self._start.count, found
        for node, counted in self._bounds:
            total = total * counted.count / count if counted.count else 0.0
            count = counted.count
            if isinstance(node, Take):
                total = min(total, float(node.count))
            elif isinstance(node, Skip):
                total = max(0.0, total - node.count)
            elif isinstance(node, Repeat):
                total *= float("inf") if node.epochs is None else node.epochs
        total = total * self._passed / count if self._passed else 0.0
        return None if total == float("inf") else total


def _find_factor(parts: Sequence[str], sizes: Sequence[int | None], read: Sequence[str]) -> float:
    """How much more there is than in the parts that were read from."""
    known = {part: size for part, size in zip(parts, sizes, strict=True) if size is not None}
    size = sum(known[part] for part in read if part in known)
    return sum(known.values()) / size if len(known) == len(parts) and size else len(parts) / len(read)
