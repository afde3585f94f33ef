"""The `generate` step against a real server: what it sends, and what it makes of every kind of reply."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import orjson
import pytest
from pydantic import BaseModel, Field

import tidemill as tm
from tidemill.models.generate import Generate
from tidemill.testing import Call, Fault, Faults, FaultServer

GOOD = '{"sentiment": "positive", "topic": "shoes"}'


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=10)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(keep_calls=True) as server:
        yield server


def ask(server: FaultServer, record: dict[str, Any] | None = None, **fields: Any) -> Any:
    """The value one `generate` step puts into its column."""
    model = fields.pop("model", {})
    given = {
        "model": tm.model("openai/any", **{"base_url": server.base_url, "api_key": "none", **model}),
        "prompt": "About {{ text }}",
        "into": "value",
        **fields,
    }
    return tm.Pipeline([Generate(**given)])(record or {"text": "shoes"})["value"]


def replies(*contents: str) -> Faults:
    """The contents of the replies, in turn; the last one for ever."""
    return Faults(script=lambda call: Fault("reply", content=contents[min(call.number, len(contents)) - 1]))


def test_without_an_output_the_column_holds_the_text(server: FaultServer) -> None:
    server.faults = replies("  as it came\n")
    assert ask(server) == "  as it came\n"


def test_with_an_output_the_column_holds_its_json_form(server: FaultServer) -> None:
    server.faults = replies(GOOD)
    assert ask(server, output=Label) == {"sentiment": "positive", "topic": "shoes"}
    assert server.requests == 1


def test_the_whole_request(server: FaultServer) -> None:
    """Typed parameters, then what is passed through verbatim, then the schema."""
    ask(
        server,
        system="Be {{ tone }}.",
        record={"text": "shoes", "tone": "kind"},
        output=Label,
        max_tokens=60,
        temperature=0.5,
        top_p=0.9,
        seed=7,
        stop=("\n", "END"),
        params={"logit_bias": {"50256": -100}, "top_k": 4},
        model={"params": {"service_tier": "flex", "top_k": 3}, "headers": {"X-Team": "a, b"}},
    )
    [call] = server.calls
    assert call.path == "/v1/chat/completions"
    assert call.headers["x-team"] == "a, b"
    assert call.headers["authorization"] == "Bearer none"
    body = orjson.loads(call.body)
    assert body.pop("response_format")["json_schema"]["schema"]["properties"]["topic"] == {
        "type": "string",
        "maxLength": 10,
    }
    assert body == {
        "model": "any",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "About shoes"}],
        "max_tokens": 60,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["\n", "END"],
        "service_tier": "flex",
        "top_k": 4,
        "logit_bias": {"50256": -100},
    }


def test_equal_inputs_give_equal_requests_byte_for_byte(server: FaultServer) -> None:
    """In another process too: nothing in a request depends on time, order of hashing or chance."""
    for key in ("one", "two"):
        ask(server, output=Label, params={"b": 1, "a": {"z": 1, "y": 2}}, model={"api_key": key})
    first, second = server.calls
    assert first.body == second.body
    assert first.body.startswith(
        b'{"model":"any","messages":[{"role":"user","content":"About shoes"}],"b":1,"a":{"z":1'
    )


def test_a_reply_that_does_not_fit_is_asked_again_with_just_the_failing_paths(server: FaultServer) -> None:
    bad = '{"sentiment": "fine", "topic": "much too long a topic", "more": 1}'
    server.faults = replies(bad, GOOD)
    assert ask(server, output=Label)["topic"] == "shoes"
    first, second = (call.payload["messages"] for call in server.calls)
    assert second[:1] == first
    assert second[1] == {"role": "assistant", "content": bad}
    assert second[2] == {
        "role": "user",
        "content": "These parts of your reply are wrong:\n"
        "- $.sentiment: Input should be 'positive' or 'negative', got 'fine'\n"
        "- $.topic: String should have at most 10 characters, got 'much too long a topic'\n"
        "Answer again with the whole corrected JSON only.",
    }


def test_only_the_last_reply_is_shown_to_the_model(server: FaultServer) -> None:
    """A conversation that grew with each ask would cost more each time."""
    server.faults = replies("one", "two", GOOD)
    ask(server, output=Label)
    assert [len(call.payload["messages"]) for call in server.calls] == [1, 3, 3]
    assert server.calls[2].payload["messages"][1]["content"] == "two"


@pytest.mark.parametrize("most", [0, 1, 3])
def test_it_is_asked_again_at_most_so_often(server: FaultServer, most: int) -> None:
    server.faults = replies('{"sentiment": "fine"}')
    with pytest.raises(tm.PermanentCallError, match=f"no reply fitted the output in {most + 1} asks") as caught:
        ask(server, output=Label, max_reasks=most)
    assert server.billed == most + 1
    assert "$.sentiment: Input should be 'positive' or 'negative', got 'fine'" in str(caught.value)
    assert "$.topic: Field required" in str(caught.value)
    assert 'it was: \'{"sentiment": "fine"}\'' in str(caught.value)
    assert caught.value.of == "record"


def test_a_text_around_the_json_is_told_as_such(server: FaultServer) -> None:
    server.faults = replies(f"Sure! {GOOD}", GOOD)
    ask(server, output=Label)
    assert "not valid JSON" in server.calls[1].payload["messages"][2]["content"]


@pytest.mark.parametrize(("bound", "where"), [({"max_tokens": 9}, "at max_tokens=9"), ({}, "for its length")])
def test_a_reply_cut_at_its_ceiling_is_told_as_such(server: FaultServer, bound: dict[str, Any], where: str) -> None:
    """The bound is named where the step set one."""
    server.faults = Faults(script=lambda call: Fault("truncated") if call.number == 1 else None)
    ask(server, output=Label, **bound)
    complaint = server.calls[1].payload["messages"][2]["content"]
    assert complaint.startswith(f"Your reply was cut off {where}: answer more briefly.")


def test_a_text_cut_at_its_ceiling_is_kept(server: FaultServer) -> None:
    """Without a schema nobody can say that it is not what was wanted."""
    server.faults = Faults(script=lambda call: Fault("truncated", content="half a word"))
    assert ask(server, max_tokens=2) == "half "


@pytest.mark.parametrize("output", [None, Label])
def test_a_refusal_fails_the_record_at_once(server: FaultServer, output: Any) -> None:
    server.faults = Faults(matching=[("About", Fault("refusal", content="I would rather not"))])
    with pytest.raises(tm.PermanentCallError, match="the model refused: I would rather not"):
        ask(server, output=output)
    assert server.billed == 1


@pytest.mark.parametrize("kind", ["refusal", "reply", "error"])
def test_half_a_key_is_in_no_error(server: FaultServer, kind: Any) -> None:
    """What a model wrote is masked before it is cut: a key across the cut leaves nothing behind."""
    for place in (60, 70, 185, 195):
        fault = Fault(kind, status=400, content=f"{'x' * place}canary-0123456789 it was")
        server.faults = Faults(matching=[("", fault)])
        with pytest.raises(tm.CallError, match="xxx") as caught:
            ask(server, output=Label, max_reasks=0, model={"api_key": "canary-0123456789"})
        assert "canary" not in str(caught.value)


def test_a_missing_column_is_the_record_s_failure(server: FaultServer) -> None:
    with pytest.raises(tm.DataError, match="no column `text`; this record has `texts`"):
        ask(server, {"texts": "shoes"})
    assert server.requests == 0


def test_a_failing_attempt_is_no_ask(server: FaultServer) -> None:
    """Retries are of the call, re-asks of the reply: neither counts towards the other's bound."""

    def script(call: Call) -> Fault | None:
        return Fault("status", status=503) if call.times == 1 else Fault("reply", content="no JSON")

    server.faults = Faults(script=script)
    with pytest.raises(tm.PermanentCallError, match="in 2 asks"):
        ask(server, output=Label, max_reasks=1)
    assert (server.requests, server.billed) == (4, 2)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": -0.05}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"params": {"messages": []}}, "`params` must not set `messages`"),
        ({"params": {"response_format": {}}}, "`params` must not set `response_format`"),
        ({"params": {"stream": True}}, "`params` must not set `stream`: a reply is taken whole"),
        ({"params": {"n": 50}}, "`params` must not set `n`: a call has one reply"),
        ({"model": tm.model("openai/x", params={"best_of": 2})}, "`params` must not set `best_of`"),
        ({"temperature": 1, "model": tm.model("openai/x", params={"temperature": 0})}, "must not set `temperature`"),
    ],
)
def test_what_cannot_be_asked_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        tm.read("a.jsonl").generate(**{"model": "openai/x", "prompt": "a", **fields})


def test_a_reply_in_any_form_of_json_text(server: FaultServer) -> None:
    server.faults = replies(json.dumps({"sentiment": "negative", "topic": "é\n\u2028"}, indent=3))
    assert ask(server, output=Label) == {"sentiment": "negative", "topic": "é\n\u2028"}
