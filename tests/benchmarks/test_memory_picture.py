"""The picture of memory over time: drawn by its script, and the one in the documentation is of its making."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture over too little to show anything."""
    path = tmp_path_factory.mktemp("picture") / "memory.svg"
    command = [sys.executable, str(ROOT / "benchmarks/memory_picture.py"), "--size-mb", "0.1", "--output", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return path


def read_texts(path: Path) -> list[str]:
    return [text.text or "" for text in ElementTree.parse(path).iter(f"{SVG}text")]


def test_three_lines_stand_between_labelled_axes(drawn: Path) -> None:
    assert len(list(ElementTree.parse(drawn).iter(f"{SVG}polyline"))) == 3
    assert {"list", "generator", "Tidemill", "CPU seconds", "resident memory, MB"} <= set(read_texts(drawn))


def test_the_documented_picture_is_one_of_these(drawn: Path) -> None:
    """Figures apart: the same words, the same style for light and for dark pages."""
    documented = ROOT / "docs" / "memory.svg"
    words = [[text for text in read_texts(path) if text.isalpha()] for path in (documented, drawn)]
    assert words[0] == words[1]
    styles = [ElementTree.parse(path).findtext(f"{SVG}style") for path in (documented, drawn)]
    assert styles[0] == styles[1]
    assert "prefers-color-scheme: dark" in str(styles[0])
