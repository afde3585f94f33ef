"""Qdrant: what goes over the wire to its server, and its local mode in a process."""

import asyncio
import json
import sys
import tempfile
import urllib.request
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr
from qdrantserver import KEY

from conftest import QdrantServer
from tidemill.errors import (
    ConfigError,
    DataError,
    PermanentCallError,
    ResourceError,
    StateError,
    TidemillError,
    TransientCallError,
)
from tidemill.stores.filters import Comparison
from tidemill.stores.qdrant.filters import render_filter
from tidemill.stores.qdrant.settings import MEMORY, Qdrant
from tidemill.testing.stores import STORE_CHECKS, StoreCheck, StoreSubject
from tidemill.testing.stores.crowding import DIMENSIONS as MANY_DIMENSIONS

SHARED_MEMORY = Path("/dev/shm")
VECTORS = np.eye(4, dtype=np.float32)


def served(server: QdrantServer, **settings: Any) -> Qdrant:
    return Qdrant(**{"url": server.url, "collection": server.make_name(), "dimensions": 4, **settings})


async def test_a_collection_is_made_with_its_indexes_and_found_again(qdrant_server: QdrantServer) -> None:
    settings = served(qdrant_server, fields={"year": "int", "é": "str"})
    async with settings.open() as store:
        await store.upsert(["a"], VECTORS[:1], [{"year": 5.0, "é": "ü"}])
    path = f"/collections/{settings.collection}"
    made = [f"GET {path}", f"PUT {path}", f"GET {path}", f"PUT {path}/index?wait=true", f"PUT {path}/index?wait=true"]
    assert qdrant_server.tell() == [*made, f"PUT {path}/points?wait=true"]
    async with settings.open() as store:
        assert await store.count({"year": 5, "é": "ü"}) == 1
    assert qdrant_server.tell() == [f"GET {path}", f"POST {path}/points/count"]


async def test_several_may_make_a_collection_at_once(qdrant_server: QdrantServer) -> None:
    settings = served(qdrant_server)

    async def open_one() -> int:
        async with settings.open() as store:
            return await store.count()

    assert await asyncio.gather(*(open_one() for _ in range(8))) == [0] * 8


async def test_a_request_has_no_more_bytes_than_are_said(qdrant_server: QdrantServer) -> None:
    settings = served(qdrant_server, batch_bytes=2048)
    ids = [f"id {number}" for number in range(40)]
    async with settings.open() as store:
        qdrant_server.tell()
        await store.upsert(ids, np.ones((40, 4)), [{"text": "x" * 300}] * 39 + [{"text": "x" * 9000}])
        assert len(qdrant_server.tell()) == 11  # four to a body, and one that is larger by itself
        assert await store.count() == 40


async def test_vectors_compared_by_cosine_come_back_as_they_were(qdrant_server: QdrantServer) -> None:
    """Qdrant keeps them at length one; their length is kept beside them."""
    given = np.array([[3, 4, 0, 0], [0, 0, 1e-3, 0]], dtype=np.float32)
    async with served(qdrant_server).open() as store:
        await store.upsert(["a", "b"], given)
        found = [match.vector for match in await store.fetch(["a", "b"], with_vectors=True) if match is not None]
        np.testing.assert_allclose(np.array(found), given, rtol=1e-6)


FAULTS: list[tuple[dict[str, Any], type[TidemillError], str, str]] = [
    ({"status": 429, "headers": {"retry-after": "7"}}, TransientCallError, "record", "answered 429"),
    ({"status": 500}, TransientCallError, "record", "answered 500"),
    ({"status": 400}, PermanentCallError, "record", "answered 400"),
    ({"status": 413}, PermanentCallError, "record", "answered 413"),
    ({"status": 422}, PermanentCallError, "record", "answered 422"),
    ({"status": 403}, PermanentCallError, "run", "answered 403.*\n.*check `api_key`"),
    ({"status": 404}, PermanentCallError, "run", "answered 404"),
    ({"cut": True}, TransientCallError, "record", "the connection was cut"),
    ({"stall": True}, TransientCallError, "record", "no complete answer within 0.3 s"),
    ({"garbage": True}, TransientCallError, "record", "answered with no result"),
]


