"""A budget holds in the server's own bill, however often the process that spends it is killed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spender import PRICE, job_in, start
from workbench import check_folders, numbered, read_output, write_records

from tidemill.testing import Fault, FaultProcess, Faults

SEED = 4
RECORDS = 1_200

FAULTS = Faults(
    mixed=[
        (0.04, Fault("status", status=503)),
        (0.04, Fault("status", status=500, billed=True)),
        (0.04, Fault("status", status=429, retry_after_s=0.05)),
        (0.04, Fault("cut")),
        (0.04, Fault("garbage")),
        (0.02, Fault("stall")),
        (0.02, Fault("reset")),
    ],
    seed=SEED,
)
"""Retries of every kind: billed and told, billed and not told, not billed."""

BUDGETS = [({"calls": 900}, 0.6, 2), ({"tokens": 300_000}, 0.2, 2), ({"usd": 40.0}, 0.2, 10)]
"""Each with the share of it that the server must have billed in the end, and how often the run is killed.

A kill costs up to twice the ceilings of what is in flight, and a ceiling is a byte a token: five times the usage here.
"""


def bill_of(stats: dict[str, Any]) -> dict[str, float]:
    """What the server has counted, in the words of a budget."""
    tokens_in, tokens_out = stats["input_tokens"], stats["output_tokens"]
    usd = (tokens_in * PRICE.input + tokens_out * PRICE.output) / 1e6
    return {"calls": stats["requests"], "tokens": tokens_in + tokens_out, "usd": usd}


@pytest.fixture
def server() -> Iterator[FaultProcess]:
    with FaultProcess(latency_s=0.03, faults=FAULTS) as process:
        yield process


@pytest.mark.parametrize(("budget", "share", "kills"), BUDGETS, ids=["calls", "tokens", "usd"])
def test_many_kills_spend_one_budget(
    budget: dict[str, float], share: float, kills: int, tmp_path: Path, server: FaultProcess
) -> None:
    """Killed with calls in flight and gone on with: the bill stays within it, most of it buys, and more goes on."""
    rng = random.Random(SEED)
    write_records(tmp_path / "records.jsonl", numbered(RECORDS))
    (measure, most), url = next(iter(budget.items())), server.base_url

    def check_bill() -> float:
        billed = bill_of(server.wait_idle())[measure]
        assert billed <= most
        return billed

    for _ in range(kills):
        wanted = server.requests + rng.randrange(2, 20)
        with start(tmp_path, url, budget):
            server.wait_for(requests=wanted)
        check_bill()
    with start(tmp_path, url, budget) as process:
        assert process.wait() == 3
    spent = check_bill()
    assert spent > share * most
    job = job_in(tmp_path, url, budget)
    landed = len(read_output(job.folders))
    assert 0 < landed < RECORDS
    check_folders(job.folders)
    with start(tmp_path, url, budget) as process:
        assert process.wait() == 3
    assert check_bill() >= spent
    with start(tmp_path, url, {measure: most * 100}) as process:
        assert process.wait() == 0
    assert [record["id"] for record in read_output(job.folders)] == list(range(RECORDS))
