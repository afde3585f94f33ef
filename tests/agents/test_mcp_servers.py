"""MCP servers as sources of tools: real processes of the official package, over pipes and over HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tidemill.agents import mcp_server
from tidemill.agents.mcp import link, transports
from tidemill.agents.mcp.server import McpServer
from tidemill.agents.tools.context import Context
from tidemill.agents.tools.refusal import RefusalError
from tidemill.agents.tools.tool import Tool
from tidemill.errors import CallError, ConfigError, PermanentCallError, ResourceError, TransientCallError

PROGRAM = Path(__file__).with_name("toolserver.py")
COMMAND = (sys.executable, str(PROGRAM))
MUTE = ("sh", "-c", "echo waiting for a licence >&2; exec tail -f /dev/null")


class Open(dict[str, Tool]):
    """The tools of an open source, by name."""

    async def __call__(self, tool: str, /, **arguments: Any) -> Any:
        given = self[tool].signature.check(arguments)
        assert given.values is not None, given.render()
        context = {self[tool].context: Context(None, "5" * 32)}
        return await self[tool].function(**given.values, **context)


@asynccontextmanager
async def opened(server: McpServer) -> AsyncIterator[Open]:
    async with server.open() as tools:
        yield Open({tool.name: tool for tool in tools})


class Notes:
    """What servers note, as it comes."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._file = os.fdopen(os.open(path, os.O_RDWR), "r")

    async def next(self) -> str:
        return (await asyncio.to_thread(self._file.readline)).strip()

    def close(self) -> None:
        self._file.close()


@pytest.fixture
def notes(tmp_path: Path) -> Iterator[Notes]:
    found = Notes(tmp_path / "notes")
    yield found
    found.close()


