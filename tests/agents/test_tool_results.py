"""What the model is told of what a tool gave."""

from __future__ import annotations

import pytest
from toolkit import call_once, make_tool


async def test_text_is_told_as_it_is_between_marks() -> None:
    async def greet(name: str) -> str:
        return f"hello {name}"

    outcome = await call_once(make_tool(greet), arguments={"name": "Ada"})
    assert (outcome.kind, outcome.value, outcome.tries) == ("ok", "hello Ada", 1)
    first, text, last = outcome.content.splitlines()
    assert first.startswith('<result tool="greet" id="')
    assert text == "hello Ada"
    assert last == f"</result {first[-10:-2]}>"


@pytest.mark.parametrize("isolate", [False, True])
async def test_a_plain_function_is_called_beside_the_loop(isolate: bool) -> None:
    outcome = await call_once(make_tool(add, isolate=isolate), arguments={"a": 1, "b": 2})
    assert (outcome.kind, outcome.value) == ("ok", 3), outcome


def add(a: int, b: int) -> int:
    return a + b
