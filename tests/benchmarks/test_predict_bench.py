"""The benchmark of `predict` compares equal results; the figures are for the reader."""

from __future__ import annotations

import pytest

from predict import make_cases, measure


def test_both_ways_give_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert [fault for label, ways in make_cases(300, "cpu") for fault in measure(label, ways, 1)] == []
    assert capsys.readouterr().out.count("  predict") == 2
