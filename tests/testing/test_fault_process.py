"""The fault server in a process of its own."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing

import pytest

from tidemill.errors import ResourceError
from tidemill.testing import Fault, FaultProcess, Faults

BODY = b'{"messages": [{"role": "user", "content": "hi"}]}'


def post(server: FaultProcess, body: bytes = BODY, path: str = "/v1/chat/completions") -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as client:
        client.request("POST", path, body)
        response = client.getresponse()
        response.read()
        return response.status


@pytest.fixture(scope="module")
def process() -> Iterator[FaultProcess]:
    with FaultProcess(faults=Faults(matching=[("poison", Fault("status", status=400))]), keep_calls=True) as running:
        yield running


def test_the_counters_are_read_from_another_process(process: FaultProcess) -> None:
    """The same words as for the thread, and the order in which bodies came."""
    process.reset()
    assert [post(process), post(process, b'{"messages": ["poison"]}'), post(process)] == [200, 400, 200]
    assert process.wait_for(requests=3)["billed"] == process.billed == 2
    log = process.log
    assert [digest == log[0] for digest in log] == [True, False, True]
    assert process.billed_bodies == {log[0]: 2}
    assert (process.in_flight, process.max_in_flight, process.requests) == (0, 1, 3)


def test_the_plan_may_change_while_it_runs(process: FaultProcess) -> None:
    """A storm passes; a plan that is none is refused."""
    process.plan(Faults(mixed=[(1.0, Fault("status", status=503))]))
    assert post(process) == 503
    process.plan(Faults())
    assert post(process) == 200
    assert post(process, b'{"mixed": [[0.5, {"kind": "none"}]]}', "/faults") == 400


def test_a_process_that_cannot_start_says_so(process: FaultProcess) -> None:
    """No port, no server."""
    with pytest.raises(ResourceError, match="ended with code 1 before it told its port"):
        FaultProcess(port=process.port).__enter__()


def test_the_process_ends_with_its_block() -> None:
    """Nothing is left behind."""
    with FaultProcess() as process:
        os.kill(process.pid, 0)
    with pytest.raises(ProcessLookupError, match="No such process"):
        os.kill(process.pid, 0)


HOLDER = (
    "from tidemill.testing import FaultProcess\nwith FaultProcess() as server: print(server.port, flush=True); input()"
)


@pytest.mark.parametrize(
    "command",
    [[sys.executable, "-c", HOLDER], ["sh", "-c", f"{sys.executable} -m tidemill.testing.faults </dev/null & wait"]],
    ids=["its input closes", "its parent is gone"],
)
def test_the_process_ends_when_its_parent_is_killed(command: list[str]) -> None:
    """SIGKILL of the parent leaves no server: an open connection to it ends."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
            connection.sendall(b"GET /stats HTTP/1.1\r\n\r\n")
            assert connection.recv(65536)  # it is served, and no longer one that nobody has accepted
            parent.send_signal(signal.SIGKILL)
            assert connection.recv(1) == b""
