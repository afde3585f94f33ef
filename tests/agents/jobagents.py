"""Agents and tools that the tests' job files name."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

import tidemill as tm


class Total(BaseModel):
    """What the agents here answer with."""

    total: int
    note: str | None = None


@tm.tool
def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first.
        b: the second.
    """
    return a + b


@tm.tool
def scale(number: int, context: tm.Context[int]) -> int:
    """Multiply by what the record says."""
    return number * context.deps


def make_deps(record: dict[str, Any]) -> int:
    """What tools get."""
    return int(record["factor"])


counter = tm.Agent("openai/gpt-4.1-mini", tools=[add], name="counter", instructions="Count.")
