"""The stage of a `sort`: records with their keys, in the order of these."""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, ClassVar

from tidemill.data.kept.encoding import decode, make_encoder
from tidemill.data.kept.folder import KeptFolder
from tidemill.data.kept.runs import Runs
from tidemill.data.nodes.keeping import Sort
from tidemill.data.records.keys import make_key
from tidemill.data.records.ordering import KeyOrder
from tidemill.data.stages.spilling import ENTRY_BYTES, Spiller
from tidemill.protocols import State


class Sorter(Spiller):
    """Sorts what the stage in front gives."""

    start: ClassVar[State] = {"kind": ""}

    def __init__(self, node: Sort, folder: KeptFolder) -> None:
        runs = Runs(folder, "run", reverse=node.reverse)
        super().__init__(node.memory, runs)
        self._find_key = make_key(node.key)
        self._reverse = node.reverse
        self._encode = make_encoder()
        self._order = KeyOrder()
        self._held: list[tuple[Any, bytes]] = []

    def _resume(self, own: State) -> None:
        self._order.kind = own["kind"]

    def _describe(self) -> State:
        return {"kind": self._order.kind}

    def _add(self, record: Any) -> int:
        key = self._order.take(self._find_key(record))
        payload = self._encode((key, record))
        self._held.append((key, payload))
        return len(payload) + ENTRY_BYTES

    def _take_held(self) -> Iterator[bytes]:
        held, self._held = self._held, []
        held.sort(key=itemgetter(0), reverse=self._reverse)
        return (payload for _, payload in held)

    def _write_held(self, number: int, before: str) -> str:
        return self._given.write(0, number, self._take_held(), before)

    def _arrange(self, count: int, check: str) -> tuple[int, int, str]:
        return self._given.merge_down(count, check)

    def _iter_held(self) -> Iterator[Any]:
        return (decode(payload)[1] for payload in self._take_held())
