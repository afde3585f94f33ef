"""An agent of the embedded model, all the way: no server but the one in this process, no scripted reply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest

import tidemill as tm

TIDES = {"Brest": "14:32", "Calais": "11:05", "Dover": "07:48"}


@tm.tool
def get_tide(port: Literal["Brest", "Calais", "Dover"]) -> str:
    """Says when the tide is high in a port."""
    return f"High tide at {TIDES[port]}"


@pytest.mark.usefixtures("local_url")  # whose server it shares
def test_it_calls_its_tool_and_answers_with_what_that_gave(tmp_path: Path) -> None:
    """135 million parameters: its first reply is a call of the right tool with the right argument, and then it is asked
    for its answer alone, which has a time that only the tool knows. As a job's step, whose prompts are always the same.
    """
    agent = tm.Agent("local/smollm2", tools=[get_tide], max_turns=2, max_tokens=40, temperature=0)
    asked = tm.from_iterable([{"port": "Calais"}, {"port": "Dover"}])
    stream = asked.agent(agent, "When is high tide in {{ port }}?", into="answer", transcript="how", concurrency=1)
    report = stream.write(tmp_path / "out", progress=False)
    assert report.records["landed"] == 2
    for record in tm.dataset(tmp_path / "out"):
        port = record["port"]
        assert TIDES[port] in record["answer"]
        called = json.dumps(json.loads(record["how"]))
        assert f"High tide at {TIDES[port]}" in called
        assert not [other for other in TIDES if other != port and TIDES[other] in called]
