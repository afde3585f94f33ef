"""The official `openai` and `anthropic` packages as foreign clients: they read what the fault server writes."""

import base64
import math
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import anthropic
import openai
import orjson
import pytest
from anthropic.types import MessageParam, TextBlockParam
from pydantic import BaseModel, Field

from tidemill.testing import Delivery, Fault, Faults, FaultServer, Load, Quota
from tidemill.testing.formats.openai import render_duration

SYSTEM = "You label reviews of appliances. " * 40
HELLO: MessageParam = {"role": "user", "content": "hello"}
ASKED = {"model": "m", "max_tokens": 64, "messages": [HELLO]}


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=40)


@pytest.fixture
async def oai(server: FaultServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def waiting(server: FaultServer) -> Iterator[openai.OpenAI]:
    """The package's other face: its asynchronous streams leave generators behind that the loop has to close."""
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def claude(server: FaultServer) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=server.url, api_key="none", max_retries=0) as client:
        yield client


def ask_waiting(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}], **more)


async def ask_openai(client: openai.AsyncOpenAI, **more: Any) -> Any:
    return await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}], **more)


def read_vector(told: Any) -> list[float]:
    """An embedding in either encoding; the package leaves base64 that was asked for as it is."""
    return list(memoryview(base64.b64decode(told)).cast("f")) if isinstance(told, str) else list(told)


async def ask_claude(client: anthropic.AsyncAnthropic, **more: Any) -> Any:
    return await client.messages.create(**{**ASKED, **more})


