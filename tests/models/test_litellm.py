"""Models spoken to by litellm: one attempt a request, the OpenAI format out and in, errors as any other's."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
from pydantic import BaseModel

import tidemill as tm
from tidemill.calls.retry import judge_response
from tidemill.calls.wire import AttemptTimeoutError, Request, Response, UnreachableError
from tidemill.errors import PermanentCallError, TransientCallError
from tidemill.models.endpoints import (
    find_base_url,
    find_headers,
    find_transport,
    make_embedding_endpoint,
    make_endpoint,
)
from tidemill.models.formats.litellm import LitellmTransport
from tidemill.models.options import Options, ToolSpec
from tidemill.models.structured.plan import Abilities, plan_output
from tidemill.testing import Call, Fault, Faults, FaultServer, ToolCalls

pytest.importorskip("litellm")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # litellm's own

MESSAGES: Any = [{"role": "user", "content": "Say hi."}]


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]


def make_model(server: FaultServer, **fields: Any) -> tm.Model:
    return tm.model("litellm/openai/any", base_url=server.base_url, api_key="key-12345", **fields)


def send(
    model: tm.Model, folder: Path, options: Options, timeout_s: float = 30.0, messages: Any = MESSAGES
) -> tuple[Request, Response]:
    """One request of `model` and its response."""
    endpoint = make_endpoint(model, find_headers(model, folder), options)
    request = endpoint.build_request(messages)
    return request, run(model, lambda transport: transport.send(request, timeout_s))


def run(model: tm.Model, scene: Callable[[LitellmTransport], Awaitable[Response]]) -> Response:
    async def main() -> Response:
        transport = find_transport(model)
        assert isinstance(transport, LitellmTransport)
        try:
            return await scene(transport)
        finally:
            await transport.close()

    return asyncio.run(main())


def test_a_request_and_its_reply_go_through_it(tmp_path: Path) -> None:
    """With the model's own parameters, headers and key; the body's schema too."""
    with FaultServer(keep_calls=True) as server:
        model = make_model(server, headers={"X-Team": "a"})
        _, response = send(
            model,
            tmp_path,
            plan_output(Label, Abilities("openai")).add_to(Options(max_tokens=9, params={"top_p": 0.5})),
        )
        [call] = server.calls
    reply = make_endpoint(model, {}, Options()).parse_reply(response)
    assert reply.usage is not None
    assert Label.model_validate_json(reply.text).sentiment in ("positive", "negative")
    assert call.headers["authorization"] == "Bearer key-12345"
    assert call.headers["x-team"] == "a"
    assert call.payload["model"] == "any"
    assert (call.payload["max_tokens"], call.payload["top_p"]) == (9, 0.5)
    assert call.payload["response_format"]["json_schema"]["schema"]["required"] == ["sentiment"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault("status", status=400), 400),
        (Fault("unauthorized"), 401),
        (Fault("status", status=404), 404),
        (Fault("status", status=429, retry_after_s=3), 429),
        (Fault("status", status=500), 500),
        (Fault("status", status=503, retry_after_s=3), 503),
    ],
)
def test_an_error_of_the_far_side_is_a_response_as_from_any_other(
    fault_server: FaultServer, tmp_path: Path, fault: Fault, status: int
) -> None:
    """So one place judges all; and it was asked once: litellm retries nothing."""
    fault_server.faults = Faults(script=lambda _: fault)
    _, response = send(make_model(fault_server), tmp_path, Options())
    assert response.status == status
    assert response.headers.get("retry-after") == (None if fault.retry_after_s is None else "3")
    assert orjson.loads(response.body)["error"]["message"]
    assert fault_server.requests == 1


@pytest.mark.parametrize("fault", [Fault("garbage"), Fault("cut"), Fault("reset"), Fault("error")])
def test_what_is_no_response_may_pass(fault_server: FaultServer, tmp_path: Path, fault: Fault) -> None:
    """Not a 500 of the far side's, which litellm makes of it."""
    fault_server.faults = Faults(script=lambda _: fault)
    with pytest.raises(TransientCallError) as caught:
        send(make_model(fault_server), tmp_path, Options())
    assert type(caught.value) is TransientCallError
    assert caught.value.status is None
    assert fault_server.requests == 1


@pytest.mark.parametrize("stream", [False, True])
def test_tools_go_out_and_calls_come_back(tmp_path: Path, stream: bool) -> None:
    """And their results go out by the ids that came with the calls."""
    tool = ToolSpec("search", "Search.", {"type": "object", "properties": {"q": {"type": "string"}}})
    options = Options(max_tokens=50, tools=(tool,), stream=stream)

    def answer(call: Call) -> str | ToolCalls:
        return " and ".join(call.results) or ToolCalls(("search", {"q": "x"}), ("search", {"q": "y"}), text="Hm.")

    with FaultServer(reply=answer) as server:
        model = make_model(server)
        endpoint = make_endpoint(model, find_headers(model, tmp_path), options)
        _, response = send(model, tmp_path, options)
        reply = endpoint.parse_reply(response)
        assert reply.text == "Hm."
        assert [(call["name"], orjson.loads(call["arguments"])) for call in reply.tool_calls] == [
            ("search", {"q": "x"}),
            ("search", {"q": "y"}),
        ]
        results = [{"role": "tool", "content": call["id"], "call_id": call["id"]} for call in reply.tool_calls]
        _, response = send(model, tmp_path, options, messages=[*MESSAGES, reply.to_message(), *results])
        assert endpoint.parse_reply(response).text == " and ".join(call["id"] for call in reply.tool_calls)