@pytest.fixture
def quick_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that will not go are given less time than the package gives them."""
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", 0.3)
    monkeypatch.setattr(transports, "TERM_S", 0.3)


class Remote:
    """An HTTP server of its own process, on a port that stays taken while it is started anew."""

    def __init__(self, *options: str) -> None:
        self._options = options
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/mcp"
        self._running: list[subprocess.Popen[bytes]] = []
        self.start()

    def start(self) -> None:
        number = self._socket.fileno()
        command = [*COMMAND, "--fd", str(number), *self._options]
        self._running.append(subprocess.Popen(command, pass_fds=[number], stderr=subprocess.DEVNULL))

    def leave_port(self) -> None:
        self._socket.close()

    def wait(self) -> None:
        self._running[-1].wait()

    def close(self) -> None:
        self._socket.close()
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def shared() -> Iterator[Remote]:
    remote = Remote()
    yield remote
    remote.close()


@pytest.fixture
def remote(notes: Notes) -> Iterator[Remote]:
    found = Remote("--notes", str(notes.path))
    yield found
    found.close()


@pytest.fixture(params=["pipes", "http"])
def either(request: pytest.FixtureRequest, shared: Remote) -> McpServer:
    """One server, by either way."""
    return mcp_server(COMMAND) if request.param == "pipes" else mcp_server(url=shared.url)


async def test_its_tools_are_typed_and_called(either: McpServer) -> None:
    """Structured content is the value, else the texts; resources, and what is no picture, are told in words."""
    async with opened(either) as call:
        assert await call("add", a=1, b=2) == {"result": 3}
        assert await call("move", point={"x": 1, "y": 2}, steps=[{"x": 3, "y": 4}]) == {"x": 4, "y": 6}
        assert await call("key") == {"result": "5" * 32}
        drawn = await call("draw")
        assert drawn.splitlines() == [
            "drawn",
            "[image image/png, 4 bytes]",
            "[resource plan: file:///plan.txt]",
            "[resource file:///a.txt]",
            "inside",
        ]
        text, picture = await call("photo")
        assert (text, picture.source[:4]) == ("a photo", b"\x89PNG")
        with pytest.raises(RefusalError, match=r"^Error executing tool fail: no paper$"):
            await call("fail", why="no paper")


async def test_arguments_are_checked_before_they_are_sent(shared: Remote) -> None:
    """A nested schema is checked at every depth, and closed."""
    async with opened(mcp_server(url=shared.url)) as call:
        checked = call["move"].signature.check({"point": {"x": 1, "y": "two", "z": 3}, "stepps": []})
    told = checked.render()
    assert checked.values is None
    assert all(name in told for name in ("y", "z", "steps", "stepps"))


async def test_calls_come_from_any_task_and_any_loop(shared: Remote) -> None:
    """Twenty calls at once from tasks of this loop, and one from a loop in another thread."""
    async with opened(mcp_server(url=shared.url)) as call:
        results = await asyncio.gather(*(call("add", a=number, b=1) for number in range(20)))
        elsewhere = await asyncio.to_thread(asyncio.run, call("add", a=20, b=1))
    assert [each["result"] for each in [*results, elsewhere]] == list(range(1, 22))


async def test_allow_prefix_and_approval(shared: Remote) -> None:
    """Only what is allowed is taken; by itself all of it is approved first, whatever the server says of it."""
    async with opened(mcp_server(url=shared.url, allow=["add", "m*"], prefix="math_")) as call:
        assert {name: tool.options.needs_approval for name, tool in call.items()} == {
            "math_add": True,
            "math_move": True,
        }
        assert not any(tool.options.idempotent for tool in call.values())
        assert await call("math_add", a=1, b=1) == {"result": 2}
    async with opened(mcp_server(url=shared.url, allow=["add", "m*", "fail"], trusts_hints=True)) as call:
        assert {name: tool.options.needs_approval for name, tool in call.items()} == {
            "add": False,
            "move": True,
            "fail": True,
        }
        assert {name for name, tool in call.items() if tool.options.retries} == {"add", "move"}
    async with opened(mcp_server(url=shared.url, approve=["d*"])) as call:
        assert {name for name, tool in call.items() if tool.options.needs_approval} == {"draw", "die"}


@pytest.mark.parametrize("field", ["allow", "approve"])
async def test_an_entry_that_names_nothing_gets_the_near_name(shared: Remote, field: str) -> None:
    server = mcp_server(url=shared.url, **{field: ["ad"]})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"`ad` names no tool of the server\n  did you mean `add`\?"):
        async with server.open():
            pass


async def test_a_process_gets_no_variables_but_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in this process's environment stay here."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-servers")
    async with opened(mcp_server(COMMAND, env={"SHOP_TOKEN": "its-own-token"})) as call:
        given = await call("environment")
    assert given["SHOP_TOKEN"] == "its-own-token"
    assert "OPENAI_API_KEY" not in given


async def test_a_process_killed_in_a_call_is_told_with_its_last_words_and_started_anew() -> None:
    """Its standard error is kept from ours and masked; siblings in flight fail alike, and the next call works."""
    async with opened(mcp_server(COMMAND)) as call:
        waiting = asyncio.create_task(call("wait", name="a"))
        with pytest.raises(
            TransientCallError, match=r"went away before it answered.*\n.*out of paper, token=\*\*\*"
        ) as info:
            await call("die")
        assert info.value.of == "record"
        with pytest.raises(TransientCallError, match="went away"):
            await waiting
        both = await asyncio.gather(call("add", a=1, b=2), call("add", a=2, b=2))
    assert list(both) == [{"result": 3}, {"result": 4}]


async def test_a_server_over_http_is_reached_again_until_it_stays_away(
    remote: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is started anew by others; that it cannot be reached ends the run."""
    async with opened(mcp_server(url=remote.url)) as call:
        with pytest.raises(TransientCallError, match="went away before it answered"):
            await call("die")
        remote.wait()
        remote.start()
        assert await call("add", a=1, b=2) == {"result": 3}
        remote.leave_port()
        with pytest.raises(TransientCallError, match="went away before it answered"):
            await call("die")
        remote.wait()
        monkeypatch.setattr(link, "RECONNECT_S", 0.5)
        with pytest.raises(ResourceError, match="the MCP server cannot be used: ConnectError") as info:
            await call("add", a=1, b=2)
    assert info.value.of == "run"


async def test_a_server_that_was_left_is_not_started_again(shared: Remote) -> None:
    async with opened(mcp_server(url=shared.url)) as call:
        pass
    with pytest.raises(ResourceError, match="called after it was left"):
        await call("add", a=1, b=2)


