"""Tidemill: `tm.Agent` with functions for tools."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import tidemill as tm
from toolcall_server import API_KEY, MODEL, tell_outcomes
from toolcall_types import EXECUTED, book_room, cancel_room


def run(base_url: str) -> object:
    model = tm.model(f"openai/{MODEL}", base_url=base_url, api_key=API_KEY)
    with tm.Agent(model, tools=[book_room, cancel_room]) as agent:
        return agent("Book a room.")


if __name__ == "__main__":
    tell_outcomes("tidemill", run, EXECUTED)
