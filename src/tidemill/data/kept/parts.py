"""Parts of a cache: files of outcomes, records and failures, each part whole or not there.

A part begins with a line of JSON: what the source looked like, how many outcomes there are, whether they are the last,
the state in front of the cache behind them, and what joins had read of their other streams. Behind it stand frames,
each a length (four bytes) and a pickled `(record, error)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import IO, Any

import orjson

from tidemill.data.kept.encoding import decode
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.sources.read import Read
from tidemill.data.sources.rows import RowSource
from tidemill.data.sources.stamps import stamp_sizes, stamp_source
from tidemill.errors import StateError
from tidemill.protocols import Source, State

Outcome = tuple[Any, BaseException | None]
"""A record, or what failed in its place."""

_BUFFER_BYTES = 256 << 10


@dataclass(frozen=True, slots=True)
class PartHead:
    """What a part says of itself.

    Attributes:
        count: how many outcomes it has.
        is_last: whether there are none behind it.
        behind: the state of the stages in front behind them.
        others: what the joins in front had read of their other streams.
    """

    count: int
    is_last: bool
    behind: State
    others: State


class CacheParts:
    """The parts of one cache.

    Attributes:
        step: the name of the cache's step.

    Args:
        folder: where they stand.
        source: where records come from. It changed when its stamp did, and when what was read of the part that the
            first or the last part of the cache ends in did. Of one file alone that tells all but its size, so that it
            may be written again as it was.
        has_others: whether the joins in front would read of their other streams what a part says.
        rebuild: whether parts of a source that changed are made anew; else they are refused.
    """

    def __init__(
        self, folder: KeptFolder, source: Source, *, has_others: Callable[[State], bool], rebuild: bool
    ) -> None:
        self.step = folder.step
        self._folder = folder
        self._source = source
        self._has_others = has_others
        self._rebuild = rebuild
        self._stamp = ""
        self._is_checked = False
        self._others: State | None = None  # of the part looked at last

    def find(self, number: int) -> PartHead | None:
        """What there is of part `number`; None when it is not there.

        Raises:
            StateError: it is of another source, or joined with another, and parts are not rebuilt.
        """
        stamp = self._find_stamp()  # before anything is read of the source
        try:
            with open(self._folder.path / _name(number), "rb", buffering=_BUFFER_BYTES) as file:
                head = orjson.loads(file.readline())
        except FileNotFoundError:
            return None
        is_same = head.pop("stamp") == stamp
        if is_same:
            found = PartHead(**head)
            is_same = (self._is_checked and not found.is_last) or self._is_same(found)
            if is_same and (found.others == self._others or self._has_others(found.others)):
                self._is_checked, self._others = True, found.others
                return found
        if self._rebuild:
            return None
        what = "the other stream of a join" if is_same else "the source"
        raise StateError(
            f"{what} is not what the cache was filled from: {self._folder.path}",
            where=f"step `{self.step}`",
            hint='delete that folder, or say changed="rebuild"',
        )

    def iter_outcomes(self, number: int, start: int, *, into: list[Outcome]) -> Iterator[None]:
        """The outcomes of a part, from number `start` on, each put `into` a list, to be taken from there."""
        with open(self._folder.path / _name(number), "rb", buffering=_BUFFER_BYTES) as file:
            file.readline()
            for count, payload in enumerate(_iter_frames(file)):
                if count >= start:
                    into.append(decode(payload))
                    yield

    def write(self, number: int, payloads: Sequence[bytes], head: PartHead) -> None:
        """Put a part there, or in the place of one."""
        described = {"stamp": self._find_stamp(), **asdict(head)}
        with self._folder.create_file(_name(number)) as file:
            file.write(orjson.dumps(described, option=orjson.OPT_APPEND_NEWLINE))
            for payload in payloads:
                file.write(len(payload).to_bytes(4, "little"))
                file.write(payload)

    def _is_same(self, head: PartHead) -> bool:
        """Whether what was read of the source's part up to there is still the same."""
        part, state = head.behind["part"], head.behind["source"]
        if part is None or state is None or isinstance(self._source, RowSource):
            return True
        return self._source.compare_part(part, state) in ("same", "grown")

    def _find_stamp(self) -> str:
        if not self._stamp:
            is_one_file = isinstance(self._source, Read) and len(list(islice(self._source.parts(), 2))) == 1
            self._stamp = stamp_sizes(self._source) if is_one_file else stamp_source(self._source)
        return self._stamp


def _iter_frames(file: IO[bytes]) -> Iterator[bytes]:
    while length := file.read(4):
        yield file.read(int.from_bytes(length, "little"))


def _name(number: int) -> str:
    return f"part-{number:06d}"
