"""One table for all wire formats: what each failure of the far side means, and that docs/calls.md says so."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel

import tidemill as tm
from tidemill.calls.budget import BudgetLedger, Pricing, Spend
from tidemill.calls.engine import Engine
from tidemill.calls.limits import Budget, Limits
from tidemill.calls.outgoing import Reply, Send
from tidemill.calls.transport import HttpTransport
from tidemill.calls.wire import Request, Response, Transport
from tidemill.errors import CallError
from tidemill.models.endpoints import find_headers, find_transport, make_embedding_endpoint, make_endpoint
from tidemill.models.messages import Message
from tidemill.models.options import Options
from tidemill.models.streaming import StreamedCall
from tidemill.testing import Call, Fault, Faults, FaultServer

# litellm's own, of modules it loads when they are first used
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

PAGE = Path(__file__).parents[2] / "docs" / "calls.md"
MESSAGES: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hi."}]
UNREACHABLE = "http://127.0.0.1:9/v1"
MAX_ATTEMPTS = 2

Owner = Literal["record", "run"]
Bill = Literal["nothing", "the request", "its ceiling"]


@dataclass(frozen=True)
class Row:
    """What one failure means.

    Attributes:
        told: the failure, in the page's words.
        fault: what the server does; None where there is no server.
        again: whether another attempt is made, `waits` where it is not counted in `max_attempts`.
        of: whose failure it is in the end.
        bill: what a failed attempt counts as in the budget.
        where: the formats it can happen in, all when empty.
    """

    told: str
    fault: Fault | None
    again: Literal["yes", "no", "waits"]
    of: Owner
    bill: Bill
    where: tuple[str, ...] = ()

    def render(self) -> str:
        """Its line of the page."""
        again = {"yes": "yes", "no": "no", "waits": "yes, beside `max_attempts`"}[self.again]
        return f"| {self.told} | {again} | the {self.of}'s | {self.bill} |"


def answered(status: int, **fields: Any) -> Fault:
    return Fault("status", status=status, **fields)


OURS = ("OpenAI", "OpenAI, streamed", "Anthropic", "Anthropic, streamed", "embeddings")
"""litellm does not say that an error came with a 200."""
STREAMS = ("OpenAI, streamed", "Anthropic, streamed")

TABLE = (
    Row("no connection: name, connect or TLS handshake failed", None, "waits", "run", "nothing"),
    Row("no answer within `attempt_timeout_s`", Fault("stall"), "yes", "record", "its ceiling"),
    Row("the connection reset before an answer", Fault("reset"), "yes", "record", "its ceiling"),
    Row("the answer cut off", Fault("cut"), "yes", "record", "its ceiling"),
    Row("the answer trickling in for too long", Fault("trickle", interval_s=0.05), "yes", "record", "its ceiling"),
    Row("an answer that is no reply", Fault("garbage"), "yes", "record", "its ceiling"),
    Row("400, bad request", answered(400), "no", "record", "the request"),
    Row("401, bad key", Fault("unauthorized"), "no", "run", "the request"),
    Row("402, no credit", answered(402), "no", "run", "the request"),
    Row("403, not allowed", answered(403), "no", "run", "the request"),
    Row("404, no such model or path", answered(404), "no", "run", "the request"),
    Row("408, request timeout", answered(408), "yes", "record", "the request"),
    Row("413, too large", answered(413), "no", "record", "the request"),
    Row("422, not processable", answered(422), "no", "record", "the request"),
    Row("429, too many requests", answered(429), "waits", "record", "the request"),
    Row("429 with `Retry-After`: waited out", answered(429, retry_after_s=0.02), "waits", "record", "the request"),
    Row("500, server error", answered(500), "yes", "record", "its ceiling"),
    Row("502, bad gateway", answered(502), "yes", "record", "its ceiling"),
    Row("503, unavailable", answered(503), "yes", "record", "its ceiling"),
    Row("529, overloaded", answered(529), "yes", "record", "its ceiling"),
    Row("200 with an error object of its own fault", Fault("error", status=502), "yes", "record", "its ceiling", OURS),
    Row("200 with another error object", Fault("error", status=400), "no", "record", "its ceiling", OURS),
    Row("a stream cut off", Fault("cut", at_ratio=0.5), "yes", "record", "its ceiling", STREAMS),
    Row("a stream stalling", Fault("stall", at_ratio=0.5), "yes", "record", "its ceiling", STREAMS),
    Row("garbage in a stream", Fault("garbage", at_ratio=0.5), "yes", "record", "its ceiling", STREAMS),
    Row("an error in a stream", Fault("error", at_ratio=0.5), "yes", "record", "its ceiling", STREAMS),
)


@dataclass(frozen=True)
class Asked:
    """One request in some format, and how it is sent and read."""

    request: Request
    decode: Callable[[Response], Reply]
    send: Send | None = None
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
            return Asked(request, endpoint.parse_reply, transport=other)
        call = StreamedCall(endpoint, (other or transport).send)
        return Asked(request, call.decode, call.send, other)

    return ask


def ask_embedding(url: str, transport: Transport) -> Asked:
    endpoint = make_embedding_endpoint(tm.model("openai/any", base_url=url), {})
    return Asked(endpoint.build_request(["a", "b"]), endpoint.parse_reply)


FORMATS: dict[str, Ask] = {
    "OpenAI": ask_chat("openai"),
    "OpenAI, streamed": ask_chat("openai", stream=True),
    "Anthropic": ask_chat("anthropic"),
    "Anthropic, streamed": ask_chat("anthropic", stream=True),
    "embeddings": ask_embedding,
    "litellm": ask_chat("litellm/openai"),
}

CASES = [(name, row) for row in TABLE for name in FORMATS if not row.where or name in row.where]


class Hasty(random.Random):
    """Jitter that is always short."""

    def uniform(self, a: float, b: float) -> float:
        return a + min(b - a, 0.01)


@dataclass
class Seen:
    """What became of one call."""

    value: Reply | None
    error: CallError | None
    attempts: int
    spent: Spend
    ceiling: Spend


def run(name: str, url: str, **limits: Any) -> Seen:
    """One call in a format, with a budget that counts what it may have cost."""

    async def main() -> Seen:
        ledger = BudgetLedger(Budget(tokens=10**9), durable=False)
        transport = HttpTransport(connect_timeout_s=0.2)
        asked = FORMATS[name](url, transport)
        given = Limits(**{"max_attempts": MAX_ATTEMPTS, "connect_s": 0.3, **limits})
        async with Engine(transport, rng=Hasty(), budget=ledger) as engine:
            lane = engine.lane("m", limits=given, endpoint=url, transport=asked.transport)
            value, error = None, None
            try:
                value = await lane.call(asked.request, asked.decode, send=asked.send)
            except CallError as exc:
                error = exc
            attempts = engine.meter.attempts
        return Seen(value, error, attempts, ledger.spent, Pricing(None).ceiling(asked.request))

    return asyncio.run(main())


@pytest.fixture(scope="module", autouse=True)
def warm_litellm() -> None:
    """Its first call takes longer than the limits here."""
    with FaultServer() as server:
        run("litellm", server.base_url)


@pytest.fixture
def server(fault_server: FaultServer) -> FaultServer:
    return fault_server


@pytest.mark.parametrize(("name", "row"), CASES, ids=[f"{name}: {row.told}" for name, row in CASES])
def test_a_failure_means_what_the_table_says(name: str, row: Row, server: FaultServer) -> None:
    """In every format: once, to see whether it is tried again and what it counts as; then for ever, to see the end.

    What is not counted in `max_attempts` is tried again though there may be one attempt only.
    """
    if row.fault is None:
        seen = run(name, UNREACHABLE)
        assert seen.attempts > MAX_ATTEMPTS
        check_end(seen, row)
        return
    server.faults = Faults(script=lambda call: row.fault if call.number == 1 else None)
    limits = {"attempt_timeout_s": 0.3 if row.fault.kind in ("stall", "trickle") else 30.0}
    once = run(name, server.base_url, **limits, max_attempts=1 if row.again == "waits" else MAX_ATTEMPTS)
    assert once.attempts == (1 if row.again == "no" else 2)
    good = once.value.usage if once.value is not None else None
    tokens = once.spent.tokens - (good.input_tokens + good.output_tokens if good else 0)
    assert {0: "the request", once.ceiling.tokens: "its ceiling"}[tokens] == row.bill
    assert once.spent.calls == once.attempts
    assert (once.error is None) == (row.again != "no")
    server.faults = Faults(script=lambda call: row.fault)
    check_end(run(name, server.base_url, **limits, deadline_s=0.2 if row.again == "waits" else 30.0), row)


def check_end(seen: Seen, row: Row) -> None:
    assert seen.error is not None
    assert seen.error.of == row.of, seen.error
    if row.again != "waits":
        assert seen.attempts == (MAX_ATTEMPTS if row.again == "yes" else 1)
    if row.bill == "nothing":
        assert seen.spent == Spend()


def test_a_body_that_is_too_large_ends_the_attempt(server: FaultServer) -> None:
    """Read no further than the transport's bound; what it cost is not known."""
    server.faults = Faults(script=lambda call: Fault("oversized", size_bytes=33 << 20))
    seen = run("OpenAI", server.base_url)
    assert seen.error is not None
    assert seen.error.of == "record"
    assert seen.spent.tokens == seen.attempts * seen.ceiling.tokens