@pytest.mark.parametrize("way", ["pipes", "http"])
async def test_cancelling_a_call_reaches_the_server(way: str, notes: Notes, request: pytest.FixtureRequest) -> None:
    """The server is told, stops the tool, and answers other calls on the same connection meanwhile and after."""
    if way == "pipes":
        server = mcp_server([*COMMAND, "--notes", str(notes.path)])
    else:
        server = mcp_server(url=request.getfixturevalue("remote").url)
    async with opened(server) as call:
        waiting = asyncio.create_task(call("wait", name="a"))
        assert await notes.next() == "waiting a"
        assert await call("add", a=1, b=2) == {"result": 3}
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await notes.next() == "cancelled a"
        assert await call("add", a=2, b=2) == {"result": 4}


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")


@pytest.mark.parametrize("options", [[], pytest.param(["--leaves"], marks=ON_LINUX)], ids=["here", "in its session"])
async def test_leaving_ends_a_process_that_will_not_go_and_what_it_started(
    options: list[str], notes: Notes, quick_end: None
) -> None:
    """It ignores the end of its input and SIGTERM, and so does its child, in a session of its own or not."""
    async with opened(mcp_server([*COMMAND, "--deaf", "--notes", str(notes.path), *options])) as call:
        pids = [int(each) for each in (await notes.next()).split()]
        assert await call("add", a=1, b=2) == {"result": 3}
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))


