"""A real endpoint on loopback that can fail in every way a far side fails, and counts what it bills.

    with FaultServer(faults=Faults(mixed=[(0.1, Fault("status", status=429, retry_after_s=0.01))])) as server:
        model = tm.model("openai/any", base_url=server.base_url, api_key="none")

    with FaultServer(load=Load(quotas=[Quota(requests_per_minute=600, window_s=1, kind="sliding")])) as server:
        ...

It answers OpenAI's chat completions and embeddings and Anthropic's messages, streamed where that is asked for; a reply
is a function of the request. `Faults` says which requests fail how, `Load` what the server carries, `Delivery` how good
replies come. `FaultServer` runs in a thread of this process; `FaultProcess` is the same in a process of its own, also
started as `python -m tidemill.testing.faults --port 0 --latency-ms 100`, which prints its port as the first line and
ends when its standard input closes or its parent is gone. Over HTTP: `GET /stats` (`?bodies=1` adds the billed calls by
body, `?log=1` the hash of every body kept, `?timeline=1` every second), `GET /oracle?start=0&stop=60`, `GET
/wait?billed=40` (answered once the count is reached; `?idle`: once nothing is in flight), `POST /reset`, `POST /faults`
and `POST /load` (a plan as JSON).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import orjson

from tidemill.config.loading import load_config
from tidemill.config.model import Config
from tidemill.config.types.functions import find_home, import_object, to_import_path
from tidemill.errors import ResourceError
from tidemill.testing.board import Board, Reply
from tidemill.testing.counted import Counted
from tidemill.testing.delivery import Delivery
from tidemill.testing.load.plan import Capacity, Latency, Load, Outage, Queue, Quota, Steps
from tidemill.testing.plan import Call, Fault, Faults
from tidemill.testing.serving import loop_factory, serve, serve_child

__all__ = [
    "Call",
    "Capacity",
    "Delivery",
    "Fault",
    "FaultProcess",
    "FaultServer",
    "Faults",
    "Latency",
    "Load",
    "Outage",
    "Queue",
    "Quota",
    "Steps",
]

T = TypeVar("T", bound=Config)


class FaultServer(Counted):
    """A fault server in a thread of this process, on a free port of 127.0.0.1.

    A context manager; entered once. `latency_s`, `faults`, `delivery` and `load` may be assigned while it runs. An
    error of the test's own script or `reply` is answered with a 500 and raised when the block ends.

    Args:
        latency_s: seconds from a request received whole to its answer.
        faults: the plan; None answers every request well.
        reply: what good replies hold as a function of the request: a text, or `ToolCalls`. By default a call of the
            tool that the request wants called at any rate, else a JSON value that conforms to its schema, both
            following from its body, without a schema words that follow from the last message.
        keep_calls: keep every request, in order, in `calls`.
        port: 0 takes a free one; another is where a server comes back after it was gone.
        load: what the server carries; None carries everything.
        delivery: the pace of good replies and the usage they tell.
    """

    def __init__(
        self,
        *,
        latency_s: float = 0.0,
        faults: Faults | None = None,
        reply: Reply | None = None,
        keep_calls: bool = False,
        port: int = 0,
        load: Load | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self.port = port
        self._board = Board(
            latency_s=latency_s, faults=faults, reply=reply, keep_calls=keep_calls, load=load, delivery=delivery
        )
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
    def delivery(self) -> Delivery:
        """The pace of good replies and the usage they tell."""
        return self._board.delivery

    @delivery.setter
    def delivery(self, delivery: Delivery) -> None:
        self._board.delivery = delivery

    @property
    def load(self) -> Load | None:
        """What the server carries; another one's time starts with the next request."""
        admission = self._board.admission
        return admission.load if admission is not None else None

    @load.setter
    def load(self, load: Load | None) -> None:
        if self._loop is None:
            self._board.carry(load)
        else:
            asyncio.run_coroutine_threadsafe(self._carry(load), self._loop).result()

    async def _carry(self, load: Load | None) -> None:
        self._board.carry(load)

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
            with asyncio.Runner(loop_factory=loop_factory()) as runner:
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


class FaultProcess(Counted):
    """A fault server in a process of its own: for jobs in subprocesses that are killed, and for benchmarks.

    A context manager; the process ends with the block, or with this process however that ends.

    Args:
        latency_s: seconds from a request received whole to its answer.
        faults: the plan, without a script.
        reply: what good replies hold, as of `FaultServer`: a function with an import path, or that path.
        keep_calls: keep every request, so that `log` can tell their order.
        port: 0 takes a free one; another is where a server comes back after it was gone.
        load: what the server carries; None carries everything.
        delivery: the pace of good replies and the usage they tell.
    """

    def __init__(
        self,
        *,
        latency_s: float = 0.0,
        faults: Faults | None = None,
        reply: Reply | str | None = None,
        keep_calls: bool = False,
        port: int = 0,
        load: Load | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self._command = [sys.executable, "-m", "tidemill.testing.faults"]
        self._command += ["--port", str(port), "--latency-ms", str(latency_s * 1000)]
        if faults is not None:
            self._command += ["--faults", faults.to_json().decode()]
        if load is not None:
            self._command += ["--load", load.model_dump_json(exclude_defaults=True)]
        if delivery is not None:
            self._command += ["--delivery", delivery.model_dump_json(exclude_defaults=True)]
        if reply is not None:
            self._command += ["--reply", *_locate(reply)]
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

    def carry(self, load: Load | None) -> None:
        """Carry another load; its time starts with the next request."""
        plan = load.model_dump_json(exclude_defaults=True).encode() if load is not None else b"null"
        self._ask("POST", "/load", plan)

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


def _locate(reply: Reply | str) -> tuple[str, str]:
    """The import path of a function, and the folder that its module is imported from."""
    if isinstance(reply, str):
        return reply, os.getcwd()
    path = to_import_path(reply)
    return path, find_home(path.partition(":")[0].partition(".")[0])


def _announce(port: int) -> None:
    """Tell whoever started the process which port it has."""
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()


def _read_plan(kind: type[T], text: str) -> T:
    return load_config(kind, orjson.loads(text))


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input closes (if it is a pipe) or the parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m tidemill.testing.faults", description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, printed as the first line")
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--faults", type=Faults.from_json, default=None, help="a plan as JSON, see Faults.to_json")
    parser.add_argument("--load", type=lambda text: _read_plan(Load, text), help="what it carries, as JSON")
    parser.add_argument("--delivery", type=lambda text: _read_plan(Delivery, text), help="how replies come, as JSON")
    parser.add_argument("--reply", nargs=2, metavar=("MODULE:FUNCTION", "FOLDER"), help="what good replies hold")
    parser.add_argument("--keep-calls", action="store_true", help="keep every request for GET /stats?log=1")
    given = parser.parse_args(arguments)
    board = Board(
        latency_s=given.latency_ms / 1000,
        faults=given.faults,
        reply=None if given.reply is None else import_object(given.reply[0], Path(given.reply[1])),
        keep_calls=given.keep_calls,
        load=given.load,
        delivery=given.delivery,
    )
    try:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(serve_child(board, given.port, _announce))
    except OSError as exc:
        parser.exit(1, f"cannot serve on port {given.port}: {exc}\n")
    except KeyboardInterrupt:
        parser.exit(130)


if __name__ == "__main__":
    main()
