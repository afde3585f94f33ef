"""inspect_ai: `generate_loop` of a model with tools. Runs in a virtual environment of its own."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from toolcall_server import API_KEY, MODEL, tell_outcomes
from toolcall_types import EXECUTED, book_room, cancel_room

models = importlib.import_module("inspect_ai.model")
tools = importlib.import_module("inspect_ai.tool")


def make_tool(function: Callable[..., str]) -> Any:
    """A tool of `function`, which has to be a coroutine function within a factory of the tool's name."""

    @wraps(function)
    async def execute(*args: Any, **values: Any) -> str:
        return function(*args, **values)

    def make() -> Any:
        return execute

    make.__name__ = make.__qualname__ = function.__name__
    return tools.tool(make)()


TOOLS = [make_tool(book_room), make_tool(cancel_room)]


def run(base_url: str) -> object:
    async def ask() -> object:
        model = models.get_model(f"openai/{MODEL}", base_url=base_url, api_key=API_KEY, responses_api=False)
        return await model.generate_loop("Book a room.", tools=TOOLS)

    return asyncio.run(ask())


if __name__ == "__main__":
    tell_outcomes("inspect_ai", run, EXECUTED)
