"""`index` and `search`: exactly once in effect, durable, and each store opened once."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import indexing
import pytest
from pydantic import SecretStr
from shelf import Shelf, ShelfStore

import tidemill as tm
from conftest import PostgresServer, QdrantServer
from tidemill.calls.limits import Limits
from tidemill.config.roles import Runtime
from tidemill.errors import ConfigError, TransientCallError
from tidemill.jobs.running.lineage import trace_lineage
from tidemill.jobs.running.report import Report
from tidemill.jobs.running.runner import Runner
from tidemill.stores.lance.settings import LanceDB
from tidemill.stores.pgvector.settings import PgVector
from tidemill.stores.qdrant.settings import Qdrant
from tidemill.stores.steps.index import Index
from tidemill.stores.steps.search import Search
from tidemill.stores.store import Store
from tidemill.testing import run_virtual

FIELDS = {"lang": "str", "year": "int"}


@pytest.fixture(autouse=True)
def shelves() -> Iterator[dict[str, ShelfStore]]:
    Shelf.shelves.clear()
    yield Shelf.shelves
    Shelf.shelves.clear()


def make_records(count: int, ids: int | None = None) -> list[dict[str, Any]]:
    return [
        {
            "id": number % (ids or count),
            "year": number,
            "lang": "en" if number % 2 else "de",
            "embedding": [1.0, number],
        }
        for number in range(count)
    ]


def shelf(**fields: Any) -> Shelf:
    return Shelf(dimensions=2, metric="dot", fields=FIELDS, **fields)


def pgvector(address: str, **fields: Any) -> PgVector:
    return PgVector.model_validate({"url": f"postgresql://{address}", "dimensions": 2, **fields})


def limits(**fields: Any) -> Limits:
    return Limits.model_validate(fields)


@pytest.mark.usefixtures("lance_opened_once")
def test_records_are_found_by_their_vectors(tmp_path: Path) -> None:
    """Documents go in by one job, and come out by another, nearest first, with what they had besides."""
    store = LanceDB(path=tmp_path / "index", dimensions=2, fields=FIELDS)
    documents = [
        {"id": f"doc {number}", "year": number, "lang": "en", "embedding": [1.0, number / 10]} for number in range(20)
    ]
    report = tm.from_iterable(documents).index(store, payload=["year", "lang"]).write(tmp_path / "in", progress=False)
    assert report.records["landed"] == 20
    assert list(tm.dataset(tmp_path / "in")) == documents, "records pass unchanged"
    asked = tm.from_iterable([{"embedding": [1.0, 0.72]}]).search(store, k=3)
    asked.write(tmp_path / "found", progress=False)
    (found,) = tm.dataset(tmp_path / "found")["matches"]
    assert [match["id"] for match in found] == ["doc 7", "doc 8", "doc 6"]
    assert found[0]["payload"] == {"year": 7, "lang": "en"}
    assert found[0]["score"] > found[1]["score"] > 0.99
    for output, step, access in (("in", "index", "write"), ("found", "search", "read")):
        assert trace_lineage(tmp_path / output).stores == (
            {
                "step": step,
                "access": access,
                "store": "lancedb",
                "place": str(tmp_path / "index"),
                "name": "vectors",
                "dimensions": 2,
            },
        )


@pytest.mark.parametrize("ids", [1, 3, 8, 40])
def test_of_several_records_with_one_id_the_last_in_source_order_stands(
    tmp_path: Path, shelves: dict[str, ShelfStore], ids: int
) -> None:
    """However they come: upserts that end in another order than they began, and records that overtake others.

    The fewer the ids, the more of them meet in one upsert, in the order in which they came.
    """
    rng = random.Random(3)
    store = shelves["one"] = ShelfStore(shelf())
    under_way: set[str] = set()

    async def wait(put: Sequence[str]) -> None:
        assert not under_way.intersection(put), "no two upserts of one id are under way at once"
        under_way.update(put)
        for _ in range(rng.randrange(40)):
            await asyncio.sleep(0)
        under_way.difference_update(put)

    async def overtake(record: dict[str, Any]) -> dict[str, Any]:
        for _ in range(rng.randrange(40)):
            await asyncio.sleep(0)
        return {"overtook": True}

    store.before_upsert = wait
    stream = (
        tm.from_iterable(make_records(600, ids=ids))
        .call(overtake, limits=limits(concurrency=50))
        .index(shelf(), payload=["year"], batch_size=7, limits=limits(concurrency=5))
    )
    report = stream.write(tmp_path / "out", progress=False)
    assert report.records["landed"] == 600
    last = {record["id"]: record["year"] for record in make_records(600, ids=ids)}
    assert {int(key): payload["year"] for key, (_, payload) in store.held.items()} == last
    counts = report.to_dict()["calls"]["shares"]["index"]["counts"]
    assert counts == {"stored": ids, "superseded": 600 - ids}


def test_a_record_that_comes_when_a_later_one_of_its_id_has_landed_is_not_put_in(
    tmp_path: Path, shelves: dict[str, ShelfStore]
) -> None:
    """It is superseded: the later one is remembered for as long as an earlier one is on its way."""
    store = shelves["one"] = ShelfStore(shelf())
    later = asyncio.Event()

    async def note(put: Sequence[str]) -> None:
        later.set()

    async def hold(record: dict[str, Any]) -> dict[str, Any]:
        if record["year"] == 0:
            await later.wait()
            for _ in range(100):
                await asyncio.sleep(0)
        return {"held": True}

    store.before_upsert = note
    stream = tm.from_iterable(make_records(2, ids=1)).call(hold).index(shelf(), payload=["year"], batch_size=1)
    report = stream.write(tmp_path / "out", progress=False)
    assert report.to_dict()["calls"]["shares"]["index"]["counts"] == {"stored": 1, "superseded": 1}
    assert store.held["0"][1]["year"] == 1


def test_records_whose_place_another_took_are_counted(tmp_path: Path) -> None:
    """In one upsert or several; as many are stored as there are ids."""
    report = tm.from_iterable(make_records(300, ids=2)).index(shelf(), batch_size=50).write(tmp_path, progress=False)
    counts = report.to_dict()["calls"]["shares"]["index"]["counts"]
    assert counts == {"stored": 2, "superseded": 298}


@pytest.mark.usefixtures("lance_opened_once")
def test_what_the_store_cannot_take_fails_its_record_alone(tmp_path: Path) -> None:
    store = LanceDB(path=tmp_path / "index", dimensions=2)
    records: list[dict[str, Any]] = [
        {"id": "whole", "embedding": [1.0, 2.0]},
        {"id": "short", "embedding": [1.0]},
        {"id": "nan", "embedding": [1.0, float("nan")]},
        {"id": "", "embedding": [1.0, 2.0]},
        {"id": "no vector", "embedding": None},
        {"id": "none at all"},
    ]
    report = tm.from_iterable(records).index(store).write(tmp_path / "out", max_errors=10, progress=False)
    assert report.records["landed"] == 1
    lines = [json.loads(line) for line in next((tmp_path / "out/.run/quarantine").iterdir()).read_text().splitlines()]
    assert [line["record"]["id"] for line in lines] == ["short", "nan", "", "no vector", "none at all"]
    told = [line["error"]["message"] for line in lines]
    assert all(each.startswith("the store cannot take it: ") for each in told[:4])
    assert "embedding" in told[4]


BROKEN: set[int] = set()
"""The years whose records fail."""


def look_over(record: dict[str, Any]) -> bool:
    if record["year"] in BROKEN:
        raise ValueError("not yet")
    return True


@pytest.fixture
def broken() -> Iterator[set[int]]:
    yield BROKEN
    BROKEN.clear()


def read_years(store: Store) -> dict[str, int]:
    """What the store holds, by id."""

    async def read() -> dict[str, int]:
        async with store.open() as opened:
            found = await opened.fetch([str(number) for number in range(20)])
            return {match.id: match.payload["year"] for match in found if match is not None}

    return asyncio.run(read())


def number_from(first: int) -> dict[str, int]:
    return {str(key): first + key for key in range(20)}


@pytest.mark.usefixtures("lance_opened_once")
@pytest.mark.parametrize("make", [lambda folder: LanceDB(path=folder / "index", dimensions=2), lambda _: shelf()])
def test_a_record_that_retry_brings_in_does_not_take_the_place_of_a_later_one(
    tmp_path: Path, broken: set[int], make: Callable[[Path], Store]
) -> None:
    """Records 2 and 22 have one id, 22 is sealed, and 2 comes in after it; 33 is the last of its id.

    So it is with a second retry, and what is read after one takes the place of what that brought in.
    """
    store = make(tmp_path)
    broken |= {2, 3, 17, 33}
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in make_records(60, ids=20)))
    stream = tm.read(str(tmp_path / "records.jsonl")).with_columns(checked=look_over).index(store, payload=["year"])

    def write(**fields: Any) -> Report:
        return stream.write(tmp_path / "out", max_errors=10, progress=False, **fields)

    assert write(limit=40).records["quarantined"] == 4
    assert read_years(store) == {**number_from(20), "13": 13}
    broken -= {2, 17, 33}
    report = write(retry=True)
    assert report.records == {"landed": 39, "dropped": 0, "skipped": 0, "quarantined": 1}
    counts = report.to_dict()["calls"]["shares"]["index"]["counts"]
    assert sum(counts.values()) == 39
    assert read_years(store) == number_from(20)
    assert write().records["landed"] == 59
    assert read_years(store) == number_from(40)
    broken.clear()
    assert write(retry=True).records["landed"] == 60
    assert read_years(store) == number_from(40)


def test_a_record_that_failed_behind_index_is_not_put_in_again(
    tmp_path: Path, broken: set[int], shelves: dict[str, ShelfStore]
) -> None:
    """It stands in the store from its first time on."""
    broken.add(2)
    stream = tm.from_iterable(make_records(40, ids=20)).index(shelf(), payload=["year"]).with_columns(checked=look_over)
    assert stream.write(tmp_path, max_errors=10, progress=False).records["quarantined"] == 1
    put = sum(map(len, shelves["one"].upserts))
    broken.clear()
    assert stream.write(tmp_path, max_errors=10, retry=True, progress=False).records["landed"] == 40
    assert sum(map(len, shelves["one"].upserts)) == put
    assert read_years(shelf()) == number_from(20)


def test_children_of_one_record_have_their_places_in_a_retry(
    tmp_path: Path, broken: set[int], shelves: dict[str, ShelfStore]
) -> None:
    """Of children with one id the last stands, and not the one before it that comes in by a retry."""
    broken.add(101)

    async def ask(record: dict[str, Any]) -> dict[str, Any]:
        return {"asked": True}

    def split(record: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**record, "year": 100 + place} for place in range(3)]

    stream = tm.from_iterable(make_records(1)).call(ask).flat_map(split).with_columns(checked=look_over).index(shelf())
    stream.write(tmp_path, max_errors=10, progress=False)
    broken.clear()
    assert stream.write(tmp_path, max_errors=10, retry=True, progress=False).records["landed"] == 3
    assert shelves["one"].held["0"][1]["year"] == 102


def test_what_is_found_is_as_it_was_put_in(tmp_path: Path) -> None:
    """Without what a run keeps along with it, which the store itself gives; plain iteration keeps nothing there."""
    tm.from_iterable(make_records(1)).index(shelf(), payload=["year"]).write(tmp_path / "in", progress=False)
    assert Shelf.shelves["one"].held["0"][1].keys() == {"year", "_tidemill"}
    asked: list[dict[str, Any]] = [{"embedding": [1.0, 0.0]}]
    (found,) = tm.from_iterable(asked).search(shelf())
    assert found["matches"] == [{"id": "0", "score": 1.0, "payload": {"year": 0}}]
    list(tm.from_iterable(make_records(1)).index(shelf(), payload=["year"]))
    assert dict(Shelf.shelves["one"].held["0"][1]) == {"year": 0}


@pytest.fixture(scope="module")
def jobs() -> Iterator[indexing.Jobs]:
    with indexing.open_jobs() as jobs:
        yield jobs


@pytest.mark.usefixtures("lance_opened_once")
@pytest.mark.parametrize("kind", ["lancedb", "pgvector", "qdrant", "qdrant server"])
def test_a_job_killed_twenty_times_between_upsert_and_seal_puts_in_each_record_once(
    tmp_path: Path, kind: str, jobs: indexing.Jobs, postgres_server: PostgresServer, qdrant_server: QdrantServer
) -> None:
    """What was not sealed is put in again: in the end every id is there once, with the last record that has it.

    Five times each at the beginning and from three places on the way.
    """
    if kind == "pgvector":
        described = {"type": kind, "url": postgres_server.make_database()}
    elif kind == "qdrant server":
        described = {"type": "qdrant", "url": qdrant_server.url, "collection": qdrant_server.make_name()}
    else:
        described = {"type": kind, "path": str(tmp_path / "index")}
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in indexing.iter_records()))
    rng = random.Random(kind)
    for limit in (64, 128, 192, None):
        ends = [jobs.run(tmp_path, described, "index", lives=rng.randrange(1, 32)) for _ in range(5)]
        assert ends == [-signal.SIGKILL] * 5
        assert jobs.run(tmp_path, described, "index", limit=limit) == 0
    expected = {record["id"]: record["number"] for record in indexing.iter_records()}

    async def read() -> tuple[int, list[Any]]:
        async with indexing.read_settings(described).open() as store:
            return await store.count(), list(await store.fetch(list(expected)))

    count, found = asyncio.run(read())
    assert count == len(expected)
    assert {match.id: match.payload["number"] for match in found} == expected
    assert list(tm.dataset(tmp_path / "out")["number"]) == list(range(indexing.RECORDS))


@pytest.mark.usefixtures("lance_opened_once")
def test_a_search_job_killed_five_times_makes_no_committed_search_again(tmp_path: Path, jobs: indexing.Jobs) -> None:
    """Once a record has come out of the step, nobody searches for it; more than those in flight are searched for once.

    Each record says what was found for it, in the order of the source.
    """
    described = {"type": "lancedb", "path": str(tmp_path / "index")}
    records = list(indexing.iter_records())
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    assert jobs.run(tmp_path, described, "index") == 0
    ends = [jobs.run(tmp_path, described, "search", lives=30 + 5 * life) for life in range(5)]
    assert ends == [-signal.SIGKILL] * 5
    assert jobs.run(tmp_path, described, "search") == 0
    told: set[str] = set()
    asked: Counter[str] = Counter()
    for line in (tmp_path / "searches.txt").read_text().splitlines():
        what, number = line.split()
        if what == "told":
            told.add(number)
        else:
            assert number not in told
            asked[number] += 1
    assert len(told) == len(asked) == indexing.RECORDS
    assert sum(asked.values()) - len(asked) <= 5 * indexing.CONCURRENCY
    landed = list(tm.dataset(tmp_path / "found"))
    assert [record["number"] for record in landed] == list(range(indexing.RECORDS))
    assert all(record["matches"][0]["score"] == pytest.approx(1.0, abs=1e-5) for record in landed)


def test_a_committed_search_is_not_made_again(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    """A run that goes on, or reuses another, says what was found then, whatever the store holds now."""
    tm.from_iterable(make_records(10)).index(shelf()).write(tmp_path / "in", progress=False)
    stream = tm.from_iterable(make_records(6)).search(shelf(), k=2)
    stream.write(tmp_path / "first", progress=False)
    first = list(tm.dataset(tmp_path / "first")["matches"])
    assert shelves["one"].searches == 6
    shelves["one"].held.clear()
    stream.write(tmp_path / "second", reuse=str(tmp_path / "first"), progress=False)
    assert list(tm.dataset(tmp_path / "second")["matches"]) == first
    assert shelves["one"].searches == 6


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (LanceDB(path="books", dimensions=2), Qdrant(path="books", dimensions=2)),
        (Qdrant(path="books", dimensions=2), Qdrant(path="papers", dimensions=2)),
        (Qdrant(url="http://one:6333", dimensions=2), Qdrant(url="http://two:6333", dimensions=2)),
        (pgvector("app:first@one/library"), pgvector("app:first@two/library")),
        (pgvector("app:first@one/library"), pgvector("app:first@one/trials")),
    ],
    ids=["type", "folder", "server", "host", "database"],
)
def test_a_run_over_one_store_does_not_go_on_over_another(first: Store, second: Store) -> None:
    """It would have nothing to do, and the other would hold nothing."""
    one, other = (tm.read("a.jsonl").index(store).job("out").fingerprint for store in (first, second))
    assert one != other


def test_a_store_is_one_whatever_opens_it_and_however_it_is_used() -> None:
    one = Qdrant(url="http://one:6333", api_key=SecretStr("first"), dimensions=2)
    other = Qdrant(url="http://one:6333/", api_key=SecretStr("second"), concurrency=1, dimensions=2)
    for stores in ((one, other), (pgvector("app:first@one/library"), pgvector("copy:second@one/library", timeout_s=1))):
        assert len({tm.read("a.jsonl").index(store).job("out").fingerprint for store in stores}) == 1


class Rack(Shelf):
    """A shelf of which it makes no difference to a fingerprint where it stands."""

    place: Annotated[str, Runtime()] = "one"

    def find_place(self) -> tuple[str, str]:
        return self.place, "rack"


class Board(Shelf):
    """What is described as a shelf is, and is none."""


@pytest.mark.parametrize(
    ("first", "second", "asked", "k", "searched"),
    [
        (Shelf, Shelf, {"lang": "de"}, 2, 0),
        (Shelf, Shelf, {"embedding": [1.0, 9.0]}, 2, 6),
        (Shelf, Shelf, {"since": 3}, 2, 6),
        (Shelf, Shelf, {}, 3, 6),
        (Shelf, partial(Shelf, place="two"), {}, 2, 6),
        (Rack, partial(Rack, place="two"), {}, 2, 6),
        (Shelf, Board, {}, 2, 6),
    ],
    ids=["another column", "vector", "filter", "k", "store", "place", "type"],
)
def test_what_was_found_is_reused_for_the_same_search_alone(
    tmp_path: Path,
    shelves: dict[str, ShelfStore],
    first: Callable[..., Shelf],
    second: Callable[..., Shelf],
    asked: dict[str, Any],
    k: int,
    searched: int,
) -> None:
    """Of the same vector in the same store by the same filter, whatever else the records hold."""
    old, new = (make(dimensions=2, metric="dot", fields=FIELDS) for make in (first, second))
    for settings in (old, new):
        settings.open().held["0"] = [1.0, 0.0], {"year": 9, "of": type(settings).__name__}
    records = [{**record, "since": 1} for record in make_records(6)]

    def write(store: Shelf, k: int, changes: dict[str, Any], name: str, reuse: str | None = None) -> Report:
        found = tm.from_iterable([{**record, **changes} for record in records]).search(
            store, k=k, filter={"year": {"ge": {"column": "since"}}}
        )
        return found.write(tmp_path / name, reuse=reuse, progress=False)

    write(old, 2, {}, "first")
    before = sum(each.searches for each in shelves.values())
    report = write(new, k, asked, "second", reuse=str(tmp_path / "first"))
    assert sum(each.searches for each in shelves.values()) - before == searched
    assert report.reused == 6 - searched


@pytest.mark.usefixtures("lance_opened_once")
def test_a_search_where_nothing_was_ever_put_in_fails_its_record(
    tmp_path: Path, shelves: dict[str, ShelfStore]
) -> None:
    """A mistyped place would answer every question with nothing; a filter that nothing passes is an answer."""
    store = LanceDB(path=str(tmp_path / "handbok"), dimensions=2, fields={"year": "int"})
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in make_records(3)))
    stream = tm.read(str(tmp_path / "records.jsonl")).search(store, k=1)
    stream.write(tmp_path / "out", max_errors=3, progress=False)
    lines = [json.loads(line) for line in next((tmp_path / "out/.run/quarantine").iterdir()).read_text().splitlines()]
    told = f"the store holds no record to find: vectors in {tmp_path / 'handbok'}"
    assert [line["error"]["message"].splitlines()[0] for line in lines] == [told] * 3
    tm.from_iterable(make_records(2)).index(store, payload=["year"]).write(tmp_path / "in", progress=False)
    stream.write(tmp_path / "out", retry=True, progress=False)
    assert [len(each["matches"]) for each in tm.dataset(tmp_path / "out")] == [1, 1, 1]
    nothing = list(tm.from_iterable(make_records(1)).search(store, k=1, filter={"year": 9}))
    assert nothing[0]["matches"] == []
    filled = list(tm.from_iterable(make_records(1)).search(shelf(), k=1).index(shelf()))
    assert filled[0]["matches"] == [], "the same steps put records in, later ones"


def test_a_filter_compares_with_values_and_columns(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    tm.from_iterable(make_records(10)).index(shelf(), payload=["lang", "year"]).write(tmp_path / "in", progress=False)
    asked: list[Any] = [
        {"embedding": [1.0, 1.0], "wanted": lang, "since": since} for lang, since in (("en", 6), ("de", 0))
    ]
    filter: dict[str, Any] = {"lang": {"column": "wanted"}, "year": {"ge": {"column": "since"}, "not_in": [8]}}
    found = list(tm.from_iterable(asked).search(shelf(), k=9, filter=filter))
    assert [[match["payload"]["year"] for match in each["matches"]] for each in found] == [[9, 7], [6, 4, 2, 0]]


def test_equal_settings_are_one_store_that_is_closed_at_the_end(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    stream = tm.from_iterable(make_records(10)).index(shelf()).search(shelf(), k=1).index(shelf(place="two"))
    stream.write(tmp_path / "out", progress=False)
    assert [(each.opened, each.closed) for each in shelves.values()] == [(1, 1), (1, 1)]
    stream.write(tmp_path / "out", progress=False)
    assert shelves["one"].opened == 1, "nothing was left to do, and nothing was opened"


def test_the_store_is_flushed_at_the_end_of_the_records(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    """And not where a run stops before it."""
    wrong = [{**record, "embedding": [1.0]} for record in make_records(10)]
    stopped = tm.from_iterable(wrong).index(shelf()).write(tmp_path / "stopped", max_errors=1, progress=False)
    assert (stopped.outcome, shelves["one"].flushes) == ("errors", 0)
    tm.from_iterable(make_records(10)).index(shelf()).write(tmp_path / "out", progress=False)
    assert shelves["one"].flushes == 1


def fail_flushes(store: ShelfStore, times: int) -> None:
    """Have the next flushes of `store` fail with what may pass."""
    left = [TransientCallError("the shelf is being dusted")] * times

    async def fail() -> None:
        if left:
            raise left.pop()

    store.before_flush = fail


def test_indexes_whose_building_failed_are_built_by_the_next_sitting(
    tmp_path: Path, shelves: dict[str, ShelfStore]
) -> None:
    """All has landed by then, and nothing else is left to do; so it is where the source grew after they were built."""
    store = shelves["one"] = ShelfStore(shelf())
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in make_records(10)))
    stream = tm.read(str(tmp_path / "records.jsonl")).index(shelf(), limits=limits(max_attempts=1))

    def write(limit: int | None = None) -> Report:
        return stream.write(tmp_path / "out", limit=limit, progress=False)

    assert write(limit=5).outcome == "limit"
    assert store.flushes == 1
    for _ in range(2):
        fail_flushes(store, 1)
        report = write()
        assert (report.outcome, report.exit_code, report.records["landed"]) == ("failed", 3, 10)
        assert report.reason.startswith("the indexes that step `index` builds at the end: the shelf is being dusted")
    report = write()
    assert (report.outcome, report.exit_code, report.reason) == ("finished", 0, "")
    assert (store.flushes, sum(map(len, store.upserts))) == (2, 10)
    opened = store.opened
    assert write().reason == "already finished, nothing to do"
    assert (store.flushes, store.opened) == (2, opened)


def test_building_that_may_pass_is_tried_again(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    """By the step's limits, except that it may take longer than an attempt."""
    store = shelves["one"] = ShelfStore(shelf())
    fail_flushes(store, 2)
    stream = tm.from_iterable(make_records(3)).index(shelf(), limits=limits(max_attempts=3))
    report = stream.write(tmp_path / "out", progress=False)
    assert (report.outcome, store.flushes) == ("finished", 1)