HOLDING = """
import asyncio, os, sys
from tidemill.agents import mcp_server

async def hold() -> None:
    async with mcp_server(sys.argv[1:]).open():
        fork = os.fork()
        if not fork:
            os.read(0, 1)
            os._exit(0)
        print(flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


async def test_it_ends_with_this_process_however_that_ends(notes: Notes) -> None:
    """Killed, while a fork of it lives on; though the server ignores the end of its input and SIGTERM."""
    server = [*COMMAND, "--deaf", "--notes", str(notes.path)]
    reader, writer = os.pipe()  # what the fork waits at
    command = [sys.executable, "-c", HOLDING, *server]
    holding = await asyncio.create_subprocess_exec(*command, stdin=reader, stdout=subprocess.PIPE)
    os.close(reader)
    processes = [psutil.Process(int(each)) for each in (await notes.next()).split()]
    assert holding.stdout is not None
    await holding.stdout.readline()
    holding.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, 30)
    os.close(writer)
    await holding.communicate()
    for each in alive:
        each.kill()
    assert alive == []


async def test_a_cancelled_agent_leaves_no_process(notes: Notes) -> None:
    """The task that holds the source is cancelled in the middle of a call."""

    async def hold() -> None:
        async with opened(mcp_server([*COMMAND, "--notes", str(notes.path)])) as call:
            await call("wait", name="a")

    before = {each.pid for each in psutil.Process().children()}
    holding = asyncio.create_task(hold())
    assert await notes.next() == "waiting a"
    [child] = [each for each in psutil.Process().children() if each.pid not in before]
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await holding
    assert not is_alive(child.pid)


async def test_a_server_that_says_nothing_is_given_up(quick_end: None) -> None:
    """The error has the command and what it said instead; the process is gone."""
    before = {each.pid for each in psutil.Process().children()}
    server = mcp_server(MUTE, start_timeout_s=1.0)
    with pytest.raises(
        ResourceError, match=r"(?s)exec tail -f /dev/null: .*did not say what it is within 1 s.*waiting for a licence"
    ):
        async with server.open():
            pass
    assert {each.pid for each in psutil.Process().children()} == before


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["no-such-program-here"], "No such file or directory: no-such-program-here"),
        ([str(PROGRAM)], "Permission denied: .*toolserver.py"),
        (
            [sys.executable, "-c", "import sys; sys.exit('no licence')"],
            "(?s)the MCP server cannot be used: .*no licence",
        ),
    ],
)
async def test_a_server_that_cannot_be_started_ends_the_run(command: Sequence[str], told: str) -> None:
    with pytest.raises(ResourceError, match=told) as info:
        async with mcp_server(command).open():
            pass
    assert info.value.of == "run"


class Refusing:
    """A server that answers every request with one status."""

    def __init__(self, head: bytes) -> None:
        self._head = head
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/mcp"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                if not connection.recv(65536):
                    return
                connection.sendall(b"HTTP/1.1 " + self._head + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    def close(self) -> None:
        socket.create_connection(self._socket.getsockname()).close()
        self._thread.join()
        self._socket.close()


class Gate:
    """Stands in front of a server, and answers its calls of tools with a status of its own once that is set."""

    def __init__(self, url: str) -> None:
        self._behind = ("127.0.0.1", int(url.split(":")[2].partition("/")[0]))
        self.status = ""
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Gate]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(sum(lengths))
        if self.status and b"tools/call" in body:
            writer.write(f"HTTP/1.1 {self.status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        else:
            behind, onward = await asyncio.open_connection(*self._behind)
            onward.write(head.replace(b"\r\n", b"\r\nconnection: close\r\n", 1) + body)
            writer.write(await behind.read())
            onward.close()
            await onward.wait_closed()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("status", "kind", "of"),
    [
        ("429 Slow\r\nretry-after: 7", TransientCallError, "record"),
        ("502 Bad", TransientCallError, "record"),
        ("403 Forbidden", PermanentCallError, "record"),
        ("401 Unauthorized", PermanentCallError, "run"),
    ],
)
async def test_statuses_of_calls(shared: Remote, status: str, kind: type[CallError], of: str) -> None:
    """They are told from each other, though the package hides them; the connection goes on."""
    async with Gate(shared.url).open() as gate, opened(mcp_server(url=gate.url)) as call:
        gate.status = status
        with pytest.raises(kind, match=f"answered {status[:3]}") as info:
            await call("add", a=1, b=2)
        assert (info.value.of, info.value.status) == (of, int(status[:3]))
        assert info.value.retry_after_s == (7.0 if "7" in status else None)
        gate.status = ""
        assert await call("add", a=1, b=2) == {"result": 3}


async def test_refused_credentials_end_the_run_and_are_not_shown() -> None:
    server = Refusing(b"401 Unauthorized")
    try:
        with pytest.raises(ResourceError, match="answered 401\n  check the headers") as info:
            async with mcp_server(url=server.url, headers={"authorization": "Bearer my-own-key-1"}).open():
                pass
        assert info.value.of == "run"
        assert "my-own-key-1" not in str(info.value)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "one of the two"),
        ({"command": ["a"], "url": "http://a/mcp"}, "one of the two"),
        ({"command": "a b"}, "command"),
        ({"url": "a/mcp"}, "not http"),
        ({"url": "http://a/mcp", "env": {"A": "b"}}, "env and cwd go with a command"),
        ({"command": ["a"], "headers": {"a": "b"}}, "headers go with a url"),
        ({"url": "http://a/mcp", "headers": {"a": "b\r\nc: d"}}, "line break"),
        ({"command": ["a"], "allow": []}, "allow"),
    ],
)
def test_what_is_no_server_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        mcp_server(**given)


def test_its_description_has_no_credentials() -> None:
    """What a job's fingerprint and its messages have of it."""
    command = mcp_server(["serve", "--api-key", "abc-123456", "--token=xyz-123456"], env={"A_TOKEN": "uvw-123456"})
    address = mcp_server(url="https://me:abc-123456@host/mcp?token=xyz-123456", headers={"x-api-key": "uvw-123456"})
    assert command.describe_result()["mcp"] == "serve --api-key *** --token=***"
    assert address.describe_result()["mcp"] == "https://host/mcp"
    assert "123456" not in f"{command!r} {address!r}"


def test_importing_tidemill_imports_no_mcp() -> None:
    code = "import sys, tidemill.agents.mcp.server; sys.exit('mcp' in sys.modules or 'httpx2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ResourceError, match=r'package mcp.*not installed\n  pip install "tidemill\[mcp\]"'):
        async with mcp_server(["any"]).open():
            pass


def is_alive(pid: int) -> bool:
    """Whether the process runs: one that nobody has waited for yet does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
