"""Records that the far side refuses, told from those beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tidemill.errors import PermanentCallError
from tidemill.stores.batch import Batch

MOST_REFUSED = 16
"""Of one batch: with more of them it is hardly the records that are wrong, and each costs a few more calls."""


async def put_apart(batch: Batch, put: Callable[[Batch], Awaitable[None]]) -> None:
    """Have a batch stored, but for records that the far side refuses: their outcomes say why.

    Nobody says which of a batch it is, so a refused one is put in by halves.

    Raises:
        CallError: what `put` raises but for that, and the refusal itself beyond `MOST_REFUSED`.
    """
    refused: dict[str, str] = {}
    waiting = [batch]
    while waiting:
        part = waiting.pop()
        try:
            await put(part)
        except PermanentCallError as error:
            if error.of != "record" or len(refused) == MOST_REFUSED:
                raise
            if len(part.ids) > 1:
                waiting += part.halve()
            else:
                refused[part.ids[0]] = error.message
    if refused:
        batch.refuse(refused)
