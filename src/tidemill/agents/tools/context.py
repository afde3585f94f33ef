"""`Context`: what a tool's function may be told of the call it is made for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Context(Generic[D]):
    """What a tool's function gets by a parameter annotated `tm.Context[Deps]`; the model does not see it.

    Attributes:
        deps: what the agent was called with, or a job's step made for the record.
        key: the call's idempotency key, 32 hex digits: the same whenever the same call is made again.
        agent: the agent's name.
        tool: the tool's name.
        call_id: the model's own name of the call.
        turn: the agent's turn, from 1.
        place: of the call in its turn, from 0.
        attempt: of this call, from 1.
        forgotten: earlier calls of this tool in this run of the agent whose results came from the ledger: what they
            left in this process is gone.
    """

    deps: D
    key: str
    agent: str = ""
    tool: str = ""
    call_id: str = ""
    turn: int = 1
    place: int = 0
    attempt: int = 1
    forgotten: int = 0

    @classmethod
    def of(cls, deps: D) -> Context[Any]:
        """A context by itself, for calling a tool's function in a test."""
        return cls(deps, key="0" * 32)
