"""`Searcher`: runs a `search` step."""

from __future__ import annotations

from array import array
from base64 import b64encode
from collections.abc import Awaitable
from functools import partial
from typing import Any

from tidemill.calls.wire import Request, Response
from tidemill.config.wording.words import describe_value
from tidemill.data.records.columns import missing_column, no_columns
from tidemill.errors import DataError
from tidemill.models.steps.call import Value
from tidemill.models.steps.calling import Ask, hook_run
from tidemill.models.steps.packing import pack_record, pack_result
from tidemill.protocols import Record
from tidemill.stores.steps.marks import hide_mark
from tidemill.stores.steps.opened import SharedStore
from tidemill.stores.steps.search import Search
from tidemill.stores.store import identify_store


class Searcher:
    """Runs one `Search` node against its store. Belongs to one loop.

    Args:
        name: the step's name.
    """

    def __init__(self, node: Search, store: SharedStore, name: str) -> None:
        self._node = node
        self._store = store
        self._url = f"search:{name}"
        self._told_store = identify_store(store.settings)
        self._hooked = hook_run(self._run, node.bound_hooks)

    def run(self, record: Record, ask: Ask) -> Awaitable[Record]:
        """`record` with what was found in its column; the step's hooks are called around it.

        Raises:
            DataError: it lacks a column, its vector is nothing to search for, or the store holds nothing.
            CallError: the store's, until no attempt was left.
        """
        return self._hooked(record, ask)

    async def _run(self, record: Record, ask: Ask) -> Record:
        node = self._node
        if not isinstance(record, dict):
            raise no_columns(record)
        try:
            vector, asked = record[node.vector], node.make_filter(record)
        except KeyError as error:
            raise missing_column(str(error.args[0]), record) from None
        numbers = _read_numbers(vector, node.vector)
        shown = b64encode(numbers.tobytes()).decode()
        told = {"store": self._told_store, "vector": shown, "k": node.k, "filter": asked}
        request = Request(self._url, {}, pack_record(told), 0, 0)
        found: Value = await ask(0, request, partial(self._send, numbers, asked))
        return {**record, node.into: found.value}

    async def _send(self, vector: array[float], asked: dict[str, Any] | None, request: Request, t_s: float) -> Response:
        """One attempt: what a transport's `send` is to a request."""
        async with self._store.use(t_s) as store:
            (matches,) = await store.search([vector], self._node.k, asked)
            if not matches:
                await self._store.refuse_empty()
        found = [{"id": each.id, "score": each.score, "payload": hide_mark(each.payload) or None} for each in matches]
        return Response(200, {}, pack_result(found))


def _read_numbers(vector: Any, column: str) -> array[float]:
    """A vector as float32: what is searched for, and what tells its search from others."""
    try:
        return array("f", vector)
    except (TypeError, OverflowError):
        raise DataError(f"expected a vector, got {describe_value(vector)}", where=f"column `{column}`") from None
