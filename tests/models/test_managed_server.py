"""A command that serves a model: started for the first call, shared, and ended with all it started on every exit."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

import tidemill as tm
from tidemill.models.endpoints import find_headers
from tidemill.models.local import command
from tidemill.models.local.command import check_command, open_command_server
from tidemill.models.managed import ManagedServer
from tidemill.models.serve import Serve

IDLE = "import signal; signal.pause()"
"""A program that does nothing until it is ended."""

SERVER = Path(__file__).with_name("chatserver.py")
PYTHON = shlex.quote(sys.executable)


def serve(*options: str, **fields: Any) -> Serve:
    """The small server with these options."""
    return Serve(command=(sys.executable, str(SERVER), "--port", "{port}", *options), **fields)


def model(*options: str, **fields: Any) -> tm.Model:
    return tm.model("acme/small", serve=serve(*options), **fields)


def is_open(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as client:
        return client.connect_ex((address.hostname, address.port)) == 0


def descendants() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if "resource_tracker" not in str(each.cmdline())]


def wait_for(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended within half a minute; one that nobody waited for has ended too."""
    _, alive = psutil.wait_procs([each for each in processes if not is_zombie(each)], timeout=30)
    return [each for each in alive if not is_zombie(each)]


def is_zombie(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return False


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that servers' output goes to, which is the test's own."""
    folder = tmp_path / "logs"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_a_job_over_a_server_that_it_starts(tmp_path: Path, logs: Path) -> None:
    """The mock that the command line has: started by the first record, ended with the run, its output thrown away."""
    mock = tm.model("acme/mock", serve=f"{PYTHON} -m tidemill serve-mock --port {{port}}")
    records = tm.from_iterable([{"id": number} for number in range(40)])
    report = records.generate(mock, prompt="About {{ id }}").write(str(tmp_path / "out"), progress=False)
    assert (report.outcome, report.records["landed"]) == ("finished", 40)
    assert descendants() == []
    assert list(logs.iterdir()) == []


def test_a_run_that_asks_nothing_starts_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, command.__name__):
        report = tm.from_iterable([]).generate(model(), prompt="a").write(str(tmp_path / "out"), progress=False)
    assert report.outcome == "finished"
    assert caplog.records == []


def test_asked_by_itself_it_is_started_once(caplog: pytest.LogCaptureFixture) -> None:
    """It gets no key of a provider; ended when the client is closed."""
    with caplog.at_level(logging.INFO, command.__name__), model().open() as client:
        assert [client(text).text for text in ("a", "b")] == ["None: a", "None: b"]
    told = [record.getMessage().split(maxsplit=1)[1] for record in caplog.records]
    assert [each.partition(" ")[0] for each in told] == ["starts,", "answers", "ended"]


def test_same_arguments_share_a_server() -> None:
    """The second to open gets the first one's, which runs until both have left."""
    with open_command_server(serve()) as first:
        with open_command_server(serve()) as second:
            assert second is first
        assert is_open(first.base_url)
        with open_command_server(serve("--loading", "1")) as other:
            assert other.base_url != first.base_url
        assert not is_open(other.base_url)
        assert is_open(first.base_url)
    assert not is_open(first.base_url)


def test_opened_at_once_from_several_threads() -> None:
    """One is started, however many ask for it at the same moment, and it outlives all but the last."""
    together = threading.Barrier(4)

    def open_and_look(_: int) -> str:
        with open_command_server(serve("--loading", "2")) as server:
            together.wait()
            assert is_open(server.base_url)
            return server.base_url

    with ThreadPoolExecutor(4) as pool:
        [url] = set(pool.map(open_and_look, range(4)))
    assert not is_open(url)


def test_a_server_that_dies_as_it_starts_says_why(logs: Path) -> None:
    """Its last lines, without secrets; all it said is kept."""
    code = (
        "import sys; [print(f'line {number}') for number in range(99)]; sys.exit('no such card, api_key=sk-12345678')"
    )
    with (
        pytest.raises(tm.ResourceError, match=r"ended with exit code 1; its last lines:\n  line 88\n") as caught,
        open_command_server(Serve(command=(sys.executable, "-u", "-c", code, "{port}"))),
    ):
        pass
    assert "no such card" in caught.value.message
    assert "sk-12345678" not in caught.value.message
    [log] = logs.iterdir()
    assert log.read_text().startswith("line 0\nline 1\n")
    assert str(log) in caught.value.hint


def test_a_server_that_never_answers_is_given_up(logs: Path) -> None:
    program = Serve(command=(sys.executable, "-c", IDLE, "{port}"), start_timeout_s=0.3)
    with (
        pytest.raises(
            tm.ResourceError, match=r"/v1/models within start_timeout_s=0\.3, and said nothing\n  run the command"
        ),
        open_command_server(program),
    ):
        pass
    assert descendants() == []
    assert len(list(logs.iterdir())) == 1


async def test_closing_ends_one_that_is_still_starting(tmp_path: Path, logs: Path) -> None:
    """Whoever waits for it is told; it did nothing wrong, and its output is thrown away."""
    server = ManagedServer(Serve(command=(sys.executable, "-c", IDLE, "{port}")), None, tmp_path)
    waiting = asyncio.create_task(server.get())
    await asyncio.sleep(0)
    await server.close()
    with pytest.raises(tm.ResourceError, match="was ended before it answered"):
        await waiting
    assert descendants() == []
    assert os.listdir(logs) == []


async def test_closing_one_that_nobody_asked_for(tmp_path: Path) -> None:
    await ManagedServer(serve(), None, tmp_path).close()
    assert descendants() == []


def test_one_that_dies_half_way_fails_the_run_with_its_last_lines(tmp_path: Path) -> None:
    """No record is blamed, what was answered is kept, and the run goes on with another server."""
    tm.from_iterable([{"id": number} for number in range(20)]).save(tmp_path / "records.jsonl")

    def ask(*options: str) -> tm.Stream[Any]:
        records = tm.read(str(tmp_path / "records.jsonl"))
        return records.generate(model(*options, limits=tm.Limits(concurrency=2)), prompt="About {{ id }}")

    report = first = ask("--answers", "5").write(str(tmp_path / "out"), progress=False)
    assert (report.outcome, report.exit_code, report.records["quarantined"]) == ("failed", 3, 0)
    assert "ended with exit code 137; its last lines:" in report.reason
    assert "CUDA error: the card is gone" in report.reason
    report = ask().write(str(tmp_path / "out"), progress=False)
    assert (report.outcome, report.records["landed"]) == ("finished", 20)
    assert first.records["landed"] + report.recalled >= 4


def test_a_stream_over_one_that_dies_says_which_step_asked() -> None:
    with pytest.raises(tm.ResourceError, match=r"^step `generate`: the server `.*` ended with exit code 137"):
        list(tm.from_iterable([{"a": 1}] * 9).generate(model("--answers", "2"), prompt="{{ a }}"))


def test_all_it_started_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM to the whole group, and SIGKILL for what ignores that."""
    monkeypatch.setattr(command, "STOP_S", 0.2)
    for options in (["--child"], ["--child", "--deaf"]):
        with open_command_server(serve(*options)):
            running = descendants()
            assert len(running) == 3  # the keeper, the server and its child
        assert wait_for(running) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux adopts orphans")
@pytest.mark.parametrize("dies", [False, True], ids=["ended", "dies"])
def test_what_left_its_session_ends_with_it(dies: bool) -> None:
    """And is gone by then."""
    with open_command_server(serve("--child", "--leaves")) as server:
        running = descendants()
        assert len(running) == 3
        if dies:
            [found] = [each for each in running if each.cmdline()[1:2] == [str(SERVER)]]
            found.kill()
    assert not any(each.is_running() for each in running)
    server.log.unlink(missing_ok=True)


def test_what_it_leaves_behind_when_it_dies_ends_too() -> None:
    with open_command_server(serve("--child")) as server:
        running = [each for each in descendants() if each.parent() != psutil.Process()]
        [found] = [each for each in running if each.cmdline()[1] == str(SERVER)]
        found.kill()
        assert (len(running), wait_for(running)) == (2, [])
        with pytest.raises(tm.ResourceError, match="ended with exit code 137"):
            server.wait(60, threading.Event().wait)
    server.log.unlink()


@pytest.fixture
def program(tmp_path: Path, logs: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that holds a server with a child open, has forked meanwhile, and says which processes there are."""
    code = f"""
import os, psutil, signal, sys, tempfile
tempfile.tempdir = {str(logs)!r}
from tidemill.models.local.command import open_command_server
from tidemill.models.serve import Serve
block = open_command_server(Serve(command=({sys.executable!r}, {str(SERVER)!r}, "--port", "{{port}}", "--child")))
server = block.__enter__()
running = [each.pid for each in psutil.Process().children(recursive=True)]
fork = os.fork()
if not fork:
    print(*running, os.getpid(), flush=True)
    signal.pause()
sys.stdin.read()
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    yield process
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):
        process.stdin.close()
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("how", ["killed", "at its end"])
def test_it_ends_with_this_process_however_that_ends(how: str, program: subprocess.Popen[str]) -> None:
    """SIGKILL too, while a fork lives on."""
    assert program.stdout is not None
    assert program.stdin is not None
    *pids, fork = map(int, program.stdout.readline().split())
    try:
        running = [psutil.Process(pid) for pid in pids]
        assert len(running) == 3
        if how == "killed":
            program.kill()
        else:
            program.stdin.close()
            assert program.wait(60) == 0
        assert wait_for(running) == []
        assert psutil.pid_exists(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


def test_ctrl_c_does_not_reach_it() -> None:
    """Its processes are in another group, so that the calls in flight get their grace period."""
    with open_command_server(serve()):
        assert {os.getpgid(each.pid) for each in descendants()}.isdisjoint({os.getpgid(0)})


def test_a_port_of_its_own_is_given_with_base_url(closed_port: int) -> None:
    """A command without `{port}` is asked where it says, and called there by the model."""
    base_url = f"http://127.0.0.1:{closed_port}/v1"
    own = tm.model(
        "acme/x", serve=[sys.executable, str(SERVER), "--port", str(closed_port)], base_url=base_url, api_key="abc-1"
    )
    with own.open() as client:
        assert client("a").text == "***: a"  # the key was sent, and is masked in what comes back
        assert is_open(base_url)
    assert not is_open(base_url)


def test_a_provider_s_key_is_for_the_provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    assert find_headers(tm.model("openai/x", serve="serve {port}"), tmp_path) == {}
    assert tm.model("openai/gpt-4.1-mini", serve="serve {port}").lane_price is None


def test_a_program_is_found_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell finds it, and relative to the folder it runs in."""
    (tmp_path / "serve_it").write_text(f'#!/bin/sh\nexec {PYTHON} {shlex.quote(str(SERVER))} "$@"\n')
    (tmp_path / "serve_it").chmod(0o700)
    monkeypatch.setenv("HOME", str(tmp_path))
    for program in ("~/serve_it", "./serve_it"):
        with open_command_server(Serve(command=f"{program} --port {{port}}"), folder=tmp_path) as server:
            assert is_open(server.base_url)


def test_every_form_of_a_command_is_the_same() -> None:
    forms: list[Any] = ["a 'b c' {port}", ["a", "b c", "{port}"], {"command": "a 'b c' {port}"}]
    assert len({tm.model("acme/x", serve=form).serve for form in forms}) == 1
    [found] = {tm.model("acme/x", serve={"command": form, "start_timeout_s": "2m"}).serve for form in forms[:2]}
    assert found is not None
    assert found.start_timeout_s == 120
    assert found.fill(7) == ("a", "b c", "7")


def test_how_it_is_served_is_no_part_of_the_result() -> None:
    prints = {tm.model("acme/x", serve=form).fingerprint for form in ("a {port}", "b {port}")}
    assert prints == {tm.model("acme/x", base_url="http://far/v1").fingerprint}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"serve": "a"}, r"expected `\{port\}` in the command, .*; got neither"),
        ({"serve": "a {port}", "base_url": "http://far/v1"}, "got both; leave out base_url"),
        ({"serve": "a '{port}"}, "cannot be split into arguments: no closing quotation"),
        ({"serve": ""}, "expected a command, got an empty one"),
        ({"serve": []}, "expected a command, got an empty one"),
        ({"serve": "a --port {prot}"}, r"unknown `\{prot\}` in the command(.|\n)*did you mean `\{port\}`"),
        ({"serve": {"command": "a {port}", "start_timeout": 3}}, "did you mean `serve.start_timeout_s`"),
    ],
)
def test_a_command_that_cannot_be_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        tm.model("acme/x", **fields)