# What is in a reply is judged by the step, once the reply is paid and kept.


class Label(BaseModel):
    mood: Literal["good", "bad"]


@dataclass(frozen=True)
class ReplyRow:
    """What one kind of reply means to a `generate` step: asks made of the record, and what becomes of it."""

    told: str
    fault: Fault
    output: type[BaseModel] | None
    asks: int
    lands: bool
    outcome: str

    def render(self) -> str:
        """Its line of the page."""
        again = "with what is wrong, at most `max_reasks` times" if self.asks > 1 else "no"
        return f"| {self.told} | {again} | {self.outcome} |"


REPLIES = (
    ReplyRow("a refusal", Fault("refusal", content="No."), None, 1, False, "the record fails"),
    ReplyRow("text cut at `max_tokens`", Fault("truncated"), None, 1, True, "it lands as it is; the report counts it"),
    ReplyRow(
        "an `output` cut at `max_tokens`", Fault("truncated"), Label, 3, False, "the record fails after the last ask"
    ),
    ReplyRow(
        "a reply that is not of `output`", Fault("invalid"), Label, 3, False, "the record fails after the last ask"
    ),
)


@pytest.mark.parametrize("provider", ["openai", "anthropic", "litellm/openai"])
@pytest.mark.parametrize("row", REPLIES, ids=lambda row: row.told)
def test_a_reply_means_what_the_table_says(row: ReplyRow, provider: str, server: FaultServer, tmp_path: Path) -> None:
    """Every ask is billed at what it used, and its reply is kept: a second sitting asks nothing."""

    def choose(call: Call) -> Fault | None:
        return row.fault if b"a bad one" in call.body else None

    server.faults = Faults(script=choose)
    model = tm.model(f"{provider}/any", base_url=server.base_url, api_key="key-of-mine", limits=Limits(max_attempts=1))
    texts = [{"text": text} for text in ("a good one", "a bad one", "another")]
    stream = tm.from_iterable(texts).generate(
        model, prompt="{{ text }}", output=row.output, into="reply", max_tokens=20
    )
    report = stream.write(tmp_path / "out", max_errors=9, progress=False, budget=Budget(tokens=10**6))
    assert server.billed == row.asks + 2
    landed = [record["text"] for record in tm.dataset(tmp_path / "out")]
    assert landed == [record["text"] for record in texts if row.lands or record["text"] != "a bad one"]
    assert report.outcome == "finished"


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_the_run_s_failure_keeps_what_is_done_and_goes_on_later(
    provider: str, server: FaultServer, tmp_path: Path
) -> None:
    """And no record is to blame for it."""
    texts = [{"text": f"text {number}"} for number in range(20)]
    model = tm.model(f"{provider}/any", base_url=server.base_url, api_key="key-of-mine", limits=Limits(concurrency=1))
    stream = tm.from_iterable(texts).generate(model, prompt="{{ text }}", into="reply", max_tokens=20)
    server.faults = Faults(script=lambda call: Fault("unauthorized") if b"text 10" in call.body else None)
    report = stream.write(tmp_path / "out", progress=False)
    assert (report.outcome, report.exit_code) == ("failed", 3)
    assert "401" in report.reason
    assert report.records["quarantined"] == 0
    assert server.billed == 10
    server.faults = None
    assert stream.write(tmp_path / "out", progress=False).outcome == "finished"
    assert server.billed == 20
    assert [record["text"] for record in tm.dataset(tmp_path / "out")] == [record["text"] for record in texts]


def render(head: str, rows: Sequence[Row | ReplyRow]) -> str:
    return "\n".join([head, "|" + "---|" * head.count(" | ") + "---|", *(row.render() for row in rows)])


def test_the_page_has_the_tables() -> None:
    """To the letter; when this fails, put the text it expected into the page."""
    text = PAGE.read_text()
    assert render("| failure | tried again | in the end | counts as |", TABLE) in text
    assert render("| reply | asked again | what becomes of it |", REPLIES) in text
