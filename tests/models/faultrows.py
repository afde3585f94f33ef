"""The fault table: what each failure of the far side means in every wire format, and how one call meets it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import http.server
import random
import ssl
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from struct import pack
from typing import Any, Literal

import trustme

import tidemill as tm
from tidemill.calls.budget import BudgetLedger, Pricing, Spend
from tidemill.calls.engine import Engine
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.lane import Lane
from tidemill.calls.limits import Budget, Limits
from tidemill.calls.outgoing import Reply
from tidemill.calls.wire import Request, Transport
from tidemill.errors import CallError
from tidemill.models.endpoints import find_headers, find_transport, make_embedding_endpoint, make_endpoint
from tidemill.models.formats.streaming import StreamedCall
from tidemill.models.messages import Message
from tidemill.models.options import Options
from tidemill.models.steps.batching import Batching
from tidemill.models.steps.embed import Embed, Embedder, Embedding
from tidemill.testing import Fault, Faults, FaultServer, run_virtual

MESSAGES: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hi."}]
TEXT = "a"
DIMENSIONS = 4
EMBEDDER = "text-embedding-3-small"
"""litellm knows that it takes `dimensions`."""
UNREACHABLE = "http://127.0.0.1:9/v1"
MAX_ATTEMPTS = 2
MAX_BODY_BYTES = 1 << 20
TIMEOUT_S = 1.0
DEADLINE_S = 1.8
"""Shorter than what is waited for after a 429, so that it ends while a call waits."""

Again = Literal["yes", "no", "waits", "probes"]
Owner = Literal["record", "run"]
Bill = Literal["nothing", "the request", "its ceiling"]
Place = Literal["answer", "closed port", "certificate"]

AGAIN: Mapping[Again, str] = {
    "yes": "yes",
    "no": "no",
    "waits": "yes, beside `max_attempts`",
    "probes": "yes, one at a time",
}
KEPT: Mapping[Owner, str] = {
    "record": "the record with its error, in quarantine",
    "run": "what is done; the record is tried when the run goes on",
}


@dataclass(frozen=True)
class Row:
    """What one failure means.

    Attributes:
        told: the failure, in the page's words.
        fault: what the server does; None where it is not reached.
        again: whether another attempt is made: `waits` where it is not counted in `max_attempts`, `probes` where calls
            wait for one of them that asks.
        of: whose failure it is in the end.
        counts: what a failed attempt counts as in the budget; the far side may bill it where that is its ceiling.
        reported: what the report counts it as.
        where: the formats it can happen in.
        at: where it fails.
        lasting: the limits by which it ends, of one that is defined by how long it lasts.
    """

    told: str
    fault: Fault | None
    again: Again
    of: Owner
    counts: Bill
    reported: str
    where: tuple[str, ...] = ()
    at: Place = "answer"
    lasting: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_billed(self) -> bool:
        """Whether the far side may bill it."""
        return self.counts == "its ceiling"

    @property
    def timeout_s(self) -> float:
        """Long enough for all but those that never end."""
        return TIMEOUT_S if self.reported == "timeout" else 30.0

    def make_fault(self, *, billed: bool) -> Fault:
        """Its fault, of a server that bills what it may, or nothing."""
        assert self.fault is not None
        return dataclasses.replace(self.fault, billed=billed and self.is_billed)

    def render(self) -> str:
        """Its line of the page."""
        bill = "maybe" if self.is_billed else "no"
        cells = (
            self.told,
            AGAIN[self.again],
            f"the {self.of}'s",
            bill,
            self.counts,
            f"`{self.reported}`",
            KEPT[self.of],
        )
        return f"| {' | '.join(cells)} |"


HEAD = "| failure | tried again | in the end | billed | the budget counts | the report counts | kept |"


def answered(status: int, **fields: Any) -> Fault:
    return Fault("status", status=status, **fields)


def vectors_of(*numbers: float) -> Fault:
    return Fault("reply", content=b64encode(pack(f"<{len(numbers)}f", *numbers)).decode())


OURS = ("OpenAI", "OpenAI, streamed", "Anthropic", "Anthropic, streamed", "embeddings")
"""litellm does not say that an error came with a 200, follows redirects, and takes a refused certificate for none."""
CHATS = ("OpenAI", "OpenAI, streamed", "Anthropic", "Anthropic, streamed")
STREAMS = ("OpenAI, streamed", "Anthropic, streamed", "litellm, streamed")
EMBEDDINGS = ("embeddings",)

TABLE = (
    Row(
        "no connection: name, connect or TLS handshake failed",
        None,
        "waits",
        "run",
        "nothing",
        "connection",
        at="closed port",
    ),
    Row("a certificate that is not accepted", None, "no", "run", "nothing", "connection", OURS, at="certificate"),
    Row("no answer within `attempt_timeout_s`", Fault("stall"), "yes", "record", "its ceiling", "timeout"),
    Row("the connection reset before an answer", Fault("reset"), "yes", "record", "its ceiling", "connection"),
    Row("the answer cut off", Fault("cut"), "yes", "record", "its ceiling", "connection"),
    Row(
        "the answer trickling in for too long",
        Fault("trickle", interval_s=0.05),
        "yes",
        "record",
        "its ceiling",
        "timeout",
    ),
    Row(
        "an answer longer than 32 MiB",
        Fault("oversized", size_bytes=2 * MAX_BODY_BYTES),
        "yes",
        "record",
        "its ceiling",
        "garbage",
    ),
    Row("an answer that is no reply", Fault("garbage"), "yes", "record", "its ceiling", "garbage"),
    Row(
        "a call of a tool without a name",
        Fault("reply", tool_calls=(("", {}),)),
        "yes",
        "record",
        "its ceiling",
        "garbage",
        CHATS,
    ),
    Row("a redirect: it is not followed", Fault("redirect"), "no", "run", "the request", "307", OURS),
    Row("400, bad request", answered(400), "no", "record", "the request", "400"),
    Row("401, bad key", Fault("unauthorized"), "no", "run", "the request", "401"),
    Row("402, no credit", answered(402), "no", "run", "the request", "402"),
    Row("403, not allowed", answered(403), "no", "run", "the request", "403"),
    Row("404, no such model or path", answered(404), "no", "run", "the request", "404"),
    Row("405, method not allowed", answered(405), "no", "run", "the request", "405"),
    Row("407, the proxy wants a password", answered(407), "no", "run", "the request", "407"),
    Row("408, request timeout", answered(408), "yes", "record", "the request", "408"),
    Row("409, conflict", answered(409), "yes", "record", "the request", "409"),
    Row("410, gone", answered(410), "no", "run", "the request", "410"),
    Row("413, too large", answered(413), "no", "record", "the request", "413"),
    Row("415, not a type it takes", answered(415), "no", "run", "the request", "415"),
    Row("422, not processable", answered(422), "no", "record", "the request", "422"),
    Row("425, too early", answered(425), "yes", "record", "the request", "425"),
    Row("429, too many requests", answered(429), "waits", "record", "the request", "429"),
    Row(
        "429 with `Retry-After`: waited out", answered(429, retry_after_s=1.0), "waits", "record", "the request", "429"
    ),
    Row(
        "429 to every call for `outage_s`",
        answered(429),
        "waits",
        "run",
        "the request",
        "429",
        lasting={"outage_s": 0.1},
    ),
    Row("500, server error", answered(500), "yes", "record", "its ceiling", "500"),
    Row("502, bad gateway", answered(502), "yes", "record", "its ceiling", "502"),
    Row("503, unavailable", answered(503, retry_after_s=1.0), "waits", "record", "its ceiling", "503"),
    Row("529, overloaded", answered(529, retry_after_s=1.0), "waits", "record", "its ceiling", "529"),
    Row(
        "the breaker open for `outage_s`",
        answered(500),
        "probes",
        "run",
        "its ceiling",
        "500",
        lasting={"outage_s": 0.1, "breaker_failures": 1},
    ),
    Row(
        "200 with an error object of its own fault",
        Fault("error", status=502),
        "yes",
        "record",
        "its ceiling",
        "garbage",
        OURS,
    ),
    Row("200 with another error object", Fault("error", status=400), "no", "record", "its ceiling", "garbage", OURS),
    Row("a stream cut off", Fault("cut", at_ratio=0.5), "yes", "record", "its ceiling", "connection", STREAMS),
    Row("a stream stalling", Fault("stall", at_ratio=0.5), "yes", "record", "its ceiling", "timeout", STREAMS),
    Row("garbage in a stream", Fault("garbage", at_ratio=0.5), "yes", "record", "its ceiling", "garbage", STREAMS),
    Row("an error in a stream", Fault("error", at_ratio=0.5), "yes", "record", "its ceiling", "garbage", STREAMS),
    Row(
        "another number of vectors than texts",
        Fault("truncated"),
        "yes",
        "record",
        "its ceiling",
        "garbage",
        EMBEDDINGS,
    ),
    Row(
        "vectors of another length than asked for",
        vectors_of(1.0, 2.0),
        "yes",
        "record",
        "its ceiling",
        "garbage",
        EMBEDDINGS,
    ),
    Row(
        "vectors with numbers that are not finite",
        vectors_of(*[float("nan")] * DIMENSIONS),
        "yes",
        "record",
        "its ceiling",
        "garbage",
        EMBEDDINGS,
    ),
)


@dataclass(frozen=True)
class Asked:
    """One request in some format, and how it goes out by a lane and is read."""

    request: Request
    call: Callable[[Lane], Awaitable[Reply]]
    transport: Transport | None = None


Ask = Callable[[str, Transport], Asked]


def ask_chat(provider: str, *, stream: bool = False) -> Ask:
    def ask(url: str, transport: Transport) -> Asked:
        model = tm.model(f"{provider}/any", base_url=url, api_key="key-of-mine")
        options = Options(max_tokens=20, stream=stream)
        endpoint = make_endpoint(model, find_headers(model, Path()), options)
        request = endpoint.build_request(MESSAGES)
        other = find_transport(model)
        if not stream:
            return Asked(request, lambda lane: lane.call(request, endpoint.parse_reply), other)
        call = StreamedCall(endpoint, (other or transport).send)
        return Asked(request, lambda lane: lane.call(request, call.decode, send=call.send), other)

    return ask


def ask_vectors(name: str) -> Ask:
    """As the step asks: a record's share goes out in a batch, of one here, so that nothing is sent again in halves."""

    def ask(url: str, transport: Transport) -> Asked:
        model = tm.model(name, base_url=url, api_key="key-of-mine")
        endpoint = make_embedding_endpoint(model, find_headers(model, Path()), dimensions=DIMENSIONS)
        embedder = Embedder(Embed(model=model, column="text", dimensions=DIMENSIONS), endpoint)
        share = embedder.build_request({"text": TEXT})

        async def call(lane: Lane) -> Reply:
            batching = Batching(lane, embedder, most=1, most_size=embedder.measure(share))
            reply: Embedding = await batching.call(share, embedder.decode)
            return reply

        return Asked(embedder.join([share]), call, find_transport(model))

    return ask


