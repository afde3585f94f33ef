"""Streams one after the other, side by side, and in turns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tidemill.data.flow import Flow
from tidemill.data.iteration import Records
from tidemill.data.joined.joined import Joined, JoinedReader, Members, open_joined
from tidemill.errors import ConfigError, DataError
from tidemill.protocols import State


class Concat(Joined):
    """Streams one after the other."""

    kind = "concat"

    def open_part(self, part: str, state: State | None = None) -> JoinedReader:
        return open_joined(self.flows, _draw_in_order, [], state)


def _draw_in_order(members: Members) -> Iterator[Any]:
    for index, records in enumerate(members.inner):
        if not members.ended[index]:
            members.last = index
            for record in records:  # noqa: UP028 - `yield from` would close the stream in whatever thread drops it
                yield record
            members.ended[index] = True


class Zip(Joined):
    """Tuples of one record of each stream, as many as the shortest has.

    Attributes:
        strict: streams of different lengths are an error at the end of the shortest.
    """

    kind = "zip"

    def __init__(self, flows: Sequence[Flow], *, strict: bool = False) -> None:
        super().__init__(flows)
        self.strict = strict

    def open_part(self, part: str, state: State | None = None) -> JoinedReader:
        return open_joined(self.flows, self._draw, [0], state)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "strict": self.strict}

    def _draw(self, members: Members) -> Iterator[Any]:
        while (row := self._read_row(members)) is not None:
            members.advance(None, [members.own[0] + 1])
            yield row

    def _read_row(self, members: Members) -> tuple[Any, ...] | None:
        """A record of each stream; all are passed over when one of them failed. None at the end."""
        row: list[Any] = []
        failure: BaseException | None = None
        for index, records in enumerate(members.inner):
            try:
                row.append(next(records))
            except StopIteration:
                self._end(members, index)
                return None
            except BaseException as error:  # noqa: BLE001 - raised when the others of the row were read
                failure = failure or error
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it has this frame in its traceback
        return tuple(row)

    def _end(self, members: Members, shortest: int) -> None:
        """The end of one stream is that of all; with `strict`, check that the others end there too."""
        if members.ended[0]:
            return
        members.ended = [True] * len(self.flows)
        if self.strict and (shortest or any(map(_has_more, members.inner[1:]))):
            raise DataError(
                f"expected streams of one length, but one ends after {members.own[0]:,} records and another goes on",
                hint="leave out strict=True to end with the shortest",
            )


def _has_more(records: Records) -> bool:
    try:
        next(records)
    except StopIteration:
        return False
    return True


class Interleave(Joined):
    """Records of each stream in turn, `block` at a time; one that has ended is left out.

    Attributes:
        block: records in a row of one stream.
    """

    kind = "interleave"

    def __init__(self, flows: Sequence[Flow], *, block: int = 1) -> None:
        super().__init__(flows)
        if block < 1:
            raise ConfigError(f"expected a block of at least 1 record, got {block}")
        self.block = block

    def open_part(self, part: str, state: State | None = None) -> JoinedReader:
        return open_joined(self.flows, self._draw, [0, 0], state)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "block": self.block}

    def _draw(self, members: Members) -> Iterator[Any]:
        while not all(members.ended):
            index, given = members.own
            if given == self.block or members.ended[index]:
                members.own = [(index + 1) % len(self.flows), 0]
                continue
            try:
                record = members.take(index, [index, given + 1])
            except StopIteration:
                members.ended[index] = True
            else:
                yield record
