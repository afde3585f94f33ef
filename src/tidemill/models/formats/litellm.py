"""Models that the `litellm` package speaks to: a transport that takes and gives the OpenAI wire format.

So their calls have the same limits, retries, budget and ledger as any other; litellm's own retries are off.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import re
from typing import Any

import orjson

from tidemill.calls.wire import AttemptTimeoutError, Request, Response, UnreachableError, UnsentError
from tidemill.config.secrets import mask_start
from tidemill.errors import TransientCallError
from tidemill.packages import check_package

SCHEME = "litellm://"
_OURS = frozenset({"authorization", "content-type"})
_UNREACHABLE = frozenset({"ClientConnectorError", "ConnectError", "ConnectTimeout", "ConnectionRefusedError"})
"""What aiohttp, httpx and the system call it when there is no connection."""
_NO_KEY = re.compile(
    r"\bmissing\b.{0,40}\b(?:credentials|api.?key|token)|_(?:KEY|TOKEN)\b.{0,40}\b(?:not set|missing|required)",
    re.IGNORECASE,
)
"""How the packages that litellm asks by say that there is no key, before anything is sent."""


def check_litellm() -> None:
    """Refuse to go on without the package.

    Raises:
        ResourceError: it is not installed.
    """
    check_package("litellm", need="a model named `litellm/…`", extra="litellm")


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
        self._worker: Any = None
        self._session: Any = None
        self._logger: asyncio.Task[None] | None = None

    async def send(self, request: Request, timeout_s: float) -> Response:
        """The response to `request`, as the far side would have given it in the OpenAI format.

        Raises:
            UnreachableError: no connection came about.
            AttemptTimeoutError: it was sent and took too long.
            TransientCallError: the connection was cut, or what came is not what litellm expected.
            UnsentError: litellm does not know the provider, or a parameter of it.
        """
        if self._library is None:
            self._library = await asyncio.to_thread(_import_litellm)
            self._worker = self._library.litellm_core_utils.logging_worker.GLOBAL_LOGGING_WORKER
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
        except TransientCallError:
            raise
        except Exception as exc:  # noqa: BLE001 - the edge to a library that raises what its providers' libraries do
            return _explain(exc, timeout_s)
        finally:
            asyncio.get_running_loop().call_soon(self._hold_logger)  # behind the task that litellm starts it in

    async def close(self) -> None:
        """Close every connection, and end litellm's task on this loop."""
        if self._logger is not None:
            self._logger.cancel()
            await asyncio.wait([self._logger])
            self._logger = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _hold_logger(self) -> None:
        """Hold the task that litellm logs by on this loop, and end the one before.

        It forgets one that still runs as soon as another loop asks it something; collected, asyncio complains of it.
        """
        task = self._worker._worker_task  # there is no other way to it
        if task is None or task is self._logger or task.get_loop() is not asyncio.get_running_loop():
            return
        if self._logger is not None:
            self._logger.cancel()
        self._logger = task

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
        return await _read_stream(answer, request)


async def _read_stream(answer: Any, request: Request) -> Response:
    """The stream's events as the far side would have sent them, each handed on.

    Raises:
        TransientCallError: no event came: litellm makes a reply that ended well of it.
    """
    pieces, is_empty = [], True
    async for chunk in answer:
        told = chunk.model_dump(mode="json")
        if told.get("usage") and all(getattr(each, "usage", None) is None for each in answer.chunks):
            del told["usage"]  # what litellm itself counted, since the far side did not say
        is_empty = is_empty and not _tells_something(told)
        piece = b"data: " + orjson.dumps(told) + b"\n\n"
        pieces.append(piece)
        if request.on_chunk is not None:
            try:
                request.on_chunk(piece)
            except Exception as exc:  # noqa: BLE001 - it passes through as it is, told apart from litellm's own
                raise _TakerError(exc) from None
    if is_empty:
        raise TransientCallError("expected a stream of a chat completion, got no event of one")
    return Response(200, {"content-type": "text/event-stream"}, b"".join([*pieces, b"data: [DONE]\n\n"]))


def _tells_something(chunk: dict[str, Any]) -> bool:
    """Whether a piece of a stream is one that the far side sent."""
    return bool(chunk.get("usage")) or any(any(choice["delta"].values()) for choice in chunk["choices"])


class _TakerError(Exception):
    """What `on_chunk` raised."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def _open_session() -> Any:
    """An aiohttp session; its own limit of 100 connections would hold back calls that have their slot."""
    aiohttp: Any = importlib.import_module("aiohttp")  # litellm needs it; a fifth of a second for what else does not
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


def _import_litellm() -> Any:
    """The package, told before it is imported to fetch no price list, and afterwards to print no advice.

    Of embeddings it takes no retries at all for its default number of them, so that is none for all in this process.
    """
    check_litellm()
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    library = importlib.import_module("litellm")
    library.suppress_debug_info = True  # type: ignore[attr-defined]  # of a module loaded by name
    library.DEFAULT_MAX_RETRIES = 0  # type: ignore[attr-defined]
    return library


def _check_model(library: Any, name: str) -> None:
    """Refuse a model of no provider that litellm knows, which it would tell of each record."""
    try:
        library.get_llm_provider(name)
    except library.BadRequestError as exc:
        told = mask_start(str(exc.message), 200)
        hint = "write it as litellm/PROVIDER/NAME, as litellm's documentation names the provider"
        raise UnsentError(told, of="run", hint=hint) from None


def _dump(answer: Any) -> bytes:
    """What the far side sent; where it did not say what it used, litellm says 0, which no request comes to."""
    told = answer.model_dump(mode="json")
    usage = told.get("usage")
    if usage and not (usage.get("prompt_tokens") or usage.get("total_tokens")):
        del told["usage"]
    return orjson.dumps(told)


def _explain(error: Exception, timeout_s: float) -> Response:
    """The response that `error` was made of, as the engine judges any other.

    Raises:
        CallError: it was made of none.
    """
    names = {kind.__name__ for kind in type(error).__mro__}
    said = str(getattr(error, "message", error)).partition("\nTraceback ")[0]
    told = mask_start(said, 200)
    status = getattr(error, "status_code", None)
    headers = getattr(error, "litellm_response_headers", None)
    if headers is None:  # of no response; a status is litellm's own word for it then
        if "APITimeoutError" in names:
            raise AttemptTimeoutError(f"no answer within {timeout_s:g} s") from None
        if _is_unreachable(error):
            raise UnreachableError("no connection") from None
        if "UnsupportedParamsError" in names:  # raised before anything is sent, for any record
            raise UnsentError(told, of="run", hint="leave that out of the step and of params") from None
        if _NO_KEY.search(said):
            status = 401
        elif type(status) is int and status >= 500:  # what it could not read to the end, or parse
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
