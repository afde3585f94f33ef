"""The loopback server: what it answers, what it counts, how it fails."""

import hashlib
import http.client
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, Literal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from tidemill.errors import ConfigError, ResourceError
from tidemill.testing import Call, Fault, Faults, FaultServer

PATH = "/v1/chat/completions"
KEY = "Bearer sk-canary-0123456789"


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=40)


def chat(text: str, output: type[BaseModel] | None = None, **more: Any) -> bytes:
    request: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    if output is not None:
        schema = {"name": output.__name__, "schema": output.model_json_schema()}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    return orjson.dumps(request)


def head(body: bytes) -> bytes:
    return f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def open_client(server: FaultServer) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as client:
        yield client


@contextmanager
def open_socket(server: FaultServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        yield client


def post(server: FaultServer, body: bytes, path: str = PATH) -> tuple[int, dict[str, str], bytes]:
    with open_client(server) as client:
        client.request("POST", path, body, {"Authorization": KEY})
        response = client.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()


def content(body: bytes) -> str:
    return str(orjson.loads(body)["choices"][0]["message"]["content"])


def fail_with(server: FaultServer, fault: Fault) -> None:
    server.faults = Faults(script=lambda call: fault)


def test_a_reply_follows_from_the_request(server: FaultServer) -> None:
    """The same request gets the same bytes, another message another text; the rest of the request does not matter."""
    first, again, other = (post(server, chat(text))[2] for text in ("one", "one", "two"))
    assert first == again
    assert content(first) != content(other)
    assert content(first) == content(post(server, chat("one", temperature=0.5))[2])
    parts = {"messages": [{"role": "user", "content": [{"type": "text", "text": "one"}]}]}
    assert content(first) == content(post(server, orjson.dumps(parts))[2])


def test_a_reply_conforms_to_the_schema_asked_for(server: FaultServer) -> None:
    """`response_format` is honoured, differently for different requests."""
    labels = [Label.model_validate_json(content(post(server, chat(str(n), Label))[2])) for n in range(8)]
    assert len({label.topic for label in labels}) == 8
    free = orjson.dumps({"messages": [], "response_format": {"type": "json_object"}})
    assert isinstance(orjson.loads(content(post(server, free)[2])), dict)


def test_usage_follows_from_the_bytes(server: FaultServer) -> None:
    """Four bytes to a token, the output within `max_tokens`; the server's bill is the sum."""
    body = chat("hello", max_tokens=3)
    usage = orjson.loads(post(server, body)[2])["usage"]
    tokens = (len(body) + 3) // 4
    assert usage == {"prompt_tokens": tokens, "completion_tokens": 3, "total_tokens": tokens + 3}
    assert (server.stats()["input_tokens"], server.stats()["output_tokens"]) == (tokens, 3)


def test_a_reply_of_ones_own() -> None:
    """`reply` makes the content of good replies."""
    with FaultServer(reply=lambda call: f"{call.number} {call.times} {call.message.upper()}") as server:
        assert [content(post(server, chat("abc"))[2]) for _ in range(2)] == ["1 1 ABC", "2 2 ABC"]


def test_billed_calls_are_counted_by_body(server: FaultServer) -> None:
    """Two equal requests are two billed calls of one body; what was refused is not billed."""
    bodies = [chat("one"), chat("two"), chat("one")]
    for body in bodies:
        post(server, body)
    fail_with(server, Fault("status", status=503))
    post(server, chat("one"))
    post(server, chat("three"))
    digests = [hashlib.sha256(body).hexdigest() for body in bodies]
    assert server.billed_bodies == {digests[0]: 2, digests[1]: 1}
    assert (server.requests, server.billed) == (5, 3)
    assert [call.sha256 for call in server.calls[:3]] == digests
    assert server.calls[0].headers["authorization"] == KEY


def test_in_flight_is_received_and_not_yet_answered(server: FaultServer) -> None:
    """A call is in flight until its reply, or until its client is gone; `max_in_flight` remembers."""
    server.faults = Faults(matching=[("stalled", Fault("stall"))])
    with open_socket(server) as one, open_socket(server) as two, open_socket(server) as three:
        for client in (one, two, three):
            client.sendall(head(chat("stalled")))
        assert server.wait_for(in_flight=3)["requests"] == 3
        post(server, chat("answered"))
        assert server.in_flight == 3
    assert server.wait_idle()["in_flight"] == 0
    assert (server.max_in_flight, server.billed) == (4, 4)


def test_latency_overlaps_calls(server: FaultServer) -> None:
    """A waiting reply holds nobody up, and does not change with what is set while it waits."""
    server.latency_s = 1000.0
    with open_socket(server) as client:
        client.sendall(head(chat("x")))
        server.wait_for(in_flight=1)
        server.latency_s = 0.0
        assert post(server, chat("x"))[0] == 200
        assert (server.in_flight, server.max_in_flight) == (1, 2)


def test_reset_counts_from_zero(server: FaultServer) -> None:
    """What is in flight stays in flight."""
    fail_with(server, Fault("stall"))
    with open_socket(server) as client:
        client.sendall(head(chat("x")))
        server.wait_for(in_flight=1)
        server.reset()
        stats = server.stats()
        assert (stats["requests"], stats["billed"], stats["in_flight"], stats["max_in_flight"]) == (0, 0, 1, 1)
    server.wait_idle()


def test_pipelined_requests_are_answered_in_order(server: FaultServer) -> None:
    """A later request's reply waits for an earlier one's."""
    server.faults = Faults(matching=[("slow", Fault("reply", content="first", delay_s=0.05))])
    with open_socket(server) as client:
        client.sendall(head(chat("slow"))[:-5])
        client.sendall(head(chat("slow"))[-5:] + head(chat("fast")))
        received = b""
        while received.count(b"HTTP/1.1 200 OK") < 2 or not received.endswith(b"}}"):
            received += client.recv(65536)
    assert received.startswith(b"HTTP/1.1 200 OK")
    assert received.index(b'"first"') < received.rindex(b"HTTP/1.1 200 OK")
    assert server.max_in_flight == 2


@pytest.fixture(scope="module")
def shared_server() -> Iterator[FaultServer]:
    """One server for all examples of a property."""
    with FaultServer() as running:
        yield running


@given(st.lists(st.integers(1, 80), max_size=8))
def test_a_request_may_arrive_in_pieces(shared_server: FaultServer, sizes: list[int]) -> None:
    """Wherever the bytes are cut, the request is the same; plain and chunked bodies alike."""
    body = chat("pieces")
    chunks = b"".join(b"%x;ext=1\r\n%b\r\n" % (len(part), part) for part in (body[:20], body[20:]))
    chunked = f"POST {PATH} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n"
    whole = head(body) + chunked + b"Trailer: x\r\n\r\n" + chunked + b"\r\n"
    before = shared_server.requests
    with open_socket(shared_server) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for size in sizes:
            client.sendall(whole[:size])
            whole = whole[size:]
        client.sendall(whole)
        assert shared_server.wait_for(requests=before + 3)["requests"] == before + 3
    assert set(shared_server.billed_bodies) == {hashlib.sha256(body).hexdigest()}


def test_a_connection_is_kept_or_closed_as_asked(server: FaultServer) -> None:
    """Keep-alive is the default; `Connection: close` ends it behind the reply."""
    with open_client(server) as client:
        for _ in range(3):
            client.request("POST", PATH, chat("x"))
            client.getresponse().read()
    assert server.stats()["connections"] == 2
    with open_socket(server) as raw:
        raw.sendall(head(chat("x")).replace(b"Host: x", b"Connection: close"))
        received = b""
        while piece := raw.recv(65536):
            received += piece
    assert received.endswith(b"}}")


def test_a_status_fault_tells_when_to_come_back(server: FaultServer) -> None:
    """429 with `Retry-After`, not billed, counted by kind."""
    fail_with(server, Fault("status", status=429, retry_after_s=0.5, headers={"X-More": "1"}))
    status, headers, body = post(server, chat("x"))
    assert (status, headers["retry-after"], headers["x-more"]) == (429, "0.5", "1")
    assert orjson.loads(body)["error"]["message"] == "fault: status"
    assert (server.billed, server.stats()["faults"]) == (0, {"status": 1})


def test_a_cut_reply_is_billed(server: FaultServer) -> None:
    """The head promises more than comes."""
    fail_with(server, Fault("cut"))
    with pytest.raises(http.client.IncompleteRead, match="more expected"):
        post(server, chat("x"))
    assert server.billed == 1


def test_a_reset_gives_no_byte(server: FaultServer) -> None:
    """The connection ends, unbilled."""
    fail_with(server, Fault("reset"))
    with pytest.raises(http.client.RemoteDisconnected, match="closed connection without response"):
        post(server, chat("x"))
    assert server.billed == 0


def test_a_trickle_goes_on_and_is_billed(server: FaultServer) -> None:
    """A byte at a time, in flight all the while."""
    fail_with(server, Fault("trickle", interval_s=0.001))
    with open_client(server) as client:
        client.request("POST", PATH, chat("x"))
        assert client.getresponse().read(5) == b"     "
        assert (server.in_flight, server.billed) == (1, 1)
    server.wait_idle()


def test_a_trickle_waits_for_its_turn(server: FaultServer) -> None:
    """It starts behind the reply before it."""
    slow, trickle = Fault("reply", content="slow", delay_s=0.02), Fault("trickle", interval_s=0.001)
    server.faults = Faults(matching=[("slow", slow), ("drip", trickle)])
    with open_socket(server) as client:
        client.sendall(head(chat("slow")) + head(chat("drip")))
        received = b""
        while not received.endswith(b"\r\n\r\n  "):
            received += client.recv(1)
    assert received.index(b'"slow"') < received.rindex(b"HTTP/1.1 200 OK")


def test_garbage_is_no_json(server: FaultServer) -> None:
    """Status 200, and a body no parser takes."""
    fail_with(server, Fault("garbage"))
    status, _, body = post(server, chat("x"))
    assert status == 200
    with pytest.raises(orjson.JSONDecodeError, match="unexpected character"):
        orjson.loads(body)


def test_an_invalid_reply_fails_at_one_path(server: FaultServer) -> None:
    """The content is JSON, and does not fit its schema; without a schema it is no JSON."""
    fail_with(server, Fault("invalid"))
    with pytest.raises(ValidationError, match="1 validation error for Label\nsentiment"):
        Label.model_validate_json(content(post(server, chat("x", Label))[2]))
    assert content(post(server, chat("x"))[2]).endswith("{")


def test_a_truncated_reply_says_so(server: FaultServer) -> None:
    """Half the content, `finish_reason` `length`."""
    fail_with(server, Fault("truncated", content="12345678"))
    body = post(server, chat("x"))[2]
    assert (content(body), orjson.loads(body)["choices"][0]["finish_reason"]) == ("1234", "length")


def test_an_error_may_come_with_status_200(server: FaultServer) -> None:
    """Some gateways answer so."""
    fail_with(server, Fault("error", content="overloaded"))
    status, _, body = post(server, chat("x"))
    assert (status, orjson.loads(body)["error"]["message"], server.billed) == (200, "overloaded", 0)


def test_credentials_are_echoed_where_servers_echo_them(server: FaultServer) -> None:
    """In a 401's body and headers, and in a redirect's address: what a canary test needs."""
    fail_with(server, Fault("unauthorized"))
    status, headers, body = post(server, chat("x"))
    assert status == 401
    assert KEY in body.decode()
    assert KEY in headers["www-authenticate"]
    fail_with(server, Fault("redirect"))
    status, headers, _ = post(server, chat("x"))
    assert status == 307
    assert KEY in headers["location"]
    assert server.billed == 0


def test_what_is_no_chat_request_is_refused(server: FaultServer) -> None:
    """400 for a body that is none, or for a schema that cannot be served; 404 and a stray for another path."""
    pattern = {"type": "json_schema", "json_schema": {"schema": {"type": "string", "pattern": "a"}}}
    endless = {
        "type": "json_schema",
        "json_schema": {"schema": {"type": "array", "minItems": 1, "items": {"$ref": "#"}}},
    }
    bodies = [b"{", b"[]", chat("x", response_format=pattern), chat("x", response_format=endless)]
    assert [post(server, body)[0] for body in bodies] == [400] * 4
    assert post(server, b"", "/elsewhere")[0] == 404
    assert (server.billed, server.in_flight, server.stats()["strays"]) == (0, 0, 1)


def test_a_wait_that_is_not_over_in_time_is_an_error(server: FaultServer) -> None:
    """It says what the counters stood at; a counter that does not exist is refused."""
    with pytest.raises(ResourceError, match=r"was not reached within 0\.01 s: \{'requests': 0"):
        server.wait_for(requests=1, timeout_s=0.01)
    with pytest.raises(ResourceError, match="refused /wait"):
        server.wait_for(nothing=1)


def test_a_taken_port_is_an_error(server: FaultServer) -> None:
    """The server does not start where another stands."""
    with pytest.raises(ResourceError, match=f"did not start on port {server.port}"):
        FaultServer(port=server.port).__enter__()


def test_a_server_that_is_gone_is_an_error_until_it_is_back(closed_port: int) -> None:
    """Its counters are asked for over HTTP; another may take its port at once."""
    with FaultServer(port=closed_port) as server:
        assert server.base_url == f"{server.url}/v1"
        post(server, chat("x"))
    with pytest.raises(ResourceError, match="does not answer"):
        server.stats()
    with FaultServer(port=server.port) as back:
        assert (back.port, back.requests) == (server.port, 0) == (closed_port, 0)


def test_an_error_in_the_tests_own_function_is_raised_where_the_block_ends() -> None:
    """The client gets a 500, and the test its assertion; an error of the block itself is not hidden by it."""

    def refuse(received: Call) -> str:
        raise AssertionError(f"call {received.number} should not be there")

    with pytest.raises(AssertionError, match="call 1 should not be there"), FaultServer(reply=refuse) as server:
        assert [post(server, chat("x"))[0] for _ in range(2)] == [500, 500]
        assert (server.requests, server.billed) == (2, 0)
    with pytest.raises(KeyError, match="mine"), FaultServer(reply=refuse) as server:
        post(server, chat("x"))
        raise KeyError("mine")


def call(number: int, times: int = 1) -> Call:
    return Call(number, times, PATH, {}, chat(f"message {number}"))


def test_mixed_faults_come_in_their_ratios_and_do_not_depend_on_the_order() -> None:
    """Which request gets which fault follows from seed, body and times, so that two runs see the same faults."""
    plan = Faults(mixed=[(0.2, Fault("stall")), (0.1, Fault("cut"))], seed=3)
    chosen = [plan.choose(call(number)) for number in range(2000)]
    kinds = [fault.kind if fault else None for fault in chosen]
    assert 340 < kinds.count("stall") < 460
    assert 150 < kinds.count("cut") < 250
    assert chosen == [plan.choose(call(number)) for number in reversed(range(2000))][::-1]
    assert chosen != [plan.choose(call(number, times=2)) for number in range(2000)]
    assert chosen != [Faults(mixed=plan.mixed, seed=4).choose(call(number)) for number in range(2000)]


def test_the_first_rule_with_a_fault_decides() -> None:
    """Script, then text, then ratios."""
    plan = Faults(
        script=lambda received: Fault("cut") if received.number == 1 else None,
        matching=[("message", Fault("reset"))],
        mixed=[(1.0, Fault("stall"))],
    )
    assert [getattr(plan.choose(call(number)), "kind", None) for number in (1, 2)] == ["cut", "reset"]
    assert plan.choose(Call(1, 1, PATH, {}, b"{}")) == Fault("cut")
    assert plan.choose(Call(2, 1, PATH, {}, b"{}")) == Fault("stall")


def test_a_plan_is_checked_when_made() -> None:
    """An unknown kind, or ratios past 1, is the author's error."""
    with pytest.raises(ConfigError, match="no fault is called 'stal'"):
        Fault("stal")  # type: ignore[arg-type]  # what the test is about
    with pytest.raises(ConfigError, match="sum up to at most 1"):
        Faults(mixed=[(0.6, Fault("cut")), (0.6, Fault("stall"))])


def test_a_plan_without_a_script_crosses_to_another_process() -> None:
    """JSON and back is the same plan; a function does not cross."""
    plan = Faults(
        matching=[("a", Fault("status", status=400, headers={"X": "1"}))],
        mixed=[(0.5, Fault("cut")), (0.5, Fault("reply", tool_calls=[("search", {"q": "tide"})]))],
        seed=9,
    )
    assert Faults.from_json(plan.to_json()) == plan
    with pytest.raises(ConfigError, match="script cannot be sent"):
        Faults(script=lambda received: None).to_json()
