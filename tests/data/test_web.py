"""Files of HTTP servers: by ranges, without them, cut, exchanged, redirected, packed on the way."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from resuming import check_resumes_everywhere, outcomes, through_json
from webserver import Site, open_site

import tidemill as tm
from tidemill.data.iteration import iterate
from tidemill.data.sources.read import Read
from tidemill.data.sources.rows import RowSource
from tidemill.errors import ConfigError, DataError, ResourceError, StateError

ROWS = [{"n": n, "text": f"row {n}"} for n in range(30_000)]
TEXT = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
AT_ONCE: dict[str, Any] = {"retries": 2, "timeout_s": 20}


def release(data: tm.Dataset[Any]) -> None:
    """Close the files that a dataset holds open."""
    assert isinstance(data.source, RowSource)
    data.source.rows.release()


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as opened:
        opened.files = {"/in/a.jsonl": TEXT, "/in/a.jsonl.gz": gzip.compress(TEXT), "/in/empty.jsonl": b""}
        opened.etags = dict.fromkeys(opened.files, '"one"')
        yield opened


NAMES = pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
WAYS: dict[str, dict[str, Any]] = {
    "ranges": {},
    "no ranges": {"has_ranges": False},
    "no length": {"has_ranges": False, "chunked": True},
    "packed on the way": {"packs": True},
    "packed, no length": {"packs": True, "chunked": True},
}


@pytest.mark.parametrize("way", WAYS)
@NAMES
def test_a_file_is_read_and_resumed(site: Site, name: str, way: str) -> None:
    """Whatever the server can, the same records; the state of one that has ranges is read from there on."""
    vars(site).update(WAYS[way])
    if name.endswith(".gz") and site.packs:  # as servers do that take `.gz` for a packed `.jsonl`
        site.files[f"/in/{name}"] = TEXT
    stream = tm.read(f"{site.url}/in/{name}")
    records = stream.iterate()
    first = list(islice(records, 20_000))
    state = through_json(records.state())
    records.close()
    assert first + list(stream.iterate(state)) == ROWS
    if way == "ranges" and name == "a.jsonl":
        offset = state["source"]["offset"]
        assert site.ranges() == ["bytes=0-", f"bytes={offset}-"]


def test_every_position_resumes(site: Site) -> None:
    """With a corrupt line; two files of one server are two parts."""
    site.files = {"/in/a.jsonl": b'{"n": 1}\n{\n{"n": 2}\n', "/in/b.jsonl": b'{"n": 3}\n'}
    source = Read(path=(f"{site.url}/in/a.jsonl", f"{site.url}/in/b.jsonl"))
    assert list(source.parts()) == ["a.jsonl", "b.jsonl"]
    whole = check_resumes_everywhere(partial(iterate, source, ()))
    assert [outcome[0] for outcome in whole] == ["record", "DataError", "record", "record"]
    assert list(tm.read(f"{site.url}/in/b.jsonl?version=7&sig=x")) == [{"n": 3}]


def test_an_empty_file_has_no_records(site: Site) -> None:
    assert list(tm.read(f"{site.url}/in/empty.jsonl")) == []
    site.has_ranges = False
    assert list(tm.read(f"{site.url}/in/empty.jsonl")) == []


@pytest.mark.parametrize("way", ["ranges", "no ranges", "no length", "packed on the way"])
def test_a_cut_connection_goes_on_where_it_was_cut(site: Site, way: str) -> None:
    """Again and again, as long as each request gives some bytes."""
    vars(site).update(WAYS[way])
    site.cuts = [50_000] * 5 if way == "ranges" else [50_000, 60_000]
    assert list(tm.read(f"{site.url}/in/a.jsonl", storage_options=AT_ONCE)) == ROWS
    assert site.cuts == []
    if way == "ranges":
        assert site.ranges() == ["bytes=0-", *(f"bytes={50_000 * n}-" for n in range(1, 6))]


def test_a_connection_that_is_cut_at_once_again_and_again(site: Site) -> None:
    """Given up after so many in a row; what was read before stands."""
    site.cuts = [100_000, 0, 0, 0]
    records = tm.read(f"{site.url}/in/a.jsonl", storage_options=AT_ONCE | {"retries": 1}).iterate()
    with pytest.raises(ResourceError, match=r"in/a\.jsonl: cannot be read: the connection was cut again and again"):
        for given, record in enumerate(records):
            assert record == ROWS[given]
    records.close()


def test_what_passes_is_tried_again(site: Site) -> None:
    """A server that is busy is waited for as long as it asks."""
    site.statuses = [(503, {"Retry-After": "0"}), (429, {"Retry-After": "0"})]
    assert len(list(tm.read(f"{site.url}/in/a.jsonl", storage_options=AT_ONCE))) == len(ROWS)
    site.statuses = [(503, {"Retry-After": "0"})] * 3
    with pytest.raises(ResourceError, match=r"cannot be read: the server answers \(503 Service Unavailable\)"):
        list(tm.read(f"{site.url}/in/a.jsonl", storage_options=AT_ONCE))


def test_what_stays_is_told_at_once(site: Site) -> None:
    gone = r"got `http://127.*/in/gone\.jsonl`, where there is nothing: the server answers 404 Not Found"
    with pytest.raises(DataError, match=rf"expected a file, {gone}"):
        list(tm.read(f"{site.url}/in/gone.jsonl?sig=secret"))
    with pytest.raises(DataError, match=rf"expected a folder or a file, {gone}"):
        tm.dataset(f"{site.url}/in/gone.jsonl")
    site.statuses = [(200, {})]
    gone_since = tm.read(f"{site.url}/in/gone.jsonl")
    with pytest.raises(ResourceError, match=r"cannot be read: there is no such file \(404 Not Found\)"):
        list(gone_since)
    site.seen.clear()
    site.statuses = [(403, {})]
    with pytest.raises(ResourceError, match=r"access is denied \(403 Forbidden\)"):
        list(tm.read(f"{site.url}/in/a.jsonl"))
    with pytest.raises(ConfigError, match=r"no storage option of an HTTP server is `header`\n.*did you mean `headers`"):
        list(tm.read(f"{site.url}/in/a.jsonl", storage_options={"header": {}}))
    assert len(site.seen) == 1


def test_nobody_there(site: Site) -> None:
    with pytest.raises(ResourceError, match=r"cannot be read: .*Connection refused"):
        list(tm.read("http://127.0.0.1:9/a.jsonl", storage_options=AT_ONCE | {"retries": 0}))


def test_an_exchanged_file_is_refused(site: Site) -> None:
    """While it is read, and by a state of the one before."""
    stream = tm.read(f"{site.url}/in/a.jsonl", storage_options=AT_ONCE)
    records = stream.iterate()
    next(records)
    state = through_json(records.state())
    records.close()
    source = Read(path=f"{site.url}/in/a.jsonl")
    assert source.compare_part("a.jsonl", state["source"]) == "same"
    site.etags["/in/a.jsonl"] = '"two"'
    assert source.compare_part("a.jsonl", state["source"]) == "edited"
    with pytest.raises(StateError, match="the file was edited before byte"):
        list(stream.iterate(state))
    site.cuts = [100_000]
    reading = stream.iterate()
    next(reading)
    site.etags["/in/a.jsonl"] = '"three"'
    with pytest.raises(ResourceError, match=r'the file was exchanged while it was read: it was "two", and is "three"'):
        list(reading)
    reading.close()


def test_redirects_are_followed(site: Site) -> None:
    """To another host without what was meant for the first alone."""
    with open_site() as other:
        other.files = {"/b.jsonl": TEXT}
        site.redirects = {
            "/in/r.jsonl": "/in/a.jsonl",
            "/in/x.jsonl": f"{other.url}/b.jsonl",
            "/in/l.jsonl": "/in/l.jsonl",
        }
        options = AT_ONCE | {"headers": {"Authorization": "Bearer not-to-be-told"}}
        assert list(tm.read(f"{site.url}/in/r.jsonl", storage_options=options)) == ROWS
        assert site.seen[-1][1]["authorization"] == "Bearer not-to-be-told"
        assert list(tm.read(f"{site.url}/in/x.jsonl", storage_options=options)) == ROWS
        assert all("authorization" not in headers for _, headers in other.seen)
    site.redirects["/in/f.jsonl"] = "ftp://127.0.0.1/a.jsonl"
    for name, told in (("f", r"it redirects to what is no HTTP address"), ("l", "infinite loop")):
        with pytest.raises(ResourceError, match=told):
            list(tm.read(f"{site.url}/in/{name}.jsonl", storage_options=AT_ONCE))


def test_user_and_password_of_an_address_are_sent_and_not_shown(site: Site) -> None:
    url = site.url.replace("://", "://me:hush%2Dhush@")
    stream = tm.read(f"{url}/in/a.jsonl")
    assert next(iter(stream)) == ROWS[0]
    sent = base64.b64decode(site.seen[-1][1]["authorization"].removeprefix("Basic "))
    assert sent == b"me:hush-hush"
    with pytest.raises(DataError) as caught:
        list(tm.read(f"{url}/in/gone.jsonl"))
    assert "hush" not in str(caught.value)


SIGNED = {
    "aws": "X-Amz-Credential=AKIDnottobetold%2F2026&X-Amz-Expires=60&X-Amz-Signature=not-to-be-told-{n}",
    "google": "X-Goog-Date=20260101T000000Z&X-Goog-SignedHeaders=host&X-Goog-Signature=not-to-be-told-{n}",
    "azure": "sv=2024-11-04&sp=r&se=2026-0{n}-01T00:00:00Z&sig=not-to-be-told%2B{n}/x%3D",
    "cloudfront": "Expires=17{n}&Policy=not-to-be-told-p{n}&Signature=not-to-be-told-{n}&Key-Pair-Id=K{n}",
    "token": "access_token=not-to-be-told-{n}",
}


@pytest.mark.parametrize("kind", SIGNED)
def test_what_signs_an_address_is_sent_and_shown_nowhere(site: Site, tmp_path: Path, kind: str) -> None:
    """Neither in states, names, descriptions and errors, nor in a run's files; signed anew it is the same file."""
    site.files["/in/page.html"] = b"<p>It turns."
    addresses = [f"{site.url}/in/{{}}?version=7&{SIGNED[kind].format(n=n)}" for n in (1, 2)]
    stream, again = (tm.read(address.format("a.jsonl")) for address in addresses)
    assert isinstance(stream.source, Read)
    records = stream.iterate()
    first = list(islice(records, 20_000))
    state = json.dumps(records.state())
    records.close()
    assert first + list(again.iterate(json.loads(state))) == ROWS
    assert site.seen[-1][0] == addresses[1].format("a.jsonl").removeprefix(site.url)
    report = stream.take(5).write(tmp_path / "out")
    (page,) = tm.read(addresses[0].format("page.html"))
    data = tm.dataset(addresses[0].format("a.jsonl"))
    assert data[7] == ROWS[7]
    release(data)
    with pytest.raises(DataError) as missing:
        list(tm.read(addresses[0].format("gone.jsonl")))
    site.statuses = [(403, {})]
    with pytest.raises(ResourceError) as denied:
        list(stream)
    written = [path.read_bytes().decode("latin-1") for path in (tmp_path / "out").rglob("*") if path.is_file()]
    shown = [state, repr(stream), repr(stream.source), repr(data.source), str(report), *written, str(missing.value)]
    shown += [json.dumps(stream.source.describe()), stream.source.show(), page["path"], str(denied.value)]
    shown += [stream.job(tmp_path / "out").to_yaml(), repr(again.iterate(json.loads(state)))]
    assert not [each for each in shown if "to-be-told" in each or "nottobetold" in each]
    assert list(stream.source.parts()) == ["a.jsonl?version=7"]
    assert page["path"] == f"{site.url}/in/page.html?version=7"


