"""A picture drawn by its script, and what stands in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def draw(script: str, path: Path, *options: str) -> Path:
    """The picture that a script in `benchmarks` draws."""
    command = [sys.executable, str(ROOT / "benchmarks" / script), *options, "--output", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return path


def read_texts(path: Path) -> list[str]:
    return [text.text or "" for text in ElementTree.parse(path).iter(f"{SVG}text")]


def count_lines(path: Path) -> int:
    return len(list(ElementTree.parse(path).iter(f"{SVG}polyline")))


def check_documented(name: str, drawn: Path) -> None:
    """Check that the picture in `docs` is such a one, figures apart: the same words, the same two styles."""
    documented = ROOT / "docs" / name
    words = [[text for text in read_texts(path) if not any(map(str.isdigit, text))] for path in (documented, drawn)]
    assert words[0] == words[1]
    styles = [ElementTree.parse(path).findtext(f"{SVG}style") for path in (documented, drawn)]
    assert styles[0] == styles[1]
    assert "prefers-color-scheme: dark" in str(styles[0])
