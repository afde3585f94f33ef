"""The benchmark of scopes counts all that it holds; the figures are for the reader."""

from __future__ import annotations

import pytest

import tidemill as tm
from scope_latency import measure_latency
from scope_ways import Setting


def test_every_block_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_latency(Setting(times=200, rounds=2)) == []
    assert "empty latency block: " in capsys.readouterr().out
    tm.latency.reset()
