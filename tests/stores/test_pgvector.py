"""pgvector: the table and its indexes, COPY, the pool, and what a real server says when something is wrong."""

import asyncio
import json
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

import tidemill as tm
from conftest import PostgresServer
from tidemill.calls.wire import UnreachableError
from tidemill.errors import ConfigError, PermanentCallError, ResourceError, StateError, TransientCallError
from tidemill.protocols import Match
from tidemill.stores.filters import OPERATORS, parse_filter
from tidemill.stores.pgvector.opened import BULK_ROWS
from tidemill.stores.pgvector.settings import Hnsw, PgVector, Pool
from tidemill.testing.stores import STORE_CHECKS, StoreCheck, StoreSubject

FIELDS: dict[str, Any] = {"year": "int", "name": "str", "mass": "float", "is_new": "bool"}


@pytest.fixture(scope="module")
def url(postgres_server: PostgresServer) -> str:
    """The address of a database of this file's."""
    return postgres_server.make_database()


@pytest.fixture
def make_settings(url: str, request: pytest.FixtureRequest) -> Callable[..., PgVector]:
    """Settings of a table of the test's own."""
    name = request.node.name.replace(".", "")[:60]

    def make(**given: Any) -> PgVector:
        return PgVector(**{"url": url, "table": name, "dimensions": 8, **given})

    return make


def draw_vectors(count: int, *, seed: int = 0, dimensions: int = 8) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).standard_normal((count, dimensions)).astype(np.float32)


def find_exact(vectors: np.ndarray[Any, Any], query: np.ndarray[Any, Any], k: int) -> list[str]:
    """The ids, which are numbers, of those nearest by cosine."""
    scores = vectors @ query / np.linalg.norm(vectors, axis=1)
    return [str(number) for number in np.argsort(-scores)[:k]]


async def ask(url: str, query: str, *given: Any) -> list[Any]:
    """The rows of a query over a connection of its own."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        cursor = await connection.execute(query, given or None)
        return await cursor.fetchall() if cursor.description else []


# The table


async def test_openers_at_once_make_one_table_and_the_extension(postgres_server: PostgresServer) -> None:
    settings = PgVector(url=postgres_server.make_database(), dimensions=3, table='o"d d')

    async def open_one() -> int:
        async with settings.open() as store:
            return await store.count()

    assert await asyncio.gather(*(open_one() for _ in range(6))) == [0] * 6


async def test_a_table_may_be_of_another_schema(url: str) -> None:
    await ask(url, 'CREATE SCHEMA "s{}; --"')
    async with PgVector(url=url, table='s{}; --."t".x', dimensions=2, fields={"n": "int"}).open() as store:
        await store.upsert(["a"], [[1, 2]], [{"n": 1}])
        await store.flush()
        assert await store.count({"n": [1, None]}) == 1
    assert await ask(url, """SELECT id FROM "s{}; --".\"""t"".x\"""") == [("a",)]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dimensions": 5}, "holds vectors of 8 numbers, and the settings say 5\n.*`dimensions: 8`"),
        ({"metric": "l2"}, "searched by `cosine`, and the settings say `l2`\n.*`metric: cosine`"),
        ({"fields": {"year": "str"}}, "`year` is of `int` in the table, and the settings say `str`"),
        ({"fields": {"text": "int"}}, "`text` is not of `int` in every payload that is there: invalid input syntax"),
    ],
)
async def test_a_table_that_is_other_than_said_is_refused(
    make_settings: Callable[..., PgVector], other: dict[str, Any], message: str
) -> None:
    made = make_settings(fields=FIELDS)
    async with made.open() as store:
        await store.upsert(["a"], draw_vectors(1), [{"text": "x"}])
    with pytest.raises(StateError, match=message):
        await made.model_copy(update=other).open().__aenter__()
    async with made.open() as store:
        assert await store.count() == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("id text, embedding vector(8), payload jsonb", "its column `id` is no key"),
        ("id int PRIMARY KEY, embedding vector(8), payload jsonb", "expected a column `id` of `text`, got `integer`"),
        ("id text PRIMARY KEY, embedding vector(8)", "expected a column `payload` of `jsonb`, got none"),
        ("id text PRIMARY KEY, embedding vector, payload jsonb", r"`embedding` of `vector\(8\)`, got `vector`"),
    ],
)
async def test_a_table_of_something_else_is_refused(
    make_settings: Callable[..., PgVector], url: str, columns: str, message: str
) -> None:
    await ask(url, "CREATE EXTENSION IF NOT EXISTS vector")
    made = make_settings(table="other")
    await ask(url, "DROP TABLE IF EXISTS other")
    await ask(url, f"CREATE TABLE other ({columns})")
    with pytest.raises(StateError, match=message):
        await made.open().__aenter__()


