"""Texts made ready for libraries written in other languages: in blocks, and of what UTF-8 has a form for."""

from __future__ import annotations

import re
from typing import Final

_LONE: Final = re.compile("[\ud800-\udfff]")


def find_block_end(text: str, start: int, size: int) -> int:
    """Where a block of about `size` characters ends: in front of its last paragraph, line or word, else anywhere."""
    end = start + size
    if end >= len(text):
        return len(text)
    for mark in ("\n\n", "\n", " "):
        found = text.rfind(mark, start + size // 2, end)
        if found > start:
            return found
    return end


def replace_lone(text: str) -> str:
    """`text` with U+FFFD in the place of each half of a surrogate pair."""
    return text if text.isascii() else _LONE.sub("\ufffd", text)
