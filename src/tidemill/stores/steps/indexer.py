"""`Indexer`: runs an `index` step, its records gathered into upserts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, repeat

from tidemill.calls.wire import Request, Tally, Usage
from tidemill.data.records.columns import missing_column, no_columns
from tidemill.errors import DataError
from tidemill.models.steps.batching import Batching
from tidemill.models.steps.calling import hook_run
from tidemill.protocols import Record, Upserted
from tidemill.stores.steps.index import Index
from tidemill.stores.steps.marks import MARK, Marks, Order
from tidemill.stores.steps.upserts import Row, Upsert, UpsertedBatch, parse_upserted


class Indexer:
    """Runs one `Index` node. Belongs to one loop.

    Args:
        name: the step's name.
        marks: those of the run, where it is one.

    Attributes:
        url: what its requests go to.
    """

    def __init__(self, node: Index, name: str, marks: Marks | None) -> None:
        self._node = node
        self._marks = marks
        self.url = f"index:{name}"
        self._tally = Tally(name, _iter_kinds)
        self._hooked = hook_run(self._run, node.bound_hooks)

    async def run(self, record: Record, ask: tuple[Batching[Upserted], Order]) -> Record:
        """`record`, once it is in the store; the step's hooks are called around it.

        Args:
            record: what is put in.
            ask: the way of its upsert, and where the record stands in its source.

        Raises:
            DataError: it lacks a column, or the store cannot take it.
            CallError: the store's.
        """
        return await self._hooked(record, ask)

    def join(self, shares: Sequence[Request]) -> Request:
        """One upsert of all `shares`."""
        rows = tuple(row for share in shares if isinstance(share, Upsert) for row in share.rows)
        return Upsert(self.url, {}, b"", 0, 0, tally=self._tally, rows=rows)

    def measure(self, share: Request) -> int:
        """Each record counts as one."""
        return 1

    def reply(self, value: Upserted, usage: Usage | None) -> Upserted:
        """What became of one record."""
        return value

    async def _run(self, record: Record, ask: tuple[Batching[Upserted], Order]) -> Record:
        batching, order = ask
        share = Upsert(self.url, {}, b"", 0, 0, rows=(self._make_row(record, order),))
        became: Upserted = await batching.call(share, parse_upserted)
        if became.kind == "refused":
            raise DataError(f"the store cannot take it: {became.error}")
        return record

    def _make_row(self, record: Record, order: Order) -> Row:
        if not isinstance(record, dict):
            raise no_columns(record)
        node = self._node
        try:
            vector = record[node.vector]
            if node.payload is None:
                payload = {name: value for name, value in record.items() if name != node.vector}
            else:
                payload = {name: record[name] for name in node.payload}
        except KeyError as error:
            raise missing_column(str(error.args[0]), record) from None
        if self._marks is not None:
            payload[MARK] = self._marks.make(order)
        return Row(order, node.id.render(record), vector, payload)


def _iter_kinds(batch: UpsertedBatch) -> Iterator[str]:
    """What became of records, one of an earlier batch for each that took its place."""
    yield from (became.kind for became in batch.values if became.kind != "stored")
    stored = sum(became.kind == "stored" for became in batch.values)
    yield from chain(repeat("stored", stored - batch.replaced), repeat("superseded", batch.replaced))
