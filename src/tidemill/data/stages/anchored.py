"""Stages that hold records between what they give: a batch being filled, a block being shuffled, a window.

Their state holds none of these. It is the state of the stage in front at an *anchor*, a place from which what follows
can be made again, and how many outcomes (records and errors) were given since. Going on reads again from the anchor
and passes over that many: at most `ANCHOR_RECORDS` records and one buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from operator import length_hint
from typing import Any, TypeVar, cast

from tidemill.data.failing.failures import NO_RECORD, explain_failure
from tidemill.data.failing.policy import Losses, Policy, find_step
from tidemill.data.reader import raise_each
from tidemill.data.records.origin import Origin, gather_origins
from tidemill.data.stages.stage import FedStage, Stage
from tidemill.errors import StateError
from tidemill.protocols import State

ANCHOR_RECORDS = 1024
"""Records read between two anchors at least: asking the stages in front for their state takes about 12 us."""


_NEVER: Any = object()


class Anchor:
    """The place a stage's state counts from; shared by the stage and the generator that feeds it.

    Attributes:
        own: what the step itself must know there: JSON.
        place: the state of the stage in front there.
        given: outcomes given since, those of the link at hand left out.
        pending: outcomes to be passed over before anything is given, once the stage is asked.
        turn: of a shard, the number of the record given last.
        at: of a shard, the numbers of the records behind and in front of the round given last.
    """

    def __init__(self, upstream: Stage, own: Any, pending: int, step: str, policy: Policy) -> None:
        self.upstream = upstream
        self._step = step
        self._policy = policy
        self.own = own
        self.given = 0
        self.pending = pending
        self.place = upstream.marks(0)
        self.turn: int | None = None
        self.at: tuple[int, int] | None = None
        self._link: Iterator[Any] = iter(())
        self._length = 0
        self._settled: Any = _NEVER

    def move(self, own: Any, *, back: int = 0) -> None:
        """Put the anchor here: nothing is held that was read before this, or with `back=1` before the last record."""
        self.move_to(self.upstream.marks(back), own)

    def move_to(self, marks: State, own: Any, *, given: int = 0) -> None:
        """Put the anchor where the stage in front had the state `marks`; so many outcomes were `given` since then."""
        self.place = marks
        self.own = own
        self.given = given
        self._length = 0

    def link(self, outcomes: list[Any], *, settled: Any = _NEVER) -> Iterator[Any]:
        """The outcomes as the next link of the chain, counted as they are taken.

        Args:
            settled: what the step must know to go on behind them, if it then holds nothing that was read.
        """
        self._settled = settled
        self.given += self._length
        self._link, self._length = iter(outcomes), len(outcomes)
        return self._link

    def unsettle(self) -> None:
        """Something is held behind the link at hand after all."""
        self._settled = _NEVER

    def error(self, error: BaseException, record: Any = NO_RECORD) -> Iterator[Any]:
        """An error as the next link: of the stage in front as it came, of the step itself as its policy says.

        Args:
            record: the record, or the records, that the step failed at.
        """
        self._settled = _NEVER
        kept = record if self._policy.keeps else NO_RECORD
        explained = explain_failure(error, self._step, self.upstream.origin().location, kept)
        if find_step(explained) == self._step and self._policy.takes(explained):
            return iter(())
        self.given += self._length
        self._length = 0
        self.given += 1
        return raise_each((explained,))

    def explain(self, error: BaseException, record: Any = None) -> BaseException:
        """An error in words; the step's own keeps the `record` it is about, where a quarantine needs it."""
        kept = record if self._policy.keeps else None
        return explain_failure(error, self._step, self.upstream.origin().location, kept)

    def count_given(self) -> int:
        """Outcomes given since."""
        return max(self.pending, self.given + self._length - length_hint(self._link))

    def marks(self, index: int, back: int) -> State:
        if self._settled is not _NEVER and not back and not self.pending and not length_hint(self._link):
            marks = self.upstream.marks(0)
            if self._settled is not None:
                marks["steps"][str(index)] = {"own": self._settled, "given": 0}
            return marks
        given = max(self.pending, self.count_given() - back)
        steps = dict(self.place["steps"])
        if given or self.own is not None:
            steps[str(index)] = {"own": self.own, "given": given}
            if self.at is not None:
                steps[str(index)]["at"] = self.at[back]
        return {**self.place, "steps": steps}


Feed = Callable[[Stage, Anchor], Generator[Iterator[Any]]]
"""Reads the stage in front and gives links made by the anchor, which it moves where it holds nothing."""

Reopen = Callable[[State | None], Stage]
"""Opens the stage in front anew, at a state."""


@dataclass(frozen=True, slots=True)
class Gathering:
    """How a step gathers records.

    Attributes:
        feed: reads the stage in front and gives what the step gives.
        trace: the same over records in boxes: gives the boxes that each outcome is made from, in a list or one alone.
        own: what the step knows at the start.
    """

    feed: Feed
    trace: Feed | None = None
    own: Any = None


