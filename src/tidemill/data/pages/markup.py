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
        *("h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre", "figure", "form", "fieldset", "hr"),
    }
)
_LINES: Final = frozenset({"br", "li", "tr", "dt", "dd", "option", "caption", "figcaption"})
_CELLS: Final = frozenset({"td", "th"})
_HEADINGS: Final = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_ATTRIBUTE: Final = re.compile(r"""(?<![\w-])([\w-]+)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_TAG_NAME: Final = re.compile(r"/?[a-zA-Z][^\s/>]*")
_IN_TAG: Final = re.compile(r"""[>"']""")
_FENCE: Final = "```"
_MARKS: Final = " -|#"
"""Of a line that says nothing."""
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
    for piece, tag in _iter_parts(text):
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
        if self.is_title:
            self.title.append(text)
            return
        if self.is_pre:
            if self.lines[-2:] == [[_FENCE], []]:
                text = text.removeprefix("\n")
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
        elif name == "title":
            self.is_title = not is_end and not self.title
        elif name in ("meta", "link", "html"):
            self._take_metadata(name, tag)
        elif name == "a":
            self._take_link(tag, is_end=is_end)
        elif name in _PARAGRAPHS:
            self._take_paragraph(name, is_end=is_end)
        elif name in _LINES:
            if name == "br" or any(map(str.strip, self.lines[-1])):
                self._break(1)
            if name == "li" and not is_end:
                self.lines[-1].append("- ")
        elif name in _CELLS and not is_end:
            self.lines[-1].append(" | " if any(map(str.strip, self.lines[-1])) else "")

    def _take_paragraph(self, name: str, *, is_end: bool) -> None:
        self._end_pre()
        self._break(2)
        if name == "pre" and not is_end:
            self.is_pre = True
            self.lines[-1].append(_FENCE)
            self._break(1)
        elif name in _HEADINGS and not is_end:
            self.lines[-1].append(_HEADINGS[name])

    def _end_pre(self) -> None:
        if self.is_pre:
            self.is_pre = False
            if any(map(str.strip, self.lines[-1])):
                self._break(1)
            self.lines[-1] = [_FENCE]

    def _take_metadata(self, name: str, tag: str) -> None:
        """Keep what the page says of itself first."""
        said = _read_attributes(tag)
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
        self._end_pre()
        found: list[str] = []
        for line in ("".join(pieces).rstrip() for pieces in self.lines):
            bare = line if line.startswith("    ") else re.sub(r" {2,}", " ", line).strip()
            if bare.strip(_MARKS) or (found and found[-1]):
                found.append(bare if bare.strip(_MARKS) else "")
        return "\n".join(found).strip()


def _read_attributes(tag: str) -> dict[str, str]:
    """The values of a tag's attributes by their names in lower case, the first of each."""
    found: dict[str, str] = {}
    for name, *values in _ATTRIBUTE.findall(tag):
        found.setdefault(name.lower(), html.unescape("".join(values)))
    return found


def _find_link(tag: str, base_url: str) -> str:
    """The address a link leads to, empty where it is none that can be read."""
    target = _read_attributes(tag).get("href", "").strip()
    if not target or target.startswith("#") or len(target) > MAX_LINK:
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
