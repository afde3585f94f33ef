"""OpenAI's embeddings.

Source: the API reference of `POST /v1/embeddings`.
"""

from __future__ import annotations

import array
import base64
import hashlib
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from tidemill.calls.wire import Usage
from tidemill.errors import DataError
from tidemill.testing.formats.exchange import TOKEN_CHARACTERS, Ask, Exchange
from tidemill.testing.formats.openai import OpenAiErrors
from tidemill.testing.tool_calls import Content

MAX_INPUTS = 2048


class OpenAiEmbeddings(OpenAiErrors):
    """`POST …/embeddings`: unit vectors that follow from the text and nothing else."""

    streams = False

    def check(self, payload: Any, head: bytes) -> None:
        if not isinstance(payload, dict):
            raise DataError("expected an object with an input")
        inputs = _find_inputs(payload)
        if not 0 < len(inputs) <= MAX_INPUTS:
            raise DataError(f"input holds 1 to {MAX_INPUTS} texts, got {len(inputs)}")
        if not all(inputs):
            raise DataError("input cannot be an empty string")
        if payload.get("encoding_format", "float") not in ("float", "base64"):
            raise DataError(f"encoding_format is float or base64, got {payload['encoding_format']!r}")
        dimensions = payload.get("dimensions", 1)
        if type(dimensions) is not int or dimensions < 1:
            raise DataError(f"dimensions is a whole number from 1, got {dimensions!r}")

    def find_schema(self, payload: Mapping[str, Any]) -> Mapping[str, Any] | None:
        return None

    def find_tool(self, payload: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]] | None:
        return None

    def count_samples(self, payload: Mapping[str, Any]) -> int:
        return 0

    def find_ceiling(self, payload: Mapping[str, Any]) -> int | None:
        return 0

    def count_usage(self, ask: Ask, contents: Sequence[Content]) -> Usage:
        tokens = sum(
            -(-len(text.encode()) // TOKEN_CHARACTERS) if isinstance(text, str) else len(text)
            for text in _find_inputs(ask.payload)
        )
        return Usage(tokens, 0)

    def render_reply(self, exchange: Exchange, contents: Sequence[Content], finish: str = "") -> bytes:
        """The vectors; half of them where it is cut (`length`), none where it says no, and no vector but `contents`."""
        payload = exchange.payload
        inputs = _find_inputs(payload)
        kept = {"length": len(inputs) // 2, "refusal": 0}.get(finish, len(inputs))
        dimensions, encoding = payload.get("dimensions", exchange.delivery.dimensions), payload.get("encoding_format")
        vectors = (
            contents[0] if contents and not finish else render_vector(text, dimensions, encoding)
            for text in inputs[:kept]
        )
        data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
        told: dict[str, Any] = {"object": "list", "data": data, "model": payload.get("model")}
        if exchange.usage is not None:
            tokens = exchange.usage.input_tokens
            told["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
        return orjson.dumps(told)

    def render_events(self, exchange: Exchange, contents: Sequence[Content], finish: str = "") -> list[bytes]:
        raise DataError("embeddings are not streamed")


def _find_inputs(payload: Mapping[str, Any]) -> list[str] | list[list[int]]:
    """Each text, or the tokens of each."""
    given = payload.get("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list):
        raise DataError("input is a string, a list of strings, or tokens")
    kinds = {type(item) for item in given}
    if kinds == {int}:
        return [given]
    if kinds - {str} and kinds - {list}:
        raise DataError("input is a string, a list of strings, or tokens")
    return given


def make_vector(text: str | list[int], dimensions: int) -> array.array[float]:
    """float32 (dimensions,), of length 1, a function of the text."""
    given = text.encode() if isinstance(text, str) else orjson.dumps(text)
    drawn = [byte - 127.5 for byte in hashlib.shake_128(given).digest(dimensions)]
    length = math.sqrt(sum(value * value for value in drawn))
    return array.array("f", [value / length for value in drawn])


def render_vector(text: str | list[int], dimensions: int, encoding: str | None) -> list[float] | str:
    """The vector as JSON has it: numbers, or the little-endian bytes as base64."""
    vector = make_vector(text, dimensions)
    if encoding != "base64":
        return [round(value, 8) for value in vector]
    if sys.byteorder == "big":
        vector.byteswap()
    return base64.b64encode(vector.tobytes()).decode()
