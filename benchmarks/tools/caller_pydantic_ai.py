"""pydantic-ai: an `Agent` with functions for tools. Runs in a virtual environment of its own."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from toolcall_server import API_KEY, MODEL, tell_outcomes
from toolcall_types import EXECUTED, book_room, cancel_room

pydantic_ai = importlib.import_module("pydantic_ai")
models = importlib.import_module("pydantic_ai.models.openai")
providers = importlib.import_module("pydantic_ai.providers.openai")


def run(base_url: str) -> object:
    model = models.OpenAIChatModel(MODEL, provider=providers.OpenAIProvider(base_url=base_url, api_key=API_KEY))
    return pydantic_ai.Agent(model, tools=[book_room, cancel_room]).run_sync("Book a room.")


if __name__ == "__main__":
    tell_outcomes("pydantic-ai-slim", run, EXECUTED)
