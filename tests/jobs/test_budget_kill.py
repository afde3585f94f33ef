"""A budget holds in the server's own bill, however often the process that spends it is killed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spender import PRICE, Spenders, job_in, open_spenders
from workbench import check_folders, numbered, read_output, write_records

from tidemill.testing import Fault, FaultProcess, Faults

SEED = 4
RECORDS = 600
KILLS = 10

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

BUDGETS = [({"calls": 500}, 0.6), ({"tokens": 200_000}, 0.2), ({"usd": 25.0}, 0.2)]
"""Each with the share of it that the server must have billed in the end.

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


@pytest.fixture(scope="module")
def spenders() -> Iterator[Spenders]:
    with open_spenders() as opened:
        yield opened


@pytest.mark.parametrize(("budget", "share"), BUDGETS, ids=["calls", "tokens", "usd"])
def test_ten_kills_spend_one_budget(
    budget: dict[str, float], share: float, tmp_path: Path, server: FaultProcess, spenders: Spenders
) -> None:
    """Killed with calls in flight and gone on with: the bill stays within it, most of it buys, and more goes on."""
    rng = random.Random(SEED)
    write_records(tmp_path / "records.jsonl", numbered(RECORDS))
    (measure, most), url = next(iter(budget.items())), server.base_url

    def check_bill() -> float:
        billed = bill_of(server.wait_idle())[measure]
        assert billed <= most
        return billed

    for _ in range(KILLS):
        wanted = server.requests + rng.randrange(2, 20)
        with spenders.start(tmp_path, url, budget):
            server.wait_for(requests=wanted)
        check_bill()
    with spenders.start(tmp_path, url, budget) as process:
        assert process.wait() == 3
    spent = check_bill()
    assert spent > share * most
    job = job_in(tmp_path, url, budget)
    landed = len(read_output(job.folders))
    assert 0 < landed < RECORDS
    check_folders(job.folders)
    with spenders.start(tmp_path, url, budget) as process:
        assert process.wait() == 3
    assert check_bill() >= spent
    with spenders.start(tmp_path, url, {measure: most * 100}) as process:
        assert process.wait() == 0
    assert [record["id"] for record in read_output(job.folders)] == list(range(RECORDS))
