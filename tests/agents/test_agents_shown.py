"""`show RUN --agents` of records that were tried again: what stands, by the names that the agents have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tidemill as tm
from tidemill.agents import fan_out
from tidemill.jobs.ledger.folder import locate_run
from tidemill.jobs.running.transcripts import read_transcripts
from tidemill.testing import Call, Fault, Faults, FaultServer, ToolCalls


@tm.tool
def weigh(thing: str) -> int:
    """Weigh something."""
    return len(thing)


def make_stream(url: str) -> Any:
    """Two agents, the second with children of each record, and none named as its step."""
    model = tm.model("test/model", base_url=url, limits=tm.Limits(max_attempts=1))
    first = tm.Agent(model, name="scales", tools=[weigh], max_reasks=0)
    second = tm.Agent(model, tools=[weigh], max_reasks=0)
    records: list[dict[str, Any]] = [{"q": f"lamp {number}"} for number in range(3)]
    stream = tm.from_iterable(records).agent(first, "{{ q }}", name="one")
    return stream.flat_map(lambda record: [record, record]).agent(second, "{{ q }} again", into="more", name="two")


def test_of_a_record_that_was_tried_again_what_stands_is_shown(tmp_path: Path) -> None:
    """While the retry is not sealed, that is the failure; then it is the retry, and nothing of the failure."""
    empty = ["lamp 1 again"]

    def reply(call: Call) -> str | ToolCalls:
        if not call.results:
            return ToolCalls(("weigh", {"thing": "lamp"}))
        return "" if any(each.encode() in call.body for each in empty) else "4"

    def refuse(call: Call) -> Fault | None:
        return Fault("unauthorized") if call.results else None

    def show() -> dict[tuple[str, str], list[str]]:
        shown = read_transcripts(locate_run(tmp_path / "out"), 99)
        assert len(shown) == len({(each["record"], each["step"]) for each in shown}) == 9
        assert [turn["agent"] for each in shown for turn in each["turns"] if each["step"] == "one"] == ["scales"] * 6
        assert {turn["agent"] for each in shown for turn in each["turns"] if each["step"] == "two"} == {"agent"}
        return {(each["record"], each["step"]): [turn.get("text", "") for turn in each["turns"]] for each in shown}

    with FaultServer(reply=reply) as server:
        stream = make_stream(server.base_url)
        assert stream.write(tmp_path / "out", progress=False, max_errors=9).records["quarantined"] == 2
        failed = show()
        assert (failed["1.0", "two"], failed["0.0", "two"], failed["1", "one"]) == (["", ""], ["", "4"], ["", "4"])
        empty.clear()
        server.faults = Faults(script=refuse)
        assert "401" in stream.write(tmp_path / "out", retry=True, progress=False).reason
        assert show() == failed
        server.faults = Faults()
        assert stream.write(tmp_path / "out", retry=True, progress=False).records["quarantined"] == 0
    assert show() == {**failed, ("1.0", "two"): ["", "4"], ("1.1", "two"): ["", "4"]}


def test_agents_that_are_still_to_end_are_shown_by_their_names(tmp_path: Path) -> None:
    """One that is a tool, those that are asked together, and one that took over."""

    def reply(call: Call) -> str | ToolCalls:
        system = str(call.payload["messages"][0]["content"])
        if "Judge" in system:
            return ToolCalls(("weigh", {"thing": "lamp"}))
        if "Sell" in system:
            return ToolCalls(("panel", {"request": "?"}), ("clerk", {"request": "?"}))
        return ToolCalls(("transfer_to_sales", {}))

    waiting: list[Call] = []

    def refuse(call: Call) -> Fault | None:
        """The last of the three that come to their second turn; the others wait for theirs meanwhile."""
        if not (call.results and b"Judge" in call.body):
            return None
        waiting.append(call)
        return Fault("unauthorized" if len(waiting) == 3 else "stall")

    with FaultServer(reply=reply, faults=Faults(script=refuse)) as server:
        model = tm.model("test/model", base_url=server.base_url)
        judges = [tm.Agent(model, name=name, instructions="Judge.", tools=[weigh]) for name in ("left", "right")]
        clerk = tm.Agent(model, name="clerk", instructions="Judge.", tools=[weigh])
        sales = tm.Agent(model, name="sales", instructions="Sell.", tools=[fan_out("panel", judges), clerk])
        desk = tm.Agent(model, name="desk", handoffs=[sales])
        records: list[dict[str, Any]] = [{"q": "?"}]
        report = tm.from_iterable(records).agent(desk, "{{ q }}").write(tmp_path / "out", progress=False)
    assert "401" in report.reason
    [shown] = read_transcripts(locate_run(tmp_path / "out"), 9)
    assert [turn["agent"] for turn in shown["turns"]] == ["desk", "sales"]
    panel, asked = shown["turns"][1]["calls"]
    assert [[turn["agent"] for turn in call["turns"]] for call in (panel, asked)] == [["left", "right"], ["clerk"]]
