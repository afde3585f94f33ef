"""A server that stands for the model of agents: what it answers depends on how many turns a request holds.

    python server_agents.py LATENCY_S

Tells its port on the first line and ends with its standard input. A GET is told what came until then, and counts anew.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import uvloop

from agent_work import RESULTS_BEFORE, TURNS, make_completion
from children import raise_file_limit

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
ANSWERS = [HEAD % (len(body), body) for body in map(make_completion, range(len(TURNS)))]
NO_ANSWER = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"


class Counts:
    """What came.

    Attributes:
        turns: requests, by the turns that they held.
        wrong: requests that held other turns or results than a run has.
        size: bytes of all their bodies.
        sample: one of the bodies.
    """

    def __init__(self) -> None:
        self.turns = [0] * len(TURNS)
        self.wrong = 0
        self.size = 0
        self.sample = b""

    def answer(self, body: bytes) -> bytes:
        """Count a request; the response to it."""
        self.size += len(body)
        self.sample = body
        turn = body.count(b'"role":"assistant"')
        if turn >= len(TURNS) or body.count(b'"role":"tool"') != RESULTS_BEFORE[turn]:
            self.wrong += 1
            return NO_ANSWER
        self.turns[turn] += 1
        return ANSWERS[turn]

    def tell(self) -> bytes:
        """The counts as a response."""
        told: dict[str, Any] = {
            "turns": self.turns,
            "wrong": self.wrong,
            "size": self.size,
            "sample": self.sample.decode(),
        }
        body = json.dumps(told).encode()
        return HEAD % (len(body), body)


class Answering(asyncio.Protocol):
    """Takes requests that come one at a time, each of a `content-length` that stands in its head."""

    latency_s = 0.0
    counts = Counts()

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's own class does not derive from Transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        if head.startswith(b"GET "):
            self.received = b""
            self._answer(self.counts.tell())
            type(self).counts = Counts()
        elif len(body) >= int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            self.received = b""
            answer = self.counts.answer(body)
            if self.latency_s:
                asyncio.get_running_loop().call_later(self.latency_s, self._answer, answer)
            else:
                self._answer(answer)

    def _answer(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Answering, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    raise_file_limit()
    Answering.latency_s = float(sys.argv[1])
    uvloop.run(main())
