"""The stage of a `group_by`: what memory holds of each group, and on disk what it does not, merged by key.

Where memory holds all groups nothing is written, and the anchor stays at the start. Else it moves as memory is written
out, each time as one run of groups sorted by the digest of their key; at the end these are merged, each group whole,
and sorted once more by the number of its first record.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, ClassVar

from tidemill.data.aggregates import LISTING, Accumulator
from tidemill.data.columns import read_column
from tidemill.data.kept.encoding import make_encoder
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.kept.runs import Runs
from tidemill.data.keys import Named, digest_named, name_key
from tidemill.data.nodes.keeping import GroupBy
from tidemill.data.stages.spilling import ENTRY_BYTES, Spiller
from tidemill.protocols import State

GROUP_BYTES = 300
"""What a group takes in memory, its values left out."""

STATE_BYTES = 120
"""What the state of one aggregate of it takes, its lists left out."""

_PLAIN = frozenset({int, float, bool, type(None)})
_PLAIN_BYTES = 10

Group = tuple[int, tuple[Any, ...], tuple[Any, ...]]
"""The number of its first record, its key, and the state of each aggregate."""


class Grouper(Spiller):
    """Groups what the stage in front gives."""

    start: ClassVar[State] = {"seen": 0, "kinds": ()}

    def __init__(self, node: GroupBy, folder: KeptFolder) -> None:
        super().__init__(node.memory, Runs(folder, "part"), Runs(folder, "group"))
        self._keys = node.keys
        self._columns = (*node.keys, *node.agg)
        self._encode = make_encoder()
        self._aggregates = [Accumulator(each, "") for each in node.agg.values()]
        self._growing = [number for number, each in enumerate(self._aggregates) if each.how in LISTING]
        self._seen = 0
        self._held: dict[Named, Group] = {}

    def _resume(self, own: State) -> None:
        self._seen = own["seen"]
        for each, kind in zip(self._aggregates, own["kinds"], strict=False):  # none at the start
            each.order.kind = kind

    def _describe(self) -> State:
        return {"seen": self._seen, "kinds": [each.order.kind for each in self._aggregates]}

    def _add(self, record: Any) -> int:
        """Add a record to its group; gives the bytes by which that grew."""
        number = self._seen
        key = tuple([read_column(record, name) for name in self._keys])
        named = name_key(key)
        values = [each.read(record) for each in self._aggregates]
        size = sum([self._measure(values[place]) + STATE_BYTES for place in self._growing]) if self._growing else 0
        self._seen += 1
        group = self._held.get(named)
        if group is not None:
            first, key, held = group
            states = [
                each.add(state, number, value)
                for each, state, value in zip(self._aggregates, held, values, strict=True)
            ]
            self._held[named] = first, key, tuple(states)
            return size
        states = [each.start(number, value) for each, value in zip(self._aggregates, values, strict=True)]
        self._held[named] = number, key, tuple(states)
        return size + GROUP_BYTES + STATE_BYTES * len(states) + sum(map(self._measure, (*key, *values)))

    def _measure(self, value: Any) -> int:
        """About the bytes of a value; as many in any process."""
        kind = type(value)
        if kind is str:
            return len(value) if value.isascii() else 3 * len(value)
        return _PLAIN_BYTES if kind in _PLAIN else len(self._encode(value))

    def _take_held(self) -> Iterator[bytes]:
        """The groups by their keys' digests."""
        held = [(digest_named(named), group) for named, group in self._held.items()]
        self._held = {}
        held.sort(key=itemgetter(0))
        return map(self._encode, held)

    def _iter_held(self) -> Iterator[Any]:
        return map(self._finish, self._held.values())

    def _arrange(self, level: int, count: int, check: str) -> tuple[int, int, str]:
        """Merge the parts of each group, and sort the groups by their first records."""
        held: list[tuple[int, bytes]] = []
        size = runs = 0
        before = ""
        with self._written.open(level, 0, count, check=check) as merged:
            for _, parts in groupby(merged, key=itemgetter(0)):
                group = self._join([part for _, part, _ in parts])
                held.append((group[0], self._encode((group[0], self._finish(group)))))
                size += len(held[-1][1]) + ENTRY_BYTES
                if size >= self._memory:
                    before = self._write_groups(runs, held, before)
                    held, size, runs = [], 0, runs + 1
        before = self._write_groups(runs, held, before)
        return self._given.merge_down(runs + 1, before)

    def _join(self, parts: list[Group]) -> Group:
        """A group of what each run has of it, in their order."""
        first, key, states = parts[0]
        for part in parts[1:]:
            merged = zip(self._aggregates, states, part[2], strict=True)
            states = tuple([each.merge(mine, other) for each, mine, other in merged])
        return first, key, states

    def _write_groups(self, number: int, held: list[tuple[int, bytes]], before: str) -> str:
        held.sort(key=itemgetter(0))
        return self._given.write(0, number, (payload for _, payload in held), before)

    def _finish(self, group: Group) -> dict[str, Any]:
        """A group as a record."""
        _, key, states = group
        made = [each.finish(state) for each, state in zip(self._aggregates, states, strict=True)]
        return dict(zip(self._columns, (*key, *made), strict=True))
