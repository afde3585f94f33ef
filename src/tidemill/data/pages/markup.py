"""HTML as text, for a reader who has no use for tags. Linear in its length, whatever is in it."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urljoin

from tidemill.data.pages.blocks import CELLS, LINES, PARAGRAPHS, Code
from tidemill.data.pages.tags import iter_parts, read_attributes
from tidemill.data.pages.unseen import Unseen, find_unseen

_SPACE: Final = re.compile(r"\s+")
_SPACES: Final = re.compile(r" {2,}")
_HEADINGS: Final = {f"h{level}": "#" * level + " " for level in range(1, 7)}
MAX_LINK: Final = 500
"""A longer address is data, or of no use to a reader."""
_META: Final = {
    "author": "author",
    "article:author": "author",
    "description": "description",
    "og:description": "description",
    "keywords": "keywords",
    "date": "published",
    "article:published_time": "published",
    "og:url": "url",
}
METADATA: Final = ("author", "description", "keywords", "language", "published", "url")
"""What a page may say of itself: in `<meta>`, by names of HTML and Open Graph, in `<html lang>`, its canonical link."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page as a reader sees it.

    Attributes:
        title: empty where it has none.
        text: what stands on it, its title left out.
        metadata: what it says of itself, by the names of `METADATA`.
    """

    title: str
    text: str
    metadata: dict[str, str]


def read_page(text: str, *, base_url: str = "") -> Page:
    """A page's title, text and metadata.

    Args:
        text: HTML, however broken.
        base_url: what addresses of links are relative to; links are left out where it is empty.
    """
    gathered = _Gathered(base_url)
    for piece, tag in iter_parts(text):
        if tag:
            gathered.take_tag(piece, tag)
        else:
            gathered.take_text(piece)
    return Page(" ".join("".join(gathered.title).split()), gathered.render(), gathered.metadata)


def render_html(text: str, *, base_url: str = "") -> str:
    """What a reader sees of a page: its title and text, a blank line between paragraphs, links as `[text](address)`.

    Headings and blocks of code have the marks of Markdown. Arguments are those of `read_page`.
    """
    page = read_page(text, base_url=base_url)
    return f"{page.title}\n\n{page.text}".strip()


def strip_markup(text: str) -> str:
    """A snippet on one line, without tags, entities as what they stand for.

    >>> strip_markup("The <strong>tide</strong> &amp; the <b>mill</b>")
    'The tide & the mill'
    """
    return " ".join(render_html(text).split())


@dataclass(slots=True)
class _Gathered:
    """Gathers what is on a page as its parts come."""

    base_url: str
    title: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    is_title: bool = False
    lines: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    has_text: bool = False
    has_marks: bool = False
    unseen: Unseen | None = None
    code: Code | None = None
    link: str = ""
    link_at: int = -1

    def take_text(self, text: str) -> None:
        if self.unseen is not None:
            return
        text = html.unescape(text)
        if self.is_title:
            self.title.append(text)
        elif self.code is not None:
            first, *others = self.code.split(text)
            self.line.append(first)
            for line in others:
                self._end_line()
                self.line.append(line)
        else:
            text = _SPACE.sub(" ", text)
            self.line.append(text)
            self.has_text = self.has_text or bool(text.strip())

    def take_tag(self, name: str, tag: str) -> None:
        if self._is_unseen(name, tag):
            return
        is_end = name.startswith("/")
        block = name.removeprefix("/")
        if block == "title":
            self.is_title = not is_end and not self.title
        elif block in ("meta", "link", "html"):
            self._take_metadata(block, tag)
        elif block == "a":
            self._take_link(tag, is_end=is_end)
        elif self.code is not None:
            self._take_in_code(name, self.code)
        elif block in PARAGRAPHS:
            self._take_paragraph(block, is_end=is_end)
        elif block in LINES:
            if block == "br" or not self._is_blank():
                self._end_line()
            if block == "li" and not is_end:
                self._put_mark("- ")
        elif block in CELLS and not is_end and not self._is_blank():
            self._put_mark(" | ")

    def _is_unseen(self, name: str, tag: str) -> bool:
        """Whether a tag is of what is not shown, or in it."""
        if self.unseen is not None:
            if not self.unseen.ends_with(name, tag):
                return True
            is_own = name[1:] == self.unseen.name
            self.unseen = None
            if is_own:
                return True
        if not name.startswith("/"):
            self.unseen = find_unseen(name, tag)
        if self.unseen is None:
            return False
        if self.unseen.is_block and self.code is None and not self._is_blank():
            self._end_line()
        return True

    def _take_paragraph(self, name: str, *, is_end: bool) -> None:
        self._end_line()
        self._end_line()
        if name == "pre" and not is_end:
            self.code = Code()
        elif name in _HEADINGS and not is_end:
            self._put_mark(_HEADINGS[name])

    def _take_in_code(self, name: str, code: Code) -> None:
        block = name.removeprefix("/")
        if code.ends_with(name):
            self._end_code(code)
        elif block == "br" or ((block in PARAGRAPHS or block in LINES) and any(self.line)):
            self._end_line()
        elif name in CELLS and any(self.line):
            self.line.append("\t")

    def _end_code(self, code: Code) -> None:
        self._end_line()
        self.code = None
        if block := code.render():
            self.lines += [*block, ""]

    def _take_metadata(self, name: str, tag: str) -> None:
        """Keep what the page says of itself first."""
        said = read_attributes(name, tag)
        if name == "meta":
            key = _META.get(said.get("name", said.get("property", "")).lower(), "")
            value = said.get("content", "")
        elif name == "html":
            key, value = "language", said.get("lang", "")
        else:
            key, value = "url" if said.get("rel", "").lower() == "canonical" else "", said.get("href", "")
        if key and value.strip():
            self.metadata.setdefault(key, " ".join(value.split()))

    def _take_link(self, tag: str, *, is_end: bool) -> None:
        """Put the address of a link behind its text, where there is one on the same line."""
        if self.link and self.link_at >= 0:
            text = "".join(self.line[self.link_at :])
            if words := text.strip():
                before, _, after = text.partition(words)
                self.line[self.link_at :] = [f"{before}[{words}]({self.link}){after}"]
        self.link = ""
        if not is_end and self.base_url:
            self.link = _find_link(tag, self.base_url)
            self.link_at = len(self.line)

    def _put_mark(self, mark: str) -> None:
        self.line.append(mark)
        self.has_marks = True

    def _is_blank(self) -> bool:
        """Whether there is nothing on the line, not even a mark; known without looking at it, which may be long."""
        return not (self.has_text or self.has_marks)

    def _end_line(self) -> None:
        """End the line; two such ends make a blank one, outside of code. What has marks alone is blank."""
        line = "".join(self.line)
        if self.code is not None:
            self.code.end_line(line)
        else:
            line = _SPACES.sub(" ", line).strip() if self.has_text else ""
            if line or (self.lines and self.lines[-1]):
                self.lines.append(line)
        self.line, self.link_at = [], -1
        self.has_text = self.has_marks = False

    def render(self) -> str:
        if self.code is not None:
            self._end_code(self.code)
        self._end_line()
        return "\n".join(self.lines).strip()


def _find_link(tag: str, base_url: str) -> str:
    """The address a link leads to, empty where it is none that can be read."""
    target = read_attributes("a", tag).get("href", "").strip()
    if not target or target.startswith("#") or len(target) > MAX_LINK:
        return ""
    try:
        url = urljoin(base_url, target)
    except ValueError:  # no address at all
        return ""
    return url if url.startswith(("http://", "https://")) else ""
