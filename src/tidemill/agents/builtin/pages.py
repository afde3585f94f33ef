"""The text of a page: its bytes decoded as its server, the page itself or the bytes say, HTML as a reader sees it."""

from __future__ import annotations

import codecs
import re
from typing import Final

from tidemill.agents.builtin.markup import render_html
from tidemill.agents.tools.refusal import RefusalError

_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)
_XML: Final = re.compile(rb"""<\?xml[^>]{0,80}encoding\s*=\s*["']([\w.:-]+)""", re.IGNORECASE)
_META: Final = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
_SCANNED: Final = 1024
"""Bytes of a page that are looked at for its charset (HTML Living Standard, 13.2.3.2)."""
_KNOWN: Final = re.compile(
    r"utf[-_]?8|utf[-_]?16([-_]?[lb]e)?|(us-)?ascii|latin-?1|iso[-_]?8859[-_]\d{1,2}|(windows|cp)-?(125\d|874)|koi8-[ru]"
    r"|macintosh|shift[-_]?jis|euc-(jp|kr)|iso-2022-jp|gb(k|2312|18030)|big5",
    re.IGNORECASE,
)
"""Charsets of pages; Python has codecs beside them that decode in quadratic time, or no text at all."""
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NO_TEXT: Final = re.compile(r"(image|audio|video|font|model)/(?!svg)|application/(pdf|zip|gzip|x-tar|wasm|vnd\.ms-)")
_HTML: Final = ("text/html", "application/xhtml+xml")


def render_page(body: bytes, content_type: str, *, url: str, raw: bool = False) -> str:
    """The text of a page.

    Args:
        body: as it came, out of its content encoding.
        content_type: of the response, empty where it said none.
        url: what links are relative to.
        raw: give HTML as it is, tags and all.

    Raises:
        RefusalError: it is no text.
    """
    kind = content_type.partition(";")[0].strip().lower()
    is_html = kind in _HTML or (not kind and body[:_SCANNED].lstrip().lower().startswith((b"<!doctype html", b"<html")))
    if _NO_TEXT.match(kind):
        raise RefusalError(f"`{url[:200]}` is no text: {kind}")
    charset = _find_charset(body, content_type, is_html=is_html)
    if b"\0" in body and not charset.startswith("utf-16"):
        raise RefusalError(f"`{url[:200]}` is no text: {kind or 'bytes of no known kind'}")
    text = _decode(body, charset)
    return text if raw or not is_html else render_html(text, base_url=url)


def _find_charset(body: bytes, content_type: str, *, is_html: bool) -> str:
    """What the bytes are to be decoded by; empty where nothing says."""
    for mark, charset in _BOMS:
        if body.startswith(mark):
            return charset
    named = _CHARSET.search(content_type)
    within = _XML.match(body[:_SCANNED]) or (_META.search(body[:_SCANNED]) if is_html else None)
    found = [named.group(1)] if named else []
    found += [within.group(1).decode("ascii")] if within else []
    return next((each.lower().replace("_", "-") for each in found if _KNOWN.fullmatch(each)), "")


def _decode(body: bytes, charset: str) -> str:
    if not charset:
        try:
            return body.decode()
        except UnicodeDecodeError as exc:
            if exc.start >= len(body) - 3:  # cut in the middle of a character
                return body.decode(errors="ignore")
        charset = "windows-1252"  # what browsers take pages for that say nothing
    try:
        return body.decode(charset, "replace")
    except LookupError:  # a name within the form of those known that no codec has: iso-8859-99
        return body.decode(errors="replace")
