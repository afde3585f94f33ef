"""The benchmarks of agents and of tools count what they compare; the figures are for the reader."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import FLOOR, JOB, OURS, Setting, compare_cpu, find_missing
from driving import WARM_UP
from tools_dispatch import CASES, compare


def test_all_clients_send_the_same_and_all_agents_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_cpu(Setting(agents=10, in_flight=4, folder=tmp_path)) == []
    told = capsys.readouterr().out
    assert all(f"  {name}" in told for name in (FLOOR, OURS, JOB))
    assert "CPU of an agent, of the bare loop's: " in told


def test_what_a_client_did_not_do_is_told() -> None:
    """A run that gave no answer, a request that was not sent and one that held another's results."""
    whole = [10 + WARM_UP] * 4
    assert find_missing("it", 10, 10, {"turns": whole, "wrong": 0}) == []
    told = find_missing("it", 10, 9, {"turns": [*whole[:3], 9], "wrong": 1})
    assert [each.split(",")[0] for each in told[:1]] == ["it: 9 runs answered"]
    assert len(told) == 3


async def test_every_tool_is_called_with_what_its_function_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert await compare(40, 1) == []
    told = capsys.readouterr().out
    assert all(f"  {case.label}" in told for case in CASES)
