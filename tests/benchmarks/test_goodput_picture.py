"""The picture of goodput over time: drawn by its script, and the one in the documentation is of its making."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from picture import NAME_HEIGHT, Line, Picture

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of too few seconds to show anything."""
    path = tmp_path_factory.mktemp("picture") / "goodput.svg"
    script = str(ROOT / "benchmarks/goodput_picture.py")
    command = [sys.executable, script, "--step-s", "1", "--rate", "40", "--output", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return path


def read_texts(path: Path) -> list[str]:
    return [text.text or "" for text in ElementTree.parse(path).iter(f"{SVG}text")]


def test_three_lines_stand_between_labelled_axes(drawn: Path) -> None:
    assert len(list(ElementTree.parse(drawn).iter(f"{SVG}polyline"))) == 3
    names = {"oracle", "semaphore script", "Tidemill", "seconds", "good replies a second"}
    assert names <= set(read_texts(drawn))


def test_the_documented_picture_is_one_of_these(drawn: Path) -> None:
    """Figures apart: the same words, the same style for light and for dark pages."""
    documented = ROOT / "docs" / "goodput.svg"
    words = [[text for text in read_texts(path) if any(map(str.isalpha, text))] for path in (documented, drawn)]
    assert words[0] == words[1]
    styles = [ElementTree.parse(path).findtext(f"{SVG}style") for path in (documented, drawn)]
    assert styles[0] == styles[1]
    assert "prefers-color-scheme: dark" in str(styles[0])


def test_names_at_the_ends_of_lines_do_not_lie_on_one_another() -> None:
    lines = [Line(name, [(0, 0), (10, value)]) for name, value in (("one", 100), ("two", 100), ("three", 99))]
    svg = ElementTree.fromstring(Picture("", "", "", lines, names_at="end").render())
    heights = sorted(float(text.get("y", 0)) for text in svg.iter(f"{SVG}text") if text.text in ("one", "two", "three"))
    assert heights[1] - heights[0] >= NAME_HEIGHT - 0.1
    assert heights[2] - heights[1] >= NAME_HEIGHT - 0.1
