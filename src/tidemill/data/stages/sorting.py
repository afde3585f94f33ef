"""The stage of a `sort`: runs in memory and on disk, merged.

Where memory holds all there is nothing is written, and the anchor stays at the start. Else it moves with each run, and
then from block to block of what the merge gives: its `own` is first how many runs there are, then where each stands.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import islice
from operator import itemgetter
from typing import Any

from tidemill.data.failures import NO_RECORD
from tidemill.data.kept.encoding import decode, make_encoder
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.kept.ordering import KeyOrder
from tidemill.data.kept.runs import HEAD_BYTES, Runs
from tidemill.data.keys import make_key
from tidemill.data.nodes.keeping import Sort
from tidemill.data.stages.anchored import Anchor
from tidemill.data.stages.stage import Stage
from tidemill.protocols import State

ENTRY_BYTES = 200
"""What an entry in memory takes besides its bytes: two objects' heads, the tuple and its place."""

GIVEN = 1024
"""Records decoded at a time, and given again at most when a state is gone on from."""


class Sorter:
    """Sorts what the stage in front gives; one for each time that it is opened."""

    def __init__(self, node: Sort, folder: KeptFolder) -> None:
        self._find_key = make_key(node.key)
        self._memory = node.memory
        self._reverse = node.reverse
        self._runs = Runs(folder, "run", reverse=node.reverse)
        self._encode = make_encoder()
        self._held: list[tuple[Any, bytes]] = []

    def feed(self, upstream: Stage, anchor: Anchor) -> Generator[Iterator[Any]]:
        """The records in order, behind the failures of those there are."""
        own = anchor.own or {"runs": 0, "check": "", "kind": ""}
        if "heads" not in own:
            yield from self._read(upstream, anchor, own)
            if not anchor.own:
                yield from self._give_held(anchor)
                return
            own = dict(anchor.own)
            self._write_run(own)
            level, count, check = self._runs.merge_down(own["runs"], own["check"])
            own = {"level": level, "heads": [HEAD_BYTES] * count, "check": check}
            anchor.move(own)
        yield from give_runs(self._runs, anchor, own)

    def _read(self, upstream: Stage, anchor: Anchor, own: State) -> Generator[Iterator[Any]]:
        """Read all there is into memory, and from there into runs; gives the failures."""
        order = KeyOrder(own["kind"])
        size = 0
        record: Any = NO_RECORD
        while True:
            failed: Iterator[Any] | None = None
            try:
                for record in upstream:
                    key = self._find_key(record)
                    order.check(key)
                    payload = self._encode((key, record))
                    self._held.append((key, payload))
                    size += len(payload) + ENTRY_BYTES
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
            own = {**own, "kind": order.kind}
            self._write_run(own)
            anchor.move(own)
            size = 0

    def _write_run(self, own: State) -> None:
        """Write what is held as the next run, and count it."""
        self._held.sort(key=itemgetter(0), reverse=self._reverse)
        own["check"] = self._runs.write(0, own["runs"], (payload for _, payload in self._held), own["check"])
        own["runs"] += 1
        self._held = []

    def _give_held(self, anchor: Anchor) -> Generator[Iterator[Any]]:
        self._held.sort(key=itemgetter(0), reverse=self._reverse)
        payloads = iter(self._held)
        while block := [decode(payload)[1] for _, payload in islice(payloads, GIVEN)]:
            yield anchor.link(block)


def give_runs(runs: Runs, anchor: Anchor, own: State) -> Generator[Iterator[Any]]:
    """The values of runs merged, from where `own` says that each of them stands."""
    with runs.open(own["level"], 0, len(own["heads"]), own["heads"], own["check"]) as merged:
        values = (value for _, value, _ in merged)
        while block := list(islice(values, GIVEN)):
            yield anchor.link(block)
            anchor.move_to(anchor.place, {**own, "heads": list(merged.heads)})
