"""What the steps that call have in common: how they ask, and what checks and sinks need to know of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

from tidemill.calls.limits import Price
from tidemill.calls.outgoing import Send
from tidemill.calls.wire import Request, Response
from tidemill.config.paths import KeyPath
from tidemill.config.types.templates import Template
from tidemill.data.nodes.hooks import BoundHooks
from tidemill.data.nodes.node import Node
from tidemill.models.model import Model
from tidemill.protocols import Record

KEY_HEADER = "idempotency-key"
"""The header of a step's request to a function that holds the call's key, as HTTP APIs name it."""


Decode = Callable[[Response], Any]
"""Makes a reply of a response."""


class Ask(Protocol):
    """Sends one request of a record under its call number, and gives its reply; a committed one is not sent."""

    def __call__(
        self, number: int, request: Request, send: Send | None = None, decode: Decode | None = None
    ) -> Awaitable[Any]:
        """The reply to `request`.

        Args:
            number: sample, re-ask and place of the call among those of the record at this step.
            send: makes the attempts, where not the lane's transport.
            decode: makes the reply of a response, where not the line's own.
        """
        ...


A = TypeVar("A")

Run = Callable[[Record, A], Awaitable[Record]]
"""Puts a record through a step, which calls by what it is given along with it."""


class Runner(Protocol):
    """Puts one record through a step that calls."""

    def run(self, record: Record, ask: Ask, /) -> Awaitable[Record]:
        """`record` with what the step adds; its hooks are called around it."""
        ...


class CallNode(Node):
    """A step that asks outside, or a model of this process: a job's record half begins with the first of them."""

    calls = True

    @property
    def has_ceiling(self) -> bool:
        """Whether something bounds what each of its calls costs, as a budget in tokens or USD needs."""
        return True

    def iter_calls(self) -> Iterator[tuple[str, KeyPath, CallNode]]:
        """The calls it makes of one record, each with its label within the step and its key: by default itself."""
        yield "", (), self

    def iter_beside(self) -> Iterator[tuple[str, KeyPath, CallNode]]:
        """What is asked on the way of its calls, as often as those want: the models of an agent's tools."""
        yield from ()

    def find_model(self) -> Model | None:
        """The model it asks, if it is a call that asks one."""
        return None

    def find_price(self) -> Price | None:
        """What its tokens cost, where that is known."""
        model = self.find_model()
        return None if model is None else model.price_with(self.find_params())

    def find_params(self) -> Mapping[str, Any]:
        """What it puts into its requests' bodies as it is, over the params of its model."""
        return {}

    def column_types(self) -> dict[str, Any]:
        """The columns it writes, each with the annotation of what then stands there, None where that is not known."""
        return {}

    def iter_templates(self) -> Iterator[tuple[KeyPath, Template]]:
        """Its templates over the record, each with its key."""
        yield from ()

    def iter_columns(self) -> Iterator[tuple[KeyPath, str]]:
        """The columns it names, each with its key."""
        yield from ()


def hook_run(run: Run[A], hooks: BoundHooks | None) -> Run[A]:
    """`run` with `hooks` around it; `run` itself without any."""
    return run if hooks is None else partial(_run_hooked, run, hooks)


async def _run_hooked(run: Run[A], hooks: BoundHooks, record: Record, ask: A) -> Record:
    record = hooks.replace_record(record)
    result: Record = hooks.replace_result(record, await run(record, ask))
    return result
