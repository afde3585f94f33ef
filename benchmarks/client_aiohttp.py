"""The floor: a bare aiohttp loop that renders, posts and parses, with nothing around it.

Sends the bytes that Tidemill sends, on uvloop, with the collector set as Tidemill sets it for a run.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from pathlib import Path

import aiohttp
import orjson
import uvloop

from children import cpu_s, peak_rss_mb, raise_file_limit, tell
from workload import API_KEY, MODEL, render_prompt

GC_THRESHOLDS = (50_000, 20, 20)


async def main(base_url: str, calls: int, in_flight: int, options: dict[str, object]) -> None:
    headers = {"content-type": "application/json", "authorization": f"Bearer {API_KEY}"}
    url = f"{base_url}/chat/completions"
    done = 0

    async def call(number: int) -> None:
        nonlocal done
        messages = [{"role": "user", "content": render_prompt(number)}]
        body = orjson.dumps({"model": MODEL, "messages": messages, **options})
        async with session.post(url, data=body, headers=headers) as response:
            content = orjson.loads(await response.read())["choices"][0]["message"]["content"]
        done += bool(content)

    async def work() -> None:
        for number in numbers:
            await call(number)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(call(number) for number in range(64)))
        done = 0
        numbers = iter(range(calls))
        cpu, started = cpu_s(), time.perf_counter()
        await asyncio.gather(*(work() for _ in range(in_flight)))
        wall, cpu = time.perf_counter() - started, cpu_s() - cpu
    tell(calls=done, cpu_s=cpu, wall_s=wall, peak_rss_mb=peak_rss_mb())


if __name__ == "__main__":
    raise_file_limit()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    address, calls, in_flight, file = sys.argv[1:]
    uvloop.run(main(address, int(calls), int(in_flight), json.loads(Path(file).read_text())))
