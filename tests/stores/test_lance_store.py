"""LanceDB's own: what stands on the disk, in the table, and in its settings."""

from __future__ import annotations

import asyncio
import errno
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from tidemill.config.loading import load_config
from tidemill.config.model import Config
from tidemill.disk import Disk
from tidemill.errors import ConfigError, DataError, PermanentCallError, ResourceError, StateError, TransientCallError
from tidemill.stores.lance import opened
from tidemill.stores.lance.settings import LanceDB
from tidemill.stores.lance.syncing import Syncing
from tidemill.stores.store import Store
from tidemill.stores.table import AnyStore
from tidemill.testing.stores.crowding import measure_recall
from tidemill.testing.stores.searching import score
from tidemill.testing.stores.subject import draw_vectors

pytestmark = pytest.mark.usefixtures("lance_opened_once")

T = TypeVar("T")


class Watched(Disk):
    """Notes what is brought to the disk, in order."""

    def __init__(self) -> None:
        self.synced: list[Path] = []

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        self.synced.append(path)
        return act()


def list_files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


async def test_every_file_of_a_version_is_synced_and_the_version_last(tmp_path: Path) -> None:
    settings = LanceDB(path=tmp_path, dimensions=4, index_above=1, sync=False)
    folder = tmp_path / "vectors.lance"
    async with settings.open() as store:
        syncing = Syncing(folder, disk := Watched())
        known = list_files(folder)
        for action in (
            lambda: store.upsert(list("abc"), draw_vectors(3)),
            lambda: store.upsert(list("bcd"), draw_vectors(3)),
            lambda: store.delete(["a"]),
            store.flush,
        ):
            await action()
            syncing.sync()
            found = list_files(folder)
            files = [path for path in disk.synced if path.suffix]
            assert set(files) == found - known, "a file that is new was left to the system"
            kinds = [path.relative_to(folder).parts[0] for path in disk.synced]
            assert kinds.index("_versions") == len(kinds) - kinds.count("_versions")
            assert disk.synced[-1] == folder / "_versions"
            assert {path.parent for path in files} <= set(disk.synced)
            known, disk.synced = found, []


class Interrupted(Watched):
    """Another writer adds a version, with what it stands on, when the first file is brought to the disk."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._files = [folder / "data" / "other.lance", folder / "_versions" / "9.manifest"]

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        for file in self._files if not self.synced else []:
            file.write_bytes(b"whole")
        return super().perform(operation, path, act)


def test_a_version_that_another_writer_adds_meanwhile_waits_for_what_it_stands_on(tmp_path: Path) -> None:
    """And a file that was being written is brought to the disk again."""
    for name in ("data", "_versions"):
        (tmp_path / name).mkdir()
    disk = Interrupted(tmp_path)
    syncing = Syncing(tmp_path, disk)
    written = tmp_path / "data" / "begun.lance"
    written.write_bytes(b"beg")
    syncing.sync()
    assert [path.name for path in disk.synced] == ["begun.lance", "data"]
    written.write_bytes(b"begun")
    disk.synced.clear()
    syncing.sync()
    assert [path.name for path in disk.synced] == ["begun.lance", "other.lance", "data", "9.manifest", "_versions"]


async def test_a_store_brings_to_the_disk_what_it_says_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Watched()
    monkeypatch.setattr(opened, "Disk", lambda: disk)
    place = tmp_path / "on" / "vectors.lance"
    async with LanceDB(path=place.parent, dimensions=4).open() as store:
        made, disk.synced = disk.synced, []
        assert made[:2] == [place.parent, tmp_path], "the folder's own name was left to the system"
        assert {path.parent.name for path in made[2:-3] if path.suffix} == {"_transactions", "_versions"}
        assert made[-3:] == [place, place, place.parent], "a table was there before what it stands on"
        await store.upsert(["a"], draw_vectors(1))
        assert {path.parent.name for path in disk.synced if path.suffix} == {"data", "_transactions", "_versions"}
        disk.synced = []
        await store.delete(["a"])
        assert [path.suffix for path in disk.synced if path.parent.name == "_versions"][:1] != []
    disk.synced = []
    async with LanceDB(path=tmp_path / "off", dimensions=4, sync=False).open() as store:
        await store.upsert(["a"], draw_vectors(1))
    assert not disk.synced


class Full(Watched):
    """Cannot bring the next `times` files to the disk."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        if self.times:
            self.times -= 1
            raise OSError(errno.EMFILE, "Too many open files", str(path))
        return super().perform(operation, path, act)


