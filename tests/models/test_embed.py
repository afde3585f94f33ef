"""The `embed` step: a vector of each record's text, many to a request, each record's own in ledger and output."""

from __future__ import annotations

import json
from array import array
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.calls.wire import Request, Usage
from tidemill.jobs.landing.arrow import build_batch, infer_schema
from tidemill.models.formats.embeddings import EmbeddingEndpoint
from tidemill.models.steps.embed import Embed, Embedder, Embedding, Vector
from tidemill.testing import FaultServer

MODEL = tm.model("openai/text-embedding-3-small")


def share(record: dict[str, Any], **fields: Any) -> Request:
    """The record's share of a request."""
    node = Embed(**{"model": MODEL, "column": "text", **fields})
    return Embedder(node, EmbeddingEndpoint("http://far.invalid/v1", "m", {})).build_request(record)


def test_a_share_is_told_by_all_that_decides_its_vector() -> None:
    """Not by what it is sent with: the size of a batch changes no call."""
    first = share({"text": "a"})
    assert json.loads(first.body) == {"model": "text-embedding-3-small", "input": "a"}
    assert share({"text": "a", "more": 1}, batch_size=3, batch_tokens=5).body == first.body
    assert share({"title": "a"}, column=None, text="{{ title }}").body == first.body
    others = [
        share({"text": "b"}),
        share({"text": "a"}, dimensions=3),
        share({"text": "a"}, params={"user": "me"}),
        share({"text": "a"}, model=tm.model("openai/text-embedding-3-large")),
    ]
    assert len({each.body for each in others} | {first.body}) == 5


def test_a_request_asks_for_all_of_its_shares() -> None:
    node = Embed(model=MODEL, column="text", dimensions=2)
    embedder = Embedder(node, EmbeddingEndpoint("http://far.invalid/v1", "m", {}, dimensions=2))
    joined = embedder.join([embedder.build_request({"text": text}) for text in ("a", 'é"\n')])
    assert json.loads(joined.body) == {
        "model": "m", "input": ["a", 'é"\n'], "encoding_format": "base64", "dimensions": 2,
    }  # fmt: skip
    assert joined.max_output_tokens == 0


def test_a_batch_of_tokens_counts_them_by_three_bytes() -> None:
    node = Embed(model=MODEL, column="text")
    embedder = Embedder(node, EmbeddingEndpoint("http://far.invalid/v1", "m", {}))
    assert embedder.measure(embedder.build_request({"text": "x" * 300})) == 102


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(FLOATS, min_size=1), st.none() | st.integers(0, 10**6))
def test_a_kept_vector_comes_back_as_it_was(numbers: list[float], tokens: int | None) -> None:
    """Bit by bit, in four bytes a number and what base64 adds."""
    embedding = Embedding(array("f", numbers), None if tokens is None else Usage(tokens, 0))
    row = json.loads(json.dumps(embedding.to_row()))
    assert Embedding.from_row(row) == embedding
    assert len(row[0]) <= 4 * len(numbers) * 4 // 3 + 4


@given(st.lists(st.lists(FLOATS, min_size=3, max_size=3), min_size=1))
def test_vectors_land_as_lists_of_32_bits_and_one_length(vectors: list[list[float]]) -> None:
    rows: list[dict[str, Any]] = [{"v": vector} for vector in vectors]
    schema = infer_schema([*rows, {"v": None}], {"v": Vector})
    assert schema == pa.schema([("v", pa.list_(pa.float32(), 3))])
    assert build_batch(rows, schema).to_pylist() == rows


def test_what_a_later_step_makes_of_a_vector_lands_as_it_is() -> None:
    """Numbers of 64 bits are not cut; lists of several lengths have none in common."""
    assert infer_schema([{"v": [0.1]}], {"v": Vector}) == pa.schema([("v", pa.list_(pa.float64()))])
    assert infer_schema([{"v": []}, {"v": []}], {"v": Vector}) == pa.schema([("v", pa.list_(pa.float32()))])
    assert infer_schema([{"v": [0.5]}, {"v": []}], {"v": Vector}) == pa.schema([("v", pa.list_(pa.float32()))])
    assert infer_schema([{"v": "none"}], {"v": Vector}) == pa.schema([("v", pa.string())])
    schema = pa.schema([("v", pa.list_(pa.float32(), 2))])
    with pytest.raises(tm.DataError, match=r"column `v` is fixed_size_list<item: float>\[2\], got \[0\.5\]"):
        build_batch([{"v": [0.5]}], schema)
    with pytest.raises(tm.DataError, match=r"column `v\[\]` is float, got 0\.1"):
        build_batch([{"v": [0.5, 0.1]}], schema)


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"txt": "a"}, "expected a column `text`, got `txt`"),
        ({"text": 3}, "column `text`: expected a text, got 3"),
        ({"text": None}, "column `text`: expected a text, got null"),
        ({"text": ""}, "column `text`: expected a text, got an empty one"),
        ("a", "columns"),
    ],
)
def test_a_record_without_the_text_fails(record: Any, told: str) -> None:
    with pytest.raises(tm.DataError, match=told):
        share(record)


def test_a_template_that_comes_to_nothing_fails_too() -> None:
    with pytest.raises(tm.DataError, match="`text`: expected a text, got an empty one"):
        share({"title": ""}, column=None, text="{{ title }}")


def test_empty_texts_are_not_sent(server: FaultServer, tmp_path: Path) -> None:
    """One would have its whole batch refused, which is then sent again in halves."""
    model = tm.model("openai/any", base_url=server.base_url, api_key="none", limits=tm.Limits(concurrency=1))
    records = tm.from_iterable([{"text": "" if number % 9 == 4 else f"text {number}"} for number in range(27)])
    report = records.embed(model, column="text").write(str(tmp_path / "out"), progress=False, max_errors=3)
    assert (report.records["landed"], report.records["quarantined"]) == (24, 3)
    assert sum(len(call.payload["input"]) for call in server.calls) == 24
    assert set(report.calls["failures"].values()) <= {0}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "expected `column`, or `text` in its place, got neither"),
        ({"column": "a", "text": "b"}, "expected `column`, or `text` in its place, got both"),
        ({"column": "a", "batch_size": 0}, "expected an integer >= 1 and <= 2048, got 0"),
        ({"column": "a", "params": {"input": "x"}}, "`params` must not set `input`"),
        ({"column": "a", "model": "local/smollm2"}, "expected a model with an embeddings endpoint in OpenAI's format"),
        ({"column": "a", "model": "anthropic/claude-haiku-4-5"}, "expected a model with an embeddings endpoint"),
    ],
)
def test_what_cannot_be_asked_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(tm.ConfigError, match=told):
        Embed(**{"model": MODEL, **fields})
