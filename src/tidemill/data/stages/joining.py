"""The stage of a `join`: each record with those of another stream that have its key.

The other stream is read whole before the first record, into memory and what that does not hold into one file; so it is
each time that the stage is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

from tidemill.data.columns import read_column
from tidemill.data.kept.encoding import decode, make_encoder
from tidemill.data.kept.lookup import Entry, Lookup
from tidemill.data.keys import Named, name_key
from tidemill.data.nodes.keeping import Join
from tidemill.data.stages.children import FlatMapStage, open_flat_map
from tidemill.data.stages.stage import Stage
from tidemill.data.steps import RecordFunction
from tidemill.errors import DataError, TidemillError
from tidemill.protocols import RecordIterator, State

OpenOther = Callable[[], RecordIterator]
"""Opens the other stream, from its start."""


class JoinStage(FlatMapStage):
    """The joined records of each."""

    lookup: Lookup

    def close(self) -> None:
        self.lookup.close()
        super().close()


class Joiner:
    """Joins records with those of another stream."""

    def __init__(self, node: Join, lookup: Lookup, open_other: OpenOther) -> None:
        self._node = node
        self._names = tuple(node.on)
        self._columns: dict[str, None] = {}
        self._lookup = lookup
        self._open_other = open_other

    def make(self) -> RecordFunction:
        """The function of a record, once the other stream is read.

        Raises:
            DataError: a record of the other stream failed, or is none; it is the run's.
        """
        records = self._open_other()
        try:
            self._lookup.fill(self._iter_entries(records))
        finally:
            records.close()
        return {"inner": self._join_inner, "left": self._join_left, "semi": self._keep, "anti": self._leave_out}[
            self._node.how
        ]

    def _iter_entries(self, records: RecordIterator) -> Iterator[Entry]:
        """The other stream's records by their keys, without the columns of these; only keys where these are all."""
        names = tuple(self._node.on.values())
        keys_alone = self._node.how in ("semi", "anti")
        encode = make_encoder()
        while True:
            try:
                record = next(records)
                named = _name(record, names)
                if named is None:
                    continue
                rest = None if keys_alone else {name: each for name, each in record.items() if name not in names}
                entry = named, encode(rest)
            except StopIteration:
                return
            except TidemillError as error:
                error.of = "run"
                error.message = f"in the other stream: {error.message}"
                error.hint = error.hint or "let that stream pass over the record, with `catch`"
                raise
            if rest and not rest.keys() <= self._columns.keys():
                self._columns.update(dict.fromkeys(rest))
            yield entry

    def _find(self, record: Any) -> list[bytes]:
        named = _name(record, self._names)
        return [] if named is None else self._lookup.find(named)

    def _join_inner(self, record: Any) -> list[Any]:
        return [self._put_together(record, decode(payload)) for payload in self._find(record)]

    def _join_left(self, record: Any) -> list[Any]:
        found = self._find(record)
        none = dict.fromkeys(self._columns)
        return [self._put_together(record, {**none, **decode(payload)}) for payload in found] or [
            self._put_together(record, none)
        ]

    def _keep(self, record: Any) -> list[Any]:
        return [record] if self._find(record) else []

    def _leave_out(self, record: Any) -> list[Any]:
        return [] if self._find(record) else [record]

    def _put_together(self, record: Any, other: dict[str, Any]) -> dict[str, Any]:
        both = {**record, **other}
        if len(both) == len(record) + len(other):
            return both
        suffix = self._node.suffix
        renamed = {f"{name}{suffix}" if name in record else name: value for name, value in other.items()}
        both = {**record, **renamed}
        if suffix and len(both) == len(record) + len(other):
            return both
        twice = next(name for name in (other if not suffix else renamed) if name in record)
        raise DataError(
            f"both records have a column `{twice}`",
            hint='say how the other one is called, as with suffix="_other", or leave it out in front',
        )


def _name(record: Any, names: tuple[str, ...]) -> Named | None:
    """What stands for a record's key; None where there is None in it, which is equal to nothing."""
    key = tuple([read_column(record, name) for name in names])
    return None if None in key else name_key(key)


def open_join(
    upstream: Stage,
    joiner: Joiner,
    lookup: Lookup,
    index: int,
    step: str,
    mark: State | None,
    wrap: Callable[[RecordFunction], RecordFunction],
) -> Stage:
    """The stage of a `join` step, going on from its `mark`; `wrap` has failures of its function get what they do."""
    make = partial(_make_wrapped, joiner, wrap)
    stage = cast(JoinStage, open_flat_map(upstream, make, index, step, mark, kind=JoinStage, is_first=True))
    stage.lookup = lookup
    return stage


def _make_wrapped(joiner: Joiner, wrap: Callable[[RecordFunction], RecordFunction]) -> RecordFunction:
    return wrap(joiner.make())
