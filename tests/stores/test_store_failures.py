"""What is wrong with a store: whose failure it is, and what a run does about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tidemill.calls.limits import Limits
from tidemill.stores.pgvector.settings import PgVector
from tidemill.stores.qdrant.settings import Qdrant
from tidemill.stores.store import Store

RECORDS: list[dict[str, Any]] = [{"id": str(number), "embedding": [1.0, number]} for number in range(20)]


def put_or_search(step: str, store: Store, **limits: Any) -> Any:
    """A stream of one step that uses the store."""
    return getattr(tm.from_iterable(RECORDS), step)(store, limits=Limits(**limits))


@pytest.mark.parametrize("step", ["index", "search"])
@pytest.mark.parametrize("kind", ["pgvector", "qdrant"])
def test_a_store_that_no_connection_comes_about_to_stops_the_run(
    tmp_path: Path, unused_tcp_port: int, kind: str, step: str
) -> None:
    """Exit 3 once `connect_s` is over, and no record is quarantined."""
    place = f"127.0.0.1:{unused_tcp_port}"
    store: Store = (
        PgVector(url=f"postgresql://nobody@{place}/none", dimensions=2)
        if kind == "pgvector"
        else Qdrant(url=f"http://{place}", dimensions=2)
    )
    report = put_or_search(step, store, connect_s=0.2).write(tmp_path / "out", progress=False)
    assert (report.outcome, report.exit_code, report.records["quarantined"]) == ("failed", 3, 0)
    assert f"no connection to {step} for 0.2 s" in report.reason
    assert "onnection refused" in report.reason
