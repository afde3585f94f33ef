"""The wire format: the bytes of a request, and what becomes of each kind of response."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.calls.wire import Response, Usage
from tidemill.errors import CallError, PermanentCallError, TransientCallError
from tidemill.models.formats.openai import MAX_IMAGE_TOKENS, ChatEndpoint, parse_reply
from tidemill.models.messages import Message, Part, Reply
from tidemill.models.options import Options


def messages(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def test_the_request_to_the_letter() -> None:
    endpoint = ChatEndpoint(
        "http://far/v1/", "some/model", {"authorization": "Bearer k"}, Options(max_tokens=5, stop=("\n",))
    )
    request = endpoint.build_request(messages('say "é"'))
    assert request.url == "http://far/v1/chat/completions"
    assert request.headers == {"content-type": "application/json", "authorization": "Bearer k"}
    assert request.body.decode() == (
        '{"model":"some/model","messages":[{"role":"user","content":"say \\"é\\""}],"max_tokens":5,"stop":["\\n"]}'
    )
    assert request.max_output_tokens == 5


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_query_of_the_address_stays_behind_the_path(slash: str) -> None:
    """Azure's `api-version`, for one."""
    endpoint = ChatEndpoint(f"https://me:pw@far:8443/openai/v1{slash}?api-version=2024&a=b%20c", "m", {}, Options())
    url = "https://me:pw@far:8443/openai/v1/chat/completions?api-version=2024&a=b%20c"
    assert endpoint.build_request(messages("a")).url == url


@given(
    text=st.text(),
    options=st.dictionaries(st.text(min_size=1), st.none() | st.booleans() | st.integers(-9, 9) | st.text()),
)
def test_equal_inputs_give_equal_bytes(text: str, options: dict[str, Any]) -> None:
    options = {key: value for key, value in options.items() if key not in ("model", "messages")}
    options.pop("max_tokens", None)
    bodies = [
        ChatEndpoint("http://far/v1", "m", {}, Options(params=options)).build_request(messages(text)).body
        for _ in range(2)
    ]
    assert bodies[0] == bodies[1]
    assert orjson.loads(bodies[0]) == {"model": "m", "messages": messages(text), **options}


@pytest.mark.parametrize(
    ("options", "ceiling"),
    [
        ({}, None),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 9}, 9),
        ({"max_tokens": 7, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 9, "max_completion_tokens": None}, 9),
        ({"max_tokens": -1}, None),
        ({"max_tokens": 7, "max_completion_tokens": "9"}, None),
    ],
)
def test_the_ceiling_is_the_request_s_own(options: dict[str, Any], ceiling: int | None) -> None:
    endpoint = ChatEndpoint("http://far/v1", "m", {}, Options(params=options))
    assert endpoint.build_request(messages("a")).max_output_tokens == ceiling
    bare = ChatEndpoint("http://far/v1", "m", {}, Options())
    assert bare.build_request(messages("a"), options).max_output_tokens == ceiling


def test_a_request_may_have_options_of_its_own() -> None:
    """Those named in `Options`, and any field of the body; the endpoint's other options stay, and so do its own."""
    options = Options(max_tokens=5, temperature=0.5, params={"top_k": 3})
    endpoint = ChatEndpoint("http://far/v1", "m", {}, options)
    plain = endpoint.build_request(messages("a"))
    own = endpoint.build_request(messages("a"), {"max_tokens": 9, "top_k": 4, "user": "me", "temperature": None})
    assert orjson.loads(own.body) == {
        "model": "m",
        "messages": messages("a"),
        "max_tokens": 9,
        "top_k": 4,
        "user": "me",
    }
    assert own.max_output_tokens == 9
    assert endpoint.build_request(messages("a")) == plain
    assert endpoint.build_request(messages("a"), {}) == plain


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-4.1-mini", "max_tokens"),
        ("gpt-4o", "max_tokens"),
        ("gpt-3.5-turbo", "max_tokens"),
        ("gpt-35-turbo-16k", "max_tokens"),
        ("openai/o3", "max_tokens"),
        ("o4-mini", "max_completion_tokens"),
        ("o1", "max_completion_tokens"),
        ("gpt-5", "max_completion_tokens"),
        ("gpt-5.4-nano", "max_completion_tokens"),
        ("gpt-6-sol", "max_completion_tokens"),
        ("gpt-10", "max_completion_tokens"),
    ],
)
def test_reasoning_models_take_the_ceiling_under_another_name(model: str, name: str) -> None:
    """OpenAI's o-series and GPT-5 refuse `max_tokens`; gateways, whose names have a slash, take it of all."""
    request = ChatEndpoint("http://far/v1", model, {}, Options(max_tokens=5)).build_request(messages("a"))
    assert orjson.loads(request.body)[name] == 5
    assert request.max_output_tokens == 5


