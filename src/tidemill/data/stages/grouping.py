"""The stage of a `group_by`: what memory holds of each group, and on disk what it does not, merged by key.

Where memory holds all groups nothing is written, and the anchor stays at the start. Else it moves as memory is written
out, each time as one run of groups sorted by the digest of their key; at the end these are merged, each group whole,
and sorted once more by the number of its first record.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

from tidemill.data.aggregates import LISTING, Accumulator
from tidemill.data.columns import read_column
from tidemill.data.failures import NO_RECORD
from tidemill.data.kept.encoding import make_encoder
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.kept.runs import HEAD_BYTES, Runs
from tidemill.data.keys import digest_key
from tidemill.data.nodes.keeping import GroupBy
from tidemill.data.stages import sorting
from tidemill.data.stages.anchored import Anchor
from tidemill.data.stages.sorting import ENTRY_BYTES, give_runs
from tidemill.data.stages.stage import Stage
from tidemill.protocols import State

GROUP_BYTES = 500
"""What a group takes in memory, its values left out."""

STATE_BYTES = 150
"""What the state of one aggregate of it takes, its lists left out."""

Group = list[Any]
"""The number of its first record, its key, and the state of each aggregate."""


class Grouper:
    """Groups what the stage in front gives; one for each time that it is opened."""

    def __init__(self, node: GroupBy, folder: KeptFolder, mark: State | None) -> None:
        self._keys = node.keys
        self._names = tuple(node.agg)
        self._memory = node.memory
        self._parts = Runs(folder, "part")
        self._groups = Runs(folder, "group")
        self._encode = make_encoder()
        kinds = ((mark or {}).get("own") or {}).get("kinds") or [""] * len(node.agg)
        self._aggregates = [Accumulator(each, kind) for each, kind in zip(node.agg.values(), kinds, strict=True)]
        self._growing = [number for number, each in enumerate(self._aggregates) if each.how in LISTING]
        self._held: dict[bytes, Group] = {}

    def feed(self, upstream: Stage, anchor: Anchor) -> Generator[Iterator[Any]]:
        """The groups in the order of their first records, behind the failures of records."""
        own = anchor.own or {"runs": 0, "check": "", "seen": 0, "kinds": None}
        if "heads" not in own:
            yield from self._read(upstream, anchor, own)
            if not anchor.own:
                groups = iter(self._held.values())
                while block := [self._finish(group) for group in islice(groups, sorting.GIVEN)]:
                    yield anchor.link(block)
                return
            own = dict(anchor.own)
            self._write_part(own)
            own = self._order_groups(own)
            anchor.move(own)
        yield from give_runs(self._groups, anchor, own)

    def _read(self, upstream: Stage, anchor: Anchor, own: State) -> Generator[Iterator[Any]]:
        """Read all there is into groups; gives the failures."""
        number, size = own["seen"], 0
        record: Any = NO_RECORD
        while True:
            failed: Iterator[Any] | None = None
            try:
                for record in upstream:
                    size += self._add(number, record)
                    number += 1
                    record = NO_RECORD
                    if size >= self._memory:
                        break
                else:
                    return
            except BaseException as error:  # noqa: BLE001 - raised by the chain, which it would end here
                failed = anchor.error(error, record)
                record = NO_RECORD
            if failed is not None:
                yield failed
                continue
            own = {**own, "seen": number, "kinds": [each.order.kind for each in self._aggregates]}
            self._write_part(own)
            anchor.move(own)
            size = 0

    def _add(self, number: int, record: Any) -> int:
        """Add a record to its group; gives the bytes by which that grew."""
        key = tuple(read_column(record, name) for name in self._keys)
        digest = digest_key(key)
        values = [each.read(record) for each in self._aggregates]
        states = [each.start(number, value) for each, value in zip(self._aggregates, values, strict=True)]
        size = sum(len(self._encode(values[place])) + STATE_BYTES for place in self._growing)
        group = self._held.get(digest)
        if group is None:
            self._held[digest] = [number, key, states]
            return size + GROUP_BYTES + STATE_BYTES * len(states) + len(self._encode((key, values)))
        self._merge(group, states)
        return size

    def _merge(self, group: Group, states: list[Any]) -> None:
        mine = group[2]
        for place, each in enumerate(self._aggregates):
            mine[place] = each.merge(mine[place], states[place])

    def _write_part(self, own: State) -> None:
        """Write the groups that are held as the next run, by their keys' digests, and count it."""
        encode = self._encode
        payloads = (encode(item) for item in sorted(self._held.items(), key=itemgetter(0)))
        own["check"] = self._parts.write(0, own["runs"], payloads, own["check"])
        own["runs"] += 1
        self._held = {}

    def _order_groups(self, own: State) -> State:
        """Merge the parts of each group, and sort the groups by their first records; gives where that begins."""
        level, count, check = self._parts.merge_down(own["runs"], own["check"])
        held: list[tuple[int, bytes]] = []
        size = runs = 0
        before = ""
        with self._parts.open(level, 0, count, check=check) as merged:
            for _, parts in groupby(merged, key=itemgetter(0)):
                group = self._join([part for _, part, _ in parts])
                held.append((group[0], self._encode((group[0], self._finish(group)))))
                size += len(held[-1][1]) + ENTRY_BYTES
                if size >= self._memory:
                    before = self._write_groups(runs, held, before)
                    held, size, runs = [], 0, runs + 1
        before = self._write_groups(runs, held, before)
        level, count, check = self._groups.merge_down(runs + 1, before)
        return {"level": level, "heads": [HEAD_BYTES] * count, "check": check}

    def _join(self, parts: list[Group]) -> Group:
        """A group of what each run has of it, in their order."""
        whole, *others = parts
        for part in others:
            self._merge(whole, part[2])
        return whole

    def _write_groups(self, number: int, held: list[tuple[int, bytes]], before: str) -> str:
        held.sort(key=itemgetter(0))
        return self._groups.write(0, number, (payload for _, payload in held), before)

    def _finish(self, group: Group) -> dict[str, Any]:
        """A group as a record."""
        _, key, states = group
        made = (each.finish(state) for each, state in zip(self._aggregates, states, strict=True))
        return {**dict(zip(self._keys, key, strict=True)), **dict(zip(self._names, made, strict=True))}