@pytest.mark.parametrize(("fault", "kind", "of", "message"), FAULTS)
async def test_a_failure_is_told_and_the_same_goes_well_again(
    qdrant_server: QdrantServer, fault: dict[str, Any], kind: type[TidemillError], of: str, message: str
) -> None:
    async with served(qdrant_server, timeout_s=0.3 if "stall" in fault else 30).open() as store:
        qdrant_server.tell(faults=[fault] * 2)
        with pytest.raises(kind, match=message) as caught:
            await store.search(VECTORS[:1], 1)
        assert caught.value.of == of
        assert getattr(caught.value, "retry_after_s", None) == (7.0 if fault.get("status") == 429 else None)
        if kind is PermanentCallError and of == "record":
            [outcome] = await store.upsert(["a"], VECTORS[:1])
            assert (outcome.kind, message in outcome.error) == ("refused", True)
        else:
            with pytest.raises(kind, match=message):
                await store.upsert(["a"], VECTORS[:1])
        await store.upsert(["a"], VECTORS[:1])
        assert [match.id for match in (await store.search(VECTORS[:1], 1))[0]] == ["a"]


async def test_flush_waits_until_the_server_has_indexed(qdrant_server: QdrantServer) -> None:
    settings = served(qdrant_server)
    async with settings.open() as store:
        qdrant_server.tell(yellow=2)
        await store.flush()
        assert qdrant_server.tell() == [f"GET /collections/{settings.collection}"] * 3


async def test_the_key_is_sent_and_never_told(qdrant_server: QdrantServer, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = served(qdrant_server, collection=f"secret{qdrant_server.make_name()}")
    async with settings.model_copy(update={"api_key": SecretStr(KEY)}).open() as store:
        assert await store.count() == 0
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    async with settings.open() as store:
        assert await store.count() == 0
    monkeypatch.setenv("QDRANT_API_KEY", "another-key-4711-canary")
    with pytest.raises(PermanentCallError, match="answered 401") as caught:
        await settings.open().__aenter__()
    assert caught.value.of == "run"
    assert "canary" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be sent"):
        await settings.model_copy(update={"api_key": SecretStr("a\nb")}).open().__aenter__()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"dimensions": 5}, "holds vectors of 4 numbers, and the settings say 5\n.*`dimensions: 4`"),
        ({"metric": "l2"}, "searched by `cosine`, and the settings say `l2`\n.*`metric: cosine`"),
        ({"fields": {"year": "str"}}, 'made with fields {"year":"int"}, not {"year":"str"}'),
    ],
)
async def test_a_collection_that_is_other_than_said_is_refused(
    qdrant_server: QdrantServer, other: dict[str, Any], message: str
) -> None:
    settings = served(qdrant_server, fields={"year": "int"})
    async with settings.open():
        pass
    with pytest.raises(StateError, match=message):
        await settings.model_copy(update=other).open().__aenter__()


@pytest.mark.parametrize("fields", [{"year": "str"}, {"year": "int", "shelf": "str"}, {}])
async def test_a_server_that_keeps_no_metadata_tells_the_fields_by_its_indexes(
    qdrant_server: QdrantServer, fields: dict[str, Any]
) -> None:
    """One older than 1.16; further fields may come as long as it holds no record, as somebody may be making it."""
    qdrant_server.tell(old=True)
    settings = served(qdrant_server, fields={"year": "int"})
    async with settings.model_copy(update={"fields": {}}).open():
        pass
    async with settings.open() as store:
        await store.upsert(["a"], VECTORS[:1], [{"year": 1, "shelf": "sea"}])
    async with settings.open() as store:
        assert await store.count({"year": 1}) == 1
    with pytest.raises(StateError, match=r'made with fields {"year":"int"}, not'):
        await settings.model_copy(update={"fields": fields}).open().__aenter__()


async def test_a_collection_with_points_of_somebody_else_is_refused(qdrant_server: QdrantServer) -> None:
    qdrant_server.tell(old=True)
    settings = served(qdrant_server)
    async with settings.open():
        pass
    point = {"id": 1, "vector": [1, 0, 0, 0], "payload": {"title": "Emma"}}
    body = json.dumps({"points": [point]}).encode()
    address = f"{qdrant_server.url}/collections/{settings.collection}/points?wait=true"
    await asyncio.to_thread(urllib.request.urlopen, urllib.request.Request(address, body, method="PUT"), timeout=30)
    with pytest.raises(StateError, match="none of Tidemill's: its points have no id and payload"):
        await settings.open().__aenter__()


async def test_a_server_that_is_away_may_be_asked_again(unused_tcp_port: int) -> None:
    with pytest.raises(TransientCallError, match="connection refused"):
        await Qdrant(url=f"http://127.0.0.1:{unused_tcp_port}", dimensions=4).open().__aenter__()