def test_a_stream_is_asked_for_with_its_usage() -> None:
    body = ChatEndpoint("http://far/v1", "m", {}, Options(stream=True)).build_request(messages("a")).body
    assert body.endswith(b',"stream":true,"stream_options":{"include_usage":true}}')


def test_what_all_requests_share_is_not_said_in_this_format() -> None:
    """OpenAI caches prefixes by itself."""
    endpoint = ChatEndpoint("http://far/v1", "m", {}, Options())
    marked: list[Message] = [{"role": "user", "content": "a", "shared": True}]
    assert endpoint.build_request(marked) == endpoint.build_request(messages("a"))


def test_images_go_by_address_or_whole() -> None:
    endpoint = ChatEndpoint("http://far/v1", "m", {}, Options())
    text, near, far = "What is it?", "data:image/png;base64,AAAA", "https://far/a.png"
    parts: list[Part] = [
        {"type": "text", "text": text},
        {"type": "image", "url": near},
        {"type": "image", "url": far},
    ]
    request = endpoint.build_request([{"role": "system", "content": "See."}, {"role": "user", "content": parts}])
    assert request.max_input_tokens is not None
    assert request.max_input_tokens > 2 * MAX_IMAGE_TOKENS
    assert orjson.loads(request.body)["messages"] == [
        {"role": "system", "content": "See."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": text},
                {"type": "image_url", "image_url": {"url": near}},
                {"type": "image_url", "image_url": {"url": far}},
            ],
        },
    ]


def response(body: Any) -> Response:
    return Response(200, {}, body if isinstance(body, bytes) else orjson.dumps(body))


def completion(**message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", **message}, "finish_reason": "stop"}]}


def test_a_reply_with_all_it_can_have() -> None:
    body = completion(content="fine") | {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}
    assert parse_reply(response(body)) == Reply("fine", "stop", Usage(3, 2))


def test_a_reply_with_as_little_as_it_can_have() -> None:
    assert parse_reply(response({"choices": [{"message": {"content": None}}]})) == Reply("")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_where_it_is_shown(name: str) -> None:
    assert parse_reply(response(completion(content="4", **{name: "2 + 2"}))) == Reply("4", "stop", reasoning="2 + 2")
    assert parse_reply(response(completion(content="4", **{name: None}))) == Reply("4", "stop")


def test_a_refusal() -> None:
    assert (
        parse_reply(response(completion(content=None, refusal="I would rather not."))).refusal == "I would rather not."
    )


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"<html>busy</html>", TransientCallError, "expected a chat completion as JSON, got 17 bytes starting '<html>"),
        (b"", TransientCallError, "got 0 bytes"),
        (b"\xff\xfe", TransientCallError, "got 2 bytes"),
        ([], TransientCallError, "expected a chat completion"),
        ({"choices": []}, TransientCallError, "expected a chat completion"),
        ({"choices": [{"message": "text"}]}, TransientCallError, "expected a chat completion"),
        ({"error": {"message": "no such model"}}, PermanentCallError, "answered 200 with an error: no such model"),
        ({"error": "plain text"}, PermanentCallError, "answered 200 with an error: plain text"),
        ({"error": {"message": "busy", "code": 503}}, TransientCallError, "answered 200 with an error: busy"),
        ({"error": {"message": "slow", "code": "429"}}, TransientCallError, "answered 200 with an error: slow"),
        ({"error": None}, TransientCallError, "expected a chat completion"),
    ],
)
def test_what_is_no_reply(body: Any, kind: type[CallError], told: str) -> None:
    with pytest.raises(kind, match=told):
        parse_reply(response(body))


