"""What is wrong with a store: whose failure it is, and what a run does about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from conftest import QdrantServer
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
    assert str(unused_tcp_port) in report.reason, "the address is not told"


@pytest.mark.parametrize(
    ("status", "faults", "outcome", "exit_code", "quarantined"),
    [(400, 1, "finished", 0, 1), (503, 3, "finished", 0, 0), (403, 1, "failed", 3, 0)],
)
def test_a_run_goes_by_whose_failure_it_is(
    tmp_path: Path,
    qdrant_server: QdrantServer,
    status: int,
    faults: int,
    outcome: str,
    exit_code: int,
    quarantined: int,
) -> None:
    """A record's fails it, what may pass is tried again, the place's stops the run."""
    store = Qdrant(url=qdrant_server.url, collection=qdrant_server.make_name(), dimensions=2)
    assert put_or_search("index", store).write(tmp_path / "in", progress=False).outcome == "finished"
    qdrant_server.tell(faults=[{"status": status}] * faults)
    report = put_or_search("search", store).write(tmp_path / "out", max_errors=5, progress=False)
    assert (report.outcome, report.exit_code, report.records["quarantined"]) == (outcome, exit_code, quarantined)
    assert report.records["landed"] == 20 - quarantined or outcome == "failed"
