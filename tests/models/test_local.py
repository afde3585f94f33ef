"""The embedded model behind its loopback server, in this process."""

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tidemill.errors import ConfigError, ResourceError
from tidemill.models.local.server import check_local_model, open_local_server
from tidemill.models.local.weights import embedded_weights

SCHEMA = {
    "type": "object",
    "properties": {"animal": {"enum": ["cat", "dog"]}, "is_loud": {"type": "boolean"}},
    "required": ["animal", "is_loud"],
    "additionalProperties": False,
}
LABEL: dict[str, Any] = {
    "messages": [{"role": "user", "content": "A pet called Rex barks."}],
    "max_tokens": 100,
    "temperature": 0,
    "response_format": {"type": "json_schema", "json_schema": {"name": "pet", "strict": True, "schema": SCHEMA}},
}
ENDLESS: dict[str, Any] = {
    "messages": [{"role": "user", "content": "Tell a long story."}],
    "max_tokens": 1900,
    "ignore_eos": True,
}


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.post(f"{url}/chat/completions", json=body) as response:
        reply: dict[str, Any] = await response.json()
        assert response.status == 200, reply
        return reply


async def ask_once(url: str, body: dict[str, Any]) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session:
        return await ask(session, url, body)


def is_open(url: str) -> bool:
    address = urlsplit(url)
    assert address.hostname is not None
    with socket.socket() as client:
        return client.connect_ex((address.hostname, address.port)) == 0


async def test_schema_constrained_replies_in_parallel(local_url: str) -> None:
    """More requests than slots at once: each reply conforms, names its model and counts its tokens."""
    async with aiohttp.ClientSession() as session:
        replies = await asyncio.gather(*(ask(session, local_url, LABEL) for _ in range(6)))
    for reply in replies:
        value = json.loads(reply["choices"][0]["message"]["content"])
        assert value["animal"] in {"cat", "dog"}
        assert value["is_loud"] in {True, False}
        assert reply["model"] == "smollm2"
        assert reply["usage"]["prompt_tokens"] > 0
        assert reply["usage"]["completion_tokens"] > 0


def test_same_arguments_share_a_server() -> None:
    """The second to open gets the first one's server, which runs until both have left."""
    with open_local_server("local/smollm2", context_tokens=256) as first:
        with open_local_server("local/smollm2", context_tokens=256) as second:
            assert second == first
        assert is_open(first)
        with open_local_server("local/smollm2", context_tokens=512) as other:
            assert other != first
        assert is_open(first)
    assert not is_open(first)


def test_opened_at_once_from_several_threads() -> None:
    """One server is started, however many ask for it at the same moment, and it outlives all but the last."""
    together = threading.Barrier(4)

    def open_and_look(_: int) -> tuple[str, bool]:
        with open_local_server("local/smollm2", context_tokens=256) as url:
            together.wait()
            return url, is_open(url)

    with ThreadPoolExecutor(4) as pool:
        seen = set(pool.map(open_and_look, range(4)))
    ((url, was_open),) = seen
    assert was_open
    assert not is_open(url)


def test_stops_at_once_after_starting() -> None:
    """A server nobody ever asked stops like any other."""
    for _ in range(3):
        with open_local_server("local/smollm2", slots=1, context_tokens=256) as url:
            pass
        assert not is_open(url)


async def test_stops_while_requests_are_in_flight() -> None:
    """Leaving cuts replies half-way and requests that wait for a slot; the callers see lost connections."""
    block = open_local_server("local/smollm2", slots=1)
    url = await asyncio.to_thread(block.__enter__)
    async with aiohttp.ClientSession() as session:
        streaming = await session.post(f"{url}/chat/completions", json={**ENDLESS, "stream": True})
        await streaming.content.readany()  # its reply has begun, so the next one waits
        waiting = asyncio.create_task(ask(session, url, ENDLESS))
        await asyncio.to_thread(block.__exit__, None, None, None)
        with pytest.raises(aiohttp.ClientPayloadError, match="not completed"):
            await streaming.read()
        with pytest.raises(aiohttp.ClientConnectionError, match=r"disconnected|reset|Cannot connect|Can not write"):
            await waiting
    assert not is_open(url)


