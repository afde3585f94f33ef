"""What the tests of the documentation share: a page's fenced blocks and tables."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]

MODEL = "openai/gpt-4.1-mini"
"""The paid model the pages name; a test points it at a fault server."""


@dataclass(frozen=True)
class Page:
    """A page of the documentation."""

    name: str
    text: str

    @classmethod
    def load(cls, name: str) -> Page:
        """The page at `name`, relative to the repository."""
        return cls(name, (ROOT / name).read_text())

    def blocks(self, language: str) -> list[str]:
        """The fenced blocks in `language`, in order."""
        return re.findall(rf"^```{language}\n(.*?)^```", self.text, re.DOTALL | re.MULTILINE)

    def table(self, marker: str) -> list[dict[str, str]]:
        """The rows of the table below `<!-- marker -->`."""
        found = self.text.partition(f"<!-- {marker} -->\n")[2]
        assert found.startswith("|"), f"{self.name} has no table marked `{marker}`"
        head, _, *lines = found.partition("\n\n")[0].splitlines()
        names = _cells(head)
        return [dict(zip(names, _cells(line), strict=True)) for line in lines]

    def markers(self, kind: str) -> list[str]:
        """What the markers `<!-- kind: … -->` name, in order."""
        return re.findall(rf"<!-- {kind}: (.*?) -->", self.text)

    def write_files(self, folder: Path) -> None:
        """Write each Python block and template whose first line names its file; of one file, all."""
        for text in [*self.blocks("python"), *self.blocks("jinja")]:
            name = re.match(r"(?:# |\{# )([\w/]+\.\w+)( #\})?\n", text)
            if name:
                path = folder / name.group(1)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a") as file:
                    file.write(text)

    def find_broken_links(self) -> list[str]:
        """Those that lead neither to a heading, here or in another file, nor to a file beside the page."""
        broken = []
        prose = re.sub("^```.*?^```", "", self.text, flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\((?!http)(.*?)\)", prose):
            name, _, heading = target.partition("#")
            path = ROOT / Path(self.name).parent / name if name else ROOT / self.name
            if not path.exists() or (heading and heading not in _list_anchors(path.read_text())):
                broken.append(target)
        return broken

    def commands(self) -> Iterator[list[str]]:
        """The arguments of each `$ tidemill …` line, without its comment."""
        for text in self.blocks("console"):
            for line in text.splitlines():
                if line.startswith("$ tidemill "):
                    yield line.partition("#")[0].split()[2:]


@contextmanager
def load_module(path: Path) -> Iterator[ModuleType]:
    """The code of a page as a module that can be imported by its name, run once."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[path.stem]
        vars(module).clear()  # what it opened ends with it, though a function of it may be remembered somewhere


def _list_anchors(text: str) -> list[str]:
    """The anchors that GitHub makes of headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]


def run_page(code: str, path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    """What a page's code printed, run as the module at `path`, and what it says it prints; both in order."""
    path.write_text(code)
    with load_module(path):
        return capsys.readouterr().out.splitlines(), list_said(code)


def list_said(code: str) -> list[str]:
    """What each `print(…)  # text` of a page says it prints, in order."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", code, re.MULTILINE)


def _cells(line: str) -> list[str]:
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def bare(cell: str) -> str:
    """A cell without the marks of code."""
    return cell.strip("`")