async def test_a_field_that_is_declared_later_is_of_what_is_there(make_settings: Callable[..., PgVector]) -> None:
    async with make_settings().open() as store:
        await store.upsert(["a", "b", "c"], draw_vectors(3), [{"year": 5.0}, {"year": None}, {}])
    async with make_settings(fields={"year": "int", "y" * 80: "str"}).open() as store:
        assert [await store.count({"year": year}) for year in (5, None)] == [1, 2]
        await store.upsert(["d"], draw_vectors(1), [{"y" * 80: "x"}])
        assert await store.count({"y" * 80: "x"}) == 1


# Records

ROWS: list[dict[str, Any]] = [
    {"year": year, "name": name, "mass": mass, "is_new": is_new}
    for year, mass, is_new in [(1, 0.5, True), (-3, 1e300, False), (2**63 - 1, -0.0, None), (None, None, True)]
    for name in [None, "", "a", "a'", 'é"', "\\", "%s", "aa\U0001f600"]
]
AMONG: dict[str, list[Any]] = {
    "year": [-3, 0, 1.0, 2**63 - 1, -(2**63)],
    "name": ["", "a", "a'", "\\", "\0", "a\0", "a\0b", "\U0001f600", "é", "%s"],
    "mass": [0.5, 0, 1e300, -1e300],
    "is_new": [True, False],
}


def list_filters() -> Iterator[dict[str, Any]]:
    """Every operator of every field, with each value, with none and with several."""
    for name, among in AMONG.items():
        for operator in OPERATORS:
            if operator in ("in", "not_in"):
                asked: list[Any] = [[], [None], *([value] for value in among), among[:3], [*among, None]]
            else:
                asked = (
                    [*among, *[None] * (operator in ("eq", "ne"))]
                    if name != "is_new" or operator in ("eq", "ne")
                    else []
                )
            for value in asked:
                yield {name: {operator: value}}


async def test_a_filter_passes_what_it_says(make_settings: Callable[..., PgVector]) -> None:
    """What the server lets pass is what `Comparison.passes` does, which every store has to agree with."""
    ids = [str(number) for number in range(len(ROWS))]
    async with make_settings(fields=FIELDS).open() as store:
        await store.upsert(ids, draw_vectors(len(ROWS)), ROWS)
        for _ in range(2):  # without indexes, and with them
            combined: dict[str, Any] = {"name": {"ge": "a", "lt": "b"}, "year": {"ne": 1}, "is_new": {"eq": True}}
            for asked in [*list_filters(), combined]:
                comparisons = parse_filter(asked, FIELDS)
                passed = sum(all(each.passes(row) for each in comparisons) for row in ROWS)
                assert (asked, await store.count(asked)) == (asked, passed)
            await store.flush()


async def test_what_postgres_has_no_text_for_is_refused_by_itself(make_settings: Callable[..., PgVector]) -> None:
    payloads: list[dict[str, Any]] = [{}, {"a": ["x\0"]}, {"a\0": 1}, {"a": "\\u0000"}]
    async with make_settings().open() as store:
        outcomes = await store.upsert(["a\0", "b", "c", "d"], draw_vectors(4), payloads)
        assert [(each.kind, each.error) for each in outcomes] == [
            ("refused", "the id has NUL, which no text of PostgreSQL has"),
            ("refused", "the payload has NUL in a text, which no text of PostgreSQL has"),
            ("refused", "the payload has NUL in a text, which no text of PostgreSQL has"),
            ("stored", ""),
        ]
        assert await store.fetch(["a\0", "d"]) == [None, Match("d", 1.0, {"a": "\\u0000"})]
        assert await store.delete(["a\0", "b"]) == 0


