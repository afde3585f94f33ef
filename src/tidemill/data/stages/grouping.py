"""The stage of a `group_by`: what memory holds of each group, and on disk what it does not, merged by key.

Where memory holds all groups nothing is written, and the anchor stays at the start. Else it moves as memory is written
out, each time as one run in shares; at the end these are merged a share at a time, each group whole, and sorted by the
number of their first records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import Any, ClassVar

from tidemill.data.gathered.aggregates import LISTING, Accumulator
from tidemill.data.kept.encoding import make_encoder
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.kept.runs import Runs
from tidemill.data.kept.shares import Shares
from tidemill.data.nodes.keeping import GroupBy
from tidemill.data.records.keys import make_key, name_value, name_values
from tidemill.data.stages.groups import Groups, Name
from tidemill.data.stages.spilling import ENTRY_BYTES, Spiller
from tidemill.protocols import State

GROUP_BYTES = 300
"""What a group takes in memory, its values left out."""

STATE_BYTES = 120
"""What the state of one aggregate of it takes, its lists left out."""

_PLAIN = frozenset({int, float, bool, type(None)})
_PLAIN_BYTES = 10


class Grouper(Spiller):
    """Groups what the stage in front gives."""

    start: ClassVar[State] = {"seen": 0, "kinds": ()}

    def __init__(self, node: GroupBy, folder: KeptFolder) -> None:
        super().__init__(node.memory, Runs(folder, "group"))
        self._written = Shares(folder, "part", node.memory)
        self._is_one = len(node.keys) == 1
        self._columns = (*node.keys, *node.agg)
        self._find_key = make_key(node.keys[0] if self._is_one else node.keys)
        self._name: Name = name_value if self._is_one else name_values
        self._encode = make_encoder()
        self._aggregates = [Accumulator(each) for each in node.agg.values()]
        self._readers = [each.read for each in self._aggregates]
        self._growing = [number for number, each in enumerate(self._aggregates) if each.how in LISTING]
        self._grown_bytes = STATE_BYTES * len(self._growing)
        self._group_bytes = GROUP_BYTES + STATE_BYTES * len(node.agg)
        self._seen = 0
        self._held = self._make_groups()

    def _resume(self, own: State) -> None:
        self._seen = own["seen"]
        for each, kind in zip(self._aggregates, own["kinds"], strict=False):  # none at the start
            each.order.kind = kind

    def _describe(self) -> State:
        return {"seen": self._seen, "kinds": [each.order.kind for each in self._aggregates]}

    def _add(self, record: Any) -> int:
        """Add a record to its group; gives the bytes by which that grew."""
        key = self._find_key(record)
        named = self._name(key)
        values = [read(record) for read in self._readers]
        size = self._grown_bytes
        if self._growing:
            size += self._measure([values[place] for place in self._growing])
        place = self._held.find(named)
        if place is None:
            size += self._group_bytes + self._measure(values) + self._measure((key,) if self._is_one else key)
            self._held.start(named, key, self._seen, values)
        else:
            self._held.add(place, self._seen, values)
        self._seen += 1
        return size

    def _measure(self, values: Sequence[Any]) -> int:
        """About the bytes of values; as many in any process."""
        size = _PLAIN_BYTES * len(values)
        if _PLAIN.issuperset(map(type, values)):
            return size
        for value in values:
            if type(value) is str:
                size += len(value) if value.isascii() else 3 * len(value)
            elif type(value) not in _PLAIN:
                size += len(self._encode(value))
        return size

    def _write_held(self, number: int, before: str) -> str:
        held, self._held = self._held, self._make_groups()
        return self._written.write(number, held.to_columns(), before)

    def _iter_held(self) -> Iterator[Any]:
        return (self._make_record(key, made) for _, key, made in self._held.iter_finished())

    def _arrange(self, count: int, check: str) -> tuple[int, int, str]:
        """Merge the parts of each group, and sort the groups by their first records."""
        held: list[tuple[int, bytes]] = []
        size = runs = 0
        before = ""
        encode = self._encode
        for share in self._written.iter_shares(count, check):
            groups = self._make_groups()
            for columns in share:
                groups.merge(columns)
            for number, key, made in groups.iter_finished():
                payload = encode((number, (key, made)))
                held.append((number, payload))
                size += len(payload) + ENTRY_BYTES
                if size >= self._memory:
                    before = self._write_groups(runs, held, before)
                    held, size, runs = [], 0, runs + 1
        before = self._write_groups(runs, held, before)
        return self._given.merge_down(runs + 1, before)

    def _make_value(self, value: Any) -> Any:
        return self._make_record(*value)

    def _write_groups(self, number: int, held: list[tuple[int, bytes]], before: str) -> str:
        held.sort(key=itemgetter(0))
        return self._given.write(0, number, (payload for _, payload in held), before)

    def _make_groups(self) -> Groups:
        return Groups(self._name, self._aggregates)

    def _make_record(self, key: Any, made: tuple[Any, ...]) -> dict[str, Any]:
        return dict(zip(self._columns, (key, *made) if self._is_one else (*key, *made), strict=True))