FORMATS: dict[str, Ask] = {
    "OpenAI": ask_chat("openai"),
    "OpenAI, streamed": ask_chat("openai", stream=True),
    "Anthropic": ask_chat("anthropic"),
    "Anthropic, streamed": ask_chat("anthropic", stream=True),
    "embeddings": ask_vectors(f"openai/{EMBEDDER}"),
    "litellm": ask_chat("litellm/openai"),
    "litellm, streamed": ask_chat("litellm/openai", stream=True),
    "litellm, embeddings": ask_vectors(f"litellm/openai/{EMBEDDER}"),
}


class Hasty(random.Random):
    """Jitter that is always short."""

    def uniform(self, a: float, b: float) -> float:
        return a + min(b - a, 0.01)


@dataclass
class Seen:
    """What became of one call, as both sides have it.

    Attributes:
        spent: what our budget counts.
        requests: what the server received, of them `billed` with so many `tokens`; `bodies` has them by body.
    """

    value: Reply | None
    error: CallError | None
    attempts: int
    failures: Mapping[str, int]
    spent: Spend
    ceiling: Spend
    requests: int = 0
    billed: int = 0
    tokens: int = 0
    bodies: Sequence[int] = ()


async def call(name: str, url: str, **limits: Any) -> Seen:
    """One call in a format, with a budget that counts what it may have cost."""
    ledger = BudgetLedger(Budget(tokens=10**9), durable=False)
    transport = HttpTransport(connect_timeout_s=10, max_body_bytes=MAX_BODY_BYTES)
    asked = FORMATS[name](url, transport)
    given = Limits(**{"max_attempts": MAX_ATTEMPTS, "connect_s": 0.6, **limits})
    async with Engine(transport, rng=Hasty(), budget=ledger) as engine:
        lane = engine.lane("m", limits=given, endpoint=url, transport=asked.transport)
        value, error = None, None
        try:
            value = await asked.call(lane)
        except CallError as exc:
            error = exc
        meter = engine.meter
    ceiling = Pricing(None).ceiling(asked.request)
    return Seen(value, error, meter.attempts, meter.failures, ledger.spent, ceiling)


