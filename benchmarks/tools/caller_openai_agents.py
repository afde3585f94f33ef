"""openai-agents: an `Agent` with function tools. Runs in a virtual environment of its own.

    python caller_openai_agents.py strict | loose | shown

`strict` is how it comes: OpenAI's server is told to hold the model to the schema, which other servers need not do.
`loose` does not ask for that. `shown` is `strict`, with the model told the text of every error and of unknown tools.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from toolcall_server import API_KEY, MODEL, tell_outcomes
from toolcall_types import EXECUTED, book_room, cancel_room

[MODE] = sys.argv[1:]
if MODE == "shown":  # read on import: what is not logged is not told, either
    os.environ["OPENAI_AGENTS_DONT_LOG_TOOL_DATA"] = "0"

agents = importlib.import_module("agents")
openai = importlib.import_module("openai")


def show_error(context: object, error: Exception) -> str:
    """What the model is told, as its documentation shows."""
    return f"An error occurred while running the tool: {error}"


def make_tool(function: Any) -> Any:
    options = {"failure_error_function": show_error} if MODE == "shown" else {}
    return agents.function_tool(function, strict_mode=MODE != "loose", **options)


TOOLS = [make_tool(book_room), make_tool(cancel_room)]
UNKNOWN = {"tool_not_found_behavior": "return_error_to_model"} if MODE == "shown" else {}


def run(base_url: str) -> object:
    client = openai.AsyncOpenAI(base_url=base_url, api_key=API_KEY)
    agent = agents.Agent("agent", model=agents.OpenAIChatCompletionsModel(MODEL, client), tools=TOOLS)
    settings = agents.RunConfig(tracing_disabled=True, **UNKNOWN)
    return agents.Runner.run_sync(agent, "Book a room.", run_config=settings)


if __name__ == "__main__":
    tell_outcomes("openai-agents", run, EXECUTED)