def test_stops_though_a_request_comes_while_its_sockets_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection made between the list of this process's sockets and the end of listening is cut like the others."""
    listed = os.listdir
    clients: list[socket.socket] = []
    body = json.dumps(ENDLESS).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
    block = open_local_server("local/smollm2", slots=1)
    address = urlsplit(block.__enter__())

    def list_and_ask(path: str) -> list[str]:
        names = listed(path)
        if not clients:
            clients.append(socket.create_connection((str(address.hostname), address.port or 0)))
            clients[0].sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            while len(listed(path)) < len(names) + 2:  # the client's end, and the server's once it is accepted
                time.sleep(0.001)
        return names

    monkeypatch.setattr("tidemill.models.local.server.os.listdir", list_and_ask)
    block.__exit__(None, None, None)
    with clients[0] as client:
        assert client.recv(100) == b""


def test_stops_when_the_block_raises() -> None:
    """The error is the block's own, and the server is gone."""
    with pytest.raises(ZeroDivisionError, match="mine"), open_local_server("local/smollm2", context_tokens=256) as url:
        raise ZeroDivisionError("mine")
    assert not is_open(url)


def test_interpreter_exit_stops_an_open_server_without_a_word() -> None:
    """A program that never leaves the block ends by itself, with its own exit code; stdout and stderr stay its own."""
    program = """
import sys, threading, urllib.request
from tidemill.models.local.server import open_local_server
block = open_local_server("local/smollm2", slots=1)
url = block.__enter__()
body = b'{"messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 2000}'
request = urllib.request.Request(url + "/chat/completions", body, {"content-type": "application/json"})
def ask():
    try:
        urllib.request.urlopen(request)
    except OSError:
        pass
threading.Thread(target=ask, daemon=True).start()
print("said by the program")
sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (7, "said by the program\n", "")


def test_debug_logging_shows_the_log_of_llama_cpp(capfd: pytest.CaptureFixture[str]) -> None:
    """Its own log stays silent, and comes to stderr when Tidemill's logger is at DEBUG."""
    logger = logging.getLogger("tidemill.models.local.server")
    with open_local_server("local/smollm2", slots=1, context_tokens=256):
        pass
    assert capfd.readouterr().err == ""
    logger.setLevel(logging.DEBUG)
    try:
        with open_local_server("local/smollm2", slots=1, context_tokens=256):
            pass
    finally:
        logger.setLevel(logging.NOTSET)
    assert "listening on http://127.0.0.1" in capfd.readouterr().err


async def test_a_file_by_its_path(tmp_path: Path) -> None:
    """`local/PATH.gguf` is relative to the folder given, and replies name it."""
    (tmp_path / "mine.gguf").symlink_to(embedded_weights())
    with open_local_server("local/mine.gguf", slots=1, context_tokens=256, folder=tmp_path) as url:
        reply = await ask_once(url, {**LABEL, "max_tokens": 4})
    assert reply["model"] == "mine.gguf"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("local/smolm2", r"no local model that writes is called `local/smolm2`\n  did you mean `local/smollm2`\?"),
        ("local/absent.gguf", r"absent\.gguf cannot be read: No such file"),
        ("local/text.gguf", r"text\.gguf is not GGUF: it starts with b'just'"),
    ],
)
def test_names_that_cannot_be_opened(name: str, message: str, tmp_path: Path) -> None:
    """Told before anything is loaded, by the check alone as well."""
    (tmp_path / "text.gguf").write_text("just text")
    with pytest.raises(ConfigError, match=message):
        check_local_model(name, folder=tmp_path)
    with pytest.raises(ConfigError, match=message), open_local_server(name, folder=tmp_path):
        pass


def test_weights_that_llama_cpp_refuses(tmp_path: Path) -> None:
    """A cut file is the resource's failure: what, and where to look."""
    with embedded_weights().open("rb") as whole:
        (tmp_path / "cut.gguf").write_bytes(whole.read(1_000_000))
    with (
        pytest.raises(ResourceError, match=r"llama\.cpp could not load .*cut\.gguf") as caught,
        open_local_server("local/cut.gguf", folder=tmp_path),
    ):
        pass
    assert "set the logger `tidemill.models.local.server` to DEBUG" in caught.value.hint


def test_without_xllamacpp(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the extra to install."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with (
        pytest.raises(ResourceError, match="needs the package xllamacpp") as caught,
        open_local_server("local/smollm2"),
    ):
        pass
    assert 'pip install "tidemill[local]"' in caught.value.hint
