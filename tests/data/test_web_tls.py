"""Files over TLS from a server that was not written for these tests: read, resumed, refused."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import trustme
from fileserver import serve_files
from resuming import through_json

import tidemill as tm
from tidemill.errors import ResourceError

ROWS = [{"n": n, "text": f"row {n}"} for n in range(30_000)]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def make_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """The settings of a server that goes by these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture
def folder(tmp_path: Path, authority: trustme.CA) -> Path:
    """The files served, with the authority's certificate beside them."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return files


@pytest.fixture
def address(folder: Path, authority: trustme.CA) -> Iterator[str]:
    with serve_files(folder, make_context(authority, "localhost")) as url:
        yield url


def test_a_file_is_read_and_resumed(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By OpenSSL's own variable for authorities; another file in its place is refused by its ETag."""
    monkeypatch.setenv("SSL_CERT_FILE", str(folder.parent / "ca.pem"))
    stream = tm.read(f"{address}/a.jsonl")
    records = stream.iterate()
    first = list(islice(records, 20_000))
    state = through_json(records.state())
    records.close()
    assert first + list(stream.iterate(state)) == ROWS
    (folder / "a.jsonl").write_text('{"n": 1}\n')
    with pytest.raises(tm.StateError, match="the file was edited before byte"):
        list(stream.iterate(state))


def test_a_certificate_that_nobody_vouches_for_is_refused(address: str) -> None:
    """At once, with what to do; never tried again."""
    with pytest.raises(
        ResourceError, match=r"(?s)the server's certificate is refused: .*certificate.*SSL_CERT_FILE=ca"
    ):
        list(tm.read(f"{address}/a.jsonl", storage_options={"retries": 1_000}))


def test_a_certificate_of_another_name_is_refused(
    folder: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder.parent / "ca.pem"))
    with (
        serve_files(folder, make_context(authority, "files.example.com")) as url,
        pytest.raises(ResourceError, match=r"the server's certificate is refused: Hostname mismatch.*`?localhost"),
    ):
        list(tm.read(f"{url}/a.jsonl"))
