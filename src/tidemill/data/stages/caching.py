"""The stage of a `cache`: what passes is put on disk the first time, and given from there the next.

Its state is a place among the parts, and says nothing of the stages in front: these are opened when a part is come to
that is not there, at the place that the part before it names. So a cache that was left half-way goes on, and one whose
folder is gone is filled from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any, cast

from tidemill.data.failing.policy import is_of_record
from tidemill.data.kept.encoding import make_encoder
from tidemill.data.kept.parts import CacheParts, Outcome, PartHead
from tidemill.data.nodes.keeping import Cache
from tidemill.data.reader import raise_each
from tidemill.data.records.origin import Origin
from tidemill.data.stages.kept import guard_feed
from tidemill.data.stages.others import Others
from tidemill.data.stages.progress import iter_outcomes
from tidemill.data.stages.stage import FedStage, Stage
from tidemill.errors import DataError, StateError
from tidemill.protocols import State


class CacheStage(FedStage):
    """What a cache gives; its state is the number of the part, and of the outcome in it."""

    index: int
    filling: _Filling

    def marks(self, back: int) -> State:
        part, given = self.filling.before if back else self.filling.at
        mark = {"part": part, "given": given}
        return {"part": None, "index": 0, "source": None, "steps": {str(self.index): mark} if part or given else {}}

    def spot(self) -> Any:
        upstream = self.filling.upstream
        return None if upstream is None else (upstream, upstream.spot())

    def describe(self, spot: Any) -> Origin:
        return (Origin("") if spot is None else spot[0].describe(spot[1])).through(self.step)

    def counts(self) -> Any:
        return ()

    def gathers(self) -> bool:
        return False

    def explain(self) -> Origin:
        return self.origin()

    def turn(self) -> int | None:
        return None

    def close(self) -> None:
        self.feeder.close()
        if self.filling.upstream is not None:
            self.filling.upstream.close()


class _Filling:
    """Where a cache stands; shared by the stage and the generator that feeds it.

    Attributes:
        at: the number of the part, and how many of its outcomes were given.
        before: the same in front of the outcome given last.
        upstream: the stage in front, once it was opened.
    """

    def __init__(
        self,
        parts: CacheParts,
        open_at: Callable[[State | None], Stage],
        others: Others,
        index: int,
        part_bytes: int,
        mark: State | None,
    ) -> None:
        self.at: tuple[int, int] = (mark["part"], mark["given"]) if mark else (0, 0)
        self.before = self.at
        self.upstream: Stage | None = None
        self._parts = parts
        self._open_at = open_at
        self._others = others
        self._index = index
        self._part_bytes = part_bytes
        self._encode = make_encoder()
        self._out: list[Outcome] = []  # no local name: a frame at rest would hold the error, and that who reads

    def iter_links(self) -> Generator[Iterator[Any]]:
        """The records, and the failures as links that raise."""
        outcomes = self._iter_outcomes()
        failed: list[BaseException] = []
        broken: list[BaseException] = []
        while True:
            yield _iter_records(outcomes, failed, broken)
            if broken:
                raise broken.pop()
            if not failed:
                return
            yield raise_each((failed.pop(),))

    def _iter_outcomes(self) -> Iterator[Outcome]:
        """All outcomes from where it stands: of the parts there are, then of the stage in front."""
        while (head := self._parts.find(self.at[0])) is not None:
            for index, seen in head.others.items():
                self._others.note(int(index), seen, self._parts.step)
            part, start = self.at
            if start > head.count:
                raise self._find_behind(start - head.count)
            for _ in self._parts.iter_outcomes(part, start, into=self._out):
                self.before, self.at = self.at, (part, self.at[1] + 1)
                yield self._out.pop()
            if head.is_last:
                return
            self.at = part + 1, 0
        yield from self._fill()

    def _fill(self) -> Iterator[Outcome]:
        """What the stage in front gives, put into parts; what stands in front of where it is to go on is not given."""
        goal = self.at
        part, behind = self._find_start(goal[0])
        self.upstream = self._open_at(behind)
        held: list[bytes] = []
        size = 0
        for outcome in iter_outcomes(self.upstream):
            record, error = outcome
            if error is not None and not is_of_record(error):
                self._out.append(outcome)
                del record, error, outcome
                yield self._out.pop()
                continue
            outcome, payload = self._pack(record, error)
            held.append(payload)
            size += len(payload)
            place = part, len(held)
            if size >= self._part_bytes:
                self._write(part, held, is_last=False)
                part, held, size = part + 1, [], 0
            if place > goal:
                self.before, self.at = self.at, (part, len(held))
                self._out.append(outcome)
                del record, error, outcome
                yield self._out.pop()
        if (part, len(held)) < goal:
            raise self._find_behind(goal[1] - len(held))
        self._write(part, held, is_last=True)

    def _write(self, part: int, payloads: list[bytes], *, is_last: bool) -> None:
        assert self.upstream is not None
        head = PartHead(len(payloads), is_last, self.upstream.marks(0), self._others.describe(before=self._index))
        self._parts.write(part, payloads, head)

    def _find_behind(self, count: int) -> StateError:
        return StateError(
            f"the state stands {count} records behind the end of what there is now",
            hint="the source and its functions must give the same records each time; start without a state",
        )

    def _find_start(self, part: int) -> tuple[int, State | None]:
        """The part to fill first, up to the one that is wanted, and the state in front of it."""
        while part:
            head = self._parts.find(part - 1)
            if head is not None:
                return part, head.behind
            part -= 1
        return 0, None

    def _pack(self, record: Any, error: BaseException | None) -> tuple[Outcome, bytes]:
        """An outcome and its bytes; a record that has none has failed."""
        try:
            return (record, error), self._encode((record, error))
        except DataError as failed:
            told = error or failed
            plain = DataError(failed.message, where=failed.where, hint=failed.hint) if error is None else _strip(error)
            return (None, told), self._encode((None, plain))


def _strip(error: BaseException) -> BaseException:
    """The same failure without its record, which cannot be kept."""
    plain = DataError(str(getattr(error, "message", error)), where=getattr(error, "where", ""))
    plain.step = getattr(error, "step", "")
    return plain


def _iter_records(
    outcomes: Iterator[Outcome], failed: list[BaseException], broken: list[BaseException]
) -> Iterator[Any]:
    """The records up to the next failure, which is put into `failed`; what ends them all, into `broken`."""
    try:
        for record, error in outcomes:
            if error is not None:
                failed.append(error)
                return
            yield record
    except Exception as error:  # noqa: BLE001 - raised by who feeds the chain, again and again
        broken.append(error)


def open_cache(
    open_at: Callable[[State | None], Stage],
    node: Cache,
    parts: CacheParts,
    others: Others,
    index: int,
    step: str,
    mark: State | None,
) -> Stage:
    """The stage of a `cache` step, going on from its `mark`.

    Args:
        open_at: opens the stages in front.
        others: what the joins of the pipeline have read of their other streams; those of a part count as read.
    """
    filling = _Filling(parts, open_at, others, index, node.part_bytes, mark)
    feeder = guard_feed(filling.iter_links(), step)
    stage = cast(CacheStage, CacheStage.from_iterable(feeder))
    stage.feeder = feeder
    stage.step = step
    stage.index = index
    stage.filling = filling
    return stage