async def test_openai_reads_a_completion(server: FaultServer, oai: openai.AsyncOpenAI) -> None:
    """Content, reason and usage; several samples differ."""
    reply = await ask_openai(oai)
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    stats = server.stats()
    assert (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (stats["input_tokens"], stats["output_tokens"])
    texts = {choice.message.content for choice in (await ask_openai(oai, n=3)).choices}
    assert len(texts) == 3
    assert reply.choices[0].message.content in texts


async def test_openai_parses_a_structured_reply(oai: openai.AsyncOpenAI) -> None:
    """`response_format` of a model gives that model."""
    reply = await oai.chat.completions.parse(
        model="m", messages=[{"role": "user", "content": "hello"}], response_format=Label
    )
    assert isinstance(reply.choices[0].message.parsed, Label)


async def test_openai_tells_cached_and_reasoning_tokens(server: FaultServer, oai: openai.AsyncOpenAI) -> None:
    """Where the plan says so, they are told and billed; or no usage is told at all."""
    server.delivery = Delivery(cached_ratio=0.5, reasoning_tokens=7)
    usage = (await ask_openai(oai)).usage
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens // 2 == server.stats()["cached_tokens"]
    assert usage.completion_tokens_details.reasoning_tokens == 7 == server.stats()["reasoning_tokens"]
    assert usage.completion_tokens > 7
    server.delivery = Delivery(tells_usage=False)
    assert (await ask_openai(oai)).usage is None
    server.delivery = Delivery()
    server.faults = Faults(script=lambda call: Fault("reply", tells_usage=False))
    assert (await ask_openai(oai)).usage is None
    assert server.billed == 3


@pytest.mark.parametrize("token_s", [0.0, 0.001])
def test_openai_reads_a_stream(server: FaultServer, waiting: openai.OpenAI, token_s: float) -> None:
    """The pieces are the whole reply; usage comes where it is asked for."""
    whole = ask_waiting(waiting, n=2)
    server.delivery = Delivery(first_token_s=0.001, token_s=token_s)
    stream = ask_waiting(waiting, n=2, stream=True, stream_options={"include_usage": True})
    texts, reasons, usage = ["", ""], set(), None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons |= {choice.finish_reason}
    assert texts == [choice.message.content for choice in whole.choices]
    assert reasons == {None, "stop"}
    assert usage is not None
    assert usage.completion_tokens == whole.usage.completion_tokens
    without = [chunk.usage for chunk in ask_waiting(waiting, stream=True)]
    assert set(without) == {None}
    assert server.stats()["good"] == server.billed == 3


def test_openai_reads_refusals(server: FaultServer, waiting: openai.OpenAI) -> None:
    """In a field beside the content, whole and streamed."""
    server.faults = Faults(script=lambda call: Fault("refusal", content="I will not."))
    message = (ask_waiting(waiting)).choices[0].message
    assert (message.content, message.refusal) == (None, "I will not.")
    stream = ask_waiting(waiting, stream=True)
    said = [choice.delta.refusal or "" for chunk in stream for choice in chunk.choices]
    assert "".join(said) == "I will not."


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_openai_reads_embeddings(server: FaultServer, oai: openai.AsyncOpenAI, encoding: Any) -> None:
    """Unit vectors that follow from the text alone; both encodings tell the same numbers."""
    texts = ["one", "two", "one"]
    reply = await oai.embeddings.create(model="e", input=texts, dimensions=8, encoding_format=encoding)
    vectors = [read_vector(item.embedding) for item in reply.data]
    assert vectors[0] == vectors[2] != vectors[1]
    assert all(math.hypot(*vector) == pytest.approx(1, abs=1e-6) for vector in vectors)
    plain = await oai.embeddings.create(model="e", input="one", dimensions=8)
    assert read_vector(plain.data[0].embedding) == pytest.approx(vectors[0], abs=1e-7)
    assert [item.index for item in reply.data] == [0, 1, 2]
    assert (reply.usage.prompt_tokens, server.stats()["output_tokens"]) == (3, 0)
    assert len((await oai.embeddings.create(model="e", input=[[1, 2], [3]])).data[0].embedding) == 256


@pytest.mark.parametrize(
    ("fault", "count"),
    [(Fault("truncated"), 1), (Fault("refusal"), 0)],
    ids=["half of the vectors", "no vector"],
)
async def test_embeddings_fail_in_their_own_way(
    server: FaultServer, oai: openai.AsyncOpenAI, fault: Fault, count: int
) -> None:
    """Fewer vectors than texts is what a batch has to notice."""
    server.faults = Faults(script=lambda call: fault)
    text = (await oai.embeddings.with_raw_response.create(model="e", input=["one", "two"])).text
    assert len(orjson.loads(text)["data"]) == count
    server.faults = Faults(script=lambda call: Fault("invalid"))
    spoilt = (await oai.embeddings.with_raw_response.create(model="e", input="one", encoding_format="float")).text
    assert orjson.loads(spoilt)["data"][0]["embedding"] == " {"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_openai_knows_each_error(
    server: FaultServer, oai: openai.AsyncOpenAI, status: int, error: type[openai.APIStatusError]
) -> None:
    """Each status is the exception that the package has for it, with the message."""
    server.faults = Faults(script=lambda call: Fault("status", status=status, content="no luck"))
    with pytest.raises(error, match="no luck"):
        await ask_openai(oai)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, anthropic.BadRequestError, "invalid_request_error"),
        (401, anthropic.AuthenticationError, "authentication_error"),
        (413, anthropic.RequestTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
async def test_anthropic_knows_each_error(
    server: FaultServer,
    claude: anthropic.AsyncAnthropic,
    status: int,
    error: type[anthropic.APIStatusError],
    kind: str,
) -> None:
    """Each status is the exception that the package has for it, with the type of the reference."""
    server.faults = Faults(script=lambda call: Fault("status", status=status, content="no luck"))
    with pytest.raises(error, match="no luck") as caught:
        await ask_claude(claude)
    assert caught.value.type == kind


async def test_anthropic_reads_a_message(server: FaultServer, claude: anthropic.AsyncAnthropic) -> None:
    """Content, reason and usage; a system prompt and content blocks are taken."""
    blocks: list[TextBlockParam] = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    reply = await ask_claude(claude)
    told = await ask_claude(claude, system="Be kind.", messages=[{"role": "user", "content": blocks}])
    assert reply.content[0].text == told.content[0].text
    assert (reply.role, reply.stop_reason, reply.stop_sequence) == ("assistant", "end_turn", None)
    stats = server.stats()
    assert reply.usage.input_tokens + told.usage.input_tokens == stats["input_tokens"]
    assert reply.usage.output_tokens + told.usage.output_tokens == stats["output_tokens"]


async def test_anthropic_gives_structured_replies(claude: anthropic.AsyncAnthropic) -> None:
    """`output_config.format` is honoured."""
    schema = anthropic.transform_schema(Label)
    reply = await ask_claude(claude, output_config={"format": {"type": "json_schema", "schema": schema}})
    Label.model_validate_json(reply.content[0].text)
    parsed = await claude.messages.parse(model="m", max_tokens=64, messages=[HELLO], output_format=Label)
    assert isinstance(parsed.parsed_output, Label)


@pytest.mark.parametrize("token_s", [0.0, 0.001])
async def test_anthropic_reads_a_stream(server: FaultServer, claude: anthropic.AsyncAnthropic, token_s: float) -> None:
    """The events make up the whole message, with its usage and its reason."""
    whole = await ask_claude(claude)
    server.delivery = Delivery(first_token_s=0.001, token_s=token_s, tokens_per_event=2)
    async with claude.messages.stream(model="m", max_tokens=64, messages=[HELLO]) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_message()
    assert final.content[0].model_dump(include={"text"}) == whole.content[0].model_dump(include={"text"})
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", whole.usage.output_tokens)
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


async def test_anthropic_caches_marked_prefixes(server: FaultServer, claude: anthropic.AsyncAnthropic) -> None:
    """Written the first time, read from then on; the rest is input of its own, and the parts add up."""
    marked = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
    first = await ask_claude(claude, system=marked)
    second = await ask_claude(claude, system=marked, messages=[{"role": "user", "content": "another one"}])
    other = await ask_claude(claude, system=marked, model="other")
    plain = await ask_claude(claude, system=SYSTEM)
    written = first.usage.cache_creation_input_tokens
    assert written >= len(SYSTEM) // 4
    assert first.usage.cache_read_input_tokens == 0
    assert (second.usage.cache_creation_input_tokens, second.usage.cache_read_input_tokens) == (0, written)
    assert other.usage.cache_creation_input_tokens == written
    assert (plain.usage.cache_creation_input_tokens, plain.usage.cache_read_input_tokens) == (0, 0)
    assert 0 < second.usage.input_tokens < written
    stats = server.stats()
    assert (stats["cached_tokens"], stats["cache_write_tokens"]) == (written, 2 * written)
    assert stats["input_tokens"] == 3 * written + sum(
        reply.usage.input_tokens for reply in (first, second, other, plain)
    )


async def test_a_longer_prefix_is_written_behind_the_one_read(claude: anthropic.AsyncAnthropic) -> None:
    """Of two marks the longest one seen is read, and what follows is written."""
    mark: Any = {"cache_control": {"type": "ephemeral"}}
    system = [{"type": "text", "text": SYSTEM, **mark}]
    more = [{"role": "user", "content": [{"type": "text", "text": "x" * 400, **mark}]}]
    first = await ask_claude(claude, system=system)
    second = await ask_claude(claude, system=system, messages=more)
    assert second.usage.cache_read_input_tokens == first.usage.cache_creation_input_tokens
    assert second.usage.cache_creation_input_tokens >= 100


async def test_nothing_is_cached_by_what_was_not_billed(server: FaultServer, claude: anthropic.AsyncAnthropic) -> None:
    """Nor is a prefix shorter than the shortest there is."""
    marked = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    server.faults = Faults(script=lambda call: Fault("status", status=529) if call.number == 1 else None)
    with pytest.raises(anthropic.OverloadedError, match="fault: status"):
        await ask_claude(claude, system=marked)
    assert (await ask_claude(claude, system=marked)).usage.cache_read_input_tokens == 0
    server.delivery = Delivery(min_cached_tokens=1024)
    assert (await ask_claude(claude, system=marked)).usage.cache_read_input_tokens == 0


async def test_limits_are_told_as_openai_does(server: FaultServer, oai: openai.AsyncOpenAI) -> None:
    """What a minute allows, what remains, when it is whole again, and when to come back."""
    server.load = Load(quotas=[Quota(requests_per_minute=2, tokens_per_minute=6_000, kind="fixed")])
    raw = [await oai.chat.completions.with_raw_response.create(**_openai()) for _ in range(2)]
    requests = [[reply.headers[f"x-ratelimit-{part}-requests"] for part in ("limit", "remaining")] for reply in raw]
    assert requests == [["2", "1"], ["2", "0"]]
    assert raw[0].headers["x-ratelimit-limit-tokens"] == "6000"
    assert re.fullmatch(r"1m0s|[0-5]?\d(\.\d+)?s", raw[0].headers["x-ratelimit-reset-tokens"])
    with pytest.raises(openai.RateLimitError, match="Rate limit reached for requests") as caught:
        await ask_openai(oai)
    headers = caught.value.response.headers
    assert 0 < int(headers["retry-after"]) <= 60
    assert 0 < int(headers["retry-after-ms"]) <= 60_000
    stats = server.stats()
    assert (stats["refused"], stats["over_quota"], stats["billed"], stats["good"]) == (1, 1, 2, 2)


async def test_limits_are_told_as_anthropic_does(server: FaultServer, claude: anthropic.AsyncAnthropic) -> None:
    """Each unit by name, the reset as a time of day; cached input takes from no quota."""
    quota = Quota(requests_per_minute=2, input_tokens_per_minute=8_000, output_tokens_per_minute=800, kind="fixed")
    server.load = Load(quotas=[quota])
    marked = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
    asked: Any = {**ASKED, "system": marked}
    raw = [await claude.messages.with_raw_response.create(**asked) for _ in range(2)]
    names = ("requests-limit", "requests-remaining", "input-tokens-limit", "output-tokens-limit")
    assert [raw[0].headers[f"anthropic-ratelimit-{name}"] for name in names] == ["2", "1", "8000", "800"]
    left = [int(reply.headers["anthropic-ratelimit-input-tokens-remaining"]) for reply in raw]
    assert 8_000 - left[0] > len(SYSTEM) // 4 > left[0] - left[1] > 0
    assert raw[0].headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    with pytest.raises(anthropic.RateLimitError, match="Rate limit reached for requests") as caught:
        await ask_claude(claude)
    assert 0 < int(caught.value.response.headers["retry-after"]) <= 60


async def test_headers_can_be_kept_back(server: FaultServer, oai: openai.AsyncOpenAI) -> None:
    """A server that refuses without a word of when."""
    server.load = Load(quotas=[Quota(requests_per_minute=1)], limit_headers=False, retry_after=False)
    raw = await oai.chat.completions.with_raw_response.create(**_openai())
    assert not [name for name in raw.headers if "ratelimit" in name]
    with pytest.raises(openai.RateLimitError, match="Rate limit") as caught:
        await ask_openai(oai)
    assert not [name for name in caught.value.response.headers if "ratelimit" in name or "retry" in name]


async def test_clients_may_ask_which_models_there_are(
    server: FaultServer, oai: openai.AsyncOpenAI, claude: anthropic.AsyncAnthropic
) -> None:
    """Both packages read the list; tokens of a message are counted unbilled."""
    assert [model.id async for model in oai.models.list()] == ["mock"]
    assert [model.id async for model in claude.models.list()] == ["mock"]
    assert (await oai.models.retrieve("any")).id == "any"
    assert (await claude.messages.count_tokens(model="m", messages=[HELLO])).input_tokens > 0
    assert (server.billed, server.stats()["strays"]) == (0, 0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "system", "content": "x"}]}, r"messages\.0\.role"),
        ({"output_config": {"format": {"type": "xml"}}}, "json_schema"),
        ({"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}] * 5}, "at most 4 blocks"),
        ({"extra_headers": {"anthropic-version": anthropic.omit}}, "anthropic-version"),
    ],
)
async def test_anthropic_refuses_what_is_none_of_its_requests(
    server: FaultServer, claude: anthropic.AsyncAnthropic, change: dict[str, Any], told: str
) -> None:
    """400, with what is wrong, unbilled."""
    with pytest.raises(anthropic.BadRequestError, match=told):
        await ask_claude(claude, **change)
    assert server.billed == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"input": []}, "1 to 2048 texts"),
        ({"input": ["a", ""]}, "empty string"),
        ({"input": ["a", 1]}, "a list of strings"),
        ({"input": 3}, "a list of strings"),
        ({"dimensions": -1}, "whole number"),
        ({"encoding_format": "hex"}, "float or base64"),
    ],
)
async def test_openai_refuses_what_cannot_be_embedded(
    server: FaultServer, oai: openai.AsyncOpenAI, change: dict[str, Any], told: str
) -> None:
    """400, with what is wrong, unbilled."""
    with pytest.raises(openai.BadRequestError, match=told):
        await oai.embeddings.create(**{"model": "e", "input": "x", **change})
    assert server.billed == 0


def test_durations_are_written_as_openai_does() -> None:
    """Milliseconds below a second, then parts, none of them empty."""
    shown = [render_duration(seconds) for seconds in (0, 0.0123, 1, 8.64, 60, 360.5, 3630)]
    assert shown == ["0ms", "13ms", "1s", "8.64s", "1m0s", "6m0.5s", "1h0m30s"]


def _openai() -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