@pytest.mark.parametrize("content", [["a", "b"], {"text": "a"}, 3])
def test_content_that_is_no_text_is_garbage(content: Any) -> None:
    with pytest.raises(TransientCallError, match="expected a chat completion"):
        parse_reply(response(completion(content=content)))


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30}}, Usage(100, 20, 60, 30)),
        ({"prompt_cache_hit_tokens": 60, "prompt_cache_miss_tokens": 40}, Usage(100, 20, 60)),
        ({"completion_tokens_details": {"reasoning_tokens": 15}}, Usage(100, 20, 0, 0, 15)),
        ({"completion_tokens_details": {"reasoning_tokens": 50}, "total_tokens": 170}, Usage(100, 70, 0, 0, 50)),
        ({"total_tokens": 170}, Usage(100, 70)),
        ({"total_tokens": 50}, Usage(100, 20)),
        ({"prompt_tokens_details": {"cached_tokens": 160}}, Usage(100, 20)),
        ({"prompt_tokens_details": {"cached_tokens": -1}, "completion_tokens_details": None}, Usage(100, 20)),
        ({"prompt_tokens_details": [1], "completion_tokens_details": "a"}, Usage(100, 20)),
    ],
)
def test_tokens_are_told_apart_where_the_server_does(usage: dict[str, Any], told: Usage) -> None:
    """Never to a lower bill: what makes no sense is plain input, and a total above the parts is output."""
    body = completion(content="fine") | {"usage": {"prompt_tokens": 100, "completion_tokens": 20, **usage}}
    assert parse_reply(response(body)).usage == told


def test_what_the_filter_stopped_is_a_refusal() -> None:
    body = {"choices": [{"message": {"content": "Wel"}, "finish_reason": "content_filter"}]}
    assert parse_reply(response(body)).refusal == "the provider's content filter stopped the reply"


@pytest.mark.parametrize("tokens", [-1, "3", None, 1.5, True])
def test_usage_that_is_no_number_of_tokens_is_not_taken(tokens: Any) -> None:
    """What the budget counts by must be whole numbers; anything else is as if the server had not said."""
    body = completion(content="fine") | {"usage": {"prompt_tokens": tokens, "completion_tokens": 2}}
    assert parse_reply(response(body)).usage is None
    assert parse_reply(response(completion(content="fine") | {"usage": {"prompt": 1}})).usage is None
    assert parse_reply(response(completion(content="fine") | {"usage": [1, 2]})).usage is None


COUNTS = st.integers(0, 10**9)


@given(
    text=st.text(),
    finish=st.text(),
    usage=st.none() | st.builds(Usage, COUNTS, COUNTS) | st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS),
    refusal=st.text(),
    reasoning=st.text(),
    first_token_s=st.none() | st.floats(0, 600),
)
def test_rows_keep_replies(**fields: Any) -> None:
    reply = Reply(fields.pop("text"), fields.pop("finish"), **fields)
    try:
        row = orjson.loads(orjson.dumps(reply.to_row()))
    except TypeError:  # a lone surrogate, which no JSON reply holds
        return
    assert Reply.from_row(row) == reply


def test_rows_written_by_earlier_releases_are_read() -> None:
    assert Reply.from_row(["a", "stop", [3, 2], ""]) == Reply("a", "stop", Usage(3, 2))
    assert Reply.from_row(["a", "stop", None, "no"]) == Reply("a", "stop", None, "no")


def test_a_plain_reply_takes_no_more_room_than_it_did() -> None:
    assert Reply("a", "stop", Usage(3, 2)).to_row() == ["a", "stop", [3, 2], ""]
