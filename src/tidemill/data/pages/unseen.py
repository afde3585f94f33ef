"""Elements of a page that its reader is not shown."""

from __future__ import annotations

import re
from typing import Final

from tidemill.data.pages.blocks import LINES, PARAGRAPHS
from tidemill.data.pages.tags import VOID, read_attributes

_NAMES: Final = frozenset({"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "select"})
"""Elements that say nothing to a reader."""
_PAGES: Final = frozenset({"html", "body"})
"""A page that hides itself as a whole has a script that shows it."""
_MAY_HIDE: Final = re.compile(r"hidden|display", re.IGNORECASE)
_DISPLAY: Final = re.compile(r"(?:^|;)\s*display\s*:\s*([\w-]+)")
_LISTS: Final = frozenset({"ul", "ol", "menu", "dl", "table", "select"})
_CELL_ENDS: Final = frozenset({"td", "th", "tr", "tbody", "tfoot"})
_ENDED_BY: Final = {
    "p": PARAGRAPHS,
    **dict.fromkeys(("dt", "dd"), frozenset({"dt", "dd"})),
    **dict.fromkeys(("td", "th"), _CELL_ENDS),
    **dict.fromkeys(("tr", "thead", "tbody"), _CELL_ENDS - {"td", "th"}),
    "li": frozenset({"li"}),
    "option": frozenset({"option", "optgroup"}),
}
"""Elements whose end tag may be left out, by what then ends them (HTML Living Standard, 13.1.2.4)."""


def find_unseen(name: str, tag: str) -> Unseen | None:
    """What begins at a start tag and is not shown.

    Style sheets are not read. What a reader is shown by a click is no such element: a panel of a tab, or one that is
    hidden until it is found.
    """
    if name in _NAMES:
        return None if tag.endswith("/>") else Unseen(name, is_named=True)
    if _MAY_HIDE.search(tag) and name not in VOID and name not in _PAGES and not tag.endswith("/>"):
        said = read_attributes(name, tag)
        shown = _DISPLAY.findall(said.get("style", "").lower())
        is_hidden = said.get("hidden", "until-found").lower() != "until-found" or shown[-1:] == ["none"]
        if is_hidden and said.get("role", "").lower() != "tabpanel":
            return Unseen(name, is_named=False)
    return None


class Unseen:
    """An element that is not shown, as the tags in it come. It ends sooner rather than later where a page is broken.

    Args:
        name: of the element.
        is_named: whether it is one by its name, which then only its end tag ends.
    """

    def __init__(self, name: str, *, is_named: bool) -> None:
        self.name = name
        self._is_named = is_named
        self._open: list[str] = []
        self._lists = 0

    @property
    def is_block(self) -> bool:
        """Whether what stands behind it is on a line of its own."""
        return self.name in PARAGRAPHS or self.name in LINES

    def ends_with(self, name: str, tag: str) -> bool:
        """Whether it ends in front of a tag, or with it; `name` with the slash of an end tag."""
        if self._is_named and name.removeprefix("/") != self.name:
            return False
        if name.startswith("/"):
            return not self._close(name[1:])
        if not self._lists and name in _ENDED_BY.get(self.name, ()):
            return True
        if name not in VOID and not tag.endswith("/>"):
            self._open.append(name)
            self._lists += name in _LISTS
        return False

    def _close(self, name: str) -> bool:
        """End the element within that an end tag is of, with what is open in it; False where there is none."""
        while self._open:
            closed = self._open.pop()
            self._lists -= closed in _LISTS
            if closed == name:
                return True
        return False
