"""The openai package as its documentation shows it, many calls at once. Runs in a virtual environment of its own."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path

from children import cpu_s, peak_rss_mb, raise_file_limit, tell
from workload import API_KEY, MODEL, render_prompt

openai = importlib.import_module("openai")
uvloop = importlib.import_module("uvloop")


async def main(base_url: str, calls: int, in_flight: int, options: dict[str, object]) -> None:
    client = openai.AsyncOpenAI(base_url=base_url, api_key=API_KEY)
    done = 0

    async def call(number: int) -> None:
        nonlocal done
        messages = [{"role": "user", "content": render_prompt(number)}]
        reply = await client.chat.completions.create(model=MODEL, messages=messages, **options)
        done += bool(reply.choices[0].message.content)

    async def work() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(call(number) for number in range(64)))
    done = 0
    numbers = iter(range(calls))
    cpu, started = cpu_s(), time.perf_counter()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    wall, cpu = time.perf_counter() - started, cpu_s() - cpu
    tell(calls=done, cpu_s=cpu, wall_s=wall, peak_rss_mb=peak_rss_mb(), version=openai.__version__)


if __name__ == "__main__":
    raise_file_limit()
    address, calls, in_flight, file = sys.argv[1:]
    uvloop.run(main(address, int(calls), int(in_flight), json.loads(Path(file).read_text())))
