"""Files on file systems of fsspec: in memory, and on a real S3 server."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import io
import json
import pickle
from collections.abc import Iterator
from itertools import islice
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from fsspec.asyn import get_loop, sync
from fsspec.implementations.memory import MemoryFileSystem
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import S3Backend, s3_backends
from moto.server import ThreadedMotoServer
from resuming import check_resumes_everywhere, outcomes

import tidemill as tm
from tidemill.data.files import PartFile, create_file, create_text, open_random, open_text, parse_path, stat_file
from tidemill.data.files.folders import find_kind, iter_files
from tidemill.data.files.path import RemotePath
from tidemill.data.iteration import iterate
from tidemill.data.sources.hub import Hub
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles
from tidemill.data.sources.sql import SQL
from tidemill.errors import ConfigError, DataError, ResourceError, StateError


@pytest.fixture
def memory() -> Iterator[Any]:
    """fsspec's file system in memory, empty."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield fsspec.filesystem("memory")
    MemoryFileSystem.store.clear()


@pytest.fixture(scope="module")
def s3_address() -> Iterator[str]:
    """The address of an S3 server; fsspec's thread runs from here on, as it does for the life of a process."""
    sync(get_loop(), asyncio.to_thread, str)  # the thread that its loop looks names up in
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_address: str) -> Iterator[dict[str, Any]]:
    """What opens the file system of an S3 server that holds nothing but an empty bucket, `data`."""
    backend().reset()
    backend().create_bucket("data", "us-east-1")
    yield {"key": "AKIATESTTESTTESTTEST", "secret": "not-to-be-seen", "endpoint_url": s3_address}
    for filesystem in list(s3fs.S3FileSystem._cache.values()):
        if filesystem._s3 is not None:
            s3fs.S3FileSystem.close_session(filesystem.loop, filesystem._s3creator)
    s3fs.S3FileSystem.clear_instance_cache()
    backend().reset()


def backend() -> S3Backend:
    return s3_backends[DEFAULT_ACCOUNT_ID]["aws"]


