"""What every test gets: no leak goes unseen, a fault server, the `tidemill` command, the embedded model."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop
from hypothesis import HealthCheck, settings

from tidemill.config import secrets
from tidemill.models.local.server import open_local_server
from tidemill.stores.lance.settings import LanceDB
from tidemill.testing import FaultServer

JOIN_S = 5.0
"""How long a thread or process that is on its way out is waited for before it counts as leaked."""

FDS = Path("/proc/self/fd")
TASKS = Path("/proc/self/task")

os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks a hub; read when `huggingface_hub` is imported
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # nor for prices; read when `litellm` is imported

settings.register_profile(
    "tidemill",
    deadline=None,  # an example takes as long as the machine is busy
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("tidemill")

THREADS_THAT_STAY = (
    "pytest_timeout",  # not ours to end
    "tqdm_monitor",  # one for the process, of a library
    "fsspecIO",  # as that: the loop of its file systems
    "LanceDBBackgroundEventLoop",  # as that, made as `lancedb` is imported
)

COMMANDS_THAT_STAY = ("multiprocessing.resource_tracker",)  # one for the process, ends with it

ON_BOTH_LOOPS = (
    "test_transport.py",
    "test_connection.py",
    "test_dialer.py",
    "test_handing_on.py",
    "test_foreign_errors.py",
    "test_children.py",
    "test_bounds.py",
    "test_methods.py",
    "test_serving.py",
)

LONGEST = (
    "test_ideas.py",
    "test_kill.py",
    "test_commands.py",
    "test_contract.py",
    "test_async_iteration.py",
    "test_fault_table.py",
    "test_goodput.py",
    "test_parallel.py",
    "test_config_page.py",
)
"""Files of twenty seconds and more: they are begun first, so that no worker has one left when the others are done."""

NO_SKIPS = "TIDEMILL_NO_SKIPS"
"""Set in CI: a skipped test fails there, unless its reason starts with one of `LACKED`."""

LACKED = ("GPU", "bwrap", "docker")
"""What a machine may lack, as the reasons of skips say it."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what collecting made to itself: a test that collects garbage goes through its own objects alone."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, the others in the order of their names."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.fixture
def nothing_frozen() -> Iterator[None]:
    """As a process begins: the collector looks at everything."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def opened_once() -> None:
    """Open what a process opens once and keeps: uvloop's pipe for signals, one to multiprocessing's tracker, a GPU."""
    resource_tracker.ensure_running()
    uvloop.new_event_loop().close()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.init()
        torch.cuda.synchronize()


@pytest.fixture(scope="session")
def lance_opened_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Open what LanceDB opens once and keeps: the pipes of its threads."""

    async def use() -> None:
        async with LanceDB(path=tmp_path_factory.mktemp("lance"), dimensions=2).open() as store:
            await store.upsert(["a"], [[1.0, 0.0]])
            await store.search([[1.0, 0.0]], 1)

    asyncio.run(use())


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """A test leaves no thread, child process or open file behind."""
    threads, children, files = set(threading.enumerate()), child_processes(), open_files()
    yield
    check_threads(threads)
    check_children(children)
    check_files(files)


@pytest.fixture(autouse=True)
def secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test has masked, by the name of a key, is a word like others to the next one."""
    monkeypatch.setattr(secrets, "_registered", set(secrets._registered))


@pytest.fixture(autouse=True)
def no_task_leaks(no_leaks: None, request: pytest.FixtureRequest) -> None:
    """Watch an async test's tasks; set up after `no_leaks`, so the test's loop is closed before that looks."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("no_tasks_left")


@pytest.fixture
async def no_tasks_left() -> AsyncIterator[None]:
    """A test has ended every task it started."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left running: {left}"


def check_threads(before: set[threading.Thread]) -> None:
    """Fail on threads that are neither in `before` nor ending, once what only awaits collection is closed."""
    if set(threading.enumerate()) - before:
        gc.collect()
    left = []
    for thread in set(threading.enumerate()) - before:
        if not thread.name.startswith(THREADS_THAT_STAY):
            thread.join(JOIN_S)
            left.extend([thread] if thread.is_alive() else [])
    assert not left, f"threads left running: {left}"


def child_processes() -> set[int]:
    """The ids of this process's children: what each of its threads started, where looking at every process is saved."""
    try:
        return {int(child) for task in os.listdir(TASKS) for child in (TASKS / task / "children").read_bytes().split()}
    except (FileNotFoundError, ProcessLookupError):  # a system that does not tell, or a thread that has just ended
        return {child.pid for child in psutil.Process().children()}


def check_children(before: set[int]) -> None:
    """Fail on child processes, zombies included, that are not in `before`."""
    left = []
    for child in child_processes() - before:
        command = command_of(child)
        if not any(name in command for name in COMMANDS_THAT_STAY):
            left.append(f"{child}: {command}")
    assert not left, f"child processes left, or not waited for: {left}"


def command_of(child: int) -> str:
    """The command line of the process `child`; a zombie's is its state."""
    try:
        return " ".join(psutil.Process(child).cmdline())
    except psutil.Error as exc:
        return repr(exc)


