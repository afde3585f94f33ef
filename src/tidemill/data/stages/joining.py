"""The stage of a `join`: each record with those of another stream that have its key.

The other stream is read whole before the first record, into memory and what that does not hold into one file; so it is
each time that the stage is opened, and what it gave is compared with what it gave before (`stages/others.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any, cast

from tidemill.data.kept.lookup import Find, Lookup
from tidemill.data.nodes.keeping import Join
from tidemill.data.records.keys import Named, make_namer
from tidemill.data.stages.children import FlatMapStage, open_flat_map
from tidemill.data.stages.others import OtherStream
from tidemill.data.stages.stage import Stage
from tidemill.data.steps.functions import RecordFunction
from tidemill.errors import DataError
from tidemill.protocols import State

FindName = Callable[[Any], Named | None]


class JoinStage(FlatMapStage):
    """The joined records of each."""

    lookup: Lookup

    def close(self) -> None:
        self.lookup.close()
        super().close()


class Joiner:
    """Joins records with those of another stream."""

    def __init__(self, node: Join, lookup: Lookup, other: OtherStream, note: Callable[[State], None]) -> None:
        self._node = node
        self._lookup = lookup
        self._other = other
        self._note = note

    def make(self) -> RecordFunction:
        """The function of a record, once the other stream is read and noted.

        Raises:
            DataError: a record of the other stream failed, or is none; it is the run's.
            StateError: it is not what was joined with before.
        """
        with closing(self._other.iter_entries()) as entries:
            find = self._lookup.fill(entries)
        self._note(self._other.describe_seen())
        return self._make_function(make_namer(tuple(self._node.on)), find)

    def _make_function(self, find_name: FindName, find: Find) -> RecordFunction:
        put_together = self._put_together
        none = dict.fromkeys(self._other.columns)

        def join_inner(record: Any) -> list[Any]:
            named = find_name(record)
            return [] if named is None else [put_together(record, other) for other in find(named)]

        def join_left(record: Any) -> list[Any]:
            named = find_name(record)
            found = [] if named is None else [{**none, **other} for other in find(named)]
            return [put_together(record, other) for other in found or (none,)]

        def keep(record: Any) -> list[Any]:
            named = find_name(record)
            return [record] if named is not None and find(named) else []

        def leave_out(record: Any) -> list[Any]:
            named = find_name(record)
            return [] if named is not None and find(named) else [record]

        functions = {"inner": join_inner, "left": join_left, "semi": keep, "anti": leave_out}
        return functions[self._node.how]

    def _put_together(self, record: Any, other: dict[str, Any]) -> dict[str, Any]:
        suffix = self._node.suffix
        if suffix:
            both = {**record}
            for name, value in other.items():
                both[name + suffix if name in record else name] = value
        else:
            both = {**record, **other}
        if len(both) == len(record) + len(other):
            return both
        named = [name + suffix if name in record else name for name in other]
        twice = next(name for name in named if name in record)
        raise DataError(
            f"both records have a column `{twice}`",
            hint='say how the other one is called, as with suffix="_other", or leave it out in front',
        )


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
