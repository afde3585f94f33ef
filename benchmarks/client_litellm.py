"""litellm as its documentation shows it, many calls at once. Runs in a virtual environment of its own."""

from __future__ import annotations

import importlib
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path

from children import raise_file_limit, tell
from driving import drive
from workload import API_KEY, MODEL, render_prompt

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # read at import, which would ask the network for prices
litellm = importlib.import_module("litellm")
uvloop = importlib.import_module("uvloop")


async def main(base_url: str, calls: int, in_flight: int, options: dict[str, object]) -> None:
    async def call(number: int) -> str:
        messages = [{"role": "user", "content": render_prompt(number)}]
        reply = await litellm.acompletion(
            model=f"openai/{MODEL}", messages=messages, api_base=base_url, api_key=API_KEY, **options
        )
        return str(reply.choices[0].message.content)

    tell(**await drive(call, calls, in_flight), version=version("litellm"))


if __name__ == "__main__":
    raise_file_limit()
    address, calls, in_flight, file = sys.argv[1:]
    uvloop.run(main(address, int(calls), int(in_flight), json.loads(Path(file).read_text())))
