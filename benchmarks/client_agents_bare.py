"""The floor of agents: a bare aiohttp loop that posts, parses, calls the functions and posts again.

Sends the bytes that Tidemill's agents send, but for the id of each result's marks, which is the same here for all; on
uvloop, with the collector set as Tidemill sets it for a run. Nothing is checked, bounded or kept.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from agent_work import TOOLS, make_question
from children import raise_file_limit, tell
from client_aiohttp import GC_THRESHOLDS
from driving import drive
from workload import API_KEY

FUNCTIONS = {fn.__name__: fn for fn in TOOLS}


async def main(base_url: str, agents: int, in_flight: int, asked: dict[str, Any]) -> None:
    headers = {"content-type": "application/json", "authorization": f"Bearer {API_KEY}"}
    url = f"{base_url}/chat/completions"
    system = asked.pop("messages")[0]
    model = asked.pop("model")

    async def run(number: int) -> str:
        messages = [system, {"role": "user", "content": make_question(number)}]
        while True:
            body = orjson.dumps({"model": model, "messages": messages, **asked})
            async with session.post(url, data=body, headers=headers) as response:
                message = orjson.loads(await response.read())["choices"][0]["message"]
            if "tool_calls" not in message:
                return str(message["content"])
            messages.append(message)
            messages += [await answer(call["id"], call["function"]) for call in message["tool_calls"]]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        found = await drive(run, agents, in_flight)
    tell(**found)


async def answer(identity: str, called: dict[str, str]) -> dict[str, str]:
    """The message with what a tool gives."""
    name = called["name"]
    result: Any = await FUNCTIONS[name](**orjson.loads(called["arguments"]))
    text = result if isinstance(result, str) else orjson.dumps(result).decode()
    content = f'<result tool="{name}" id="00000000">\n{text}\n</result 00000000>'
    return {"role": "tool", "tool_call_id": identity, "content": content}


if __name__ == "__main__":
    raise_file_limit()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    address, agents, in_flight, file = sys.argv[1:]
    uvloop.run(main(address, int(agents), int(in_flight), json.loads(Path(file).read_text())))
