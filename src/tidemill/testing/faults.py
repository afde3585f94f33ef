"""A real chat endpoint on loopback that can fail in every way a far side fails, and counts what it bills.

    with FaultServer(faults=Faults(mixed=[(0.1, Fault("status", status=429, retry_after_s=0.01))])) as server:
        model = tm.model("openai/any", base_url=server.base_url, api_key="none")

Its reply is a function of the request. `FaultServer` runs in a thread of this process; `FaultProcess` is the same in
a process of its own, also started as `python -m tidemill.testing.faults --port 0 --latency-ms 100`, which prints its
port as the first line and ends when its standard input closes or its parent is gone. Over HTTP: `GET /stats`
(`?bodies=1` adds the billed calls by body, `?log=1` the hash of every body kept), `GET /wait?billed=40` (answered once
the count is reached; `?idle`: once nothing is in flight), `POST /reset`, `POST /faults` (a plan as JSON).
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import orjson

from tidemill.errors import ResourceError
from tidemill.testing.board import Board, Reply
from tidemill.testing.loopback import Connection
from tidemill.testing.plan import Call, Fault, Faults

__all__ = ["Call", "Fault", "FaultProcess", "FaultServer", "Faults"]

BACKLOG = 8192
PARENT_CHECK_S = 0.5


class _Counted:
    """The counters of a server on loopback, read over HTTP: the same words for a thread and a process."""

    port: int

    @property
    def url(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What a model's `base_url` is set to."""
        return f"{self.url}/v1"

    @property
    def requests(self) -> int:
        """Chat requests received whole."""
        return int(self.stats()["requests"])

    @property
    def billed(self) -> int:
        """Chat requests billed: answered well, or a good answer begun, cut or stalled."""
        return int(self.stats()["billed"])

    @property
    def in_flight(self) -> int:
        """Chat requests received and not yet answered, whose client still waits."""
        return int(self.stats()["in_flight"])

    @property
    def max_in_flight(self) -> int:
        """The most chat requests that were in flight at one time; without latency the server never holds two."""
        return int(self.stats()["max_in_flight"])

    @property
    def billed_bodies(self) -> dict[str, int]:
        """Billed calls by the SHA-256 of their body."""
        return dict(self._ask("GET", "/stats?bodies=1")["bodies"])

    def stats(self) -> dict[str, Any]:
        """Every counter, all of one instant.

        `requests billed in_flight max_in_flight input_tokens output_tokens` (billed) `connections strays` (requests
        for a path that is not served, such as a redirect followed) and `faults` by kind.
        """
        return self._ask("GET", "/stats")

    def wait_for(self, *, timeout_s: float = 60.0, **counts: int) -> dict[str, Any]:
        """The counters, as soon as each named one is at its number or past it: `wait_for(requests=40)`.

        Raises:
            ResourceError: not within `timeout_s`.
        """
        query = "&".join(f"{name}={count}" for name, count in counts.items())
        return self._ask("GET", f"/wait?{query}", timeout_s=timeout_s)

    def wait_idle(self, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """The counters, as soon as nothing is in flight: all is answered, or its client noticed to be gone.

        Raises:
            ResourceError: not within `timeout_s`.
        """
        return self._ask("GET", "/wait?idle", timeout_s=timeout_s)

    def reset(self) -> None:
        """Count from zero; what is in flight stays in flight."""
        self._ask("POST", "/reset")

    def _ask(self, method: str, path: str, body: bytes | None = None, *, timeout_s: float = 60.0) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request(method, path, body, headers={"Connection": "close"})
            response = connection.getresponse()
            answer = orjson.loads(response.read())
        except TimeoutError as exc:
            raise ResourceError(f"{path} was not reached within {timeout_s:g} s: {self.stats()}") from exc
        except OSError as exc:
            raise ResourceError(f"the fault server at {self.url} does not answer: {exc}") from exc
        finally:
            connection.close()
        if response.status != 200:
            raise ResourceError(f"the fault server refused {path}: {answer['error']['message']}")
        return dict(answer)


class FaultServer(_Counted):
    """A fault server in a thread of this process, on a free port of 127.0.0.1.

    A context manager; entered once. `latency_s` and `faults` may be assigned while it runs. An error of the test's
    own script or `reply` is answered with a 500 and raised when the block ends.

    Args:
        latency_s: seconds from a request received whole to its answer.
        faults: the plan; None answers every request well.
        reply: the content of good replies as a function of the request; by default a JSON value that conforms to
            the request's schema and follows from its body, without a schema words that follow from the last message.
        keep_calls: keep every request, in order, in `calls`.
        port: 0 takes a free one; another is where a server comes back after it was gone.
    """

    def __init__(
        self,
        *,
        latency_s: float = 0.0,
        faults: Faults | None = None,
        reply: Reply | None = None,
        keep_calls: bool = False,
        port: int = 0,
    ) -> None:
        self.port = port
        self._board = Board(latency_s=latency_s, faults=faults, reply=reply, keep_calls=keep_calls)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="tidemill-fault-server", daemon=True)

    @property
    def latency_s(self) -> float:
        """Seconds from a request received whole to its answer."""
        return self._board.latency_s

    @latency_s.setter
    def latency_s(self, latency_s: float) -> None:
        self._board.latency_s = latency_s

    @property
    def faults(self) -> Faults | None:
        """The plan; None answers every request well."""
        return self._board.faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._board.faults = faults

    @property
    def calls(self) -> Sequence[Call]:
        """Every request received, in order, if the server keeps them."""
        return tuple(self._board.counters.calls)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            self._thread.join()
            raise ResourceError(f"the fault server did not start on port {self.port}") from self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        if error is None and self._board.own_error is not None:
            raise self._board.own_error

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._serve())
        except Exception as exc:  # noqa: BLE001 - the thread's edge: `__enter__` raises it where the server is used
            self._error = exc
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await serve(self._board, self.port, self._stop, self._started)

    def _started(self, port: int) -> None:
        self.port = port
        self._ready.set()