async def test_building_ends_with_a_run_that_is_stopped(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    """After the time that calls in flight get, and the next sitting builds anew."""
    store = shelves["one"] = ShelfStore(shelf())
    job = tm.from_iterable(make_records(3)).index(shelf()).job(tmp_path / "out").spec
    runner = Runner(job.model_copy(update={"run": job.run.model_copy(update={"grace_s": 0.0})}))

    async def stop() -> None:
        runner.stop()
        await asyncio.Event().wait()

    store.before_flush = stop
    report = await runner.run()
    assert (report.outcome, report.records["landed"], store.flushes) == ("stopped", 3, 0)
    store.before_flush = None
    report = await Runner(job).run()
    assert (report.outcome, report.reason, store.flushes) == ("finished", "", 1)


def test_a_failure_that_may_pass_is_tried_again(tmp_path: Path, shelves: dict[str, ShelfStore]) -> None:
    """An upsert and a search that the store broke off, and ones that took too long."""
    searched = shelf(place="two", fails=1, hangs=1)
    searched.open().held["0"] = [1.0, 0.0], {}
    stream = (
        tm.from_iterable(make_records(3))
        .index(shelf(fails=1, hangs=1), limits=limits(attempt_timeout_s=5))
        .search(searched, limits=limits(attempt_timeout_s=5, concurrency=1))
    )
    report = run_virtual(Runner(stream.job(tmp_path / "out").spec).run())
    assert report.records["landed"] == 3
    assert sum(report.to_dict()["calls"]["failures"].values()) == 4


def test_a_store_that_does_not_open_is_no_longer_waited_for_than_an_attempt_may_take(
    tmp_path: Path, shelves: dict[str, ShelfStore]
) -> None:
    """And opened again by the next."""
    stream = tm.from_iterable(make_records(3)).index(shelf(opens_slowly=1), limits=limits(attempt_timeout_s=5))
    report = run_virtual(Runner(stream.job(tmp_path / "out").spec).run())
    assert report.records["landed"] == 3
    assert shelves["one"].opened == 1


def test_plain_iteration_and_one_record_use_the_store(shelves: dict[str, ShelfStore]) -> None:
    pipeline = tm.Pipeline([Index(store=shelf()), Search(store=shelf(), k=1)])
    assert pipeline({"id": 1, "embedding": [1.0, 1.0]})["matches"][0]["id"] == "1"
    records = list(tm.from_iterable(make_records(5)).index(shelf()).search(shelf(), k=1))
    assert [record["matches"][0]["id"] for record in records][-1] in {"1", "4"}
    assert shelves["one"].opened == shelves["one"].closed == 2


def test_a_trial_writes_nothing(shelves: dict[str, ShelfStore]) -> None:
    trials = tm.from_iterable(make_records(2)).index(shelf()).preview(2)
    assert [trial.result for trial in trials] == make_records(2)
    assert shelves == {}


def test_a_rehearsal_writes_nothing_and_answers_searches_by_its_script(shelves: dict[str, ShelfStore]) -> None:
    stream = tm.from_iterable(make_records(2)).index(shelf()).search(shelf())
    seen = tm.testing.run(stream, {"search": [[{"id": "a", "score": 1.0, "payload": {"n": 1}}]] * 2})
    assert [record["matches"] for record in seen.records] == [[{"id": "a", "score": 1.0, "payload": {"n": 1}}]] * 2
    assert shelves == {}


def test_a_dataset_still_has_the_index_of_a_record(tmp_path: Path) -> None:
    """`data.index(record)` is the sequence's, `data.index(store)` the step."""
    path = tmp_path / "records.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in make_records(3)))
    data = tm.dataset(path)
    assert data.index(make_records(3)[2]) == 2
    assert [node.kind for node in data.index(shelf(), name="put")._nodes] == ["index"]


JOB = """
stores:
  docs: {type: "shelf:Shelf", dimensions: 2, metric: dot, fields: {lang: str}}
source: {path: records.jsonl}
steps:
  - index: {store: docs, id: "{{ id }}/{{ lang }}"}
  - search: {store: docs, k: 2, filter: {lang: en}}
sink: {path: out}
"""


def write_job(folder: Path, text: str) -> Path:
    (folder / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in make_records(4)))
    (folder / "job.yaml").write_text(text)
    return folder / "job.yaml"


