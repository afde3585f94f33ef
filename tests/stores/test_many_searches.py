"""Hundreds of searches at once go by the engine: its concurrency, its rates and its deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shelf import Shelf, ShelfStore

import tidemill as tm
from conftest import PostgresServer, QdrantServer
from tidemill.calls.limits import Limits
from tidemill.jobs.running.runner import Runner
from tidemill.protocols import Vectors
from tidemill.stores.lance.settings import LanceDB
from tidemill.stores.pgvector.settings import PgVector
from tidemill.stores.qdrant.settings import Qdrant
from tidemill.stores.store import Store
from tidemill.testing import run_virtual

FAR_S = 30.0
"""More than a search takes: a test that waits so long has found a fault."""


@pytest.fixture
def store() -> Iterator[ShelfStore]:
    """A shelf with one record, which any vector is near to."""
    Shelf.shelves.clear()
    opened = Shelf(dimensions=2).open()
    opened.held["only"] = ([1.0, 0.0], {})
    yield opened
    Shelf.shelves.clear()


def search(count: int, **limits: Any) -> tm.Stream[dict[str, Any]]:
    """So many searches on the shelf, each for a vector of its own."""
    records: list[dict[str, Any]] = [{"number": number, "embedding": [1.0, number]} for number in range(count)]
    return tm.from_iterable(records).search(Shelf(dimensions=2), k=1, limits=Limits.model_validate(limits))


class Gate:
    """Holds searches until so many are there, then lets them all go, and so on.

    Attributes:
        most: that were there at one time.
    """

    def __init__(self, width: int) -> None:
        self.most = self._inside = 0
        self._barrier = asyncio.Barrier(width)

    async def wait(self, vectors: Vectors) -> None:
        self._inside += 1
        self.most = max(self.most, self._inside)
        async with asyncio.timeout(FAR_S):
            await self._barrier.wait()
        self._inside -= 1


@pytest.mark.parametrize(("width", "rounds"), [(300, 2), (7, 5)])
def test_as_many_searches_are_in_flight_as_may_be(tmp_path: Path, store: ShelfStore, width: int, rounds: int) -> None:
    """Three hundred, or seven: all of them at once, and never one more."""
    gate = Gate(width)
    store.before_search = gate.wait
    report = search(width * rounds, concurrency=width).write(tmp_path / "out", progress=False)
    assert report.records["landed"] == width * rounds
    assert gate.most == width


def test_searches_keep_to_a_rate(tmp_path: Path, store: ShelfStore) -> None:
    """At most so many begin in any minute, and not many fewer."""
    begun: list[float] = []

    async def note(vectors: Vectors) -> None:
        begun.append(asyncio.get_running_loop().time())

    store.before_search = note
    job = search(400, requests_per_minute=120).job(tmp_path / "out")
    report = run_virtual(Runner(job.spec).run())
    assert report.records["landed"] == 400
    assert all(later - earlier > 60 for earlier, later in zip(begun, begun[120:], strict=False))
    assert 180 < begun[-1] - begun[0] < 220


def test_a_search_that_takes_too_long_fails_its_record_alone(tmp_path: Path, store: ShelfStore) -> None:
    """At its deadline, whatever attempts are left; the others land meanwhile."""

    async def hang(vectors: Vectors) -> None:
        if vectors[0][1] == 17:
            await asyncio.Event().wait()

    store.before_search = hang
    job = search(300, concurrency=100, attempt_timeout_s=40, deadline_s=90, max_attempts=9).job(tmp_path / "out")
    report = run_virtual(Runner(job.spec).run())
    assert report.records == {"landed": 299, "dropped": 0, "skipped": 0, "quarantined": 1}
    (row,) = tm.dataset(tmp_path / "out" / ".run" / "quarantine" / "part-00001.jsonl")
    assert row["record"]["number"] == 17
    assert "deadline_s=90" in row["error"]["message"]


@pytest.fixture(params=["lancedb", "pgvector", "qdrant", "qdrant server"])
def real(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: PostgresServer, qdrant_server: QdrantServer
) -> Store:
    """Each store, empty."""
    if request.param == "pgvector":
        return PgVector(url=postgres_server.make_database(), dimensions=2)
    if request.param == "qdrant server":
        return Qdrant(url=qdrant_server.url, collection=qdrant_server.make_name(), dimensions=2)
    kind = LanceDB if request.param == "lancedb" else Qdrant
    return kind(path=tmp_path / "index", dimensions=2)


@pytest.mark.usefixtures("lance_opened_once")
def test_a_real_store_answers_two_hundred_searches_at_once(tmp_path: Path, real: Store) -> None:
    """Each is answered with what is nearest to its own vector, though all share the store's connections."""
    records: list[dict[str, Any]] = [{"id": str(number), "embedding": [1.0, number / 100]} for number in range(400)]
    tm.from_iterable(records).index(real).write(tmp_path / "in", progress=False)
    limits = Limits.model_validate({"concurrency": 200})
    report = tm.from_iterable(records).search(real, k=1, limits=limits).write(tmp_path / "out", progress=False)
    assert report.records["landed"] == 400
    assert report.calls["attempts"] == 400, "and none was tried again"
    assert [record["matches"][0]["id"] for record in tm.dataset(tmp_path / "out")] == [each["id"] for each in records]
