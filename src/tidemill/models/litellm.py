"""Models that the `litellm` package speaks to: a transport that takes and gives the OpenAI wire format.

So their calls have the same limits, retries, budget and ledger as any other; litellm's own retries are off.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
from typing import Any

import orjson

from tidemill.calls.wire import AttemptTimeoutError, Request, Response, UnreachableError
from tidemill.config.secrets import mask_start
from tidemill.errors import PermanentCallError, ResourceError, TransientCallError

SCHEME = "litellm://"
_OURS = frozenset({"authorization", "content-type"})
_UNREACHABLE = frozenset({"ClientConnectorError", "ConnectError", "ConnectTimeout", "ConnectionRefusedError"})
"""What aiohttp, httpx and the system call it when there is no connection."""


def check_litellm() -> None:
    """Refuse to go on without the package.

    Raises:
        ResourceError: it is not installed.
    """
    if importlib.util.find_spec("litellm") is None:
        raise ResourceError("models named `litellm/…` need the litellm package", hint="pip install 'tidemill[litellm]'")


class LitellmTransport:
    """Sends requests of `ChatEndpoint` and `EmbeddingEndpoint` through litellm.

    The package is imported for the first request, in a thread, which takes seconds. It goes through one HTTP session,
    closed with the transport, and reads keys from the variables its documentation names. Of one event loop.

    Args:
        base_url: where the model answers, None for where litellm finds it.
    """

    def __init__(self, base_url: str | None = None) -> None:
        self._base_url = base_url
        self._library: Any = None
        self._session: Any = None

    async def send(self, request: Request, timeout_s: float) -> Response:
        """The response to `request`, as the far side would have given it in the OpenAI format.

        Raises:
            UnreachableError: no connection came about.
            AttemptTimeoutError: it was sent and took too long.
            TransientCallError: the connection was cut, or what came is not what litellm expected.
            PermanentCallError: litellm does not know the provider, or a parameter of it.
        """
        if self._library is None:
            self._library = await asyncio.to_thread(_import_litellm)
            _check_model(self._library, orjson.loads(request.body)["model"])
        if self._session is None:
            self._session = _open_session()
        try:
            async with asyncio.timeout(timeout_s):
                return await self._ask(request, timeout_s)
        except TimeoutError:
            raise AttemptTimeoutError(f"no answer within {timeout_s:g} s") from None
        except _TakerError as exc:
            raise exc.error from None
        except Exception as exc:  # noqa: BLE001 - the edge to a library that raises what its providers' libraries do
            return _explain(exc, timeout_s)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, request: Request, timeout_s: float) -> Response:
        body: dict[str, Any] = orjson.loads(request.body)
        given = {name.lower(): value for name, value in request.headers.items()}
        body |= {"num_retries": 0, "max_retries": 0, "timeout": timeout_s, "shared_session": self._session}
        if headers := {name: value for name, value in given.items() if name not in _OURS}:
            body["extra_headers"] = headers
        if key := given.get("authorization", "").removeprefix("Bearer "):
            body["api_key"] = key
        if self._base_url is not None:
            body["api_base"] = self._base_url
        if request.url.partition("?")[0].endswith("/embeddings"):
            return Response(200, {}, _dump(await self._library.aembedding(**body)))
        answer = await self._library.acompletion(**body)
        if not body.get("stream"):
            return Response(200, {}, _dump(answer))
        pieces = []
        async for chunk in answer:
            piece = b"data: " + _dump(chunk) + b"\n\n"
            pieces.append(piece)
            if request.on_chunk is not None:
                try:
                    request.on_chunk(piece)
                except Exception as exc:  # noqa: BLE001 - it passes through as it is, told apart from litellm's own
                    raise _TakerError(exc) from None
        return Response(200, {"content-type": "text/event-stream"}, b"".join([*pieces, b"data: [DONE]\n\n"]))


class _TakerError(Exception):
    """What `on_chunk` raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _open_session() -> Any:
    """An aiohttp session; its own limit of 100 connections would hold back calls that have their slot."""
    aiohttp: Any = importlib.import_module("aiohttp")  # litellm needs it; a fifth of a second for what else does not
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


def _import_litellm() -> Any:
    """The package, told before it is imported to fetch no price list, and afterwards to print no advice."""
    check_litellm()
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    library = importlib.import_module("litellm")
    library.suppress_debug_info = True  # type: ignore[attr-defined]  # of a module loaded by name
    return library


def _check_model(library: Any, name: str) -> None:
    """Refuse a model of no provider that litellm knows, which it would tell of each record."""
    try:
        library.get_llm_provider(name)
    except library.BadRequestError as exc:
        told = mask_start(str(exc.message), 200)
        hint = "write it as litellm/PROVIDER/NAME, as litellm's documentation names the provider"
        raise PermanentCallError(told, of="run", hint=hint) from None


def _dump(answer: Any) -> bytes:
    return orjson.dumps(answer.model_dump(mode="json"))


def _explain(error: Exception, timeout_s: float) -> Response:
    """The response that `error` was made of, as the engine judges any other.

    Raises:
        CallError: it was made of none.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    told = mask_start(str(getattr(error, "message", error)), 200)
    status = getattr(error, "status_code", None)
    headers = getattr(error, "litellm_response_headers", None)
    if headers is None:  # of no response; a status is litellm's own word for it then
        if "APITimeoutError" in names:
            raise AttemptTimeoutError(f"no answer within {timeout_s:g} s") from None
        if _is_unreachable(error):
            raise UnreachableError("no connection") from None
        if "UnsupportedParamsError" in names:  # raised before anything is sent, for any record
            raise PermanentCallError(told, of="run", hint="leave that out of the step and of params") from None
        if type(status) is int and status >= 500:  # what it could not read to the end, or parse
            raise TransientCallError(told) from None
    if type(status) is not int:
        raise TransientCallError(told) from None
    fields = {name: getattr(error, name, None) for name in ("type", "code")}
    body = orjson.dumps({"error": {"message": told, **fields}}, default=str)
    return Response(status, {name.lower(): value for name, value in dict(headers or {}).items()}, body)


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether there was no connection: litellm tells that only by what its error was made of."""
    while error is not None:
        if any(kind.__name__ in _UNREACHABLE for kind in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False
