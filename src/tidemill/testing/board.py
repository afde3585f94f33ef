"""What the connections of one fault server share: the plan, the counters, and the answer to each request."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeVar

import orjson

from tidemill.calls.wire import Usage
from tidemill.config.wording.words import describe_value
from tidemill.errors import DataError
from tidemill.testing.answers import Answer, make_fault, make_good, render_response
from tidemill.testing.counters import Counters
from tidemill.testing.delivery import Delivery
from tidemill.testing.formats.anthropic import AnthropicMessages
from tidemill.testing.formats.embeddings import OpenAiEmbeddings
from tidemill.testing.formats.exchange import TOKEN_CHARACTERS, Ask, Exchange, Format
from tidemill.testing.formats.openai import OpenAiChat, vary
from tidemill.testing.load.admission import Admission, Request, Verdict
from tidemill.testing.load.meter import Cost
from tidemill.testing.load.oracle import Oracle, ask_oracle
from tidemill.testing.load.plan import Load, Outage
from tidemill.testing.plan import ERROR_KINDS, Call, Fault, Faults, last_message
from tidemill.testing.replies import WORDS, compile_schema
from tidemill.testing.tool_calls import Content, ToolCalls

T = TypeVar("T")

Reply = Callable[[Call], Content]
"""What a good reply holds, as a function of the request; of one that a quota then refuses, too."""

MAX_SCHEMAS = 256
_COLUMN = {"good": 1, "refused": 2, "failed": 3}


class _OwnError(Exception):
    """A script or a reply function of the test failed."""


class _Received(NamedTuple):
    """One call on its way to its answer."""

    form: Format
    digest: bytes
    times: int
    ask: Ask
    call: Call | None


class Board:
    """The plan, the counters and the cached schemas of one server.

    Belongs to the server's loop; another thread may read the counters and assign `latency_s`, `faults`, `delivery`
    and, by `carry`, the load.

    Args:
        latency_s: seconds from a request received whole to its answer.
        faults: which request fails how.
        reply: the content of good replies.
        keep_calls: keep every request.
        load: what the server carries.
        delivery: how good replies come.
    """

    def __init__(
        self,
        *,
        latency_s: float = 0.0,
        faults: Faults | None = None,
        reply: Reply | None = None,
        keep_calls: bool = False,
        load: Load | None = None,
        delivery: Delivery | None = None,
    ) -> None:
        self.latency_s = latency_s
        self.faults = faults
        self.reply = reply
        self.keep_calls = keep_calls
        self.delivery = delivery or Delivery()
        self.counters = Counters()
        self.own_error: Exception | None = None
        self.waiting: dict[Callable[[bytes], None], Callable[[Counters], bool]] = {}
        self.on_start: Callable[[Admission | None], None] | None = None
        self._schemas: dict[bytes, Callable[[bytes], Any]] = {}
        self._formats: dict[bytes, Format] = {
            b"/chat/completions": OpenAiChat(),
            b"/embeddings": OpenAiEmbeddings(),
            b"/messages": AnthropicMessages(),
        }
        self.carry(load)

    def carry(self, load: Load | None) -> None:
        """Carry another load; its time, and the timeline's, starts with the next request."""
        self.admission = Admission(load) if load is not None else None
        self.started_at: float | None = None
        self.counters.seconds.clear()
        if self.on_start is not None:
            self.on_start(None)

    def find_format(self, path: bytes) -> Format | None:
        """The wire format served at a path; None where there is none."""
        path = path.partition(b"?")[0]
        for suffix, form in self._formats.items():
            if path.endswith(suffix):
                return form
        return None

    def reset(self) -> None:
        """Count from zero; what is in flight stays in flight, and the load's time goes on."""
        in_flight = self.counters.in_flight
        self.counters = Counters(in_flight=in_flight, max_in_flight=in_flight)

    def wait(self, is_reached: Callable[[Counters], bool], answer: Callable[[bytes], None]) -> None:
        """Call `answer` with the counters as soon as `is_reached` says so of them."""
        self.waiting[answer] = is_reached
        self.notify()

    def notify(self) -> None:
        """Answer those whose wait is over."""
        for answer, is_reached in list(self.waiting.items()):
            if is_reached(self.counters):
                del self.waiting[answer]
                answer(render_response(200, self.counters.to_json()))

    def elapsed_s(self, now: float) -> float:
        """Seconds since the first request under the load; a first one is it."""
        if self.started_at is None:
            self.started_at = now
            if self.on_start is not None and self.admission is not None:
                self.on_start(self.admission)
        return now - self.started_at

    def ask_oracle(self, start_s: float, stop_s: float) -> Oracle:
        """What the load would have let through, of calls like those billed so far."""
        counters, load = self.counters, self.admission.load if self.admission is not None else Load()
        billed = max(1, counters.billed)
        cost = {
            "requests": 1.0,
            "tokens": (counters.input_tokens + counters.output_tokens) / billed,
            "input_tokens": counters.input_tokens / billed,
            "output_tokens": counters.output_tokens / billed,
        }
        return ask_oracle(load, start_s, stop_s, cost=cost, latency_s=self.latency_s)

    def receive(self, form: Format, path: bytes, head: bytes, body: bytes, now: float) -> Answer:
        """Count one request as received and in flight; returns what it gets."""
        counters = self.counters
        digest = hashlib.sha256(body).digest()
        at_s = self.elapsed_s(now)
        times = counters.count_arrival(digest, at_s)
        call = None
        if self.faults is not None or self.reply is not None or self.keep_calls:
            call = Call(counters.requests, times, path.decode(), parse_headers(head), body)
            if self.keep_calls:
                counters.calls.append(call)
        try:
            payload = orjson.loads(body)
            form.check(payload, head)
            received = _Received(form, digest, times, Ask(payload, body, self.delivery, now), call)
            answer, usage = self._answer(received, at_s)
        except _OwnError as exc:
            message = f"the test's own function failed: {exc}"
            answer, usage = Answer(render_response(500, form.render_error(500, message))), None
        except (DataError, ValueError, AttributeError, TypeError, LookupError) as exc:
            # What the request's author wrote is no such request, or its schema cannot be served: their 400.
            refused = render_response(400, form.render_error(400, f"not a request of this kind: {exc}"))
            answer, usage = Answer(refused, self.latency_s), None
        counters.count_bill(digest, usage)
        if self.waiting:
            self.notify()
        return answer

    def finish(self, answer: Answer, received_at: float, now: float) -> None:
        """Count a request as answered."""
        counters = self.counters
        counters.in_flight -= 1
        outcome = answer.outcome
        if outcome == "good":
            counters.good += 1
        elif outcome == "refused":
            counters.refused += 1
        else:
            counters.failed += 1
        if self.started_at is not None:
            counters.count_in_second(now - self.started_at, _COLUMN[outcome])
        if answer.held_by is not None:
            answer.held_by.release()
            if outcome == "good":
                counters.delays.append(now - received_at)
        if self.waiting:
            self.notify()

    def leave(self, answer: Answer, now: float) -> None:
        """Count a request as given up by its client; it stays billed."""
        self.finish(answer._replace(outcome="failed"), now, now)

    def _own(self, function: Callable[[Call], T], call: Call) -> T:
        """What a test's own function says; its first error is kept, to be raised where the test can see it."""
        try:
            return function(call)
        except Exception as exc:
            self.own_error = self.own_error or exc
            raise _OwnError(exc) from exc

    def _answer(self, received: _Received, at_s: float) -> tuple[Answer, Usage | None]:
        """The answer, and what it is billed for."""
        form, digest, _, ask, call = received
        admission = self.admission
        if admission is not None:
            outage = admission.find_outage(at_s, digest, received.times)
            if outage is not None:
                return self._fail(outage, form), None
        fault = self._own(self.faults.choose, call) if self.faults is not None and call is not None else None
        contents = self._contents(received, fault)
        usage = form.count_usage(ask, contents)
        headers: dict[str, str] = {}
        delay_s = self.latency_s
        if admission is not None:
            verdict = admission.arrive(at_s, Request(digest, received.times, self._cost(received, usage)))
            self.counters.over_quota += verdict.is_excess
            headers = form.limit_headers(verdict.standings, time.time())
            if verdict.refusal is not None:
                return self._refuse(verdict, form, headers), None
            delay_s += verdict.delay_s
        delivery = ask.delivery
        if fault is None:
            told = usage if delivery.tells_usage else None
            answer = make_good(form, Exchange(digest, ask.payload, told, delivery), contents, headers)
        else:
            assert call is not None
            self.counters.faults[fault.kind] = self.counters.faults.get(fault.kind, 0) + 1
            told = usage if delivery.tells_usage and fault.tells_usage else None
            answer = make_fault(form, Exchange(digest, ask.payload, told, delivery), contents, call, fault)
            delay_s += fault.delay_s
        if answer.outcome == "good":
            delay_s += delivery.wait_s(usage.reasoning_tokens + 1 if answer.pieces else usage.output_tokens)
        if delay_s or admission is not None:
            answer = answer._replace(delay_s=delay_s, held_by=admission)
        if fault is not None and not fault.is_billed:
            return answer, None
        form.remember(ask)
        return answer, usage

    def _cost(self, received: _Received, usage: Usage) -> Cost:
        """What quotas are charged for."""
        ceiling = received.form.find_ceiling(received.ask.payload)
        cached = 0 if received.form.counts_cached else usage.cached_tokens
        most = usage.output_tokens if ceiling is None else ceiling
        return Cost(usage.input_tokens - cached, usage.output_tokens, most)

    def _fail(self, outage: Outage, form: Format) -> Answer:
        """What a request gets in an outage."""
        name = f"outage: {outage.kind}"
        self.counters.faults[name] = self.counters.faults.get(name, 0) + 1
        if outage.kind == "status":
            headers = form.retry_headers(outage.retry_after_s) if outage.retry_after_s is not None else {}
            body = form.render_error(outage.status, "the server is out of order")
            return Answer(render_response(outage.status, body, headers), self.latency_s)
        return Answer(None) if outage.kind == "stall" else Answer(b"", aborts=True)

    def _refuse(self, verdict: Verdict, form: Format, headers: Mapping[str, str]) -> Answer:
        """The answer to a request that does not fit."""
        status = form.overloaded if verdict.status == 503 else verdict.status
        message = f"Rate limit reached for {verdict.unit}" if verdict.unit else "Too many requests in flight"
        if verdict.retry_after_s is not None:
            headers = {**headers, **form.retry_headers(verdict.retry_after_s)}
        body = form.render_error(status, message)
        return Answer(render_response(status, body, headers), self.latency_s, outcome="refused")

    def _contents(self, received: _Received, fault: Fault | None) -> list[Content]:
        """What the reply holds, as often as it is asked for."""
        form, digest, _, ask, call = received
        samples = form.count_samples(ask.payload)
        if fault is not None and fault.kind in ERROR_KINDS and fault.at_ratio is None:
            return []
        if fault is not None and fault.kind != "error" and fault.content is not None:
            return [fault.content] * max(1, samples)
        if fault is not None and fault.tool_calls and samples:
            return [ToolCalls(*fault.tool_calls)] * samples
        if self.reply is not None and call is not None and samples:
            return [self._own(partial(_choose, self.reply), call)] * samples
        tool = form.find_tool(ask.payload) if samples else None
        if tool is not None:
            name, parameters = tool
            return [ToolCalls((name, self._value(parameters, vary(digest, sample)))) for sample in range(samples)]
        schema = form.find_schema(ask.payload) if samples else None
        if schema is None:
            return [self._words(last_message(ask.payload), sample) for sample in range(samples)]
        return [self._value(schema, vary(digest, sample)) for sample in range(samples)]

    def _words(self, message: str, sample: int) -> str:
        """A text that follows from the message."""
        hashed = vary(hashlib.sha256(message.encode()).digest(), sample)
        text = f"{WORDS[hashed[0] % len(WORDS)]} {WORDS[hashed[1] % len(WORDS)]} {hashed[2:8].hex()}"
        missing = self.delivery.min_tokens * TOKEN_CHARACTERS - len(text)
        while missing > 0:
            hashed = hashlib.sha256(hashed).digest()
            more = " ".join(WORDS[byte % len(WORDS)] for byte in hashed)
            text += f" {more}"[:missing]
            missing -= len(more) + 1
        return text

    def _value(self, schema: Mapping[str, Any], digest: bytes) -> str:
        """JSON that conforms to the schema and follows from the body."""
        key = orjson.dumps(schema)
        make = self._schemas.get(key)
        if make is None:
            if len(self._schemas) >= MAX_SCHEMAS:
                self._schemas.clear()
            make = self._schemas[key] = compile_schema(schema)
        return orjson.dumps(make(digest)).decode()


def parse_headers(head: bytes) -> dict[str, str]:
    """The headers of a request's head, names in lower case."""
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _choose(reply: Callable[[Call], Content], call: Call) -> Content:
    """What a test's own `reply` gives.

    Raises:
        TypeError: that is no reply.
    """
    content: Any = reply(call)
    if not isinstance(content, (str, ToolCalls)):
        raise TypeError(f"`reply` gives a text or ToolCalls(…), got {describe_value(content)}")
    return content
