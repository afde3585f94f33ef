"""The contract of vector stores, over every one of them."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tidemill.stores.lance.settings import LanceDB
from tidemill.testing.stores import STORE_CHECKS, StoreCheck, StoreSubject

pytestmark = pytest.mark.usefixtures("lance_opened_once")


@pytest.fixture
def subject(tmp_path: Path) -> StoreSubject:
    """LanceDB in folders of its own."""
    made: list[Any] = []

    def make(**settings: Any) -> LanceDB:
        made.append(None)
        return LanceDB(path=tmp_path / f"store {len(made)}", **settings)

    return StoreSubject(make, stall_cpu_s=0.025, imports=("lancedb", "tidemill.stores.lance.opened"))


@pytest.mark.parametrize("check", STORE_CHECKS.values(), ids=STORE_CHECKS)
async def test_the_contract(check: StoreCheck, subject: StoreSubject) -> None:
    await check(subject)


async def test_openings_that_are_cancelled_leave_no_half_of_a_table(subject: StoreSubject, tmp_path: Path) -> None:
    await STORE_CHECKS["opening_leaks_nothing"](subject)
    assert {name for store in os.listdir(tmp_path) for name in os.listdir(tmp_path / store)} == {"vectors.lance"}


@pytest.mark.parametrize("name", ["many_writers_leave_no_duplicate", "filters", "deleting"])
async def test_the_contract_of_an_indexed_table(name: str, subject: StoreSubject) -> None:
    """Where `flush` builds its indexes over any number of records."""
    await STORE_CHECKS[name](replace(subject, make=partial(subject.make, index_above=1)))
