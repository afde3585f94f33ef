"""What the bytes of a page are to be decoded by."""

from __future__ import annotations

import codecs
import re
from typing import Final

_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)
_XML: Final = re.compile(rb"""<\?xml[^>]{0,80}encoding\s*=\s*["']([\w.:-]+)""", re.IGNORECASE)
_META: Final = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w.:-]+)""", re.IGNORECASE)
SCANNED_BYTES: Final = 1024
"""Bytes of a page that are looked at for its charset (HTML Living Standard, 13.2.3.2)."""
_KNOWN: Final = re.compile(
    r"utf[-_]?8|utf[-_]?16([-_]?[lb]e)?|(us-)?ascii|latin-?1|iso[-_]?8859[-_]\d{1,2}|(windows|cp)-?(125\d|874)|koi8-[ru]"
    r"|macintosh|shift[-_]?jis|euc-(jp|kr)|iso-2022-jp|gb(k|2312|18030)|big5",
    re.IGNORECASE,
)
"""Charsets of pages; Python has codecs beside them that decode in quadratic time, or no text at all."""
_UTF_16: Final = re.compile("utf-?16(-?[lb]e)?")
"""What no page can say of itself that can be read for it; it is UTF-8 (HTML Living Standard, 13.2.3.2)."""
_READ_AS: Final = {
    **dict.fromkeys(("ascii", "us-ascii", "latin1", "latin-1", "iso8859-1", "iso-8859-1"), "windows-1252"),
    **dict.fromkeys(("iso8859-9", "iso-8859-9"), "windows-1254"),
    **dict.fromkeys(("iso8859-11", "iso-8859-11", "windows-874", "windows874"), "cp874"),
    **dict.fromkeys(("gbk", "gb2312"), "gb18030"),
    **dict.fromkeys(("shift-jis", "shiftjis"), "cp932"),
    "euc-kr": "cp949",
}
"""What browsers read pages of a charset as, which has its characters and more (Encoding Standard, 4.2)."""
_BOMS: Final = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def find_charset(body: bytes, content_type: str = "", *, is_html: bool) -> str:
    """What the bytes are to be decoded by; empty where nothing says."""
    for mark, charset in _BOMS:
        if body.startswith(mark):
            return charset
    named = _CHARSET.search(content_type)
    within = _XML.match(body[:SCANNED_BYTES]) or (_META.search(body[:SCANNED_BYTES]) if is_html else None)
    said = [named.group(1)] if named else []
    if within:
        name = within.group(1).decode("ascii")
        said.append("utf-8" if _UTF_16.fullmatch(_spell(name)) else name)
    found = next((_spell(each) for each in said if _KNOWN.fullmatch(each)), "")
    return _READ_AS.get(found, found)


def _spell(charset: str) -> str:
    return charset.lower().replace("_", "-")


def decode_page(body: bytes, charset: str) -> str:
    """The text of a page in `charset`; where that is empty, UTF-8 if it can be."""
    if not charset:
        try:
            return body.decode()
        except UnicodeDecodeError as exc:
            if exc.reason == "unexpected end of data":  # cut in the middle of a character
                return body.decode(errors="ignore")
        charset = "windows-1252"  # what browsers take pages for that say nothing
    try:
        return body.decode(charset, "replace")
    except LookupError:  # a name within the form of those known that no codec has: iso-8859-99
        return body.decode(errors="replace")
