"""The text of a page: its bytes decoded as its server, the page itself or the bytes say, HTML as a reader sees it."""

from __future__ import annotations

import re
from typing import Final

from tidemill.agents.tools.refusal import RefusalError
from tidemill.data.pages.charset import SCANNED_BYTES, decode_page, find_charset
from tidemill.data.pages.markup import render_html

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
    is_html = kind in _HTML or (
        not kind and body[:SCANNED_BYTES].lstrip().lower().startswith((b"<!doctype html", b"<html"))
    )
    if _NO_TEXT.match(kind):
        raise RefusalError(f"`{url[:200]}` is no text: {kind}")
    charset = find_charset(body, content_type, is_html=is_html)
    if b"\0" in body and not charset.startswith("utf-16"):
        raise RefusalError(f"`{url[:200]}` is no text: {kind or 'bytes of no known kind'}")
    text = decode_page(body, charset)
    return text if raw or not is_html else render_html(text, base_url=url)
