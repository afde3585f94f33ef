"""Regular expressions in plain words, where they are simple enough for that to be the whole truth."""

from __future__ import annotations

import re

_PIECE = re.compile(
    r"""(?:\[(?P<set>(?:\\[-dw.]|[^\]\\^[&~])+)\]|\\(?P<short>[dw.-])|(?P<literal>[A-Za-z0-9_:/@ -]))
        (?P<times>[+*?]|\{\d+(?:,\d*)?\})?""",
    re.VERBOSE,
)
_CLASSES = {
    "a-z": "lowercase letter",
    "A-Z": "uppercase letter",
    "0-9": "digit",
    r"\d": "digit",
    r"\w": "letter, digit or `_`",
}
MAX_PIECES = 4
"""A longer pattern is not put into words: it reads no worse itself."""


def describe_pattern(pattern: str) -> str:
    r"""What a text that matches is made of; empty for a pattern that is not anchored, or not simple.

    >>> describe_pattern("^[a-z][a-z0-9-]*$")
    'a lowercase letter, then any number of lowercase letters, digits or `-`'
    >>> describe_pattern(r"^\d{4}$"), describe_pattern("[a-z]+"), describe_pattern("^(a|b)$")
    ('4 digits', '', '')
    """
    if len(pattern) < 2 or pattern[0] != "^" or pattern[-1] != "$":
        return ""
    pieces, position, body = [], 0, pattern[1:-1]
    while position < len(body):
        piece = _PIECE.match(body, position)
        if piece is None:
            return ""
        pieces.append(piece)
        position = piece.end()
    words = [_describe_piece(piece) for piece in pieces]
    if not words or len(words) > MAX_PIECES or not all(words) or all(piece["literal"] for piece in pieces):
        return ""
    return ", then ".join(words)


def _describe_piece(piece: re.Match[str]) -> str:
    if piece["literal"] or piece["short"] in (".", "-"):
        names = [f"`{piece['literal'] or piece['short']}`"]
    elif piece["short"]:
        names = [_CLASSES[f"\\{piece['short']}"]]
    else:
        names = _name_members(piece["set"])
    if not names:
        return ""
    times = piece["times"] or ""
    if times in ("", "?"):
        one = _join([f"a {name}" if not name.startswith("`") else name for name in names])
        return f"{one} or nothing" if times else one.replace("a uppercase", "an uppercase")
    several = _join([name if name.startswith("`") else _to_plural(name) for name in names])
    if times == "+":
        return several if len(names) > 1 or not names[0].startswith("`") else f"one or more {several}"
    if times == "*":
        return f"any number of {several}"
    least, comma, most = times[1:-1].partition(",")
    count = least if not comma or least == most else f"{least} to {most}" if most else f"at least {least}"
    one_each = count == "1"
    return f"{count} {names[0] if one_each and len(names) == 1 else several}"


def _name_members(members: str) -> list[str]:
    """The names of a bracketed set's members; none where one has no plain name."""
    names, position = [], 0
    while position < len(members):
        found = re.compile(r"a-z|A-Z|0-9|\\[dw]").match(members, position)
        if found:
            names.append(_CLASSES[found.group()])
            position = found.end()
            continue
        escaped = members[position] == "\\"
        character = members[position + escaped]
        if members[position + escaped + 1 : position + escaped + 2] == "-" and position + escaped + 2 < len(members):
            return []  # a range of another kind
        names.append(f"`{character}`")
        position += 1 + escaped
    return names


def _to_plural(name: str) -> str:
    return "letters, digits or `_`" if name.startswith("letter,") else f"{name}s"


def _join(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last