async def call_at(server: FaultServer, name: str, faults: Faults, **limits: Any) -> Seen:
    """The same, with the server's own bill."""
    server.faults = faults
    seen = await call(name, server.base_url, **limits)
    bill = await asyncio.to_thread(read_bill, server)
    return dataclasses.replace(seen, **bill)


def read_bill(server: FaultServer) -> dict[str, Any]:
    """What the server billed for one call, which is over."""
    stats = server.wait_idle()
    bodies = list(server.billed_bodies.values())
    server.reset()
    tokens = stats["input_tokens"] + stats["output_tokens"]
    return {"requests": stats["requests"], "billed": stats["billed"], "tokens": tokens, "bodies": bodies}


@functools.cache
def play(row: Row) -> Mapping[str, tuple[Seen | None, Seen]]:
    """What each format makes of a row, all at once: the failure once, where it may pass, and without end.

    Where nobody listens, what is waited between attempts takes no time, so that a busy machine makes as many of them.
    """

    async def main() -> Mapping[str, tuple[Seen | None, Seen]]:
        with contextlib.ExitStack() as stack:
            url = UNREACHABLE if row.at == "closed port" else ""
            if row.at == "certificate":
                url = stack.enter_context(serve_untrusted())
            names = row.where or tuple(FORMATS)
            servers = {name: stack.enter_context(FaultServer()) for name in names if not url}
            scenes = (play_at(row, name, servers[name]) if servers else play_away(name, url) for name in names)
            return dict(zip(names, await asyncio.gather(*scenes), strict=True))

    return run_virtual(main()) if row.at == "closed port" else asyncio.run(main())


async def play_away(name: str, url: str) -> tuple[None, Seen]:
    """Where no server is reached."""
    return None, await call(name, url)


async def play_at(row: Row, name: str, server: FaultServer) -> tuple[Seen | None, Seen]:
    limits = {"attempt_timeout_s": row.timeout_s, **row.lasting}
    fault = row.make_fault(billed=True)
    once = None
    if not row.lasting:
        attempts = 1 if row.again == "waits" else MAX_ATTEMPTS
        faults = Faults(script=lambda call: fault if call.number == 1 else None)
        once = await call_at(server, name, faults, **limits, max_attempts=attempts)
    ends = {"deadline_s": DEADLINE_S} if row.again == "waits" and not row.lasting else {}
    return once, await call_at(server, name, Faults(script=lambda call: fault), **limits, **ends)


@contextlib.contextmanager
def serve_untrusted() -> Iterator[str]:
    """A server of HTTPS whose certificate nobody signed that this process knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"https://localhost:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()