def put(key: str, *rows: Any) -> None:
    backend().put_object("data", key, b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def test_a_remote_file_resumes_everywhere(memory: Any) -> None:
    """As a local one does, plain and packed, with errors in it."""
    text = b'{"n": 1}\n{\n' + b'{"n": 2}\n' * 5
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        path = parse_path(f"memory://in/{name}")
        with create_file(path) as file, create_text(path, file) as packed:
            packed.write(text)
        source = Read(path=f"memory://in/{name}")
        whole = check_resumes_everywhere(functools.partial(iterate, source, ()))
        assert [outcome[0] for outcome in whole] == ["record", "DataError", *["record"] * 5]
        assert whole[1][2:] == (b"{", 9)


def test_remote_files_are_matched_and_named_as_local_ones(memory: Any) -> None:
    """Patterns, folders and lists of them; parts are named from the folder they share."""
    for name in ("a.jsonl", "b/c.jsonl", "b/.hidden.jsonl", "a-b/d.jsonl", "notes.doc"):
        memory.pipe(f"/in/{name}", b"{}\n")
    assert list(Read(path="memory://in/*.jsonl").parts()) == ["a.jsonl"]
    assert list(Read(path="memory://in/**/*.jsonl").parts()) == ["a-b/d.jsonl", "a.jsonl", "b/c.jsonl"]
    assert list(Read(path="memory://in/**/*.jsonl").parts("a.jsonl")) == ["a.jsonl", "b/c.jsonl"]
    assert list(Read(path="memory://in/*/d.jsonl").parts()) == ["a-b/d.jsonl"]
    assert list(Read(path="memory://in").parts()) == ["a.jsonl"]
    assert list(Read(path="memory://in/b/").parts()) == ["c.jsonl"]
    assert list(Read(path=("memory://in/b/*", "memory://in/a.jsonl", "memory://in/**/*.jsonl")).parts()) == [
        "b/c.jsonl",
        "a.jsonl",
        "a-b/d.jsonl",
    ]
    with pytest.raises(DataError, match=r"no file matches `\*\.csv` in the folder `memory://in`"):
        list(Read(path="memory://in/*.csv").parts())


def test_an_exchanged_remote_file_is_edited(memory: Any) -> None:
    """A file is the same while its size and version are; a state of another one is refused."""
    memory.pipe("/in/a.jsonl", b"{}\n{}\n")
    source = Read(path="memory://in/a.jsonl")
    reader = source.open_part("a.jsonl")
    next(reader)
    state = reader.state()
    reader.close()
    assert source.compare_part("a.jsonl", state) == "same"
    assert source.measure_part("a.jsonl", state) == (3, 6)
    memory.pipe("/in/a.jsonl", b"{}\n[]\n")
    assert source.compare_part("a.jsonl", state) == "edited"
    with pytest.raises(StateError, match="the file was edited before byte 3, where the state stands"):
        source.open_part("a.jsonl", state)
    memory.rm("/in/a.jsonl")
    assert source.compare_part("a.jsonl", state) == "edited"
    with pytest.raises(ResourceError, match=r"memory://in/a\.jsonl: cannot be read: there is no such file"):
        source.open_part("a.jsonl")


def test_an_address_of_a_local_file_is_its_path(tmp_path: Any) -> None:
    """`file://` is read as the plain path is, checksums and all."""
    (tmp_path / "a b.jsonl").write_bytes(b"{}\n")
    assert list(tm.read(f"file://{tmp_path}/*.jsonl")) == [{}]
    reader = Read(path=f"file://{tmp_path}/a b.jsonl").open_part("a b.jsonl")
    next(reader)
    assert reader.state()["crc"][0] == 3
    reader.close()


def test_a_stream_is_saved_anywhere(memory: Any) -> None:
    """`save` takes an address, packs by suffix, and leaves nothing when it fails."""
    assert tm.from_iterable([{"n": n} for n in range(3)]).save("memory://out/deep/a.jsonl.zst") == 3
    assert list(tm.read("memory://out/deep/*")) == [{"n": n} for n in range(3)]
    with pytest.raises(DataError, match="record 1 is not JSON"):
        tm.from_iterable([{}, {"bad": object()}]).save("memory://out/b.jsonl")
    assert memory.find("/out") == ["/out/deep/a.jsonl.zst"]


def test_a_file_system_that_cannot_be_opened_says_why() -> None:
    """An unknown protocol, a package that is missing, options that it does not take."""
    with pytest.raises(ConfigError, match="the file system `s4` cannot be opened: Protocol not known: s4"):
        PartFile(parse_path("s4://bucket/a.jsonl"))
    with pytest.raises(ConfigError, match="`gcs://` needs a package that is missing"):
        PartFile(parse_path("gcs://bucket/a.jsonl"))
    with pytest.raises(ConfigError, match=r"cannot be opened: .*missing 1 required positional argument: 'repo'"):
        PartFile(parse_path("github://a.jsonl", {"org": "me"}))


SECRETS = {"key": "AKIATESTTESTTESTTEST", "secret": "s3cr3t-value", "client_kwargs": {"token": "t0k3n-value"}}


@pytest.mark.parametrize(
    "source",
    [
        Read(path="s3://bucket/*.jsonl", storage_options=SECRETS),
        RowFiles(dataset="s3://bucket/out", storage_options=SECRETS),
        SQL(sql="SELECT 1", connect="sqlite:///a.db", arguments=SECRETS),
        Hub(hf="json", arguments=SECRETS),
    ],
    ids=lambda source: type(source).__name__,
)
def test_secrets_among_options_are_shown_by_no_source(source: Any) -> None:
    """Neither by itself nor by its description or dump; another process has them."""
    shown = f"{source!r} {source} {source.describe()} {source.model_dump()} {source.model_dump_json()}"
    assert not any(secret in shown for secret in ("AKIATEST", "s3cr3t", "t0k3n"))
    copy = pickle.loads(pickle.dumps(source))
    assert copy == source
    assert "s3cr3t-value" not in repr(copy)
    assert getattr(copy, "arguments", None) == SECRETS or copy.storage_options == SECRETS


def test_secrets_of_a_file_system_are_no_part_of_a_source() -> None:
    """Nor of an error."""
    source = Read(path="s3://bucket/*.jsonl", storage_options=SECRETS)
    assert source.describe() == Read(path="s3://bucket/*.jsonl").describe()
    assert "t0k3n" not in str(ResourceError("cannot be read", where=str(RemotePath("s3://me:t0k3n-value@bucket/a"))))


def test_a_reader_never_goes_on_behind_what_it_could_not_read(memory: Any) -> None:
    """A file that fails half-way fails each time it is asked, and is gone on with from its state."""
    memory.pipe("/in/a.jsonl", b'{"n": 1}\n' * 20_000)
    memory.pipe("/in/b.jsonl", b'{"n": 2}\n')
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    records = iterate(Read(path="flaky://in/*.jsonl"), ())
    assert len(list(islice(records, 5))) == 5
    Flaky.is_broken = True
    read = outcomes(records, 30_000)
    Flaky.is_broken = False
    assert read[-1] == ("ResourceError", "cannot be read: the connection is gone", None, None)
    given = 5 + sum(outcome[0] == "record" for outcome in read)
    assert 5 < given < 20_000
    assert len(read) == 30_000
    rest = outcomes(iterate(Read(path="flaky://in/*.jsonl"), (), records.state()))
    records.close()
    assert given + len(rest) == 20_001


class Flaky(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A file system whose connection may be lost."""

    protocol = "flaky"
    is_broken = False

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("flaky://", "memory://")))

    def _open(self, path: str, *arguments: Any, **options: Any) -> Any:
        return FlakyFile(super()._open(path, *arguments, **options))


class FlakyFile:
    def __init__(self, file: Any) -> None:
        self.file = file
        self.tell, self.seek, self.close = file.tell, file.seek, file.close

    def read(self, size: int) -> Any:
        if Flaky.is_broken:
            raise OSError("the connection is gone")
        return self.file.read(size)


class Asked(MemoryFileSystem):  # type: ignore[misc] # fsspec has no types
    """A file system that counts what it is asked about."""

    protocol = "asked"
    cachable = False
    count = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("asked://", "memory://")))

    def info(self, path: str, **options: Any) -> Any:
        Asked.count += 1
        return super().info(path, **options)


def test_opening_a_file_asks_about_no_other(memory: Any) -> None:
    """Of files that are named one by one each is asked about when they are listed, not with every file read."""
    fsspec.register_implementation("asked", Asked, clobber=True)
    asked = []
    for files in (5, 25):
        for number in range(files):
            memory.pipe(f"/in/{number}.jsonl", b"{}\n")
        Asked.count = 0
        assert len(list(iterate(Read(path=[f"asked://in/{number}.jsonl" for number in range(files)]), ()))) == files
        asked.append(Asked.count)
    assert asked[1] == 5 * asked[0]


def test_s3_is_read_written_and_resumed(s3: dict[str, Any]) -> None:
    """The whole way on a real server: patterns, packed files, a folder, states, saving."""
    options: dict[str, Any] = {"storage_options": s3}
    for number in range(3):
        rows = [{"n": number * 10 + n} for n in range(4)]
        assert tm.from_iterable(rows).save(f"s3://data/in/{number}.jsonl.gz", storage_options=s3) == 4
    source = Read(path="s3://data/in/*.jsonl.gz", **options)
    whole = check_resumes_everywhere(lambda state: iterate(source, (), state))
    assert [outcome[1]["n"] for outcome in whole] == [number * 10 + n for number in range(3) for n in range(4)]
    assert list(tm.read("s3://data/in", **options)) == [outcome[1] for outcome in whole]
    put("in/1.jsonl.gz", {"n": 1})
    reader = source.open_part("0.jsonl.gz")
    outcomes(reader)
    assert source.compare_part("0.jsonl.gz", reader.state()) == "same"
    put("in/0.jsonl.gz", {"n": 1})
    assert source.compare_part("0.jsonl.gz", reader.state()) == "edited"


def test_what_stands_on_s3_is_known(s3: dict[str, Any]) -> None:
    """Size and version of an object, what is a file and what a folder, random access, what is missing."""
    put("in/a.jsonl", {"n": 1})
    path = parse_path("s3://data/in/a.jsonl", s3)
    assert stat_file(path)["size"] == 9
    with open_random(path) as file:
        file.seek(2)
        assert file.read(3) == b'n":'
    missing = parse_path("s3://data/in/b.jsonl", s3)
    kinds = [find_kind(each) for each in (path, path.parent, missing, parse_path("s3://none/b", s3))]
    assert kinds == ["file", "folder", None, None]
    with pytest.raises(ResourceError, match=r"s3://data/in/b\.jsonl: cannot be read: there is no such file"):
        PartFile(missing)
    with pytest.raises(DataError, match=r"no file matches `\*` in the folder `s3://none`"):
        list(Read(path="s3://none/*", storage_options=s3).parts())


def test_an_unfinished_object_is_not_there(s3: dict[str, Any]) -> None:
    """Of a large object no part is left either when writing it ends in an error."""
    path = parse_path("s3://data/out/big.jsonl", s3)
    with pytest.raises(RuntimeError, match="stop"), create_file(path) as file:
        file.write(bytes(40_000_000))
        raise RuntimeError("stop")
    assert find_kind(path) is None
    assert not backend().buckets["data"].multiparts
    with create_file(path) as file:
        file.write(bytes(40_000_000))
    assert stat_file(path)["size"] == 40_000_000


def test_s3_is_listed_page_by_page(s3: dict[str, Any]) -> None:
    """The first names come without the second page; a state goes on with the page behind its part."""
    for number in range(1_050):
        put(f"in/{number:05}.jsonl", {"n": number})
    put("in/deep/x.jsonl", {"n": -1})
    names = Read(path="s3://data/in/*.jsonl", storage_options=s3).parts()
    assert next(names) == "00000.jsonl"
    for number in range(1_010, 1_050):
        backend().delete_object("data", f"in/{number:05}.jsonl")
    assert list(names) == [f"{number:05}.jsonl" for number in range(1, 1_010)]
    stream = tm.read("s3://data/in/**/*.jsonl", storage_options=s3)
    records = stream.iterate()
    assert list(islice(records, 3)) == [{"n": 0}, {"n": 1}, {"n": 2}]
    state = records.state()
    records.close()
    put("in/00000a.jsonl", {"n": "new"})  # in front of the state's part, which is not looked at again
    assert list(islice(stream.iterate(state), 2)) == [{"n": 3}, {"n": 4}]
    root = parse_path("s3://data/in", s3)
    assert list(iter_files(root, start="01008.jsonl", enters=lambda _: True)) == [
        "01008.jsonl",
        "01009.jsonl",
        "deep/x.jsonl",
    ]
    backend().delete_object("data", "in/00002.jsonl")
    with pytest.raises(StateError, match=r"stands in part `00002\.jsonl`, number 2, which is not there now"):
        stream.iterate(state)


def test_a_text_of_many_blocks_is_read_in_few_requests(s3: dict[str, Any]) -> None:
    """Blocks are fetched ahead, so that a reader does not ask for each."""
    backend().put_object("data", "a.jsonl", b"{}\n" * 1_000_000)
    path = parse_path("s3://data/a.jsonl", s3)
    file = PartFile(path)
    assert sum(len(block) for block in iter(open_text(path, file).read, b"")) == 3_000_000
    file.close()


def test_columns_on_s3_are_read_and_unified(s3: dict[str, Any]) -> None:
    """Parquet in partition folders: footers of a sample say what the columns are; every position resumes."""
    tables: dict[int, dict[str, list[Any]]] = {2023: {"n": [1, 2]}, 2024: {"n": [3], "text": ["x"]}}
    for year, table in tables.items():
        file = io.BytesIO()
        pq.write_table(pa.table(table), file)
        backend().put_object("data", f"in/year={year}/a.parquet", file.getvalue())
    source = Read(path="s3://data/in", storage_options=s3)
    whole = check_resumes_everywhere(functools.partial(iterate, source, ()))
    assert [outcome[1] for outcome in whole] == [
        {"n": 1, "text": None, "year": 2023},
        {"n": 2, "text": None, "year": 2023},
        {"n": 3, "text": "x", "year": 2024},
    ]
    assert list(tm.read("s3://data/in", columns=["n"], storage_options=s3)) == [
        {"n": 1, "year": 2023},
        {"n": 2, "year": 2023},
        {"n": 3, "year": 2024},
    ]


SUFFIXES = pytest.mark.parametrize("suffix", ["parquet", "jsonl", "arrow"])


@SUFFIXES
def test_a_dataset_in_memory_is_one(memory: Any, suffix: str) -> None:
    check_dataset("memory://data/rows", None, suffix)


@SUFFIXES
def test_a_dataset_on_s3_is_one(s3: dict[str, Any], suffix: str) -> None:
    check_dataset("s3://data/rows", s3, suffix)


def check_dataset(root: str, options: dict[str, Any] | None, suffix: str) -> None:
    """Check a folder and a file elsewhere: numbers, slices, columns, states, pickles."""
    rows = [{"n": n, "text": f"number {n}"} for n in range(7)]
    for number, part in enumerate((rows[:3], rows[3:])):
        tm.from_iterable(part).save(f"{root}/{number}.{suffix}", storage_options=options)
    data = tm.dataset(root + "/", storage_options=options)
    assert (len(data), list(data), data[-1], list(data[2:5])) == (7, rows, rows[6], rows[2:5])
    assert list(data["text"]) == [row["text"] for row in rows]
    check_resumes_everywhere(data.iterate)
    assert list(pickle.loads(pickle.dumps(data))) == rows
    assert data == tm.dataset(root, storage_options=options)
    single = tm.dataset(f"{root}/1.{suffix}", storage_options=options)
    assert list(single) == rows[3:]
    assert "not-to-be-seen" not in repr(data) + str(data.source.describe())
    with pytest.raises(DataError, match="where there is nothing"):
        tm.dataset(f"{root}-not", storage_options=options)


def test_an_output_folder_elsewhere_is_read_as_its_manifest_says(memory: Any) -> None:
    """Parts that it does not name are none."""
    parts = []
    for number in range(3):
        tm.from_iterable([{"n": number}] * (number + 1)).save(f"memory://out/part-{number}.jsonl")
        digest = hashlib.sha256(memory.cat(f"/out/part-{number}.jsonl")).hexdigest()
        parts.append({"name": f"part-{number}.jsonl", "rows": number + 1, "sha256": digest})
    memory.pipe("/out/_manifest.json", json.dumps({"version": 1, "format": "jsonl", "parts": parts[:2]}).encode())
    assert [record["n"] for record in tm.dataset("memory://out")] == [0, 1, 1]


def test_a_state_of_a_dataset_elsewhere_is_of_the_files_as_they_were(memory: Any) -> None:
    """Other files of the same length are refused."""
    tm.from_iterable([{"n": 1}, {"n": 2}]).save("memory://rows/a.jsonl")
    records = tm.dataset("memory://rows").iterate()
    next(records)
    tm.from_iterable([{"n": 3}, {"n": 4}]).save("memory://rows/a.jsonl")
    with pytest.raises(StateError, match="are not those that the state was taken of"):
        next(tm.dataset("memory://rows").iterate(records.state()))
