"""The report counts calls that were not made, too: of tools that there are not, and with arguments that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tidemill as tm
from tidemill.jobs.ledger.folder import locate_run
from tidemill.jobs.running.inspect import read_status
from tidemill.testing import Call, Fault, Faults, FaultServer, ToolCalls
from tidemill.view.calls import iter_call_lines


@tm.tool
def weigh(thing: str) -> int:
    """Weigh something."""
    return len(thing)


def answer(call: Call) -> str | ToolCalls:
    """Two calls of no tool, one that does not fit and one that does; then one more that does not; then a hand-off."""
    if "Sell" in str(call.payload["messages"][0]["content"]):
        return "sold"
    if not call.results:
        return ToolCalls(("wiegh", {}), ("look", {}), ("weigh", {"thing": 1}), ("weigh", {"thing": "lamp"}))
    if len(call.results) == 4:
        return ToolCalls(("clerk", {}), ("weigh", {"thnig": "lamp"}))
    return ToolCalls(("transfer_to_sales", {"odd": 1}))


def make_stream(url: str, **fields: Any) -> Any:
    model = tm.model("test/model", base_url=url, limits=tm.Limits(max_attempts=1))
    clerk = tm.Agent(model, name="clerk")
    sales = tm.Agent(model, name="sales", instructions="Sell.")
    desk = tm.Agent(model, name="desk", tools=[weigh, clerk], handoffs=[sales], **fields)
    records: list[dict[str, Any]] = [{"q": "heavy?"}]
    return tm.from_iterable(records).agent(desk, "{{ q }}", on_limit="land")


COUNTS = {
    "agent/desk": {"unknown tools": 2},
    "agent/desk/weigh": {"invalid": 2, "ok": 1},
    "agent/desk/clerk": {"invalid": 1},
    "agent/desk/sales": {},
}


def count(report: Any) -> dict[str, dict[str, int]]:
    return {label: share["counts"] for label, share in report.calls["shares"].items()}


def test_calls_that_are_not_made_are_counted_by_what_was_meant(tmp_path: Path) -> None:
    """Under the tool where there is one, else under the agent; in the report, in the status, and for who reads them."""
    with FaultServer(reply=answer) as server:
        report = make_stream(server.base_url).write(tmp_path / "out", progress=False)
    assert count(report) == COUNTS
    assert count(read_status(locate_run(tmp_path / "out"))) == COUNTS
    lines = [line for line in iter_call_lines(report.calls) if line.startswith("agent/desk")]
    assert lines[0].endswith(" out, 2 unknown tools")
    assert [line for line in lines[1:] if "sales" not in line] == [
        "agent/desk/clerk: 0 calls, 1 invalid",
        "agent/desk/weigh: 1 calls, 2 invalid, 1 ok",
    ]


def test_each_is_counted_once_by_a_job_that_goes_on(tmp_path: Path) -> None:
    """What follows from a reply is found in it as that is committed, and not again when it is recalled."""

    def refuse(call: Call) -> Fault | None:
        return Fault("unauthorized") if len(call.results) == 2 else None

    with FaultServer(reply=answer, faults=Faults(script=refuse)) as server:
        stream = make_stream(server.base_url)
        report = stream.write(tmp_path / "out", progress=False)
        assert "401" in report.reason
        assert count(report) == {label: counts for label, counts in COUNTS.items() if counts}
        server.faults = Faults()
        report = stream.write(tmp_path / "out", progress=False)
    assert count(report) == COUNTS


def test_a_last_turn_s_calls_are_none(tmp_path: Path) -> None:
    """Nothing is done for them, nor told of them."""
    with FaultServer(reply=answer) as server:
        report = make_stream(server.base_url, max_turns=1).write(tmp_path / "out", progress=False)
    assert count(report) == {"agent/desk": {}}