@pytest.mark.parametrize("count", [BULK_ROWS - 1, BULK_ROWS + 1])
async def test_few_and_many_records_are_there_once(make_settings: Callable[..., PgVector], count: int) -> None:
    """New ones, ones that are there, and some of each; many go by COPY, few do not."""
    ids = [f"é{number}" for number in range(2 * count)]
    vectors = draw_vectors(2 * count)
    async with make_settings().open() as store:
        for start, stop in [(0, count), (0, count), (count // 2, count // 2 + count)]:
            await store.upsert(ids[start:stop], vectors[start:stop], [{"n": start}] * count)
        found = await store.fetch(ids, with_vectors=True)
        kept = [match for match in found if match is not None]
        assert len(kept) == await store.count() == count // 2 + count
        assert [match.payload["n"] for match in kept] == [0] * (count // 2) + [count // 2] * count
        assert np.array_equal(np.array([match.vector for match in kept]), vectors[: len(kept)])


async def test_loads_that_have_new_records_in_common_end_well(make_settings: Callable[..., PgVector]) -> None:
    """Whoever copies second finds the first one's ids there, and goes by the staging table. None waits in a circle."""
    ids = [str(number) for number in range(3 * BULK_ROWS)]
    vectors = draw_vectors(len(ids))
    made = make_settings()
    async with made.open() as store, made.open() as other:

        async def load(number: int) -> None:
            order = np.random.default_rng(number).permutation(len(ids))[: 2 * BULK_ROWS]
            await (store, other)[number % 2].upsert([ids[place] for place in order], vectors[order])

        await asyncio.gather(*map(load, range(8)))
        found = await store.fetch(ids, with_vectors=True)
        assert len(found) - found.count(None) == await store.count()
        for match, vector in zip(found, vectors, strict=True):
            assert match is None or np.array_equal(np.array(match.vector), vector)


@pytest.mark.parametrize("count", [4, 600], ids=["statement", "copy"])
async def test_a_record_that_a_table_s_constraint_refuses_is_not_stored_alone(
    make_settings: Callable[..., PgVector], url: str, count: int
) -> None:
    made = make_settings(table=f"constrained {count}")
    ids = [f"{number:03}" for number in range(count)]
    async with made.open() as store:
        await ask(url, f"""ALTER TABLE "{made.table}" ADD CHECK (payload->>'n' <> '2')""")
        outcomes = await store.upsert(ids, draw_vectors(count), [{"n": number} for number in range(count)])
        assert [each.kind for each in outcomes] == ["stored"] * 2 + ["refused"] + ["stored"] * (count - 3)
        assert "violates check constraint" in outcomes[2].error
        assert [match is None for match in await store.fetch(ids)] == [number == 2 for number in range(count)]


async def test_what_a_table_lacks_is_of_the_run(make_settings: Callable[..., PgVector], url: str) -> None:
    made = make_settings()
    async with made.open() as store:
        await ask(url, f'ALTER TABLE "{made.table}" DROP COLUMN payload')
        with pytest.raises(PermanentCallError, match=r"the database refused: .*does not exist") as caught:
            await store.upsert(["a"], draw_vectors(1), [{"n": 1}])
        assert caught.value.of == "run"


# The index


async def test_an_index_finds_nearly_all_and_what_a_filter_leaves_is_whole(
    make_settings: Callable[..., PgVector], url: str
) -> None:
    """Where the index gives too few records, for a filter, deletions or a large `k`, the search goes without it."""
    count, k = 3000, 10
    vectors = draw_vectors(count)
    ids = [str(number) for number in range(count)]
    made = make_settings(index=Hnsw(min_rows=count, ef_search=40), fields={"n": "int"})
    async with made.open() as store:
        await store.upsert(ids[1:], vectors[1:], [{"n": number % 500} for number in range(1, count)])
        await store.flush()
        methods = "SELECT amname FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam WHERE indrelid = %s::regclass ORDER BY 1"  # noqa: E501
        assert await ask(url, methods, made.table) == [("btree",), ("btree",)]  # one record too few
        await store.upsert(ids[:1], vectors[:1], [{"n": 0}])
        await store.flush()
        await store.flush()
        assert await ask(url, methods, made.table) == [("btree",), ("btree",), ("hnsw",)]
        queries = draw_vectors(20, seed=1)
        found = await store.search(queries, k)
        exact = [find_exact(vectors, query, k) for query in queries]
        hits = sum(len({match.id for match in matches} & set(ids)) for matches, ids in zip(found, exact, strict=True))
        assert hits / (20 * k) > 0.9
        for matches in found:
            scores = [match.score for match in matches]
            assert scores == sorted(scores, reverse=True)
        few = await store.search(queries[:2], k, {"n": 7})  # six of them
        assert [sorted(match.id for match in matches) for matches in few] == [sorted(ids[7::500])] * 2
        assert [len(matches) for matches in await store.search(queries[:2], 200)] == [200, 200]
        assert [len(matches) for matches in await store.search(queries[:2], 2500)] == [2500, 2500]
        nearest = find_exact(vectors, queries[0], 500)
        await store.delete(nearest)
        assert [len(matches) for matches in await store.search(queries[:1], k)] == [k]


async def see_build(url: str, table: str) -> int:
    """The process that builds an index of the table, once there is one."""
    query = "SELECT pid FROM pg_stat_progress_create_index WHERE relid = %s::regclass"
    async with asyncio.timeout(30):
        while not (found := await ask(url, query, table)):
            pass
    return int(found[0][0])


async def list_graphs(url: str, table: str) -> list[Any]:
    """Whether each index of the vectors may be searched."""
    query = "SELECT indisvalid FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am a ON a.oid = relam WHERE indrelid = %s::regclass AND amname = 'hnsw'"  # noqa: E501
    return [is_valid for (is_valid,) in await ask(url, query, table)]


@pytest.mark.parametrize("fields", [{}, {"n": "int"}], ids=["of vectors", "of a field"])
async def test_records_are_put_in_while_an_index_is_built(
    make_settings: Callable[..., PgVector], url: str, fields: dict[str, Any]
) -> None:
    """A build waits for what somebody else has begun to write; nobody waits for the build but another one."""
    made = make_settings(table=f"growing{len(fields)}", index=Hnsw(min_rows=1), fields=fields, timeout_s=20)
    vectors = draw_vectors(101)
    async with made.open() as store, made.open() as other, await psycopg.AsyncConnection.connect(url) as connection:
        await store.upsert([str(number) for number in range(100)], vectors[:100])
        await connection.execute(f"INSERT INTO {made.table} VALUES ('mine', '[1,1,1,1,1,1,1,1]', '{{}}')")
        flushes = [asyncio.ensure_future(each.flush()) for each in (store, other)]
        await see_build(url, made.table)
        await store.upsert(["100"], vectors[100:])
        assert not any(each.done() for each in flushes)
        await connection.rollback()
        await asyncio.gather(*flushes)
        assert await list_graphs(url, made.table) == [True]
        [[match]] = await store.search(vectors[100:], 1)
        assert match.id == "100"


@pytest.mark.parametrize("end", ["cancelled", "killed"])
async def test_an_index_whose_building_was_broken_off_is_built_anew(
    make_settings: Callable[..., PgVector], url: str, end: str
) -> None:
    made = make_settings(table=f"broken off, {end}", index=Hnsw(min_rows=1))
    name = f'"{made.table}"'
    async with made.open() as store, await psycopg.AsyncConnection.connect(url) as connection:
        await store.upsert(["a"], draw_vectors(1))
        await connection.execute(f"INSERT INTO {name} VALUES ('mine', '[1,1,1,1,1,1,1,1]', '{{}}')")
        flushing = asyncio.ensure_future(store.flush())
        building = await see_build(url, name)
        if end == "killed":
            await ask(url, "SELECT pg_terminate_backend(%s)", building)
            with pytest.raises(TransientCallError, match="the database did not answer"):
                await flushing
        else:
            flushing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await flushing
        assert await list_graphs(url, name) == [False]
        await connection.rollback()
        await store.flush()
        assert await list_graphs(url, name) == [True]


@pytest.mark.parametrize(("metric", "expected"), [("cosine", 0.6), ("dot", 3.0), ("l2", -np.sqrt(20))])
async def test_a_score_is_what_the_metric_says(
    make_settings: Callable[..., PgVector], metric: str, expected: float
) -> None:
    async with make_settings(dimensions=2, metric=metric).open() as store:
        await store.upsert(["a"], [[3, 4]])
        [[match]] = await store.search([[1, 0]], 1)
        assert match.score == pytest.approx(expected)


# Connections


async def list_backends(url: str) -> list[int]:
    return [pid for (pid,) in await ask(url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'tidemill'")]


async def test_a_load_that_is_cancelled_gives_its_connection_back_unharmed(
    make_settings: Callable[..., PgVector], url: str
) -> None:
    """At any point of it: all of it is there, or nothing, and the server has the same connections as before."""
    ids = [str(number) for number in range(4 * BULK_ROWS)]
    vectors = draw_vectors(len(ids))
    async with make_settings(pool=Pool(min_size=1, max_size=1)).open() as store:
        backends = await list_backends(url)
        task, turns = asyncio.ensure_future(store.upsert(ids, vectors)), 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        await store.delete(ids)
        cancelled = 0
        for part in range(20):
            task = asyncio.ensure_future(store.upsert(ids, vectors))
            for _ in range(turns * part // 20):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            cancelled += task.cancelled()
            assert await store.delete(ids) in (0, len(ids))
            assert await store.count() == 0
        assert cancelled > 1
        assert await list_backends(url) == backends


async def test_a_connection_that_broke_is_replaced(make_settings: Callable[..., PgVector], url: str) -> None:
    async with make_settings(pool=Pool(max_size=1, check_s=3600)).open() as store:
        assert await store.count() == 0
        await ask(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidemill'")
        with pytest.raises(TransientCallError, match="the database did not answer") as caught:
            await store.count()
        assert not isinstance(caught.value, UnreachableError), "something was sent"
        assert await store.count() == 0


async def test_a_connection_that_broke_while_nobody_used_it_is_replaced_before_it_is_given_out(
    make_settings: Callable[..., PgVector], url: str
) -> None:
    made = make_settings(table="left alone", pool=Pool(max_size=1, check_s=0))
    async with made.open() as store:
        assert await store.count() == 0
        await ask(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tidemill'")
        assert await store.count() == 0


async def test_a_pool_that_no_connection_comes_about_to_is_told_from_one_in_use(
    make_settings: Callable[..., PgVector], postgres_server: PostgresServer
) -> None:
    url = postgres_server.make_database()
    (name,) = re.findall(r"tests_\w+", url)
    async with make_settings(url=url, pool=Pool(max_size=1, wait_s=0.1)).open() as store:
        await ask(postgres_server.url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await ask(
            postgres_server.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name
        )
        with pytest.raises(UnreachableError, match="the database cannot be reached: couldn't get a connection"):
            await store.count()


async def test_a_statement_and_a_wait_have_their_time(make_settings: Callable[..., PgVector], url: str) -> None:
    hasty = make_settings(table="locked", timeout_s=0.2)
    narrow = make_settings(table="locked", pool=Pool(max_size=1, wait_s=0.1))
    async with (
        hasty.open() as ended,
        narrow.open() as waited,
        await psycopg.AsyncConnection.connect(url) as connection,
    ):
        await connection.execute("LOCK TABLE locked")
        with pytest.raises(TransientCallError, match=r"the statement was ended: .*timeout"):
            await ended.count()
        counts = [asyncio.create_task(waited.count()) for _ in range(2)]
        await asyncio.wait(counts, return_when=asyncio.FIRST_COMPLETED)
        await connection.rollback()
        first, second = await asyncio.gather(*counts, return_exceptions=True)
    assert first == 0
    with pytest.raises(TransientCallError, match="no connection is free"):
        raise second  # type: ignore[misc] # it is an error
    assert not isinstance(second, UnreachableError)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (("/tests_", "/nix_"), PermanentCallError, "the database refused: .*database .* does not exist"),
        (("postgres:@", "nix:canary-4711-password@"), PermanentCallError, 'refused: .*role "nix" does not exist'),
        (("host=", "host=/nowhere"), UnreachableError, "the database cannot be reached"),
    ],
)
async def test_a_database_that_cannot_be_opened_says_why(
    url: str, change: tuple[str, str], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        await PgVector(url=url.replace(*change), dimensions=2).open().__aenter__()
    assert "canary" not in str(caught.value)


async def test_an_extension_that_may_not_be_made_is_told(postgres_server: PostgresServer) -> None:
    url = postgres_server.make_database()
    await ask(url, "DO $$ BEGIN CREATE ROLE weak LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    with pytest.raises(ResourceError, match=r"permission denied.*\n.*`CREATE EXTENSION vector`"):
        await PgVector(url=url.replace("postgres:@", "weak:@"), dimensions=2).open().__aenter__()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"url": "mysql://x"}, "expected an address that begins with `postgresql:`"),
        ({"table": "x" * 64}, "each of 1 to 63 bytes"),
        ({"table": "a."}, "each of 1 to 63 bytes"),
        ({"table": "a%s"}, "and without `%`"),
        ({"dimensions": 16_001}, "pgvector takes at most 16,000 `dimensions`, got 16,001"),
        ({"pool": {"min_size": 9}}, r"`pool\.min_size` is 9, more than `max_size`, 8"),
        ({"index": {"m": 50}}, "has to be at least twice `m`, 50"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PgVector(**{"url": "postgresql://localhost/x", "dimensions": 4, **given})


# A job


async def test_a_job_file_fills_a_table_and_searches_it(tmp_path: Path, url: str) -> None:
    """Its address, which is a secret, goes to the store as it is."""
    rows = [{"id": str(number), "embedding": [1.0, number / 50, 0.0], "n": number} for number in range(100)]
    (tmp_path / "in.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    path = tmp_path / "job.yaml"
    path.write_text(
        f"""
source: {{path: {tmp_path}/in.jsonl}}
stores: {{near: {{type: pgvector, url: "{url}", table: job, dimensions: 3, fields: {{n: int}}}}}}
steps:
  - index: {{store: near, payload: [n]}}
  - search: {{store: near, k: 1, into: found, filter: {{n: {{le: 50}}}}}}
sink: {{path: {tmp_path}/out}}
"""
    )
    report = await asyncio.to_thread(lambda: tm.load_job(path).run(progress=False))
    assert report.outcome == "finished"
    assert await ask(url, "SELECT count(*), count(field_n) FROM job") == [(100, 100)]


# The contract of every store


@pytest.fixture
def subject(url: str) -> StoreSubject:
    """Tables of their own."""

    def make(**given: Any) -> PgVector:
        index = Hnsw(min_rows=1_000_000)  # nothing is indexed here: over the contract's many that takes half a minute
        pool = Pool(min_size=4, max_size=4)
        return PgVector(**{"url": url, "table": f"contract {uuid.uuid4().hex}", "index": index, "pool": pool, **given})

    return StoreSubject(
        make,
        takes_nul=False,
        adds_fields=True,
        stall_cpu_s=0.025,
        imports=("tidemill.stores.pgvector.opened",),
    )


@pytest.mark.parametrize("check", STORE_CHECKS.values(), ids=STORE_CHECKS)
async def test_the_contract(check: StoreCheck, subject: StoreSubject) -> None:
    await check(subject)


@pytest.mark.parametrize("name", ["many_writers_leave_no_duplicate", "filters", "deleting"])
async def test_the_contract_of_an_indexed_table(name: str, subject: StoreSubject) -> None:
    """Where `flush` builds its index over any number of records."""
    await STORE_CHECKS[name](replace(subject, make=partial(subject.make, index=Hnsw(min_rows=1))))


async def test_many_are_found_through_the_index(subject: StoreSubject, url: str) -> None:
    """Fewer than are found without it; of 100,000 it is seen to by `benchmarks/proofs/stores_many.py`."""
    make = partial(subject.make, table="graph", index=Hnsw(min_rows=1))
    await STORE_CHECKS["many_do_not_stall_the_loop"](replace(subject, make=make, many=10_000))
    assert await list_graphs(url, "graph") == [True]
