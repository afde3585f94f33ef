"""The code interpreter: what a model is told of the code it has run."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from interpreting import BWRAP, KEY, can_use_bwrap, interpreter, raw_interpreter
from toolkit import ask_for, dispatching

from tidemill.agents import python
from tidemill.errors import ConfigError, ResourceError
from tidemill.testing import Call, FaultServer, ToolCalls


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where sessions' folders are made, for this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe: who reads it waits for the test, and the test for who reads it."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def list_folders(folder: Path) -> list[Path]:
    """Those of sessions."""
    return list(folder.glob("tidemill-python-*"))


async def test_variables_functions_and_imports_stay_from_call_to_call() -> None:
    async with interpreter() as run:
        assert await run("import math\ndef area(r): return math.pi * r * r\nx = 2") == {
            "note": "nothing was printed, and the last line is no expression with a value"
        }
        assert await run("y = area(x)\nround(y, 2)") == {"value": "12.57"}
        assert await run("print(_)") == {"output": "12.57\n"}
        assert await run("[x, __name__]") == {"value": "[2, '__main__']"}


async def test_both_outputs_are_told_in_the_order_of_what_was_written() -> None:
    code = """
import os, subprocess, sys
print("one", end=" ")
sys.stderr.write("two ")
print("three", file=sys.stdout, flush=True)
subprocess.run(["echo", "four"])
os.write(2, b"five")
"""
    async with interpreter() as run:
        assert await run(code) == {"output": "one two three\nfour\nfive", "value": "4"}


async def test_an_exception_is_told_with_the_lines_of_the_code_itself() -> None:
    async with interpreter() as run:
        await run("def half(n):\n    return n / 0\n")
        assert await run("print('before')\nhalf(\n    4\n)") == {
            "output": "before\n",
            "error": (
                "Traceback (most recent call last):\n"
                '  File "<call 2>", line 2, in <module>\n    half(\n'
                '  File "<call 1>", line 2, in half\n    return n / 0\n           ~~^~~\n'
                "ZeroDivisionError: division by zero"
            ),
        }


RAISING = [
    ("x = = 1", "    x = = 1\n        ^\nSyntaxError: invalid syntax"),
    ("import sys; sys.exit(3)", "SystemExit: 3"),
    ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ("input()", "EOFError: EOF when reading a line"),
    ("'\ud800'.encode()", "UnicodeEncodeError: 'utf-8' codec can't encode character '\\ud800'"),
    ("raise ValueError('\\ud800')", "ValueError: \\ud800"),
    ("\0", "source code string cannot contain null bytes"),
    ("def f(): f()\nf()", "RecursionError: maximum recursion depth exceeded"),
    ("class A:\n    def __repr__(self): raise OSError('no')\nA()", "OSError: no"),
    ("class B(Exception):\n    def __str__(self): 1/0\nraise B", "B: <exception str() failed>"),
]


async def test_whatever_code_raises_is_told_and_the_session_goes_on() -> None:
    async with interpreter() as run:
        await run("kept = 1")
        for code, error in RAISING:
            assert error in (await run(code))["error"]
        assert await run("kept") == {"value": "1"}


async def test_a_call_has_its_processor_time_whatever_those_before_it_took() -> None:
    """The system bounds a process, in whole seconds: 0.2 s would be left of the first."""
    burn = "import time\nend = {}\nwhile time.process_time() < end: pass"
    async with interpreter(limits={"cpu_s": 1}) as run:
        await run(burn.format("int(time.process_time()) + 0.8"))
        assert await run(burn.format("time.process_time() + 0.6") + "\n'done'") == {"value": "'done'"}


async def test_a_fence_around_the_code_is_left_out() -> None:
    async with interpreter() as run:
        assert await run("```python\n1 + 1\n```\n") == {"value": "2"}
        assert await run("print('''\n```python\nx\n```''')") == {"output": "\n```python\nx\n```\n"}


async def test_of_long_output_the_beginning_and_the_end_are_told() -> None:
    async with interpreter(limits={"output": 256}) as run:
        result = await run("print('a' * 1000 + 'é' * 1000)\n'v' * 1000")
    left_out = 1000 + 2000 + 1 - 255
    assert result["output"] == (
        "a" * 128 + f"\n[… {left_out} bytes left out; write to a file what must be whole …]\n" + "é" * 63 + "\n"
    )
    assert result["value"] == "'" + "v" * 127 + "\n[… 746 characters left out …]\n" + "v" * 127 + "'"


async def test_output_that_is_no_text_is_told_as_bytes() -> None:
    async with interpreter() as run:
        assert await run("import os\nos.write(1, b'\\xff\\xfe ok')") == {"output": "\\xff\\xfe ok", "value": "5"}


async def test_what_code_does_to_its_outputs_ends_with_the_call() -> None:
    async with interpreter() as run:
        await run("import os, sys; kept = 1")
        for code in (
            "os.close(0); os.close(1); os.close(2)",
            "sys.stdout.close()",
            "sys.stdout = sys.stderr = open(os.devnull, 'w')",
            "os.set_blocking(2, False)",
            "del sys.stdout",
        ):
            await run(code)
            assert await run("print('out'); print('err', file=sys.stderr); kept") == {
                "output": "out\nerr\n",
                "value": "1",
            }


@pytest.mark.parametrize(
    ("limits", "code", "told_of"),
    [
        ({"memory": "256MiB"}, "bytearray(10**9)", "a process may have 256.0MiB of memory"),
        (
            {"file": 1000},
            "open('big', 'wb', 0).write(bytes(2000)); open('big', 'ab', 0).write(b'1')",
            "a file may have",
        ),
        ({"open_files": 16}, "files = [open('/dev/null') for _ in range(20)]", "a process may have 16 files open"),
        ({"timeout_s": 0.3}, "import signal; signal.pause()", "the code was stopped: it ran longer than 0.3 s"),
        ({"timeout_s": 0.3}, "open(0).read(); import subprocess; subprocess.run(['sleep', '1000'])", "longer than 0.3"),
        ({"cpu_s": 1}, "while True: pass", "the code was stopped: it used more than 1 s of processor time"),
        ({}, "while True: print('x' * 1000)", "the code was stopped: it printed more than 16 MiB"),
    ],
    ids=["memory", "file", "open files", "time", "time in a process", "processor", "output"],
)
async def test_a_limit_that_is_met_is_told_and_variables_are_kept(
    limits: dict[str, Any], code: str, told_of: str
) -> None:
    async with interpreter(limits=limits) as run:
        await run("kept = 1")
        result = await run(code)
        assert told_of in result["note"]
        assert result["note"].endswith("variables are kept")
        assert "<call 2>" in result["error"]
        assert "<interpreter>" not in result["error"]
        assert await run("kept") == {"value": "1"}


async def test_as_another_user_than_root_the_number_of_processes_is_bounded() -> None:
    options: dict[str, Any] = {}
    if os.geteuid() == 0:  # whom no bound holds
        as_nobody = 'chown -R nobody {folder}; exec setpriv --reuid=nobody --clear-groups "$@"'
        python3 = shutil.which("python3", path="/usr/local/bin:/usr/bin")  # this one's own folder may be root's alone
        options = {"sandbox": ("sh", "-c", as_nobody, "sh"), "executable": python3}
    async with interpreter(limits={"processes": 2}, **options) as run:
        result = await run("import os\nfor _ in range(50):\n    if not os.fork(): os.read(os.pipe()[0], 1)")
        assert "no more processes or threads may be started now" in result["note"]


LOST = "variables and imports are gone, files are still there, and the next call begins anew"


@pytest.mark.parametrize(
    ("limits", "code", "error", "note"),
    [
        ({}, "import os; os._exit(3)", "The interpreter ended with exit code 3.", LOST),
        ({}, "import os; os.abort()", "The interpreter ended by SIGABRT.", LOST),
        (
            {},
            "import os; os.kill(os.getpid(), 9)",
            "The interpreter ended by SIGKILL. That may be the system's, for want of memory.",
            LOST,
        ),
        (
            {"timeout_s": 0.2},
            "sum(range(10**13))",
            "It could not be interrupted, and was killed.",
            f"the code was stopped: it ran longer than 0.2 s; {LOST}",
        ),
        (
            {"timeout_s": 0.2},
            "import signal\nwhile True:\n    try: signal.pause()\n    except BaseException: pass",
            "It could not be interrupted, and was killed.",
            f"the code was stopped: it ran longer than 0.2 s; {LOST}",
        ),
        (
            {"timeout_s": 0.2},
            "import signal\nfor n in set(signal.valid_signals()) - {9, 19}: signal.signal(n, 1)\nsignal.pause()",
            "It could not be interrupted, and was killed.",
            f"the code was stopped: it ran longer than 0.2 s; {LOST}",
        ),
    ],
    ids=["exits", "aborts", "is killed", "computes in C", "catches all", "ignores signals"],
)
async def test_an_interpreter_that_is_lost_is_told_and_the_next_call_has_another(
    limits: dict[str, Any], code: str, error: str, note: str
) -> None:
    async with interpreter(limits=limits) as run:
        await run("x = 1; open('file', 'w').close()")
        result = await run(f"print('printed', flush=True)\n{code}")
        assert result == {"output": "printed\n", "error": error, "note": note}
        assert await run("import os; 'x' in globals(), os.path.exists('file')") == {"value": "(False, True)"}


async def test_processor_time_spent_where_nothing_interrupts_it_ends_the_interpreter() -> None:
    async with interpreter(limits={"cpu_s": 1}) as run:
        note = (await run("sum(range(10**13))"))["note"]
        assert note == f"the code was stopped: it used more than 1 s of processor time; {LOST}"


async def test_an_interpreter_that_ended_between_two_calls_is_told() -> None:
    async with interpreter() as run:
        await run("import os, threading\nthreading.Timer(0.05, os._exit, [4]).start()")
        (pid,) = (each.pid for each in psutil.Process().children() if "keeper.py" in " ".join(each.cmdline()))
        await asyncio.to_thread(os.waitid, os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        note = "the interpreter had ended with exit code 4, and another one was started: variables are gone"
        assert await run("1") == {"value": "1", "note": note}


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.closerange(3, 4096)",
        "import os; os.write(101, b'\\xff' * 100)",
        "import os; os.write(101, bytes([0, 0, 0, 2]) + b'[]')",
    ],
    ids=["closes all", "no frame", "no answer"],
)
async def test_code_that_breaks_the_connection_loses_the_interpreter_and_nothing_else(code: str) -> None:
    async with interpreter() as run:
        result = await run(code)
        assert result["note"] == LOST
        assert result["error"].startswith("The interpreter ended")
        assert await run("1 + 1") == {"value": "2"}


async def test_a_fork_that_comes_to_the_end_of_the_code_answers_nothing() -> None:
    code = "import os\npid = os.fork()\nif not pid: print('child')\nelse: print(os.waitpid(pid, 0)[1])\n'end'"
    async with interpreter() as run:
        assert await run(code) == {"output": "child\n0\n", "value": "'end'"}
        code = "pid = os.fork()\nif not pid: raise ValueError('in a fork')\nos.waitpid(pid, 0)[1]"
        result = await run(code)
        assert result["value"] == "256"
        assert "ValueError: in a fork" in result["output"]


async def test_threads_may_print_after_their_call() -> None:
    start = "import threading\ngo, done = threading.Event(), threading.Event()\n"
    start += "def say():\n    go.wait(); print('late', flush=True); done.set()\nthreading.Thread(target=say).start()"
    async with interpreter() as run:
        await run(start)
        assert await run("go.set(); done.wait()") == {"output": "late\n", "value": "True"}


async def test_calls_made_at_once_run_one_after_another(gate: Path) -> None:
    async with interpreter() as run:
        codes = [f"a = 1; open({str(gate)!r}).read(); a += 1", "a *= 10", "a"]
        calls = asyncio.gather(*map(run, codes))
        await asyncio.to_thread(gate.write_text, "go on")
        assert (await calls)[2] == {"value": "20"}


async def test_all_that_code_started_ends_with_the_session_and_the_folder_is_removed(temporary: Path) -> None:
    async with interpreter() as run:
        result = await run("import subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True).pid")
        assert len(list_folders(temporary)) == 1
        await run(
            "import os; os.mkdir('closed'); open('closed/file', 'w').close(); os.chmod('closed', 0); os.chmod('.', 0)"
        )
    assert not psutil.pid_exists(int(result["value"]))
    assert not list_folders(temporary)


async def test_code_may_remove_its_own_folder() -> None:
    async with interpreter() as run:
        assert await run("import os, shutil; shutil.rmtree(os.getcwd()); 1") == {"value": "1"}
        assert await run("2") == {"value": "2"}


async def test_a_call_that_is_cancelled_is_killed_at_once_and_the_next_one_is_told(tmp_path: Path) -> None:
    fifo = tmp_path / "begun"
    os.mkfifo(fifo)
    async with interpreter() as run:
        code = "import subprocess\nchild = subprocess.Popen(['sleep', '1000'])\n"
        code += f"open({str(fifo)!r}, 'w').write(str(child.pid))\nchild.wait()"
        running = asyncio.ensure_future(run(code))
        pid = int(await asyncio.to_thread(fifo.read_text))  # to its end: the code has written, and waits
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert not psutil.pid_exists(pid)
        note = "the call before was broken off, and the interpreter with it: variables are gone"
        assert await run("1") == {"value": "1", "note": note}


async def test_a_resumed_session_says_that_it_begins_empty() -> None:
    note = "the interpreter was started anew, and variables, imports and files of {} are gone: "
    note += "run again what is needed of them"
    async with interpreter(forgotten=3) as run:
        assert await run("1") == {"value": "1", "note": note.format("3 earlier calls")}
        assert await run("2") == {"value": "2"}
    async with interpreter(forgotten=1) as run:
        assert (await run("1"))["note"] == note.format("an earlier call")


async def test_files_that_a_call_wrote_are_told_short_texts_whole() -> None:
    code = (
        "import os\nos.makedirs('sub')\nopen('sub/b.txt', 'w').write('tide')\nopen('a.bin', 'wb').write(bytes(5000))\n"
    )
    code += "os.makedirs('.cache'); open('.cache/x', 'w').close(); os.symlink('/etc/passwd', 'link'); os.mkfifo('pipe')"
    async with interpreter() as run:
        files = [{"name": "a.bin", "size_bytes": 5000}, {"name": "sub/b.txt", "size_bytes": 4, "text": "tide"}]
        assert (await run(code))["files"] == files
        assert "files" not in await run("open('sub/b.txt').read()")
        assert (await run("open('sub/b.txt', 'a').write('s')"))["files"] == [
            {"name": "sub/b.txt", "size_bytes": 5, "text": "tides"}
        ]


async def test_of_many_files_the_first_are_told_and_the_others_counted() -> None:
    async with interpreter() as run:
        result = await run("for n in range(60): open(f'{n:02}', 'w').close()")
        assert [each["name"] for each in result["files"]] == [f"{n:02}" for n in range(50)]
        assert result["note"] == "10 more files were written"


async def test_what_the_model_is_not_told_of_a_file_is_kept_in_the_run() -> None:
    async with raw_interpreter() as run:
        result = await run("open('a.bin', 'wb').write(b'\\0tide')")
        assert result.told == {"value": "5", "files": [{"name": "a.bin", "size_bytes": 5}]}
        assert base64.b64decode(result.value["files"][0]["data"]) == b"\0tide"
        assert "data" not in (await run("open('large', 'wb').write(bytes(5 << 20))"))["files"][0]


async def test_copies_of_files_are_kept_under_the_key_of_their_call(tmp_path: Path) -> None:
    async with interpreter(keep=tmp_path / "kept") as run:
        [file] = (await run("import os; os.mkdir('a'); open('a/b', 'wb').write(b'\\0')"))["files"]
        assert file == {"name": "a/b", "size_bytes": 1, "kept": str(tmp_path / "kept" / KEY / "a" / "b")}
    async with interpreter(keep=tmp_path / "kept") as run:  # the same call, made again after a crash
        await run("open('c', 'w').write('again')")
    assert (tmp_path / "kept" / KEY / "c").read_text() == "again"
    assert not os.path.lexists(tmp_path / "kept" / KEY / "a")  # noqa: ASYNC240 - nothing else is to run meanwhile


async def test_files_that_cannot_be_kept_are_told_beside_what_the_code_gave(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file, where a folder is to be")
    async with interpreter(keep=tmp_path / "kept") as run:
        result = await run("open('a', 'w').write('tide')")
        note = "the files could not be looked at and kept: Not a directory"
        assert result == {"value": "4", "note": note}


async def test_figures_that_are_open_are_saved_and_closed() -> None:
    pytest.importorskip("matplotlib")
    async with raw_interpreter() as run:
        result = await run(
            "import matplotlib.pyplot as plt\nfor _ in range(2): plt.figure(); plt.plot([1, 2])\nplt.show()"
        )
        assert [each["name"] for each in result.told["files"]] == ["figure-1.png", "figure-2.png"]
        assert base64.b64decode(result.value["files"][0]["data"]).startswith(b"\x89PNG")
        assert await run("plt.get_fignums()") == {"value": "[]"}
        assert "figure 1:" in (await run("plt.title('$x_{$')\nNone"))["error"]


OWN = ("HOME", "TMPDIR", "LANG", "MPLBACKEND", "MPLCONFIGDIR", "OMP_NUM_THREADS")


async def test_code_has_no_variable_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with interpreter(environment={"REGION": "north"}) as run:
        names = set(eval((await run("import os; sorted(os.environ)"))["value"]))  # noqa: S307 - its own repr
        assert names - {"LC_CTYPE", "LD_LIBRARY_PATH", "TZ"} == {"PATH", "REGION", *OWN}
        assert await run("os.environ['HOME'] == os.getcwd()") == {"value": "True"}


@pytest.mark.skipif(not can_use_bwrap(), reason="bwrap: none that works is here")
async def test_in_a_sandbox_code_sees_its_folder_and_no_other_file_or_network(tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    async with interpreter(sandbox=BWRAP, limits={"timeout_s": 0.5}) as run:
        assert await run(f"import os; os.path.exists({str(tmp_path)!r}), os.getcwd() == os.environ['HOME']") == {
            "value": "(False, True)"
        }
        assert (await run("open('a', 'w').write('tide')"))["files"] == [{"name": "a", "size_bytes": 4, "text": "tide"}]
        assert "OSError" in (await run("import socket\nsocket.create_connection(('192.0.2.1', 80))"))["error"]
        assert (await run("import signal; signal.pause()"))["note"].endswith("variables are kept")
        assert (await run("os._exit(3)"))["error"] == "The interpreter ended with exit code 3."
        assert await run("import os; os.path.exists('a')") == {"value": "True"}


async def test_a_sandbox_that_cannot_begin_ends_the_run_and_says_why() -> None:
    with pytest.raises(ResourceError, match=r"`sh` ended with exit code 7, and said:\nno such image") as caught:
        async with interpreter(sandbox=("sh", "-c", "echo no such image >&2; exit 7")) as run:
            await run("1")
    assert caught.value.of == "run"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "a model's code would run as you do.*sandbox=.*code_is_trusted=True"),
        ({"sandbox": ("env", "{foldr}")}, r"unknown `\{foldr\}` in the command; did you mean `\{folder\}`\?"),
        ({"sandbox": ("no-such-program",)}, "no program on the PATH is called `no-such-program`"),
        ({"code_is_trusted": True, "limits": {"timout_s": 3}}, "did you mean `limits.timeout_s`"),
    ],
)
def test_what_cannot_be_run_is_refused_when_it_is_made(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        python(**options)


def test_a_bound_on_processes_is_refused_where_it_would_not_hold() -> None:
    refused = pytest.raises(ConfigError, match=r"limits.processes does not bind root, which this process runs as")
    with refused if os.geteuid() == 0 else contextlib.nullcontext():
        python(code_is_trusted=True, limits={"processes": 8})


def test_its_calls_have_time_to_begin_and_end_and_wait_for_each_other() -> None:
    options = python(code_is_trusted=True, limits={"timeout_s": 100}, options={"needs_approval": True}).options
    assert (options.sequential, options.needs_approval) == (True, True)
    assert options.timeout_s is not None
    assert options.timeout_s > 100 + 60


async def test_the_calls_of_a_turn_are_run_in_order_and_what_they_left_ends_with_the_run(
    temporary: Path, gate: Path
) -> None:
    async with dispatching(python(code_is_trusted=True)) as dispatcher:
        codes = [f"open({str(gate)!r}).read(); x = 20", "x += 1", "x * 2"]
        turn = asyncio.ensure_future(dispatcher.run_turn(1, [ask_for("python", code=code) for code in codes]))
        await asyncio.to_thread(gate.write_text, "go on")
        outcomes = await turn
        assert outcomes[2].value == {"value": "42"}
        assert '{"value":"42"}' in outcomes[2].content
        [bad] = await dispatcher.run_turn(2, [ask_for("python", code="")])
        assert bad.kind == "invalid"
        [raw] = await dispatcher.run_turn(3, [ask_for("python", code="open('a', 'wb').write(b'\\0')")])
        assert raw.value["files"][0]["data"] == "AA=="
        assert "AA==" not in raw.content
        assert len(list_folders(temporary)) == 1
    assert not list_folders(temporary)


JOB = """
import sys
from pathlib import Path
import tidemill as tm
from tidemill.agents import python

