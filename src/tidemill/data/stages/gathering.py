"""Stages that gather records: batches, sliding windows, the rounds of a shard.

A failure is given outside of its `except`: within it, the resting generator would hold the error, the error the frames
of whoever reads, and so a dropped iterator its files and threads until they are collected.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import islice
from typing import Any

from tidemill.data.gathered.batches import Form
from tidemill.data.order import derive_seed, permute_block
from tidemill.data.stages import anchored
from tidemill.data.stages.anchored import Anchor, Feed
from tidemill.data.stages.stage import Stage
from tidemill.data.turns import Turns, dump_layers
from tidemill.protocols import State


def feed_batches(size: int, form: Form, *, drop_last: bool) -> Feed:
    """Lists of `size` records; the last may be shorter, unless it is dropped."""

    def feed(upstream: Stage, anchor: Anchor) -> Generator[Iterator[Any]]:
        batch: list[Any] = []
        since = 0
        while True:
            if not batch and since >= anchored.ANCHOR_RECORDS:
                anchor.move(None)
                since = 0
            held = len(batch)
            failed: Iterator[Any] | None = None
            try:
                batch.extend(islice(upstream, size - held))
            except BaseException as error:  # noqa: BLE001 - raised by the chain, which it would end here
                failed = anchor.error(error)
            since += len(batch) - held
            if failed is not None:
                yield failed
                continue
            ended = len(batch) < size
            if batch and not (ended and drop_last):
                yield _form(anchor, form, batch, settled=None)
            if ended:
                return
            batch = []

    return feed


def feed_sized_batches(limit: int, measure: Callable[[Any], int], form: Form, *, padded: bool) -> Feed:
    """Lists of records whose sizes come to `limit` at most; a larger one stands alone.

    With `padded`, each counts as the largest of its batch: what a batch takes once it is padded.
    """

    def feed(upstream: Stage, anchor: Anchor) -> Generator[Iterator[Any]]:
        batch: list[Any] = []
        total = largest = since = size = 0
        record: Any = None
        while True:
            failed: Iterator[Any] | None = None
            try:
                record = next(upstream)
            except StopIteration:
                break
            except BaseException as error:  # noqa: BLE001 - as above
                failed = anchor.error(error)
            else:
                try:
                    size = measure(record)
                except BaseException as error:  # noqa: BLE001 - as above
                    failed = anchor.error(error, record)
            if failed is not None:
                yield failed
                continue
            since += 1
            larger = max(largest, size)
            if batch and (larger * (len(batch) + 1) if padded else total + size) > limit:
                yield _form(anchor, form, batch)
                batch, total, larger = [], 0, size
                if since >= anchored.ANCHOR_RECORDS:
                    anchor.move(None, back=1)
                    since = 0
            batch.append(record)
            total, largest = total + size, larger
        if batch:
            yield _form(anchor, form, batch)

    return feed


def feed_windows(size: int, step: int) -> Feed:
    """Lists of `size` records in a row, each beginning `step` records after the last; only whole ones."""

    def feed(upstream: Stage, anchor: Anchor) -> Generator[Iterator[Any]]:
        window: list[Any] = []
        skip = anchor.own or 0  # records until the next window begins
        since = 0
        ahead: tuple[State, int] | None = None  # a place further on, and how many records held were read before it
        errors = 0  # given since then
        while True:
            if ahead is not None and ahead[1] <= 0:
                anchor.move_to(ahead[0], -ahead[1], given=errors)
                ahead = None
            elif ahead is None and since >= max(anchored.ANCHOR_RECORDS, size):
                ahead, since, errors = (upstream.marks(0), len(window) - skip), 0, 0
            failed: Iterator[Any] | None = None
            try:
                for _ in islice(upstream, skip):
                    skip -= 1
                window.extend(islice(upstream, size - len(window)))
            except BaseException as error:  # noqa: BLE001 - as above
                failed = anchor.error(error)
            if failed is not None:
                errors += 1
                yield failed
                continue
            if len(window) < size:
                return
            yield anchor.link([list(window)])
            since += step
            skip = max(0, step - size)
            del window[:step]
            if ahead is not None:
                ahead = (ahead[0], ahead[1] - step)

    return feed


def feed_rounds(turns: Turns, *, pad: bool) -> Feed:
    """Of every round of as many records as there are ranks the one of `turns`, so that all are given equally many.

    The last round, when it is not whole, is dropped, or with `pad` gone through again from its start. What an anchor
    knows is the number of the next record, and the layers of the turns.
    """

    def feed(upstream: Stage, anchor: Anchor) -> Generator[Iterator[Any]]:
        number: int = anchor.own["seen"]
        ragged_end = turns.ragged_end
        round_: list[tuple[int, Any]] = []
        since = 0
        while True:
            if not round_ and since >= anchored.ANCHOR_RECORDS:
                anchor.move(own_of_rounds(turns, number))
                since = 0
            failed: Iterator[Any] | None = None
            ended = False
            try:
                for record in islice(upstream, turns.world - len(round_)):
                    if number >= ragged_end or turns.is_left(number):
                        round_.append((number, record))
                    number += 1
                    since += 1
                    ended = True
                ended = not ended
            except BaseException as error:  # noqa: BLE001 - as above
                failed = anchor.error(error)
            if failed is not None:
                yield failed
                continue
            if len(round_) == turns.world or (ended and round_ and pad):
                anchor.turn, record = round_[turns.rank % len(round_)]
                anchor.at = number, round_[0][0]
                round_ = []
                yield anchor.link([record], settled=own_of_rounds(turns, number))
            if ended:
                if round_:
                    anchor.unsettle()
                return

    return feed


def own_of_rounds(turns: Turns, number: int) -> State:
    """What the anchor of a shard in rounds knows in front of the record of this number."""
    return {"seen": number, **dump_layers(turns.layers)}


def feed_blocks(size: int, seed: int, epoch: tuple[int, ...]) -> Feed:
    """The records block by block, each block in an order that follows from the seed, the epoch and its number."""

    def feed(upstream: Stage, anchor: Anchor) -> Generator[Iterator[Any]]:
        number = anchor.own
        block: list[Any] = []
        while True:
            failed: Iterator[Any] | None = None
            try:
                block.extend(islice(upstream, size - len(block)))
            except BaseException as error:  # noqa: BLE001 - as above
                failed = anchor.error(error)
            if failed is not None:
                yield failed
                continue
            if block:
                ordered = permute_block(block, derive_seed(seed, epoch, number))
                yield anchor.link(ordered, settled=number + 1)
            if len(block) < size:
                return
            number += 1
            block = []
            anchor.move(number)

    return feed


def _form(anchor: Anchor, form: Form, batch: list[Any], **settled: Any) -> Iterator[Any]:
    try:
        return anchor.link([form(batch)], **settled)
    except BaseException as error:  # noqa: BLE001 - as above
        return anchor.error(error, batch)