def test_texts_are_not_compared_by_their_order() -> None:
    with pytest.raises(DataError, match=r"filter\.name: Qdrant compares no texts by their order, as `gt` does"):
        render_filter([Comparison("name", "str", "gt", "x")])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "expected either `url`, of a server, or `path`"),
        ({"url": "http://localhost:6333", "path": "x"}, "expected either `url`, of a server, or `path`"),
        ({"url": "localhost:6333"}, "the address is not http"),
        ({"path": "x", "api_key": "y"}, "a `path` takes no `api_key`"),
        ({"path": "x", "collection": "a/b"}, "collection"),
    ],
)
def test_settings_that_say_no_place_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Qdrant(dimensions=4, **given)


# The local mode


async def test_a_collection_in_memory_is_one_until_the_last_lets_it_go() -> None:
    settings = Qdrant(path=Path(":memory:"), dimensions=4)
    async with settings.open() as store:
        await store.upsert(["a"], VECTORS[:1])
        async with settings.open() as other:
            assert await other.count() == 1
        assert await store.count() == 1
    async with settings.open() as store:
        assert await store.count() == 0


async def test_a_folder_is_shared_in_a_process_and_kept(tmp_path: Path) -> None:
    settings = Qdrant(path=tmp_path / "q", dimensions=4, fields={"n": "int"})
    async with settings.open() as store, settings.open() as other:
        await store.upsert(["a", "b"], VECTORS[:2], [{"n": 1}, {"n": 2}])
        assert await other.count({"n": {"gt": 1}}) == 1
    async with settings.open() as store:
        assert (await store.fetch(["b"]))[0].payload == {"n": 2}  # type: ignore[union-attr] # it is there
    with pytest.raises(StateError, match="holds vectors of 4 numbers"):
        await settings.model_copy(update={"dimensions": 5}).open().__aenter__()


async def test_a_folder_that_another_process_has_open_is_refused(tmp_path: Path) -> None:
    settings = Qdrant(path=tmp_path / "q", dimensions=4)
    async with settings.open():
        pass
    program = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path / "q" / ".lock"), stdin=PIPE, stdout=PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    with pytest.raises(ResourceError, match=r"another process has the folder open.*\n.*use a server"):
        await settings.open().__aenter__()
    await process.communicate(b"\n")
    async with settings.open() as store:
        assert await store.count() == 0


def test_the_local_mode_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(ResourceError, match=r"package qdrant-client, which is not installed\n.*tidemill\[qdrant\]"):
        Qdrant(path=Path(":memory:"), dimensions=4).open()


# The contract of every store


@pytest.fixture
def served_subject(qdrant_server: QdrantServer) -> StoreSubject:
    """Of few connections, all of them open from the first requests on: one more is a leak."""

    def make(**given: Any) -> Qdrant:
        return served(qdrant_server, **{"concurrency": 4, **given})

    imports = ("tidemill.stores.qdrant.opened",)
    return StoreSubject(make, orders_texts=False, many=4_000, atomic=False, stall_cpu_s=0.025, imports=imports)


@pytest.fixture
def local_subject(request: pytest.FixtureRequest) -> Iterator[StoreSubject]:
    """Folders in memory, as far as the system has them: each point is synced to the disk by itself.

    Of few records: each search compares all of them, in Python where there is a filter. 100,000 are put in by
    `benchmarks/proofs/stores_many.py`.
    """
    numbers = count()
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:

        def make(**given: Any) -> Qdrant:
            path = Path(MEMORY) if given["dimensions"] == MANY_DIMENSIONS else Path(folder) / str(next(numbers))
            return Qdrant(**{"path": path, **given})

        imports = ("tidemill.stores.qdrant.local",)
        yield StoreSubject(
            make, orders_texts=False, many=4_000, processes=False, atomic=False, stall_cpu_s=0.025, imports=imports
        )


@pytest.mark.parametrize("check", STORE_CHECKS.values(), ids=STORE_CHECKS)
async def test_the_contract_of_a_server(check: StoreCheck, served_subject: StoreSubject) -> None:
    await check(served_subject)


@pytest.mark.parametrize("check", STORE_CHECKS.values(), ids=STORE_CHECKS)
async def test_the_contract_of_the_local_mode(check: StoreCheck, local_subject: StoreSubject) -> None:
    await check(local_subject)
