"""The picture of goodput over time: drawn by its script, and the one in the documentation is of its making."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from drawing import SVG, check_documented, count_lines, draw, read_texts

from picture import NAME_HEIGHT, Line, Picture


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of too few seconds to show anything."""
    path = tmp_path_factory.mktemp("picture") / "goodput.svg"
    return draw("goodput_picture.py", path, "--step-s", "1", "--rate", "40")


def test_three_lines_stand_between_labelled_axes(drawn: Path) -> None:
    assert count_lines(drawn) == 3
    names = {"oracle", "semaphore script", "Tidemill", "seconds", "good replies a second"}
    assert names <= set(read_texts(drawn))


def test_the_documented_picture_is_one_of_these(drawn: Path) -> None:
    check_documented("goodput.svg", drawn)


def test_names_at_the_ends_of_lines_do_not_lie_on_one_another() -> None:
    lines = [Line(name, [(0, 0), (10, value)]) for name, value in (("one", 100), ("two", 100), ("three", 99))]
    svg = ElementTree.fromstring(Picture("", "", "", lines, names_at="end").render())
    heights = sorted(float(text.get("y", 0)) for text in svg.iter(f"{SVG}text") if text.text in ("one", "two", "three"))
    assert heights[1] - heights[0] >= NAME_HEIGHT - 0.1
    assert heights[2] - heights[1] >= NAME_HEIGHT - 0.1
