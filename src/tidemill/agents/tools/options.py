"""`ToolOptions`: how a tool is called, beside what it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Self

from pydantic import ByteSize, Field, model_validator
from pydantic_core import PydanticCustomError

from tidemill.config.model import Settings
from tidemill.config.types.durations import Duration
from tidemill.models.steps.call import ErrorClass

TOOL_TIMEOUT_S = 60.0
TOOL_CONCURRENCY = 32
MAX_RESULT = 32 << 10

Approve = Callable[[Any], Any | Awaitable[Any]]
"""Decides on one call: gets an `ApprovalRequest`, gives a `Decision`."""


class ToolOptions(Settings):
    """How a tool is called.

    Attributes:
        timeout_s: seconds that one execution may take; None for no bound but the agent's.
        concurrency: executions at once, over all agents of a run that have the tool.
        retries: how often a failed execution is tried again within the call; only an idempotent tool may have some.
        retry_on: exceptions that are worth another try, besides TransientCallError, ConnectionError and TimeoutError.
        idempotent: whether executing it twice does no more than once.
        sequential: whether it waits for the calls of its turn in front of it, and those behind wait for it.
        needs_approval: whether each call is decided on first, or the function that decides.
        shows_errors: whether the model is told the text of an exception, and not its class alone.
        max_result: bytes of a result that the model is told; the whole is kept in the run.
        isolate: whether it is executed in processes of its own, which run one execution at a time each and are kept for
            the next; one whose execution is given up, at its timeout say, is really ended, with all it started.
    """

    timeout_s: Duration | None = Field(default=TOOL_TIMEOUT_S, gt=0)
    concurrency: int = Field(default=TOOL_CONCURRENCY, ge=1)
    retries: int = Field(default=0, ge=0, le=100)
    retry_on: tuple[ErrorClass, ...] = ()
    idempotent: bool = False
    sequential: bool = False
    needs_approval: bool | Approve = False
    shows_errors: bool = False
    max_result: ByteSize = Field(default=ByteSize(MAX_RESULT), ge=256)
    isolate: bool = False

    @model_validator(mode="after")
    def _check_retries(self) -> Self:
        if self.retries and not self.idempotent:
            message = "expected 0 of a tool that is not `idempotent`, got {retries}"
            hint = "say `idempotent=True` if executing it twice does no more than once"
            raise PydanticCustomError("retries", message, {"retries": self.retries, "hint": hint, "path": ("retries",)})
        return self