url, folder = sys.argv[1], Path(sys.argv[2])
agent = tm.Agent(tm.model("test/model", base_url=url), tools=[python(code_is_trusted=True)], name="coder")
tm.read(str(folder / "one.jsonl")).agent(agent, "{{ question }}").write(folder / "out", progress=False)
"""


def test_an_agent_that_was_killed_goes_on_with_an_empty_session_and_is_told(tmp_path: Path) -> None:
    """What it did before comes from the ledger: the code is not run again, and of its process nothing is left."""
    (tmp_path / "one.jsonl").write_text('{"question": "?"}\n')
    running: list[subprocess.Popen[bytes]] = []

    def reply(call: Call) -> str | ToolCalls:
        if not call.results:
            return ToolCalls(("python", {"code": "x = 1"}))
        if len(running) == 1:
            running[0].kill()
            return "nobody hears"
        if "nothing was printed" in call.results[-1]:
            return ToolCalls(("python", {"code": "'x' in globals()"}))
        return "|".join(call.results[-1].splitlines()[1:-1])

    with FaultServer(reply=reply) as server:
        command = [sys.executable, "-c", JOB, server.base_url, str(tmp_path)]
        for code in (-signal.SIGKILL, 0):
            with subprocess.Popen(command, env={**os.environ, "TMPDIR": str(tmp_path)}) as process:
                running.append(process)
                assert process.wait(120) == code
    [record] = pq.read_table(tmp_path / "out").to_pylist()
    assert json.loads(record["answer"]) == {
        "value": "False",
        "note": "the interpreter was started anew, and variables, imports and files of an earlier call are gone: "
        "run again what is needed of them",
    }
    for keeper in find_keepers(tmp_path):
        keeper.wait(60)
    assert not list_folders(tmp_path)


def find_keepers(folder: Path) -> list[psutil.Process]:
    """What watches over interpreters in `folder`."""
    lines = {each: " ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])}
    return [each for each, line in lines.items() if "keeper.py" in line and str(folder) in line]
