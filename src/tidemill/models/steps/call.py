"""The `call` step: give each record to a function that asks the outside (a database, an API, a search), durably."""

from __future__ import annotations

import asyncio
import builtins
import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from hashlib import blake2b
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import BeforeValidator, Field, PlainSerializer, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from tidemill.calls.limits import Limits
from tidemill.calls.wire import AttemptTimeoutError, Request, Response, Usage
from tidemill.config.paths import KeyPath
from tidemill.config.roles import Runtime
from tidemill.config.types.functions import import_object, to_import_path
from tidemill.config.wording.suggest import find_near
from tidemill.config.wording.words import Says, describe_value
from tidemill.data.nodes.node import FunctionNode
from tidemill.data.records.columns import missing_column, no_columns
from tidemill.data.steps.functions import copy_record, is_async
from tidemill.errors import TransientCallError
from tidemill.models.steps.calling import KEY_HEADER, Ask, CallNode, hook_run
from tidemill.models.steps.packing import pack_record, pack_result
from tidemill.protocols import Record
from tidemill.resources.threads import Threads

MAX_THREADS = 32
"""Threads of a plain function whose concurrency is `auto`: what waits in more gives a database no more to do, and each
takes memory and a turn at the interpreter."""


def _to_error(value: Any, info: ValidationInfo) -> Any:
    found = value
    if isinstance(value, str):
        folder = (info.context or {}).get("folder")
        found = getattr(builtins, value, None) if value.isidentifier() else import_object(value, folder)
    if isinstance(found, type) and issubclass(found, Exception):
        return found
    message = f"expected an exception class or its import path `module:name`, got {describe_value(value)}"
    own = [name for name, each in vars(builtins).items() if isinstance(each, type) and issubclass(each, Exception)]
    near = find_near(value, own) if isinstance(value, str) else None
    hint = f"did you mean `{near}`?" if near else ""
    raise PydanticCustomError("error_class", "{message}", {"message": message, "hint": hint})


ErrorClass = Annotated[
    type[Exception],
    BeforeValidator(_to_error),
    PlainSerializer(to_import_path, return_type=str),
    Says("an exception's import path"),
    WithJsonSchema({"type": "string", "description": "The import path of an exception class, `module:name`."}),
]
"""An exception class, its import path, or the name of one of Python's own; holds the class."""


class Call(FunctionNode, CallNode):
    """Give each record to `fn` and put what it gives, as JSON, into the column `into`.

    A plain function is called in a thread, a coroutine function on the loop; one with a parameter `key` gets the call's
    key: the same whenever the same call is made again, and another for every other call. What it gave is committed, and
    from then on the function is never called for it again; one that a crash found before its commit is called again.

    Attributes:
        fn: a function or coroutine function of the record; alone it is short for the step.
        into: the column of what it gives.
        columns: the record that it gets has these columns only; then no other column makes the call a different one.
        limits: how many are under way at once, how many begin a minute, how often and how long each is tried.
        retry_on: exceptions that are worth another attempt, besides TransientCallError, ConnectionError and
            TimeoutError.
    """

    kind = "call"

    into: str = "result"
    columns: tuple[str, ...] | None = Field(default=None, min_length=1)
    limits: Annotated[Limits, Runtime()] = Limits()
    retry_on: Annotated[tuple[ErrorClass, ...], Runtime()] = ()

    @property
    def lane_limits(self) -> Limits:
        """The limits its calls go by: a plain function whose concurrency is `auto` has a bounded number of threads."""
        if not self.limits.concurrency.is_auto or is_async(self):
            return self.limits
        bounded = self.limits.concurrency.model_copy(update={"max": MAX_THREADS})
        return self.limits.model_copy(update={"concurrency": bounded})

    def column_types(self) -> dict[str, Any]:
        """The column of its results, which may be of any type."""
        return {self.into: None}

    def iter_columns(self) -> Iterator[tuple[KeyPath, str]]:
        for position, name in enumerate(self.columns or ()):
            yield ("columns", position), name


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """What a function gave: a JSON value. A `calls.lane.Reply` that cost no tokens."""

    value: Any

    usage: ClassVar[Usage] = Usage(0, 0)
    is_cut: ClassVar[bool] = False
    first_token_s: ClassVar[float | None] = None

    def to_row(self) -> list[Any]:
        """The value as the JSON list the ledger and the call archive keep."""
        return [self.value]

    @classmethod
    def from_row(cls, row: list[Any]) -> Value:
        """The value of `to_row`."""
        return cls(row[0])

    @classmethod
    def from_response(cls, response: Response) -> Value:
        """The value in what `Caller` sends back."""
        return cls(orjson.loads(response.body))