def open_files() -> Mapping[str, str]:
    """What each open file descriptor of this process points to; empty where the system does not tell."""
    files = {}
    for name in os.listdir(FDS) if FDS.is_dir() else ():
        try:
            files[name] = os.readlink(FDS / name)
        except FileNotFoundError:
            continue  # the descriptor the listing itself used
    return files


def check_files(before: Mapping[str, str]) -> None:
    """Fail on open files that `before` lacks and nobody is closing, once what only awaits collection is closed."""
    for _ in range(2):  # the first closes generators, and leaves to the second what only they held
        if new_files(before):
            gc.collect()
    deadline = time.monotonic() + JOIN_S
    while (left := new_files(before)) and time.monotonic() < deadline:
        time.sleep(0.01)  # a server in this process closes its end of a connection behind its client
    assert not left, f"files left open: {left}"


def new_files(before: Mapping[str, str]) -> list[str]:
    """The targets of descriptors opened since `before`."""
    return [f"{number} -> {target}" for number, target in open_files().items() if before.get(number) != target]


@pytest.fixture
def fault_server() -> Iterator[FaultServer]:
    """A loopback server of its own for one test, which keeps every call and answers well until it is told otherwise."""
    with FaultServer(keep_calls=True) as server:
        yield server


@pytest.fixture
def server(fault_server: FaultServer) -> FaultServer:
    """The same, for files where no other server is meant."""
    return fault_server


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine at which nobody listens until the test does; the system gives it to nobody else."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """torch's threads wait for each other spinning, which other tests on the same processors do not bear."""
    import torch  # not for the tests that need none

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def local_url() -> Iterator[str]:
    """The base URL of the embedded model, served in this process for the whole session."""
    with open_local_server("local/smollm2") as url:
        yield url


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL server with pgvector, of this session; `url` is of a database that nobody puts anything into."""

    url: str

    def make_database(self) -> str:
        """The address of an empty database of its own."""
        import psycopg

        name = f"tests_{uuid.uuid4().hex}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The server, started once."""
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))  # read by pgserver's platformdirs
    import pgserver
    import psycopg

    # Not in pytest's folder: run by root, the server has a user of its own, who may not enter that.
    with tempfile.TemporaryDirectory(prefix="tidemill-") as folder:
        server = pgserver.get_server(folder)  # type: ignore[attr-defined]
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")  # the machine survives a test
                connection.execute("SELECT pg_reload_conf()")
            yield PostgresServer(server.get_uri())
        finally:
            server.cleanup()


@dataclass(frozen=True)
class QdrantServer:
    """Qdrant's REST API on loopback, a process of its own (`stores/qdrantserver.py`)."""

    url: str

    def make_name(self) -> str:
        """The name of a collection that nobody has yet."""
        return f"c{uuid.uuid4().hex}"

    def tell(self, **told: Any) -> list[str]:
        """Say how it goes on (`faults`, `yellow`, `old`); the requests that there were since, method and path."""
        request = urllib.request.Request(f"{self.url}/faults", json.dumps(told).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            asked: list[str] = json.load(answer)
        return asked


@pytest.fixture(scope="session")
def qdrant_process() -> Iterator[QdrantServer]:
    """The server, started once."""
    command = [sys.executable, str(Path(__file__).parent / "stores" / "qdrantserver.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield QdrantServer(f"http://127.0.0.1:{int(process.stdout.readline())}")
        process.stdin.close()


@pytest.fixture
def qdrant_server(qdrant_process: QdrantServer) -> Iterator[QdrantServer]:
    """The server, with no fault left for another test."""
    qdrant_process.tell()
    yield qdrant_process
    qdrant_process.tell()


@dataclass
class Command:
    """The installed `tidemill` command, run as a user would: a process of its own, no terminal, no keys."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: str | None = None, timeout_s: float = 120.0) -> FinishedCommand:
        """Run to the end."""
        done = subprocess.run(
            self._line(arguments),
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return FinishedCommand(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Run beside the test, which must `wait()` for it: for signals and kills."""
        return subprocess.Popen(
            self._line(arguments),
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _line(self, arguments: tuple[str, ...]) -> list[str]:
        return [str(Path(sys.executable).with_name("tidemill")), *arguments]


@dataclass(frozen=True)
class FinishedCommand:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


@pytest.fixture
def tidemill_command(tmp_path: Path) -> Command:
    """Runs `tidemill` in the test's own folder."""
    kept = {"PATH", "PYTHONPATH", "HOME", "LANG", "TMPDIR", "XDG_CACHE_HOME", "LD_LIBRARY_PATH"}
    environment = {name: value for name, value in os.environ.items() if name in kept or name.startswith("PIP_")}
    return Command(tmp_path, {**environment, "COLUMNS": "120", "NO_COLOR": "1"})


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What touches sockets and pipes is tested on asyncio's own loop and on uvloop, Tidemill's where it exists."""
    loops = {"asyncio": asyncio.new_event_loop}
    return {**loops, "uvloop": uvloop.new_event_loop} if item.path.name in ON_BOTH_LOOPS else loops


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where `TIDEMILL_NO_SKIPS` is set, unless the machine lacks what it may lack."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(NO_SKIPS):
        reason = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
        if not reason.startswith(LACKED):
            report.outcome = "failed"
            report.longrepr = f"skipped, which {NO_SKIPS} does not allow: {reason}"
    return report