async def test_what_could_not_be_brought_to_the_disk_is_brought_with_the_next_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version stands on those before it, also on one whose writer was told that it failed."""
    disk = Full()
    monkeypatch.setattr(opened, "Disk", lambda: disk)
    async with LanceDB(path=tmp_path, dimensions=4).open() as store:
        known = list_files(tmp_path)
        disk.times, disk.synced = 1, []
        with pytest.raises(TransientCallError, match="Too many open files"):
            await store.upsert(["a"], draw_vectors(1))
        await store.upsert(["b"], draw_vectors(1))
        assert {path for path in disk.synced if path.suffix} == list_files(tmp_path) - known


class Looking(Watched):
    """Looks which of some files still stand when the last of what is new is brought to the disk, for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.old: set[Path] = set()
        self.left: set[Path] | None = None

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        if self.old and self.left is None and path.name == "_versions":
            self.left = {file for file in self.old if file.exists()}
        return super().perform(operation, path, act)


async def test_merged_files_are_on_the_disk_before_those_they_replace_are_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Looking()
    monkeypatch.setattr(opened, "Disk", lambda: disk)
    settings = LanceDB(path=tmp_path, dimensions=4).model_copy(update={"keep_versions": 0.001})
    async with settings.open() as store:
        for number in range(3):
            await store.upsert([str(number)], draw_vectors(1))
        disk.old = {path for path in list_files(tmp_path) if path.suffix == ".lance"}
        await store.flush()
        assert disk.left == disk.old
        assert not any(path.exists() for path in disk.old), "nothing was merged"
        assert await store.count() == 3


async def test_upserts_deletions_and_searches_go_on_while_an_index_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And files are not merged meanwhile, which would take away what it is built from; the next version merges them."""
    monkeypatch.setattr(opened, "VERSIONS_BEFORE_MERGE", 3)
    started, go_on = asyncio.Event(), asyncio.Event()
    build = opened.LanceStore._build_indexes

    async def build_later(store: opened.LanceStore) -> None:
        started.set()
        await go_on.wait()
        await build(store)

    monkeypatch.setattr(opened.LanceStore, "_build_indexes", build_later)
    held, keys = draw_vectors(400), [str(number) for number in range(400)]
    async with LanceDB(path=tmp_path, dimensions=4, index_above=300).open() as store:
        await store.upsert(keys[:390], held[:390])
        flush = asyncio.create_task(store.flush())
        await started.wait()
        for number in range(390, 400):
            await store.upsert([keys[number]], held[number : number + 1])
        assert await store.delete(keys[:5]) == 5
        (matches,) = await store.search(held[395:396], 1)
        assert [match.id for match in matches] == ["395"]
        assert not flush.done()
        assert await count_fragments(tmp_path) == 11
        go_on.set()
        await flush
        assert await list_indexes(tmp_path) == {"id": "BTree", "vector": "IvfFlat"}
        await store.upsert(["400"], held[:1])
        assert await count_fragments(tmp_path) < 11
        assert await store.count() == 396
        found = await store.search(held[5:], 1)
        assert [match.id for (match,) in found] == keys[5:]


async def test_a_version_of_which_the_power_left_only_the_name_is_dropped(tmp_path: Path) -> None:
    settings = LanceDB(path=tmp_path, dimensions=4)
    async with settings.open() as store:
        for number in range(4):
            await store.upsert([str(number)], draw_vectors(1))
    versions = tmp_path / "vectors.lance" / "_versions"
    for path in (min(versions.glob("*.manifest")), *versions.glob("*.json")):  # Lance numbers them downwards
        path.write_bytes(b"")
    async with settings.open() as store:
        assert await store.count() == 3
        await store.upsert(["3"], draw_vectors(1))
        assert await store.count() == 4


async def test_many_handles_that_write_delete_and_flush_do_not_fail_each_other(tmp_path: Path) -> None:
    settings = LanceDB(path=tmp_path, dimensions=4, index_above=100, sync=False)
    held, keys = draw_vectors(200), [str(number) for number in range(200)]
    async with settings.open() as first:
        await first.upsert(keys, held)
        flushes: list[object] = []

        async def work(number: int) -> None:
            async with settings.open() as store:
                for turn in range(6):
                    await store.upsert(keys[:20], held[:20])
                    assert await store.delete([keys[20 + number * 6 + turn]]) == 1
                    if turn == number:
                        flushes.extend(await asyncio.gather(store.flush(), return_exceptions=True))

        await asyncio.gather(*(work(number) for number in range(5)))
        failed = [each for each in flushes if each is not None]
        assert all(isinstance(each, TransientCallError) and each.of == "record" for each in failed)
        assert await first.count() == 170
        (matches,) = await first.search(held[:1], 200)
        assert sorted(match.id for match in matches) == sorted([*keys[:20], *keys[50:]])


async def test_flush_builds_the_index_above_a_number_of_records_and_later_records_are_found(tmp_path: Path) -> None:
    settings = LanceDB(path=tmp_path, dimensions=4, index_above=300, nprobes=1)
    held = draw_vectors(600)
    keys = [str(number) for number in range(600)]
    async with settings.open() as store:
        await store.upsert(keys[:299], held[:299])
        await store.flush()
        assert await list_indexes(tmp_path) == {}
        await store.upsert(keys[299:500], held[299:500])
        await store.flush()
        assert await list_indexes(tmp_path) == {"id": "BTree", "vector": "IvfFlat"}
        await store.upsert(keys[500:], held[500:])
        (matches,) = await store.search(held[550:551], 1)
        assert matches[0].id == "550"
        await store.flush()
        (matches,) = await store.search(held[550:551], 600)
        assert sorted(match.id for match in matches) == sorted(keys), "one partition is too few for 600 records"


@pytest.mark.parametrize("index", ["ivf_pq", "hnsw_sq", "none"])
async def test_each_index_finds_the_nearest(index: str, tmp_path: Path) -> None:
    settings = LanceDB(path=tmp_path, dimensions=16, index_above=1, index=index, refine=10)
    held, keys = draw_vectors(1000, 16), [str(number) for number in range(1000)]
    async with settings.open() as store:
        await store.upsert(keys, held)
        await store.flush()
        found = await store.search(held[:50], 3)
    assert [matches[0].id for matches in found] == keys[:50]
    assert np.allclose([matches[0].score for matches in found], 1, atol=1e-3)
    assert ("vector" in await list_indexes(tmp_path)) is (index != "none")


async def test_a_search_looks_into_as_many_partitions_as_are_said(tmp_path: Path) -> None:
    """Of all it finds what comparing every vector does, of few not; more than the library's own 20 may be said."""
    settings = LanceDB(path=tmp_path, dimensions=16, index_above=1, partitions=50, nprobes=50)
    held, queries = draw_vectors(2000, 16), draw_vectors(50, 16, seed=1)
    async with settings.open() as store:
        await store.upsert([str(number) for number in range(2000)], held)
        await store.flush()
        assert measure_recall(await store.search(queries, 10), score(held, queries, "cosine")) == 1
    async with settings.replace({"nprobes": 1}).open() as store:
        assert 0.5 < measure_recall(await store.search(queries, 10), score(held, queries, "cosine")) < 1