class FaultProcess(_Counted):
    """A fault server in a process of its own: for jobs in subprocesses that are killed, and for benchmarks.

    A context manager; the process ends with the block, or with this process however that ends.

    Args:
        latency_s: seconds from a request received whole to its answer.
        faults: the plan, without a script.
        keep_calls: keep every request, so that `log` can tell their order.
        port: 0 takes a free one; another is where a server comes back after it was gone.
    """

    def __init__(
        self, *, latency_s: float = 0.0, faults: Faults | None = None, keep_calls: bool = False, port: int = 0
    ) -> None:
        self._command = [sys.executable, "-m", "tidemill.testing.faults"]
        self._command += ["--port", str(port), "--latency-ms", str(latency_s * 1000)]
        if faults is not None:
            self._command += ["--faults", faults.to_json().decode()]
        if keep_calls:
            self._command.append("--keep-calls")

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def log(self) -> list[str]:
        """The SHA-256 of every request's body, in order of arrival, if the server keeps them."""
        return list(self._ask("GET", "/stats?log=1")["log"])

    def plan(self, faults: Faults) -> None:
        """Use another plan from now on."""
        self._ask("POST", "/faults", faults.to_json())

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        if not first:
            self._close()
            raise ResourceError(f"the fault server ended with code {self._process.returncode} before it told its port")
        self.port = int(first)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        with self._process as process:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # no wheel for this platform: asyncio's own loop, at about half the speed
        return None
    return uvloop.new_event_loop


async def serve(board: Board, port: int, stop: asyncio.Event, started: Callable[[int], None]) -> None:
    """Serve `board` on loopback until `stop` is set; `started` gets the port."""
    loop = asyncio.get_running_loop()
    connections: set[Connection] = set()
    server = await loop.create_server(
        lambda: Connection(board, loop, connections), "127.0.0.1", port, backlog=BACKLOG, start_serving=True
    )
    started(server.sockets[0].getsockname()[1])
    try:
        await stop.wait()
    finally:
        server.close()
        for connection in list(connections):
            connection.transport.abort()
        await server.wait_closed()
        await asyncio.sleep(0)


def _announce(port: int) -> None:
    """Tell whoever started the process which port it has."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


async def _serve_process(board: Board, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    parent = os.getppid()

    def check_parent() -> None:
        if os.getppid() != parent:
            stop.set()
        loop.call_later(PARENT_CHECK_S, check_parent)

    def check_input() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            stop.set()

    check_parent()
    mode = os.fstat(0).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        loop.add_reader(0, check_input)
    await serve(board, port, stop, _announce)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input closes (if it is a pipe) or the parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m tidemill.testing.faults", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, printed as the first line")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--faults", type=Faults.from_json, default=None, help="a plan as JSON, see Faults.to_json")
    parser.add_argument("--keep-calls", action="store_true", help="keep every request for GET /stats?log=1")
    given = parser.parse_args(arguments)
    board = Board(latency_s=given.latency_ms / 1000, faults=given.faults, keep_calls=given.keep_calls)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve_process(board, given.port))
    except OSError as exc:
        parser.exit(1, f"cannot serve on port {given.port}: {exc}\n")
    except KeyboardInterrupt:
        parser.exit(130)


if __name__ == "__main__":
    main()
