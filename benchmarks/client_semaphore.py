"""The script everybody writes: `asyncio.Semaphore`, aiohttp, and an exponential back-off with jitter around each call.

The back-off is what OpenAI's cookbook shows with tenacity, `wait_random_exponential(min=1, max=60)`; a `Retry-After`
that is longer is waited out. Other than there it never gives a record up. Nothing is kept on a disk.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from pathlib import Path

import aiohttp

from children import cpu_s, raise_file_limit, tell
from loop_lag import LagProbe
from workload import API_KEY, MODEL, render_prompt

SHORTEST_S, LONGEST_S = 1.0, 60.0


class Script:
    def __init__(self, base_url: str, in_flight: int, options: dict[str, object]) -> None:
        self.landed = 0
        self._url = f"{base_url}/chat/completions"
        self._options = options
        self._semaphore = asyncio.Semaphore(in_flight)

    async def run(self, records: int) -> None:
        headers = {"authorization": f"Bearer {API_KEY}"}
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
            await asyncio.gather(*(self._label(session, number) for number in range(records)))

    async def _label(self, session: aiohttp.ClientSession, number: int) -> None:
        messages = [{"role": "user", "content": render_prompt(number)}]
        body = {"model": MODEL, "messages": messages, **self._options}
        async with self._semaphore:
            failures = 0
            while (pause_s := await self._ask(session, body)) is not None:
                most_s = max(SHORTEST_S, min(LONGEST_S, 2.0**failures))
                await asyncio.sleep(max(pause_s, random.uniform(SHORTEST_S, most_s)))
                failures += 1
        self.landed += 1

    async def _ask(self, session: aiohttp.ClientSession, body: dict[str, object]) -> float | None:
        """None when it was answered well, else the pause that is asked for."""
        try:
            async with session.post(self._url, json=body) as response:
                if response.status == 200:
                    json.loads((await response.json())["choices"][0]["message"]["content"])
                    return None
                return float(response.headers.get("retry-after", 0))
        except (aiohttp.ClientError, TimeoutError, ValueError, LookupError):
            return 0.0


async def main(base_url: str, records: int, in_flight: int, options: dict[str, object]) -> None:
    script, probe = Script(base_url, in_flight, options), LagProbe()
    running = asyncio.ensure_future(probe.beside(script.run(records)))
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, running.cancel)
    cpu, started = cpu_s(), time.perf_counter()
    await asyncio.wait([running])
    if not running.cancelled():
        running.result()
    tell(
        outcome="stopped" if running.cancelled() else "finished",
        landed=script.landed,
        failed=0,
        cpu_s=cpu_s() - cpu,
        wall_s=time.perf_counter() - started,
        lag_ms=probe.percentiles_ms(),
    )


if __name__ == "__main__":
    raise_file_limit()
    address, records, in_flight, file = sys.argv[1:]
    asyncio.run(main(address, int(records), int(in_flight), json.loads(Path(file).read_text())))
