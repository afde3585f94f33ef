"""Elements that stand on lines of their own, and blocks of code among them."""

from __future__ import annotations

import re
from typing import Final

PARAGRAPHS: Final = frozenset(
    {
        *("p", "div", "section", "article", "header", "footer", "main", "aside", "nav", "ul", "ol", "dl", "table"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "figure", "form", "fieldset", "hr"),
    }
)
LINES: Final = frozenset({"br", "li", "tr", "dt", "dd", "option", "caption", "figcaption"})
CELLS: Final = frozenset({"td", "th"})
_TICKS: Final = re.compile(r"^[ \t]*(`{3,})", re.MULTILINE)


class Code:
    """The lines of a block of code, each as it stands on the page."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._open: dict[str, int] = {}
        self._is_begun = False

    def split(self, text: str) -> list[str]:
        """The lines of a piece of its text, without the line end that it may begin with."""
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if not self._is_begun and len(lines) > 1 and not lines[0]:
            del lines[0]
        self._is_begun = True
        return lines

    def end_line(self, line: str) -> None:
        self._lines.append(line)

    def ends_with(self, name: str) -> bool:
        """Whether the block ends with a tag; `name` with the slash of an end tag."""
        block = name.removeprefix("/")
        if block not in PARAGRAPHS or block == "hr":
            return False
        if block == name:
            self._open[name] = self._open.get(name, 0) + 1
            return False
        left = self._open.get(block, 0) - 1
        if left >= 0:
            self._open[block] = left
        return left < 0 and block != "p"  # a paragraph is in no block of code, nor has it one

    def render(self) -> list[str]:
        """Its lines in a fence that none of them closes; none at all where they say nothing."""
        lines = self._lines
        if not lines[-1].strip():
            del lines[-1]
        text = "\n".join(lines)
        if not text.strip():
            return []
        fence = "`" * max((len(ticks) + 1 for ticks in _TICKS.findall(text)), default=3)
        return [fence, text, fence]