class AnchoredStage(FedStage):
    """A stage whose state is an anchor's."""

    index: int
    anchor: Anchor

    def marks(self, back: int) -> State:
        return self.anchor.marks(self.index, back)


class GatheringStage(AnchoredStage):
    """A stage that tells what a record was made from by reading once more from its anchor."""

    trace: Feed | None
    reopen: Reopen
    skips: bool

    def gathers(self) -> bool:
        return True

    def turn(self) -> int | None:
        return self.upstream.turn() if self.anchor.turn is None else self.anchor.turn

    def explain(self) -> Origin:
        given = self.anchor.count_given()
        if self.trace is None or not given:
            return self.origin()
        return trace_origin(
            self.reopen(self.anchor.place), self.trace, self.anchor.own, given, self.step, skips=self.skips
        )


S = TypeVar("S", bound=AnchoredStage)


def open_gathering(
    upstream: Stage, index: int, step: str, gathering: Gathering, mark: State | None, reopen: Reopen, policy: Policy
) -> Stage:
    """The stage of a step that gathers, going on from its `mark`."""
    own, given = (mark["own"], mark["given"]) if mark else (gathering.own, 0)
    anchor = Anchor(upstream, own, given, step, policy)
    if mark and "at" in mark:
        anchor.at = mark["at"], mark["at"]
    stage = link_stage(GatheringStage, gathering.feed, anchor, index, step)
    stage.trace = gathering.trace
    stage.reopen = reopen
    stage.skips = policy.skips
    return stage


def link_stage(kind: type[S], feed: Feed, anchor: Anchor, index: int, step: str) -> S:
    """A stage of what `feed` gives behind what its anchor has pending."""
    links = feed(anchor.upstream, anchor)
    if anchor.pending:
        links = pass_over(links, anchor, step)
    stage = cast(S, kind.from_iterable(links))
    stage.feeder = links
    stage.upstream = anchor.upstream
    stage.step = step
    stage.index = index
    stage.anchor = anchor
    return stage


def pass_over(links: Iterator[Iterator[Any]], anchor: Anchor, step: str) -> Generator[Iterator[Any]]:
    """The links without the outcomes that were given before."""
    given = anchor.pending
    for link in links:
        while given:
            failed: Iterator[Any] | None = None
            try:
                next(link)
            except StopIteration:
                break
            except Exception:  # noqa: BLE001 - it was raised when it was given before
                given -= 1
            except BaseException as error:  # noqa: BLE001 - an interrupt: raised by the chain, which it would end here
                failed = raise_each((error,))
            else:
                given -= 1
            if failed is not None:
                yield failed
        if not given:
            anchor.pending = 0
            yield link
            break
    if given:
        yield raise_each(
            (
                StateError(
                    f"the state stands {given} records behind the end of what there is now",
                    where=f"step `{step}`",
                    hint="the source and its functions must give the same records each time; start without a state",
                ),
            )
        )
    yield from links


@dataclass(frozen=True, slots=True)
class Box:
    """A record with where it came from."""

    record: Any
    origin: Origin


class _BoxStage(Stage):
    """Records in boxes, in front of a feed that is gone through once more to see which of them it used."""

    def describe(self, spot: Any) -> Origin:
        return self.upstream.describe(spot)

    def ended(self) -> bool:
        return self.upstream.ended()

    def marks(self, back: int) -> State:
        return {"steps": {}}

    def origin(self) -> Origin:
        return self.upstream.origin()


def trace_origin(upstream: Stage, trace: Feed, own: Any, given: int, step: str, *, skips: bool) -> Origin:
    """Where the records of outcome number `given` since the anchor came from."""
    boxes = cast(_BoxStage, _BoxStage.from_iterable(_iter_boxes(upstream)))
    boxes.upstream = upstream
    policy = Policy(skips=skips, keeps=False, losses=Losses())
    links = trace(boxes, Anchor(boxes, own, 0, step, policy))
    outcomes = chain.from_iterable(map(_iter_outcomes, links))
    outcome = next(islice(outcomes, given - 1, None), None)
    upstream.close()
    found = outcome if isinstance(outcome, list) else [outcome]
    return gather_origins(tuple(box.origin for box in found if isinstance(box, Box)), step)


def _iter_boxes(upstream: Stage) -> Iterator[Iterator[Any]]:
    while True:
        try:
            record = next(upstream)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - an outcome at its place, as it was then
            link = raise_each((error,))
        else:
            link = iter([Box(record, upstream.explain())])
        yield link


def _iter_outcomes(link: Iterator[Any]) -> Iterator[Any]:
    while True:
        try:
            yield next(link)
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - as above
            yield error
