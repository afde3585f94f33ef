"""TOML's texts, numbers and dates: how far each goes, what it means, and what is wrong with one that means nothing.

What a scalar means is `tomllib`'s to say.
"""

from __future__ import annotations

import re
import tomllib
from functools import lru_cache
from typing import Any

from tidemill.config.text.nodes import Fault
from tidemill.config.text.scalars import MAX_DIGITS, parse_float

_STRINGS = {
    '"""': re.compile(r'"""(?:[^"\\]|\\[\s\S]|"{1,2}(?!"))*+"{3,5}'),
    "'''": re.compile(r"'''(?:[^']|'{1,2}(?!'))*+'{3,5}"),
    '"': re.compile(r'"(?:[^"\\\n]|\\[^\n])*+"'),
    "'": re.compile(r"'[^'\n]*'"),
}
_PLAIN_STRING = re.compile(r"\"[^\"\\\x00-\x08\x0a-\x1f\x7f]*\"|'[^'\x00-\x08\x0a-\x1f\x7f]*'")
_BARE = re.compile(r"\d{4}-\d\d-\d\d [0-9:.+\-Zz]+|[^\s,\[\]{}#\"'=]+", re.ASCII)
_LONG_INTEGER = re.compile(rf"[-+]?[1-9](?:_?[0-9]){{{MAX_DIGITS},}}")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")
_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[\s\S])")
_CONTINUATION = re.compile(r"\\[ \t]*\r?\n")
_LIKE_DATE = re.compile(r"\d{4}-\d|\d\d:\d", re.ASCII)
_LIKE_NUMBER = re.compile(r"[-+]?\.?\d", re.ASCII)

_MEANT = {
    **dict.fromkeys(("True", "TRUE"), "write `true`"),
    **dict.fromkeys(("False", "FALSE"), "write `false`"),
    **dict.fromkeys(("None", "null", "Null", "NULL", "nil", "~"), "leave the key out"),
    **dict.fromkeys(("NaN", ".nan"), "write `nan`"),
    **dict.fromkeys(("Infinity", "+Infinity", "Inf", ".inf"), "write `inf`"),
    **dict.fromkeys(("-Infinity", "-Inf", "-.inf"), "write `-inf`"),
}


def find_quote(text: str, position: int) -> str:
    """The quote that opens at `position`: `\"\"\"`, `'''`, `"`, `'`; empty when none does."""
    return next((quote for quote in _STRINGS if text.startswith(quote, position)), "")


def find_string(text: str, position: int, quote: str) -> str:
    """The text in quotes that starts at `position`, as it is written; empty when it is never closed."""
    match = _STRINGS[quote].match(text, position)
    return match.group() if match else ""


def find_bare(text: str, position: int) -> str:
    """The word, number or date at `position`, as it is written; empty when there is none."""
    match = _BARE.match(text, position)
    return match.group() if match else ""


def parse_string(written: str) -> str:
    """What a text in quotes means.

    Raises:
        ValueError: it holds an escape or a character that TOML does not allow.
    """
    if _PLAIN_STRING.fullmatch(written):
        return written[1:-1]
    return str(tomllib.loads(f"value = {written}")["value"])


@lru_cache(maxsize=1024)
def parse_bare(written: str) -> Any:
    """What a word, number or date means.

    Raises:
        ValueError: nothing.
    """
    if _LONG_INTEGER.fullmatch(written):
        return written
    return tomllib.loads(f"value = {written}", parse_float=parse_float)["value"]


def find_control(text: str, start: int, stop: int) -> Fault | None:
    """The first control character that TOML does not allow."""
    match = _CONTROL.search(text, start, stop)
    if match is None or text.startswith("\r\n", match.start()):  # a break that `stop` cuts in two
        return None
    return Fault("a control character, which TOML does not allow", "remove it", match.start(), match.end())


def explain_string(text: str, start: int, stop: int) -> Fault:
    """What is wrong with the text in quotes at `[start, stop)`, which means nothing."""
    if fault := find_control(text, start, stop):
        return fault
    for escape in _ESCAPE.finditer(text, start, stop):
        if not _is_escape(escape.group(), text, escape.start()):
            written = escape.group().strip()
            hint = "write `\\\\` for a backslash, or use single quotes"
            return Fault(f"`{written}` is no escape in TOML", hint, escape.start(), escape.start() + len(written))
    return Fault("a text that TOML does not allow", "", start, stop)


def _is_escape(escape: str, text: str, start: int) -> bool:
    if escape[1:2].isspace():
        return bool(_CONTINUATION.match(text, start))
    try:
        tomllib.loads(f'value = "{escape}"')
    except ValueError:
        return False
    return True


def explain_bare(written: str, rest: str) -> tuple[str, str, str]:
    """What is wrong with a word that means nothing: the value it belongs to, a sentence and its mend.

    Args:
        rest: the text from the word on, as far as a value may go.
    """
    if written in _MEANT:
        return written, f"TOML has no `{written}`", _MEANT[written]
    if _LIKE_DATE.match(written):
        hint = "a date is `2026-01-31`, a time `07:30:00`; put a text in quotes"
        return rest, "no date or time as TOML writes it", hint
    if _LIKE_NUMBER.match(written):
        return rest, "no number as TOML writes it", "a number is `0.5`, `12` or `1e-4`; put a text in quotes"
    return rest, "a text without quotes", "put it in quotes"