class Caller:
    """Runs one `Call` node. Belongs to one loop; `close` ends its threads.

    Args:
        slots: gives how many calls may be under way at once: a plain function has as many threads.
    """

    def __init__(self, node: Call, name: str, slots: Callable[[], int]) -> None:
        self._node = node
        self._hooked = hook_run(self._run, node.bound_hooks)
        self._fn = node.fn
        self._columns = node.columns
        self._is_async = is_async(node)
        self._takes_key = takes_key(node.fn)
        self._retry_on: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, *node.retry_on)
        self._url = f"call:{name}"
        self._threads = Threads("call", slots)

    def close(self) -> None:
        """End the threads, each once its function has returned; nobody waits for that."""
        self._threads.close()

    def run(self, record: Record, ask: Ask) -> Awaitable[Record]:
        """`record` with what the function gave in its column; the step's hooks are called around it.

        Raises:
            DataError: the record lacks a column, or it or the result is not JSON; names the place in it.
            CallError: the function failed in a way worth another attempt until none was left.
            Exception: whatever else the function raised.
        """
        return self._hooked(record, ask)

    async def _run(self, record: Record, ask: Ask) -> Record:
        given = self._select(record)
        request = Request(self._url, {}, pack_record(given), 0, 0)
        value: Value = await ask(0, request, partial(self._send, given))
        return {**record, self._node.into: value.value}

    def _select(self, record: Record) -> Record:
        if not isinstance(record, dict):
            raise no_columns(record)
        if self._columns is None:
            return record
        try:
            return {name: record[name] for name in self._columns}
        except KeyError as error:
            raise missing_column(str(error.args[0]), record) from None

    async def _send(self, record: Record, request: Request, timeout_s: float) -> Response:
        """One attempt: what a transport's `send` is to a request."""
        given = {"key": request.headers[KEY_HEADER]} if self._takes_key else {}
        bound = asyncio.timeout(timeout_s)
        try:
            async with bound:
                result = await self._apply(copy_record(record), given)
        except self._retry_on as error:
            if isinstance(error, TimeoutError) and bound.expired():
                raise AttemptTimeoutError(f"the function gave nothing within {timeout_s:g} s") from error
            raise TransientCallError(f"{type(error).__name__}: {error}") from error
        return Response(200, {}, pack_result(result))

    async def _apply(self, record: Record, given: Mapping[str, str]) -> Any:
        if self._is_async:
            return await self._fn(record, **given)
        result = await self._threads.run(partial(self._fn, record, **given))
        return await result if inspect.isawaitable(result) else result


def make_key(part: str, ordinal: int, path: tuple[int, ...], step: str, number: int, digest: str) -> str:
    """The key that a function gets of its call: 32 hex digits that follow from all that tells it from other calls."""
    return blake2b(orjson.dumps([part, ordinal, path, step, number, digest]), digest_size=16).hexdigest()


def takes_key(fn: Any) -> bool:
    """Whether the function has a parameter `key`."""
    try:
        parameter = inspect.signature(fn).parameters.get("key")
    except (ValueError, TypeError):  # one written in C that tells nothing of itself
        return False
    return parameter is not None and parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
