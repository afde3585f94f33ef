"""A job of agents in a process of its own, to be killed, and the world outside it, which counts what is done to it.

`python agentworld.py FOLDER PORT`: agents answer the records of FOLDER/records.jsonl, by a model and tools that the
world at PORT stands behind.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import tidemill as tm
from tidemill.models.model import Model

Reply = Callable[[Sequence[dict[str, Any]], int], dict[str, Any]]

TURNS = 3
CONCURRENCY = 8


class World:
    """A model, and a place where things can be done, counted where nothing that is killed can forget them.

    Args:
        reply: what the model answers a request's messages with, of that many bytes.

    Attributes:
        model_calls: by the digest of the request, how often the model answered it.
        effects: by idempotency key, how often what it stands for was done.
        arguments: those that each key came with.
        is_over: ends the waiting of those who asked at `/wait`, which nothing else does.
    """

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self.is_over = threading.Event()
        self.model_calls: Counter[str] = Counter()
        self.effects: Counter[str] = Counter()
        self.arguments: dict[str, set[str]] = {}
        self._changed = threading.Condition()

    def note(self, path: str, body: bytes) -> Any:
        """What a request is answered."""
        payload = json.loads(body)
        if path in ("/effect", "/wait"):
            with self._changed:
                self.effects[payload["key"]] += 1
                self.arguments.setdefault(payload["key"], set()).add(json.dumps(payload["arguments"]))
                self._changed.notify_all()
            if path == "/wait":
                self.is_over.wait()
            return {"done": payload["arguments"]["amount"]}
        with self._changed:
            self.model_calls[hashlib.sha256(body).hexdigest()] += 1
            self._changed.notify_all()
        return self._reply(payload["messages"], len(body))

    @property
    def requests(self) -> int:
        """All that came in."""
        return self.model_calls.total() + self.effects.total()

    def wait_for(self, requests: int, process: subprocess.Popen[bytes]) -> bool:
        """Wait until so many came in; False where the process ended before."""
        with self._changed:
            while self.requests < requests:
                if process.poll() is not None:
                    return False
                self._changed.wait(0.05)
        return True


def _reply(messages: Sequence[dict[str, Any]], size: int) -> dict[str, Any]:
    """A function of the conversation: three turns with two tool calls each, then their results in one line."""
    turn = sum(each["role"] == "assistant" for each in messages)
    question = next(each["content"] for each in messages if each["role"] == "user")
    if turn < TURNS:
        called = [
            {
                "id": f"{turn}-{place}",
                "type": "function",
                "function": {"name": "pay", "arguments": json.dumps({"to": question, "amount": 10 * turn + place})},
            }
            for place in range(2)
        ]
        message = {"role": "assistant", "content": None, "tool_calls": called}
        return complete(message, "tool_calls")
    told = "|".join(line for each in messages if each["role"] == "tool" for line in each["content"].splitlines()[1:-1])
    return complete({"role": "assistant", "content": told}, "stop")


def complete(message: dict[str, Any], reason: str, input_tokens: int = 10) -> dict[str, Any]:
    """A reply in the format of the model's server."""
    usage = {"prompt_tokens": input_tokens, "completion_tokens": 5}
    return {"choices": [{"index": 0, "message": message, "finish_reason": reason}], "usage": usage}


@contextmanager
def open_world(reply: Reply = _reply) -> Iterator[tuple[World, int]]:
    """The world and its port."""
    world = World(reply)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            content = json.dumps(world.note(self.path, body)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # whoever asked was killed
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield world, server.server_address[1]
    finally:
        world.is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def start(folder: Path, port: int, script: str = __file__) -> Iterator[subprocess.Popen[bytes]]:
    """The job's process; it is dead when the block ends."""
    command = [sys.executable, script, str(folder), str(port)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@dataclass(frozen=True)
class Killed:
    """What a job that was killed again and again came to.

    Attributes:
        kills: how often it was killed.
        effects, model_calls: what the world counted, `wanted_effects` and `wanted_calls` what there is to do.
        problems: what does not hold.
    """

    kills: int
    effects: int
    model_calls: int
    wanted_effects: int
    wanted_calls: int
    problems: tuple[str, ...]

    @property
    def repeated(self) -> int:
        """What was done once more."""
        return self.effects + self.model_calls - self.wanted_effects - self.wanted_calls

    @property
    def most_repeated(self) -> int:
        """What may have been in flight at all kills together: each agent asks its model, or calls two tools."""
        return self.kills * 2 * CONCURRENCY


def kill_again(folder: Path, *, records: int, kills: int, rng: random.Random) -> Killed:
    """Run the job in a process that is killed in the middle of turns, so often, and then to its end."""
    write_records(folder, records)
    effects, calls = records * TURNS * 2, records * (TURNS + 1)
    with open_world() as (world, port):
        done = 0
        for _ in range(kills):
            with start(folder, port) as process:
                done += world.wait_for(world.requests + rng.randint(1, (effects + calls) // kills), process)
        with start(folder, port) as process:
            code = process.wait(300)
        table = pq.read_table(folder / "out").to_pylist()
        answer = "|".join(str(10 * turn + place) for turn in range(TURNS) for place in range(2))
        found = Killed(done, world.effects.total(), world.model_calls.total(), effects, calls, ())
        checks = {
            f"the last sitting ended with {code}": code == 0,
            f"only {done} of {kills} kills came in the middle": done == kills,
            f"{len(world.effects)} keys for {effects} effects": len(world.effects) == effects,
            "a key came with other arguments": all(len(each) == 1 for each in world.arguments.values()),
            f"{len(world.model_calls)} different requests for {calls} replies": len(world.model_calls) == calls,
            f"{found.repeated} repeated, at most {found.most_repeated} in flight": 0
            <= found.repeated
            <= found.most_repeated,
            "an answer is missing or another": {row["id"]: row["answer"] for row in table}
            == dict.fromkeys(range(records), answer),
        }
    return replace(found, problems=tuple(told for told, holds in checks.items() if not holds))


def write_records(folder: Path, count: int) -> None:
    """The records of the job."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"id": number, "question": f"account {number}"}) + "\n" for number in range(count))
    (folder / "records.jsonl").write_text("".join(lines))


def make_stream(folder: Path, port: int) -> Any:
    """The job, as a stream."""
    world = f"http://127.0.0.1:{port}"

    @tm.tool(timeout_s=30)
    def pay(to: str, amount: int, context: tm.Context[Any]) -> int:
        """Pay somebody.

        Args:
            to: whom.
            amount: how much.
        """
        body = json.dumps({"key": context.key, "arguments": {"to": to, "amount": amount}}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{world}/effect", body)) as response:
            return int(json.loads(response.read())["done"])

    model = Model(model="test/model", base_url=f"{world}/v1", limits={"concurrency": CONCURRENCY})
    agent = tm.Agent(model, tools=[pay], name="payer", instructions="Pay what is asked.")
    return tm.read(str(folder / "records.jsonl")).agent(agent, "{{ question }}", concurrency=CONCURRENCY)


if __name__ == "__main__":
    make_stream(Path(sys.argv[1]), int(sys.argv[2])).write(Path(sys.argv[1]) / "out", progress=False)
