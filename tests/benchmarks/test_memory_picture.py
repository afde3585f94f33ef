"""The picture of memory over time: drawn by its script, and the one in the documentation is of its making."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawing import check_documented, count_lines, draw, read_texts


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture over too little to show anything."""
    return draw("memory_picture.py", tmp_path_factory.mktemp("picture") / "memory.svg", "--size-mb", "0.1")


def test_three_lines_stand_between_labelled_axes(drawn: Path) -> None:
    assert count_lines(drawn) == 3
    assert {"list", "generator", "Tidemill", "CPU seconds", "resident memory, MB"} <= set(read_texts(drawn))


def test_the_documented_picture_is_one_of_these(drawn: Path) -> None:
    check_documented("memory.svg", drawn)
