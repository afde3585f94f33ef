"""The container that docs/tools.md shows for the tool `python`: what Docker makes of its line, and what then runs.

No engine is needed: the real client asks a stand-in, which refuses once it knows the container; and a stand-in of the
client runs what the container would, with no more than that has.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from interpreting import interpreter

from tidemill.agents.interpreter.options import Interpreter

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"
PYTHON = shutil.which("python3", path="/usr/local/bin:/usr/bin")

CLIENT = """#!{python} -I
# A docker that makes no container: it runs what would run in one, with what that would have.
import json, os, sys
from pathlib import Path

words = sys.argv[1:]
assert words.pop(0) == "run", words
options, flags = {{}}, set()
while words[0].startswith("-"):
    name, _, value = words.pop(0).partition("=")
    (options.setdefault(name, []).append(value) if value else flags.add(name))
image, *command = words
[(outside, inside)] = [each.split(":") for each in options["--volume"]]
assert outside == inside == options["--workdir"][0] and Path(outside).is_dir(), options
Path({seen!r}).write_text(json.dumps([options, sorted(flags), image, command[:2]]))
variables = {{"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON_VERSION": "of the image", "HOME": "/root"}}
os.chdir(inside)
os.execvpe(command[0], command, variables)
"""


def load_settings() -> dict[str, Any]:
    """The settings that the page shows."""
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [block] = [each for each in blocks if "docker" in each]
    settings: dict[str, Any] = yaml.safe_load(block)["tools"][0]["python"]
    return settings


@contextmanager
def open_engine() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of an engine that makes no container, and those it was asked for."""
    asked: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.do_POST()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            is_ping = self.path.endswith("/_ping")
            if self.path.partition("?")[0].endswith("/containers/create"):
                asked.append(json.loads(body))
            said = b"OK" if is_ping else b'{"message": "that is enough"}'
            self.send_response(200 if is_ping else 500)
            for name, value in (("Api-Version", "1.41"), ("content-type", "application/json")):
                self.send_header(name, value)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker: its client is not installed")
def test_docker_understands_the_line_as_it_is_meant(tmp_path: Path) -> None:
    made = Interpreter(**load_settings())
    program, *words = made.command(tmp_path, "print('tide')")
    with open_engine() as (address, asked):
        command = [program, f"--host={address}", *words]
        subprocess.run(command, capture_output=True, check=False, env=made.variables(tmp_path), timeout=60)
    [container] = asked
    host = container["HostConfig"]
    assert container["Image"] == "python:3.11-slim"
    assert container["Cmd"] == ["timeout", "3600", "python3", "-I", "-B", "-c", "print('tide')"]
    assert (container["WorkingDir"], host["Binds"]) == (str(tmp_path), [f"{tmp_path}:{tmp_path}"])
    assert container["User"] == f"{os.geteuid()}:{os.getegid()}"
    assert [name for name in ("OpenStdin", "AttachStdin", "AttachStdout", "AttachStderr") if not container[name]] == []
    assert [name for name in ("Tty", "Env") if container.get(name)] == []
    bounds = host["NetworkMode"], host["PidsLimit"], host["Memory"], host["AutoRemove"]
    assert bounds == ("none", 64, 2 << 30, True)


@pytest.mark.skipif(PYTHON is None, reason="docker: no python3 stands where a container has it")
async def test_a_session_works_in_what_such_a_container_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its variables are the image's and the session's own; its folder is there under the same name, and no other is."""
    client, seen = tmp_path / "docker", tmp_path / "seen.json"
    client.write_text(CLIENT.format(python=sys.executable, seen=str(seen)))
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    async with interpreter(**load_settings(), limits={"timeout_s": 2}) as run:
        assert await run(
            "import os, tempfile; rate = 7; os.environ['PYTHON_VERSION'], 'OPENAI_API_KEY' in os.environ"
        ) == {"value": "('of the image', False)"}
        assert await run("os.getcwd() == os.environ['HOME'], tempfile.gettempdir().startswith(os.getcwd())") == {
            "value": "(True, True)"
        }
        assert (await run("open('a', 'w').write('tide')"))["files"] == [{"name": "a", "size_bytes": 4, "text": "tide"}]
        assert (await run("while True: pass"))["note"].endswith("variables are kept")
        assert await run("rate") == {"value": "7"}
        assert (await run("os._exit(3)"))["error"] == "The interpreter ended with exit code 3."
        assert await run("import os; os.path.exists('a')") == {"value": "True"}
    options, flags, image, begins = json.loads(seen.read_text())
    assert (flags, image, begins) == (["--rm", "-i"], "python:3.11-slim", ["timeout", "3600"])
    assert not os.path.exists(options["--workdir"][0])  # noqa: ASYNC240 - the session has ended