def test_addresses_that_differ_in_a_query_alone_are_files_of_their_own(site: Site) -> None:
    """Also in what is not shown of it, which may say which file is meant."""
    whole = f"{site.url}/in/a.jsonl"
    addresses = [
        f"{whole}?id=1",
        f"{whole}?id=2/3",
        f"{whole}?key=first",
        f"{whole}?key=second",
        f"{whole}?key=first",
        whole,
    ]
    source = Read(path=tuple(addresses))
    assert list(source.parts()) == ["a.jsonl?id=1", "a.jsonl?id=2%2F3", "a.jsonl", "a.jsonl?2", "a.jsonl?3"]
    assert sum(1 for _ in iterate(source, ())) == 5 * len(ROWS)
    asked = [path for path, headers in site.seen if headers.get("range") == "bytes=0-"]
    assert asked == [f"/in/a.jsonl{each}" for each in ("?id=1", "?id=2/3", "?key=first", "?key=second", "")]


def test_a_packing_that_nobody_asked_for_is_told(site: Site) -> None:
    site.statuses = [(200, {"Content-Encoding": "br"})]
    with pytest.raises(ResourceError, match="the server packs it as `br` unasked"):
        list(tm.read(f"{site.url}/in/a.jsonl"))


def test_files_of_columns_and_arrays_are_read_by_ranges(site: Site, tmp_path: Path) -> None:
    """Streams and datasets; where the server has no ranges, such a file is refused."""
    table = pa.table({"n": range(1_000)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    np.save(tmp_path / "a.npy", np.arange(4_000).reshape(1_000, 4))
    for name in ("a.parquet", "a.npy"):
        site.files[f"/{name}"] = (tmp_path / name).read_bytes()
    assert [record["n"] for record in tm.read(f"{site.url}/a.parquet")] == list(range(1_000))
    assert tm.dataset(f"{site.url}/a.parquet")[-1] == {"n": 999}
    data = tm.dataset(f"{site.url}/a.npy")
    assert (len(data), data[7]["vector"].tolist()) == (1_000, [28, 29, 30, 31])
    assert [record["vector"][0] for record in tm.read(f"{site.url}/a.npy")] == list(range(0, 4_000, 4))
    release(data)
    site.has_ranges = False
    kinds = {kind for kind, *_ in outcomes(tm.read(f"{site.url}/a.parquet", on_error="skip").iterate(), 1)}
    assert kinds == {"ResourceError"}
    with pytest.raises(ResourceError, match="the server gives no ranges"):
        next(iter(tm.read(f"{site.url}/a.parquet")))
