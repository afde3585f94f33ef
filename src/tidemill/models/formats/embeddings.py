"""The OpenAI embeddings wire format: many texts in one request, their vectors from the response.

Source: the API reference of `POST /v1/embeddings`, which vLLM, llama.cpp, TEI and most providers also answer.
"""

from __future__ import annotations

import math
import sys
from array import array
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson

from tidemill.calls.wire import Request, Response, Usage
from tidemill.errors import TransientCallError
from tidemill.models.formats.chat_fields import count
from tidemill.models.formats.endpoint import join_address
from tidemill.models.formats.refusals import explain_body

_EXPECTED = "embeddings as JSON"


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vectors of one request's texts, in their order; what `Batching` takes apart.

    Attributes:
        values: float32, all of one length, finite.
        usage: tokens billed for all of them together, None when the server did not say.
    """

    values: Sequence[array[float]]
    usage: Usage | None = None

    is_cut: ClassVar[bool] = False
    first_token_s: ClassVar[float | None] = None


class EmbeddingEndpoint:
    """Where one model is asked for vectors, and how.

    Args:
        base_url: up to and including the version (`https://api.openai.com/v1`), with a query where one belongs.
        model: the name the endpoint knows it by.
        headers: as sent with every request, the credentials among them.
        dimensions: how long vectors are to be; None leaves it to the model.
        params: fields of the request's body passed through verbatim. Vectors are asked for in base64, which is a
            quarter of the bytes and half the time to parse; `encoding_format: float` is for a server that refuses it.
        is_priced: whether its tokens cost what the model's do.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        headers: Mapping[str, str],
        *,
        dimensions: int | None = None,
        params: Mapping[str, Any] | None = None,
        is_priced: bool = True,
    ) -> None:
        self.base_url = base_url
        self._url = join_address(base_url, "/embeddings")
        self._headers = {"content-type": "application/json", **headers}
        self._dimensions = dimensions
        fields = {"encoding_format": "base64"} | ({} if dimensions is None else {"dimensions": dimensions})
        self._is_priced = is_priced
        self._head = b'{"model":' + orjson.dumps(model) + b',"input":'
        self._tail = b"," + orjson.dumps({**fields, **(params or {})})[1:]

    def build_request(self, texts: Sequence[str]) -> Request:
        """The request that asks for the vectors of `texts`: equal texts give equal bytes."""
        body = self._head + orjson.dumps(texts) + self._tail
        return Request(self._url, self._headers, body, 0, is_priced=self._is_priced)

    def parse_reply(self, response: Response) -> Vectors:
        """The vectors in a successful response, in the order of the texts; that there is one for each is not checked.

        Raises:
            TransientCallError: the body holds no vectors, or not of one length, or leaves some out.
            PermanentCallError: the body is an error object sent with a success status.
        """
        try:
            body = orjson.loads(response.body)
            entries = sorted([(entry["index"], entry["embedding"]) for entry in body["data"]], key=lambda pair: pair[0])
            places = [index for index, _ in entries]
            vectors = [_decode(value) for _, value in entries]
            usage = _parse_usage(body.get("usage"))
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):  # told below what is wrong
            pass
        else:
            self._check(places, vectors)
            return Vectors(vectors, usage)
        # Outside the handler: the parser's own error holds the whole body, which may repeat the request's key.
        raise explain_body(response, _EXPECTED)

    def _check(self, places: list[Any], vectors: list[array[float]]) -> None:
        if places != list(range(len(places))):
            raise TransientCallError(f"expected vectors numbered from 0 on, got {places[:20]}")
        lengths = {len(vector) for vector in vectors} | ({self._dimensions} if self._dimensions else set())
        if len(lengths) > 1 or 0 in lengths:
            told = ", ".join(map(str, sorted(lengths)))
            raise TransientCallError(f"expected vectors of one length, got {told} numbers")
        if not all(math.isfinite(sum(vector)) for vector in vectors):
            raise TransientCallError("expected finite numbers in a vector, got NaN or infinity")


def _decode(value: Any) -> array[float]:
    """A vector from base64 (float32, little-endian) or from a list of numbers, whichever the server sent."""
    vector = array("f")
    if isinstance(value, str):
        vector.frombytes(b64decode(value, validate=True))
        if sys.byteorder == "big":
            vector.byteswap()
    else:
        vector.fromlist(value)
    return vector


def _parse_usage(usage: Any) -> Usage | None:
    fields = usage if isinstance(usage, dict) else {}
    tokens = count(fields.get("prompt_tokens"))
    tokens = count(fields.get("total_tokens")) if tokens is None else tokens
    return None if tokens is None else Usage(tokens, 0)
