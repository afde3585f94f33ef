"""async-batch-llm with its SQLite store, around a model in the process: what it costs without any network.

Its store commits as it does by default, without an fsync for each. Runs in a virtual environment of its own.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from children import cpu_s, peak_rss_mb, raise_file_limit, tell
from driving import WARM_UP
from workload import MODEL, render_prompt

library = importlib.import_module("async_batch_llm")
fakes = importlib.import_module("async_batch_llm.testing.fake")
uvloop = importlib.import_module("uvloop")

REPLY = '{"sentiment": "positive", "topic": "the battery"}'
USAGE = {"input_tokens": 90, "output_tokens": 20, "total_tokens": 110}


def iter_prompts(calls: int) -> Iterator[tuple[str, str]]:
    for number in range(calls):
        yield str(number), render_prompt(number)


async def run(folder: Path, calls: int, in_flight: int) -> int:
    """A batch into a store of its own; gives how many succeeded."""
    identity = library.ArtifactIdentity(provider="fake", model=MODEL)
    strategy = fakes.FakeStrategy(REPLY, token_usage=USAGE, identity=identity)
    bounds: dict[str, Any] = {"max_queue_size": 4 * in_flight, "max_result_queue_size": 4 * in_flight}
    config = library.ProcessorConfig(concurrency=in_flight, **bounds)
    store = library.SqliteArtifactStore(folder / "store.sqlite", identity=identity)
    done = 0
    async for result in library.process_stream(strategy, iter_prompts(calls), config=config, artifact_store=store):
        done += bool(result.success and result.output)
    return done


async def main(calls: int, in_flight: int) -> None:
    with tempfile.TemporaryDirectory() as warm_up, tempfile.TemporaryDirectory() as folder:
        await run(Path(warm_up), WARM_UP, in_flight)
        cpu, started = cpu_s(), time.perf_counter()
        done = await run(Path(folder), calls, in_flight)
        wall, cpu = time.perf_counter() - started, cpu_s() - cpu
    tell(calls=done, cpu_s=cpu, wall_s=wall, peak_rss_mb=peak_rss_mb(), version=version("async-batch-llm"))


if __name__ == "__main__":
    raise_file_limit()
    _, calls, in_flight, _ = sys.argv[1:]
    uvloop.run(main(int(calls), int(in_flight)))
