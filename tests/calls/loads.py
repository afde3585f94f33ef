"""A far side in virtual time: a load of the fault server behind the transport seam, and what calls make of it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import dataclass, field
from typing import Any

from answer import Answer

from tidemill.calls.engine import Engine
from tidemill.calls.limits import Limits
from tidemill.calls.meter import Meter
from tidemill.calls.wire import Request, Response, Usage
from tidemill.testing import run_virtual
from tidemill.testing.load.admission import Admission
from tidemill.testing.load.admission import Request as Arrival
from tidemill.testing.load.meter import Cost
from tidemill.testing.load.oracle import ask_oracle
from tidemill.testing.load.plan import Load

ENDPOINT = "https://load.example/v1"
OUTPUT_TOKENS = 20


def decode(response: Response) -> Answer:
    return Answer(Usage(int(response.body), OUTPUT_TOKENS))


class LoadedSide:
    """A transport whose far side carries a `Load`. Belongs to one loop."""

    def __init__(self, load: Load, latency_s: float) -> None:
        self._load = load
        self._latency_s = latency_s
        self._admission = Admission(load)
        self._times: dict[bytes, int] = {}
        self.good: list[tuple[float, float]] = []  # when each good reply was given, and how long it took
        self.refused: list[float] = []
        self.excess = 0

    async def send(self, request: Request, timeout_s: float) -> Response:
        now = asyncio.get_running_loop().time()
        digest = hashlib.blake2b(request.body, digest_size=16).digest()
        times = self._times[digest] = self._times.get(digest, 0) + 1
        outage = self._admission.find_outage(now, digest, times)
        if outage is not None:
            await asyncio.sleep(0.001)
            asked = outage.retry_after_s
            return Response(outage.status, {} if asked is None else {"retry-after-ms": f"{asked * 1e3:g}"}, b"{}")
        tokens = len(request.body) // 4
        verdict = self._admission.arrive(now, Arrival(digest, times, Cost(tokens, OUTPUT_TOKENS, 64)))
        self.excess += verdict.is_excess
        headers = {}
        for standing in verdict.standings:
            headers[f"x-ratelimit-limit-{standing.unit}"] = f"{standing.per_minute:.0f}"
            headers[f"x-ratelimit-remaining-{standing.unit}"] = f"{int(standing.remaining)}"
            headers[f"x-ratelimit-reset-{standing.unit}"] = f"{standing.reset_s:.3f}s"
        if verdict.refusal is not None:
            self.refused.append(now)
            if verdict.retry_after_s is not None:
                headers["retry-after-ms"] = f"{verdict.retry_after_s * 1e3:.3f}"
            await asyncio.sleep(0.001)
            return Response(verdict.status, headers, b"{}")
        try:
            await asyncio.sleep(self._latency_s + verdict.delay_s)
        finally:
            self._admission.release()
        done = asyncio.get_running_loop().time()
        self.good.append((done, done - now))
        return Response(200, headers, b"%d" % tokens)

    async def close(self) -> None:
        pass


@dataclass
class Outcome:
    """What came of it; `goodput` is the share of what the load would have let through."""

    goodput: float
    refused_ratio: float
    good_per_s: float
    p50_s: float
    far: LoadedSide = field(repr=False)
    meter: Meter = field(repr=False)


def drive(
    load: Load, *, seconds: float, latency_s: float = 0.2, warm_up_s: float = 0.0, size: int = 400, **limits: Any
) -> Outcome:
    """As many calls as the limits take, for so long, in virtual time; judged from `warm_up_s` on."""
    far = LoadedSide(load, latency_s)

    async def main() -> Meter:
        async with Engine(far, rng=random.Random(1)) as engine:
            given = Limits(**limits)
            lane = engine.lane("m", limits=given, endpoint=ENDPOINT)
            number = 0

            async def work() -> None:
                nonlocal number
                while True:
                    number += 1
                    body = (b"%d|" % number).ljust(size, b".")
                    await lane.call(Request(f"{ENDPOINT}/chat", {}, body, 64), decode)

            workers = [asyncio.create_task(work()) for _ in range(given.slots)]
            await asyncio.sleep(seconds)
            for worker in workers:
                worker.cancel()
            results = await asyncio.gather(*workers, return_exceptions=True)
            failed = [each for each in results if not isinstance(each, asyncio.CancelledError)]
            assert not failed, failed[0]
            return engine.meter

    meter = run_virtual(main())
    latencies = sorted(took for done, took in far.good if done >= warm_up_s)
    cost = {
        "requests": 1.0,
        "input_tokens": size / 4,
        "output_tokens": OUTPUT_TOKENS,
        "tokens": size / 4 + OUTPUT_TOKENS,
    }
    oracle = ask_oracle(load, warm_up_s, seconds, cost=cost, latency_s=latency_s)
    attempts = len(far.good) + len(far.refused)
    return Outcome(
        goodput=len(latencies) / oracle.sustained if oracle.sustained else 0.0,
        refused_ratio=len(far.refused) / max(1, attempts),
        good_per_s=len(latencies) / (seconds - warm_up_s),
        p50_s=latencies[len(latencies) // 2] if latencies else 0.0,
        far=far,
        meter=meter,
    )
