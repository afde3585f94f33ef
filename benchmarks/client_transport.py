"""One transport behind Tidemill's seam, or the bare aiohttp loop, driven alone: what sending and reading cost.

    python client_transport.py ours|pyreqwest|aiohttp URL CALLS IN_FLIGHT CA.pem FOLDER

FOLDER is where pyreqwest is installed, which no extra of Tidemill names.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import ssl
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from children import raise_file_limit, tell
from client_aiohttp import GC_THRESHOLDS
from driving import drive
from tidemill.calls.http.transport import HttpTransport
from tidemill.calls.wire import (
    AttemptTimeoutError,
    Request,
    Response,
    Transport,
    UnreachableError,
)
from tidemill.errors import PermanentCallError, TransientCallError
from workload import API_KEY, MODEL, render_prompt

HEADERS = {"content-type": "application/json", "authorization": f"Bearer {API_KEY}"}
TIMEOUT_S = 120.0


class PyreqwestTransport:
    """HTTP by reqwest: Rust, on a thread of its own."""

    def __init__(self, certificate: bytes | None) -> None:
        client = importlib.import_module("pyreqwest.client")
        self._errors = importlib.import_module("pyreqwest.exceptions")
        builder = client.ClientBuilder().max_connections(None).follow_redirects(False).gzip(True)
        builder = builder.connect_timeout(timedelta(seconds=5)).pool_idle_timeout(timedelta(seconds=4))
        self._client = (builder.add_root_certificate_pem(certificate) if certificate else builder).build()

    async def send(self, request: Request, timeout_s: float) -> Response:
        """As `Transport.send`; a body is not bounded in bytes."""
        errors = self._errors
        sending = self._client.post(request.url).headers(request.headers).body_bytes(request.body)
        try:
            answer = await sending.timeout(timedelta(seconds=timeout_s)).build().send()
            body = bytes(await answer.bytes())
            return Response(answer.status, {name.lower(): value for name, value in answer.headers.items()}, body)
        except (errors.ConnectError, errors.ConnectTimeoutError) as exc:
            failure: Exception = UnreachableError(str(exc))
        except errors.RequestTimeoutError as exc:
            failure = AttemptTimeoutError(str(exc))
        except errors.BuilderError as exc:
            failure = PermanentCallError(str(exc), of="run")
        except errors.PyreqwestError as exc:
            failure = TransientCallError(str(exc))
        raise failure

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()


class AiohttpTransport:
    """The bare aiohttp session."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def send(self, request: Request, timeout_s: float) -> Response:
        """As the bare loop posts and reads."""
        async with self._session.post(request.url, data=request.body, headers=request.headers) as answer:
            return Response(answer.status, dict(answer.headers), await answer.read())

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()


def open_transport(kind: str, certificate: Path) -> Transport:
    """The transport called `kind`; they all accept the certificate."""
    if kind == "ours":
        return HttpTransport()
    if kind == "pyreqwest":
        return PyreqwestTransport(certificate.read_bytes())
    trusted = ssl.create_default_context(cafile=str(certificate))
    return AiohttpTransport(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, ssl=trusted)))


async def main(kind: str, url: str, calls: int, in_flight: int, certificate: Path) -> None:
    transport = open_transport(kind, certificate)

    async def call(number: int) -> str:
        messages = [{"role": "user", "content": render_prompt(number)}]
        body = orjson.dumps({"model": MODEL, "messages": messages, "max_tokens": 64})
        response = await transport.send(Request(url, HEADERS, body), TIMEOUT_S)
        content: Any = orjson.loads(response.body)["choices"][0]["message"]["content"]
        return str(content)

    found = await drive(call, calls, in_flight)
    await transport.close()
    await asyncio.sleep(0)
    tell(**found)


if __name__ == "__main__":
    raise_file_limit()
    kind, url, calls, in_flight, certificate, folder = sys.argv[1:]
    sys.path.append(folder)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    uvloop.run(main(kind, url, int(calls), int(in_flight), Path(certificate)))
