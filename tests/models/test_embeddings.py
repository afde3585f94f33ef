"""The embeddings wire format: the bytes of a request, and what becomes of each kind of response."""

from __future__ import annotations

import base64
import math
import struct
from array import array
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.calls.wire import Response, Usage
from tidemill.errors import CallError, ConfigError, PermanentCallError, TransientCallError
from tidemill.models.endpoints import make_embedding_endpoint
from tidemill.models.formats.embeddings import EmbeddingEndpoint

ENDPOINT = EmbeddingEndpoint("http://far/v1", "m", {"authorization": "Bearer k"})


def encode(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def response(*vectors: Any, usage: Any = None) -> Response:
    data = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(vectors)]
    return Response(200, {}, orjson.dumps({"object": "list", "data": data, "model": "m", "usage": usage}))


def numbered(*places: int) -> Response:
    data = [{"index": place, "embedding": [1.0]} for place in places]
    return Response(200, {}, orjson.dumps({"data": data}))


def test_the_request_to_the_letter() -> None:
    endpoint = EmbeddingEndpoint(
        "http://far/v1?a=b", "m", {"authorization": "Bearer k"}, dimensions=8, params={"user": "u"}
    )
    request = endpoint.build_request(["a", "é"])
    assert request.url == "http://far/v1/embeddings?a=b"
    assert request.headers == {"content-type": "application/json", "authorization": "Bearer k"}
    assert request.body.decode() == (
        '{"model":"m","input":["a","é"],"encoding_format":"base64","dimensions":8,"user":"u"}'
    )
    assert request.max_output_tokens == 0, "a budget needs a ceiling of every call"


def test_a_server_may_be_asked_for_plain_numbers() -> None:
    endpoint = EmbeddingEndpoint("http://far/v1", "m", {}, params={"encoding_format": "float"})
    assert orjson.loads(endpoint.build_request(["a"]).body)["encoding_format"] == "float"


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    vectors=st.integers(1, 4).flatmap(
        lambda size: st.lists(st.lists(FLOATS, min_size=size, max_size=size), min_size=1, max_size=5)
    ),
    plain=st.booleans(),
    seed=st.randoms(),
)
def test_vectors_come_in_the_order_of_the_texts(vectors: list[list[float]], plain: bool, seed: Any) -> None:
    """In whichever order and form the server sends them, to the last bit of float32."""
    answer = orjson.loads(response(*(vector if plain else encode(vector) for vector in vectors)).body)
    seed.shuffle(answer["data"])
    parsed = ENDPOINT.parse_reply(Response(200, {}, orjson.dumps(answer)))
    assert parsed.values == [array("f", vector) for vector in vectors]
    assert not parsed.is_cut


@pytest.mark.parametrize(
    ("usage", "told"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, Usage(7, 0)),
        ({"total_tokens": 7}, Usage(7, 0)),
        ({"prompt_tokens": -7}, None),
        ([7], None),
        (None, None),
    ],
)
def test_usage_is_taken_where_it_is_told(usage: Any, told: Usage | None) -> None:
    assert ENDPOINT.parse_reply(response(encode([1.0]), usage=usage)).usage == told


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (numbered(1), r"expected vectors numbered from 0 on, got \[1\]"),
        (numbered(0, 2), r"numbered from 0 on, got \[0, 2\]"),
        (numbered(0, 0), r"numbered from 0 on, got \[0, 0\]"),
        (response(encode([1.0, 2.0]), encode([1.0])), "expected vectors of one length, got 1, 2 numbers"),
        (response(encode([]), encode([])), "expected vectors of one length, got 0 numbers"),
        (response(encode([1.0]), encode([math.nan])), "expected finite numbers in a vector"),
        (response(encode([1.0]), encode([-math.inf])), "expected finite numbers in a vector"),
        (response("AAAA=A==", encode([1.0])), "expected embeddings as JSON"),
        (response("AAAAAA==AA", encode([1.0])), "expected embeddings as JSON"),
        (response("AAAA", encode([1.0])), "expected embeddings as JSON"),
        (response(["1"], [1.0]), "expected embeddings as JSON"),
        (response([None], [1.0]), "expected embeddings as JSON"),
        (response(3, 4), "expected embeddings as JSON"),
        (Response(200, {}, b"<html>"), "expected embeddings as JSON, got 6 bytes"),
        (
            Response(200, {}, b'{"data": [{"index": "a", "embedding": []}, {"index": 1, "embedding": []}]}'),
            "embeddings",
        ),
    ],
)
def test_what_are_no_vectors_may_be_asked_for_again(answer: Response, told: str) -> None:
    with pytest.raises(TransientCallError, match=told):
        ENDPOINT.parse_reply(answer)


def test_vectors_of_another_length_than_asked_for_are_refused() -> None:
    """A server that ignores `dimensions` would else fill a column with what it was not made for."""
    endpoint = EmbeddingEndpoint("http://far/v1", "m", {}, dimensions=2)
    assert endpoint.parse_reply(response(encode([1.0, 2.0]))).values == [array("f", [1.0, 2.0])]
    with pytest.raises(TransientCallError, match="one length, got 2, 3 numbers"):
        endpoint.parse_reply(response(encode([1.0, 2.0, 3.0])))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "no such model", "code": "model_not_found"}, PermanentCallError),
        ({"message": "busy", "type": "server_error"}, TransientCallError),
    ],
)
def test_an_error_with_a_success_status(error: Any, kind: type[CallError]) -> None:
    with pytest.raises(kind, match=error["message"]):
        ENDPOINT.parse_reply(Response(200, {}, orjson.dumps({"error": error})))


def test_a_model_has_an_embedding_endpoint() -> None:
    model = tm.model("openai/text-embedding-3-small", params={"user": "u"})
    request = make_embedding_endpoint(model, {}, dimensions=4, params={"user": "v"}).build_request(["a"])
    assert request.url == "https://api.openai.com/v1/embeddings"
    assert orjson.loads(request.body) == {
        "model": "text-embedding-3-small",
        "input": ["a"],
        "encoding_format": "base64",
        "dimensions": 4,
        "user": "v",
    }
    with pytest.raises(ConfigError, match="`anthropic/claude` cannot embed"):
        make_embedding_endpoint(tm.model("anthropic/claude"), {})