def test_a_job_file_names_its_stores(tmp_path: Path) -> None:
    """Both steps have the one store; written out and read again it is the same job."""
    job = tm.load_job(write_job(tmp_path, JOB))
    index, search = job.spec.steps
    assert isinstance(index, Index)
    assert isinstance(search, Search)
    assert index.store == search.store == Shelf(dimensions=2, metric="dot", fields={"lang": "str"})
    (tmp_path / "again.yaml").write_text(job.to_yaml())
    assert tm.load_job(tmp_path / "again.yaml").spec.steps == job.spec.steps
    assert job.run(progress=False).outcome == "finished"


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("index: {store: docs", "index: {store: doks", 6, "there is no store `doks` under `stores:`"),
        ("k: 2", "k: 0", 7, "expected an integer >= 1"),
        ("filter: {lang: en}", "filter: {lan: en}", 7, "the store has no field `lan` to filter by"),
        ("filter: {lang: en}", "filter: {lang: {eqq: en}}", 7, "there is no operator `eqq`"),
        ("filter: {lang: en}", "filter: {lang: {gte: en}}", 7, "no operator `gte`; did you mean `ge`"),
        ("filter: {lang: en}", "filter: {lang: {$nin: [en]}}", 7, "did you mean `not_in`"),
        ("filter: {lang: en}", "filter: {lang: 7}", 7, "the field holds a text, got 7"),
        ("filter: {lang: en}", "filter: {lang: {column: langg}}", 7, "langg"),
        ("k: 2", "k: 2, vector: embeding", 7, "embeding"),
        ("{{ lang }}", "{{ lng }}", 6, "lng"),
        ("metric: dot", "metric: dott", 3, "dott"),
        ("metric: dot", "metric: inner_product", 3, "did you mean `dot`"),
        ("stores:", "storse:", 2, "storse"),
    ],
)
def test_what_is_wrong_with_a_store_is_told_at_its_place(
    tmp_path: Path, old: str, new: str, line: int, told: str
) -> None:
    """And once: a store that cannot be read is no fault of the steps that name it."""
    path = write_job(tmp_path, JOB.replace(old, new))
    with pytest.raises(ConfigError, match=r"1 error") as caught:
        tm.load_job(path).check()
    (problem,) = caught.value.problems
    assert told in f"{problem.message}; {problem.hint}"
    assert problem.place is not None
    assert problem.place.line == line


