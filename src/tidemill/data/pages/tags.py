"""The tags of a page and the text between them. Linear in its length, whatever is in it."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Final

VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta", "wbr", "area", "base", "col", "embed", "source"})
"""Elements that are nothing but their tag."""
_RAW: Final = frozenset({"script", "style", "textarea", "title", "iframe", "xmp", "noembed", "noframes"})
"""Elements whose content is no markup up to their own end tag (HTML Living Standard, 13.2.5)."""
_ATTRIBUTE: Final = re.compile(r"""([^\s"'>/=]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+)))?""")
_TAG_NAME: Final = re.compile(r"/?[a-zA-Z][^\s/>]*")
_IN_TAG: Final = re.compile(r"""[>"']""")


def read_attributes(name: str, tag: str) -> dict[str, str]:
    """The values of a tag's attributes by their names in lower case, the first of each; empty for one without."""
    found: dict[str, str] = {}
    for attribute, *values in _ATTRIBUTE.findall(tag, len(name) + 1):
        found.setdefault(attribute.lower(), html.unescape("".join(values)))
    return found


def iter_parts(text: str) -> Iterator[tuple[str, str]]:
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
