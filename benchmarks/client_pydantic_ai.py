"""A pydantic-ai agent that answers as text, many runs at once. Runs in a virtual environment of its own."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import version

from children import raise_file_limit, tell
from driving import drive
from workload import API_KEY, MODEL, render_prompt

pydantic_ai = importlib.import_module("pydantic_ai")
models = importlib.import_module("pydantic_ai.models.openai")
providers = importlib.import_module("pydantic_ai.providers.openai")
uvloop = importlib.import_module("uvloop")

MAX_TOKENS = 64


async def main(base_url: str, calls: int, in_flight: int) -> None:
    provider = providers.OpenAIProvider(base_url=base_url, api_key=API_KEY)
    model = models.OpenAIChatModel(MODEL, provider=provider)
    agent = pydantic_ai.Agent(model, model_settings={"max_tokens": MAX_TOKENS})

    async def call(number: int) -> str:
        return str((await agent.run(render_prompt(number))).output)

    tell(**await drive(call, calls, in_flight), version=version("pydantic-ai-slim"))


if __name__ == "__main__":
    raise_file_limit()
    address, calls, in_flight, _ = sys.argv[1:]
    uvloop.run(main(address, int(calls), int(in_flight)))