EMBEDDED = """
stores:
  docs: {type: "shelf:Shelf", dimensions: 512}
source: {path: records.jsonl}
steps:
  - embed: {model: local/minilm, column: lang, into: vector}
  - rename: {vector: embedding}
  - index: {store: docs}
  - search: {store: docs, k: 2}
sink: {path: out}
"""


@pytest.mark.parametrize(
    ("changes", "line", "told"),
    [
        ([], 3, "`stores.docs.dimensions`: step `embed` makes vectors of 384 numbers, and the store's have 512"),
        (
            [("model: local/minilm", "model: openai/any, dimensions: 256, name: short")],
            3,
            "`stores.docs.dimensions`: step `short` makes vectors of 256 numbers, and the store's have 512",
        ),
        (
            [("search: {store: docs", "search: {store: {type: 'shelf:Shelf', dimensions: 7}"), ("512", "384")],
            9,
            "`steps.3.search.store.dimensions`: step `embed` makes vectors of 384 numbers, and the store's have 7",
        ),
    ],
)
def test_vectors_that_do_not_fit_their_store_are_told_before_they_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[tuple[str, str]], line: int, told: str
) -> None:
    """Once for each store, at its dimensions, under whatever name the column comes to it."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    text = EMBEDDED
    for old, new in changes:
        text = text.replace(old, new)
    with pytest.raises(ConfigError, match="1 error") as caught:
        tm.load_job(write_job(tmp_path, text)).check()
    (problem,) = caught.value.problems
    assert problem.message == told
    assert problem.place is not None
    assert problem.place.line == line
    assert problem.hint == f"dimensions: {told.partition('vectors of ')[2].split()[0]}"


@pytest.mark.parametrize(
    "changes",
    [
        [("512", "384")],
        [("model: local/minilm", "model: openai/any")],
        [("rename: {vector: embedding}", "with_columns: {embedding: 'json:dumps'}")],
        [("rename: {vector: embedding}", "map: 'copy:copy'"), (", into: vector", "")],
    ],
)
def test_vectors_of_which_nobody_knows_the_length_are_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: list[tuple[str, str]]
) -> None:
    """A model elsewhere gives what it has; a function may change a column. Without such a change it is one."""
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with pytest.raises(ConfigError, match="makes vectors of 384 numbers"):
        tm.load_job(write_job(tmp_path, EMBEDDED)).check()
    text = EMBEDDED
    for old, new in changes:
        text = text.replace(old, new)
    tm.load_job(write_job(tmp_path, text)).check()


@pytest.mark.usefixtures("lance_opened_once")
@pytest.mark.parametrize("kind", ["lancedb", "qdrant"])
def test_a_path_of_a_store_starts_at_the_job_files_folder(tmp_path: Path, kind: str) -> None:
    text = JOB.replace('type: "shelf:Shelf"', f"type: {kind}, path: index")
    job = tm.load_job(write_job(tmp_path, text))
    assert job.run(progress=False).outcome == "finished"
    assert (tmp_path / "index").is_dir()
    assert not Path("index").exists()


def test_a_package_that_is_not_installed_is_told_by_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for a store of two steps, before anything is called."""
    monkeypatch.setitem(sys.modules, "lancedb", None)
    text = JOB.replace('type: "shelf:Shelf"', "type: lancedb, path: index")
    with pytest.raises(ConfigError, match="1 error") as caught:
        tm.load_job(write_job(tmp_path, text)).check()
    (problem,) = caught.value.problems
    told = "`steps.0.index.store`: a store of LanceDB needs the package lancedb, which is not installed"
    assert problem.message == told
    assert problem.hint == 'pip install "tidemill[lancedb]"'


def test_a_name_near_a_stores_is_suggested(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="1 error") as caught:
        tm.load_job(write_job(tmp_path, JOB.replace("search: {store: docs", "search: {store: doc")))
    assert caught.value.problems[0].hint == "did you mean `docs`?"