async def test_an_index_of_another_kind_takes_the_place_of_the_one_there(tmp_path: Path) -> None:
    """With the next `flush`, whoever built the first."""
    held = draw_vectors(300)
    settings = LanceDB(path=tmp_path, dimensions=4, index_above=1, sync=False)
    async with settings.open() as store:
        await store.upsert([str(number) for number in range(300)], held)
        await store.flush()
    kinds = {"hnsw_sq": "IvfHnswSq", "ivf_pq": "IvfPq", "none": None, "ivf_flat": "IvfFlat"}
    for index, kind in kinds.items():
        async with settings.replace({"index": index}).open() as store:
            await store.flush()
            assert (await list_indexes(tmp_path)).get("vector") == kind
            assert [match.id for (match,) in await store.search(held[:2], 1)] == ["0", "1"]


async def list_indexes(folder: Path) -> dict[str, str]:
    """The kind of the index of each column, by the library itself."""
    with await lancedb.connect_async(folder) as connection, await connection.open_table("vectors") as table:
        return {index.columns[0]: index.index_type for index in await table.list_indices()}


async def test_small_files_are_merged_without_being_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "VERSIONS_BEFORE_MERGE", 8)
    async with LanceDB(path=tmp_path, dimensions=4).open() as store:
        for number in range(20):
            await store.upsert([str(number)], draw_vectors(1, seed=number))
        assert await store.count() == 20
    assert await count_fragments(tmp_path) < 8


async def count_fragments(folder: Path) -> int:
    """The files of records, by the library itself."""
    with await lancedb.connect_async(folder) as connection, await connection.open_table("vectors") as table:
        count: int = (await table.stats())["fragment_stats"]["num_fragments"]
        return count


