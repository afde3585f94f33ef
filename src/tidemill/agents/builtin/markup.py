"""HTML as text, for a reader who has no use for tags. Linear in its length, whatever is in it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

_UNSEEN: Final = frozenset({"script", "style", "noscript", "template", "svg", "math", "iframe", "object", "select"})
"""Elements that say nothing to a reader; what is within them goes with them."""
_RAW: Final = frozenset({"script", "style", "textarea", "title", "iframe", "xmp", "noembed", "noframes"})
"""Elements whose content is no markup up to their own end tag (HTML Living Standard, 13.2.5)."""
_VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta", "wbr", "area", "base", "col", "embed", "source"})
_PARAGRAPHS: Final = frozenset(
    {
        *("p", "div", "section", "article", "header", "footer", "main", "aside", "nav", "ul", "ol", "dl", "table"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "figure", "form", "fieldset", "hr", "title"),
    }
)
_LINES: Final = frozenset({"br", "li", "tr", "dt", "dd", "option", "caption", "figcaption"})
_CELLS: Final = frozenset({"td", "th"})
_HREF: Final = re.compile(r"""(?<![\w-])href\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""", re.IGNORECASE)
_TAG_NAME: Final = re.compile(r"/?[a-zA-Z][^\s/>]*")
_IN_TAG: Final = re.compile(r"""[>"']""")
MAX_LINK: Final = 500
"""A longer address is data, or of no use to a reader."""


def render_html(text: str, *, base_url: str = "") -> str:
    """What a reader sees of a page: its text, a blank line between paragraphs, links as `[text](address)`.

    Args:
        text: HTML, however broken.
        base_url: what addresses of links are relative to; links are left out where it is empty.
    """
    page = _Page(base_url)
    for piece, tag in _iter_parts(text):
        if tag:
            page.take_tag(piece, tag)
        else:
            page.take_text(piece)
    return page.render()


def strip_markup(text: str) -> str:
    """A snippet on one line, without tags, entities as what they stand for.

    >>> strip_markup("The <strong>tide</strong> &amp; the <b>mill</b>")
    'The tide & the mill'
    """
    return " ".join(render_html(text).split())


@dataclass(slots=True)
class _Page:
    """Gathers the text of a page as its parts come."""

    base_url: str
    lines: list[list[str]] = field(default_factory=lambda: [[]])
    unseen: str = ""
    depth: int = 0
    is_pre: bool = False
    link: str = ""
    link_at: tuple[int, int] = (0, 0)

    def take_text(self, text: str) -> None:
        if self.unseen:
            return
        text = html.unescape(text)
        if self.is_pre:
            first, *others = text.split("\n")
            self.lines[-1].append(first)
            self.lines.extend([line] for line in others)
            return
        self.lines[-1].append(re.sub(r"\s+", " ", text))

    def take_tag(self, name: str, tag: str) -> None:
        is_end = name.startswith("/")
        name = name.removeprefix("/")
        if self.unseen:
            if name == self.unseen:
                self.depth += -1 if is_end else 1
                self.unseen = self.unseen if self.depth else ""
        elif name in _UNSEEN and not is_end and not tag.endswith("/>"):
            self.unseen, self.depth = name, 1
        elif name == "a":
            self._take_link(tag, is_end=is_end)
        elif name in _PARAGRAPHS:
            self._break(2)
            self.is_pre = name == "pre" and not is_end
        elif name in _LINES:
            if name == "br" or any(map(str.strip, self.lines[-1])):
                self._break(1)
            if name == "li" and not is_end:
                self.lines[-1].append("- ")
        elif name in _CELLS and not is_end:
            self.lines[-1].append(" | " if any(map(str.strip, self.lines[-1])) else "")

    def _take_link(self, tag: str, *, is_end: bool) -> None:
        """Put the address of a link behind its text, where there is one on the same line."""
        row, column = self.link_at
        if self.link and row == len(self.lines) - 1:
            words = "".join(self.lines[row][column:]).strip()
            if words:
                self.lines[row][column:] = [f"[{words}]({self.link})"]
        self.link = ""
        if not is_end and self.base_url:
            self.link = _find_link(tag, self.base_url)
            self.link_at = len(self.lines) - 1, len(self.lines[-1])

    def _break(self, count: int) -> None:
        """End the line; two such ends make a blank one."""
        self.lines.extend([] for _ in range(count))

    def render(self) -> str:
        found: list[str] = []
        for line in ("".join(pieces).rstrip() for pieces in self.lines):
            bare = line if line.startswith("    ") else re.sub(r" {2,}", " ", line).strip()
            if bare.strip(" -|") or (found and found[-1]):
                found.append(bare if bare.strip(" -|") else "")
        return "\n".join(found).strip()


def _find_link(tag: str, base_url: str) -> str:
    """The address a link leads to, empty where it is none that can be read."""
    match = _HREF.search(tag)
    if match is None:
        return ""
    target = html.unescape(next((group for group in match.groups() if group is not None), "")).strip()
    if target.startswith("#") or len(target) > MAX_LINK:
        return ""
    try:
        url = urljoin(base_url, target)
    except ValueError:  # no address at all
        return ""
    return url if url.startswith(("http://", "https://")) else ""


def _iter_parts(text: str) -> Iterator[tuple[str, str]]:
    """Runs of text, each with an empty tag; and tags, each as its name in lower case and the whole of it.

    What is never closed goes on to the end, as browsers have it, so that nothing is looked at twice.
    """
    at = 0
    while at < len(text):
        start = text.find("<", at)
        if start < 0:
            yield text[at:], ""
            return
        if start > at:
            yield text[at:start], ""
        if text.startswith("<!--", start):
            at = _after(text, "-->", start + 4)
        elif text[start + 1 : start + 2] in ("!", "?"):
            at = _after(text, ">", start)
        elif match := _TAG_NAME.match(text, start + 1):
            at = _end_of_tag(text, match.end())
            name = match.group().lower()
            yield name, text[start:at]
            if name in _RAW:
                stop = _find_end(text, name, at)
                yield text[at:stop], ""
                at = stop
        else:
            yield "<", ""
            at = start + 1


def _after(text: str, mark: str, start: int) -> int:
    found = text.find(mark, start)
    return len(text) if found < 0 else found + len(mark)


def _end_of_tag(text: str, at: int) -> int:
    """Where a tag ends: at the first `>` that is in no quotes."""
    while match := _IN_TAG.search(text, at):
        if match.group() == ">":
            return match.end()
        at = _after(text, match.group(), match.end())
    return len(text)


def _find_end(text: str, name: str, start: int) -> int:
    """Where the end tag of an element without markup in it begins."""
    match = re.compile(rf"</{name}(?=[\s/>])", re.IGNORECASE).search(text, start)
    return len(text) if match is None else match.start()