def test_a_program_that_is_not_there_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `check` too, at its place in the job file."""
    (tmp_path / "serve_it").write_text("#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "vllm").write_text("")
    (tmp_path / "vllm").chmod(0o700)
    wanted = {
        "vlm": "no program on the PATH is called `vlm`; did you mean `vllm`?",
        "ollama": "no program on the PATH is called `ollama`; install it, or give its path",
        "./serve_it": f"the program {tmp_path / 'serve_it'} cannot be run; chmod +x, maybe",
        "./serve_itt": f"the program {tmp_path / 'serve_itt'} cannot be run; did you mean `serve_it`?",
    }
    for program, told in wanted.items():
        with pytest.raises(tm.ConfigError, match="program") as caught:
            check_command(Serve(command=(program, "{port}")), tmp_path)
        assert f"{caught.value.message}; {caught.value.hint}" == told
    (tmp_path / "a.jsonl").write_text(json.dumps({"a": 1}))
    steps = [{"generate": {"model": {"model": "acme/x", "serve": "vlm {port}"}, "prompt": "{{ a }}"}}]
    job = {"source": {"path": "a.jsonl"}, "steps": steps, "sink": {"path": "out"}}
    (tmp_path / "job.yaml").write_text(json.dumps(job))
    with pytest.raises(tm.ConfigError, match="no program on the PATH is called `vlm`"):
        tm.load_job(tmp_path / "job.yaml").check()
