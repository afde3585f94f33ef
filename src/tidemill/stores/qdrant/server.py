"""`Server`: a collection behind Qdrant's REST API (api.qdrant.tech), by HTTP of our own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import quote

import orjson

from tidemill.calls.credentials import label_endpoint, register_credentials
from tidemill.calls.http.address import check_headers
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.retry import judge_response
from tidemill.calls.wire import Request, Response, UnreachableError
from tidemill.config.secrets import find_key
from tidemill.errors import CallError, ConfigError, TransientCallError
from tidemill.stores.qdrant.door import Answer
from tidemill.stores.qdrant.settings import Qdrant

MAX_BODY_BYTES: Final = 256 << 20
"""Of an answer: the vectors of many records, as JSON."""
_KEY: Final = "QDRANT_API_KEY"


class Server:
    """See `Door`. Tries nothing again: whoever asks knows what a failure is worth. Belongs to one loop."""

    def __init__(self, settings: Qdrant) -> None:
        self._url = f"{settings.url}/collections/{quote(settings.collection, safe='')}"
        self._timeout_s = settings.timeout_s
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._headers = _make_headers(settings)
        self._transport = HttpTransport(max_body_bytes=MAX_BODY_BYTES)
        register_credentials(self._headers, settings.url or "")

    async def open(self) -> None:
        """Nothing is held: connections are made as they are needed."""

    async def close(self) -> None:
        await self._transport.close()

    async def describe(self) -> Answer | None:
        try:
            return cast(Answer, await self._ask("GET", "", b""))
        except CallError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, body: Mapping[str, Any]) -> None:
        try:
            await self._ask("PUT", "", orjson.dumps(body))
        except CallError as error:
            if error.status != 409 and "already exists" not in error.message:
                raise

    async def index_field(self, body: Mapping[str, Any]) -> None:
        await self._ask("PUT", "/index?wait=true", orjson.dumps(body))

    async def upsert(self, body: bytes) -> None:
        await self._ask("PUT", "/points?wait=true", body)

    async def query(self, body: bytes) -> Sequence[Sequence[Answer]]:
        return [each["points"] for each in await self._ask("POST", "/points/query/batch", body)]

    async def retrieve(self, body: Mapping[str, Any]) -> Sequence[Answer]:
        return cast(Sequence[Answer], await self._ask("POST", "/points", orjson.dumps(body)))

    async def count(self, body: Mapping[str, Any]) -> int:
        return int((await self._ask("POST", "/points/count", orjson.dumps(body)))["count"])

    async def delete(self, body: Mapping[str, Any]) -> None:
        await self._ask("POST", "/points/delete?wait=true", orjson.dumps(body))

    async def _ask(self, method: str, path: str, body: bytes) -> Any:
        """The result in the answer to a request."""
        request = Request(self._url + path, self._headers, body, method=method)
        async with self._slots:
            try:
                response = await self._transport.send(request, self._timeout_s)
            except UnreachableError as error:
                message = f"Qdrant cannot be reached at {error.where}: {error.message}"
                raise UnreachableError(message, where=error.where) from None
        if not 200 <= response.status < 300:
            raise _judge(response, request)
        try:
            return orjson.loads(response.body)["result"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            where = label_endpoint(request.url)
            hint = "check that `url` is Qdrant's REST port, 6333 by default"
            raise TransientCallError(
                "answered with no result", where=where, hint=hint, status=response.status
            ) from None


def _make_headers(settings: Qdrant) -> dict[str, str]:
    headers = {"content-type": "application/json", "accept": "application/json"}
    key = settings.api_key.get_secret_value() if settings.api_key else find_key((_KEY,), Path())
    if key:
        headers["api-key"] = key
        try:
            check_headers(headers)
            key.encode("latin-1")
        except ValueError:
            message = "the `api_key` of Qdrant cannot be sent: it has a line break or is no plain text"
            raise ConfigError(message) from None
    return headers


def _judge(response: Response, request: Request) -> CallError:
    error = judge_response(response, request, wall_s=time.time())
    error.hint = f"the key is not accepted; check `api_key` or {_KEY}" if response.status in (401, 403) else ""
    return error
