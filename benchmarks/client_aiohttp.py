"""The floor: a bare aiohttp loop that renders, posts and parses, with nothing around it.

Sends the bytes that Tidemill sends, on uvloop, with the collector set as Tidemill sets it for a run.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import aiohttp
import orjson
import uvloop

from children import raise_file_limit, tell
from driving import drive
from workload import API_KEY, MODEL, render_prompt

GC_THRESHOLDS = (50_000, 20, 20)


async def main(base_url: str, calls: int, in_flight: int, options: dict[str, object]) -> None:
    headers = {"content-type": "application/json", "authorization": f"Bearer {API_KEY}"}
    url = f"{base_url}/chat/completions"

    async def call(number: int) -> str:
        messages = [{"role": "user", "content": render_prompt(number)}]
        body = orjson.dumps({"model": MODEL, "messages": messages, **options})
        async with session.post(url, data=body, headers=headers) as response:
            return str(orjson.loads(await response.read())["choices"][0]["message"]["content"])

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        found = await drive(call, calls, in_flight)
    tell(**found)


if __name__ == "__main__":
    raise_file_limit()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    address, calls, in_flight, file = sys.argv[1:]
    uvloop.run(main(address, int(calls), int(in_flight), json.loads(Path(file).read_text())))