async def test_upserts_that_wait_go_into_one_version(tmp_path: Path) -> None:
    """The first goes at once, and all that came meanwhile go together: the last of them that has an id wins."""
    async with LanceDB(path=tmp_path, dimensions=4).open() as store:
        await asyncio.gather(
            *(store.upsert(["one", f"k{number}"], draw_vectors(2), [{"by": number}] * 2) for number in range(30))
        )
        assert await store.count() == 31
        (match,) = await store.fetch(["one"])
        assert match is not None
        assert match.payload == {"by": 29}
    with await lancedb.connect_async(tmp_path) as connection, await connection.open_table("vectors") as table:
        assert await table.version() == 3  # the empty table, the first, the others


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metric": "dot"}, 'made with metric "cosine", not "dot"'),
        ({"dimensions": 5}, "made with dimensions 4, not 5"),
        ({"fields": {}}, 'made with fields {"n":"int"}, not {}'),
        ({"fields": {"n": "float"}, "dimensions": 2}, r'dimensions 4, not 2; fields {"n":"int"}, not {"n":"float"}'),
    ],
)
async def test_a_table_is_opened_as_it_was_made(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    settings = LanceDB(path=tmp_path, dimensions=4, fields={"n": "int"})
    async with settings.open():
        pass
    with pytest.raises(StateError, match=words):
        async with settings.replace(change).open():
            pass
    async with settings.replace({**change, "table": "another"}).open() as store:
        assert await store.count() == 0


async def test_a_table_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    with await lancedb.connect_async(tmp_path) as connection:
        (await connection.create_table("vectors", pa.table({"id": ["a"]}))).close()
    with pytest.raises(StateError, match="was not made by Tidemill"):
        async with LanceDB(path=tmp_path, dimensions=4).open():
            pass


async def test_two_that_open_a_new_table_at_once_share_it(tmp_path: Path) -> None:
    settings = LanceDB(path=tmp_path, dimensions=4)
    stores = [settings.open() for _ in range(8)]
    await asyncio.gather(*(store.__aenter__() for store in stores))
    await asyncio.gather(*(store.upsert(["a"], draw_vectors(1)) for store in stores))
    assert [await store.count() for store in stores] == [1] * 8
    await asyncio.gather(*(store.__aexit__(None, None, None) for store in stores))


async def test_a_table_whose_files_are_gone_fails_the_run_and_is_closed(tmp_path: Path) -> None:
    async with LanceDB(path=tmp_path, dimensions=4).open() as store:
        await store.upsert(list("abc"), draw_vectors(3))
        for path in (tmp_path / "vectors.lance" / "data").iterdir():
            path.unlink()
        with pytest.raises(PermanentCallError, match=r"LanceDB failed: .*[Nn]ot found") as caught:
            await store.search(draw_vectors(1), 1, with_vectors=True)
        assert caught.value.of == "run"


async def test_a_process_that_may_open_no_more_files_is_the_runs_failure(tmp_path: Path) -> None:
    """Which passes once there is room again."""
    async with LanceDB(path=tmp_path, dimensions=4).open() as store:
        await store.upsert(["a"], draw_vectors(1))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(TransientCallError, match=r"Too many open files.*\n.*`ulimit -n`") as caught:
                await store.upsert(["b"], draw_vectors(1))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert caught.value.of == "run"
        await store.upsert(["b"], draw_vectors(1))
        assert await store.count() == 2


def test_without_the_package_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(ResourceError, match=r'needs the package lancedb.*\n.*pip install "tidemill\[lancedb\]"'):
        LanceDB(path=tmp_path, dimensions=4).open()


class Retrieval(Config):
    """As a job has a store."""

    store: AnyStore


def test_a_store_stands_in_a_file_by_its_type(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("store: {type: lancedb, path: index, dimensions: 4, fields: {year: int}, keep_versions: 2h}\n")
    found = load_config(Retrieval, file).store
    assert found == LanceDB(path=Path("index"), dimensions=4, fields={"year": "int"}, keep_versions=7200)
    assert isinstance(found, Store)
    assert hash(found) == hash(LanceDB(path=Path("index"), dimensions=4, fields={"year": "int"}, keep_versions=7200))
    file.write_text("store: {path: index, dimensions: 4}\n")
    assert load_config(Retrieval, file).store == LanceDB(path=Path("index"), dimensions=4)


def test_a_store_that_is_mistyped_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text("store: {type: lancdb, path: index, dimensions: 4}\n")
    with pytest.raises(ConfigError, match="did you mean `lancedb`"):
        load_config(Retrieval, file)
    file.write_text("store: {path: index, dimension: 4, fields: {a b: int, c: text}, metric: cosin}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(Retrieval, file)
    told = str(caught.value)
    assert "`dimensions`" in told
    assert "the name of a field as Python would have it" in told or "expected `str`" in told
    assert "did you mean `cosine`" in told


async def test_more_vectors_than_are_read_in_the_loop_are_checked_beside_it(tmp_path: Path) -> None:
    held = draw_vectors(1000)
    held[5] = np.nan
    async with LanceDB(path=tmp_path, dimensions=4).open() as store:
        outcomes = await store.upsert([str(number % 999) for number in range(1000)], held)
        assert [outcomes[place].kind for place in (0, 5, 998, 999)] == ["superseded", "refused", "stored", "stored"]
        with pytest.raises(DataError, match="got 1000 ids, 999 vectors"):
            await store.upsert([str(number) for number in range(1000)], held[:999])