def test_an_attempt_ends_at_its_time(fault_server: FaultServer, tmp_path: Path) -> None:
    fault_server.faults = Faults(script=lambda _: Fault("stall"))
    with pytest.raises(AttemptTimeoutError, match=r"no answer within 0\.5 s"):
        send(make_model(fault_server), tmp_path, Options(), timeout_s=0.5)


def test_no_connection_is_known_as_such(tmp_path: Path) -> None:
    """Nothing was sent, so nothing is billed."""
    model = tm.model("litellm/openai/any", base_url="http://127.0.0.1:9/v1", api_key="none")
    with pytest.raises(UnreachableError, match="no connection"):
        send(model, tmp_path, Options())


@pytest.mark.parametrize(
    ("name", "params", "told"),
    [
        ("litellm/no-such-provider/any", {}, "LLM Provider NOT provided"),
        ("litellm/anthropic/claude-haiku-4-5", {"logit_bias": {"1": 2}}, "does not support parameters"),
    ],
)
def test_what_litellm_sends_for_no_record_ends_the_run(
    fault_server: FaultServer, tmp_path: Path, name: str, params: dict[str, Any], told: str
) -> None:
    model = tm.model(name, base_url=fault_server.base_url, api_key="none")
    with pytest.raises(PermanentCallError, match=told) as caught:
        send(model, tmp_path, Options(max_tokens=5, params=params))
    assert caught.value.of == "run"
    assert fault_server.requests == 0


@pytest.mark.parametrize("name", ["openai/gpt-4o-mini", "azure/gpt-4o", "gemini/gemini-2.0-flash", "fireworks_ai/any"])
def test_a_missing_key_is_a_401_for_whoever_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It is said before anything is sent, by each provider's package in its own way, and never for a record's sake."""
    for variable in [each for each in os.environ if each.endswith(("_KEY", "_TOKEN"))]:
        monkeypatch.delenv(variable)
    request, response = send(tm.model(f"litellm/{name}"), tmp_path, Options())
    error = judge_response(response, request, wall_s=0)
    assert (error.status, error.of) == (401, "run")
    assert "_KEY" in error.message
    assert "Traceback" not in error.message


def test_what_litellm_runs_beside_a_call_ends_with_the_client(
    fault_server: FaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Of two clients that take turns, too: litellm keeps track of one loop's task only."""
    with make_model(fault_server) as one, make_model(fault_server) as two:
        for _ in range(3):
            assert one("a").text
            assert two("b").text
        gc.collect()
    assert "destroyed" not in caplog.text


def test_a_package_that_is_not_there_is_named_with_its_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['litellm'] = None; import tidemill as tm;"
        "tm.from_iterable([{}]).generate(tm.model('litellm/x/y'), prompt='a').write('out')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install "tidemill[litellm]"' in done.stderr


def test_litellm_finds_the_address_itself() -> None:
    assert find_base_url(tm.model("litellm/azure/gpt-4o")) == "litellm://azure/gpt-4o"
    assert find_transport(tm.model("openai/gpt-4.1-mini")) is None


def test_a_step_s_calls_go_through_it(fault_server: FaultServer, tmp_path: Path) -> None:
    """In the engine: retried, counted, landed."""
    fault_server.faults = Faults(script=lambda call: Fault("status", status=500) if call.number == 1 else None)
    stream = tm.from_iterable([{"text": "a"}, {"text": "b"}]).generate(
        make_model(fault_server), prompt="{{ text }}", into="reply"
    )
    report = stream.write(str(tmp_path / "out"), progress=False)
    assert report.outcome == "finished"
    assert fault_server.requests == 3
    assert fault_server.billed == 2
    assert all(row["reply"] for row in tm.dataset(str(tmp_path / "out")))


def test_vectors_come_through_it(tmp_path: Path) -> None:
    """Asked for as plain numbers, the one form that all its providers have."""
    model = tm.model("litellm/openai/any", base_url="http://127.0.0.1:9/v1", api_key="none")
    request = make_embedding_endpoint(model, find_headers(model, tmp_path)).build_request(["a"])
    assert orjson.loads(request.body)["encoding_format"] == "float"
    with pytest.raises(UnreachableError):
        run(model, lambda transport: transport.send(request, 30.0))


@pytest.mark.parametrize("fault", [Fault("status", status=500), Fault("garbage")])
def test_vectors_are_asked_for_once_too(fault_server: FaultServer, tmp_path: Path, fault: Fault) -> None:
    """Where litellm takes no retries for its own number of them."""
    fault_server.faults = Faults(script=lambda _: fault)
    model = make_model(fault_server)
    request = make_embedding_endpoint(model, find_headers(model, tmp_path)).build_request(["a"])
    with contextlib.suppress(TransientCallError):
        run(model, lambda transport: transport.send(request, 30.0))
    assert fault_server.requests == 1


def test_a_stream_without_an_event_is_no_reply(fault_server: FaultServer, tmp_path: Path) -> None:
    """litellm makes an empty one of it that ended well."""
    fault_server.faults = Faults(script=lambda _: Fault("garbage"))
    with pytest.raises(TransientCallError, match="got no event"):
        send(make_model(fault_server), tmp_path, Options(stream=True))


@pytest.mark.parametrize("stream", [False, True])
def test_usage_that_nobody_told_is_not_known(fault_server: FaultServer, tmp_path: Path, stream: bool) -> None:
    """litellm says 0, and a budget would believe it."""
    fault_server.faults = Faults(script=lambda _: Fault("reply", tells_usage=False))
    model = make_model(fault_server)
    _, response = send(model, tmp_path, Options(stream=stream))
    endpoint = make_endpoint(model, {}, Options(stream=stream))
    if stream:
        events = endpoint.open_stream()
        events.feed(response.body)
        assert events.reply().usage is None
    else:
        assert endpoint.parse_reply(response).usage is None
