"""What every opened store does alike, by one that holds its records in a dict and can be made to wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from tidemill.errors import FailureOf, PermanentCallError, StateError
from tidemill.protocols import Match
from tidemill.stores.batch import Batch
from tidemill.stores.filters import Comparison
from tidemill.stores.opened import OpenedStore
from tidemill.stores.store import Store
from tidemill.stores.vectors import Matrix


class Held(OpenedStore):
    """Holds payloads by id; what it is asked waits while `is_let` is not set."""

    def __init__(self) -> None:
        super().__init__(Store(dimensions=2), "held")
        self.is_let = asyncio.Event()
        self.is_asked = asyncio.Event()
        self.closed = 0
        self.held: dict[str, bytes] = {}

    async def _open(self) -> None:
        self.is_let.set()

    async def _close(self) -> None:
        await asyncio.sleep(0)
        self.closed += 1

    async def _put(self, batch: Batch) -> None:
        self.is_asked.set()
        await self.is_let.wait()
        self.held.update(zip(batch.ids, batch.payloads, strict=True))

    async def _search(
        self, queries: Matrix, k: int, comparisons: Sequence[Comparison], with_vectors: bool
    ) -> list[list[Match]]:
        return [[] for _ in queries]

    async def _fetch(self, ids: list[str], with_vectors: bool) -> dict[str, Match]:
        return {key: Match(key, 1.0) for key in ids if key in self.held}

    async def _delete(self, ids: list[str]) -> int:
        return sum(self.held.pop(key, None) is not None for key in ids)

    async def _count(self, comparisons: Sequence[Comparison]) -> int:
        return len(self.held)

    async def _flush(self) -> None:
        self.held = dict(self.held)


class Choosy(Held):
    """Refuses what begins with `bad` when it is put in, as a server would: the batch that it is in."""

    def __init__(self, of: FailureOf = "record") -> None:
        super().__init__()
        self.of: FailureOf = of
        self.puts = 0

    async def _put(self, batch: Batch) -> None:
        self.puts += 1
        if any(key.startswith("bad") for key in batch.ids):
            raise PermanentCallError("the server refused it", where="held", of=self.of)
        await super()._put(batch)


async def put(store: Held) -> None:
    await store.upsert(["a"], [[1, 0]])


async def test_closing_waits_for_what_is_in_flight_and_lets_nothing_begin() -> None:
    store = Held()
    async with store:
        store.is_let.clear()
        putting = asyncio.ensure_future(put(store))
        await store.is_asked.wait()
        closing = asyncio.ensure_future(store.__aexit__(None, None, None))
        await asyncio.sleep(0)
        with pytest.raises(StateError, match="used after it was closed"):
            await store.count()
        assert not closing.done()
        assert store.closed == 0
        store.is_let.set()
        await closing
        await putting
        assert store.held == {"a": b"{}"}
        assert store.closed == 1


async def test_what_is_in_flight_is_broken_off_when_closing_is_hurried() -> None:
    """Cancelling whoever closes does not leave the store open, nor an operation waiting for ever."""
    store = Held()
    await store.__aenter__()
    store.is_let.clear()
    putting = asyncio.ensure_future(put(store))
    await store.is_asked.wait()
    closing = asyncio.ensure_future(store.__aexit__(None, None, None))
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(StateError, match="closed while this was in flight, which may have landed"):
        await putting
    assert putting.cancelling() == 0
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert store.closed == 1


async def test_an_operation_that_its_own_task_cancelled_stays_cancelled_while_the_store_closes() -> None:
    store = Held()
    await store.__aenter__()
    store.is_let.clear()
    putting = asyncio.ensure_future(put(store))
    await store.is_asked.wait()
    closing = asyncio.ensure_future(store.__aexit__(None, None, None))
    await asyncio.sleep(0)
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    await closing
    assert store.closed == 1


async def test_a_store_that_cannot_be_opened_is_closed() -> None:
    class Broken(Held):
        async def _open(self) -> None:
            raise StateError("nothing there")

    store = Broken()
    with pytest.raises(StateError, match="nothing there"):
        async with store:
            pass
    assert store.closed == 1


async def test_a_store_is_closed_by_an_error_and_by_cancelling_its_block() -> None:
    store = Held()
    with pytest.raises(ZeroDivisionError):
        async with store:
            _ = 1 / 0
    assert store.closed == 1

    store = Held()
    entered = asyncio.Event()

    async def stay() -> None:
        async with store:
            entered.set()
            await asyncio.Event().wait()

    staying = asyncio.ensure_future(stay())
    await entered.wait()
    staying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staying
    assert store.closed == 1


def test_settings_that_cannot_be_opened_say_what_they_lack() -> None:
    with pytest.raises(NotImplementedError, match="Store does not say how it is opened: it lacks `open`"):
        Store(dimensions=3).open()


@pytest.mark.parametrize("bad", [[0], [99], [3, 4], [*range(0, 48, 3)]])
async def test_what_the_far_side_refuses_is_that_record_s_outcome(bad: list[int]) -> None:
    keys = [f"bad{number}" if number in bad else f"good{number}" for number in range(100)]
    async with Choosy() as store:
        outcomes = await store.upsert(keys, [[1, 0]] * 100)
        assert [each.kind for each in outcomes] == ["refused" if number in bad else "stored" for number in range(100)]
        assert {each.error for each in outcomes} == {"", "the server refused it"}
        assert store.held.keys() == {key for key in keys if key.startswith("good")}
        assert store.puts <= 1 + 2 * 7 * len(bad), "two puts for each halving, seven times"


async def test_the_one_in_whose_place_a_refused_one_came_is_not_stored_either() -> None:
    async with Choosy() as store:
        outcomes = await store.upsert(["bad", "good", "bad"], [[1, 0]] * 3)
        assert [each.kind for each in outcomes] == ["refused", "stored", "refused"]
        assert outcomes[0].error == "the last of its id was refused: the server refused it"


@pytest.mark.parametrize(("of", "bad", "puts"), [("run", 1, 1), ("record", 17, 1 + 2 * 7 * 17)])
async def test_what_is_hardly_a_record_s_is_raised(of: FailureOf, bad: int, puts: int) -> None:
    keys = [f"bad{number}" if number < bad else f"good{number}" for number in range(100)]
    async with Choosy(of) as store:
        with pytest.raises(PermanentCallError, match="the server refused it"):
            await store.upsert(keys, [[1, 0]] * 100)
        assert store.puts <= puts
