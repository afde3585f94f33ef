"""Where each character of a scalar's value stands in the YAML, TOML or JSON text it was written in."""

from __future__ import annotations

import re

_SPACE = frozenset(" \t\r\n\x85\u2028\u2029")
_ESCAPE_LENGTHS = {"x": 4, "u": 6, "U": 10}
_ASTRAL = 0x10000
"""From here on JSON's `\\u` takes a pair."""

_CONTINUATIONS = {
    '"': re.compile(r"\\(?:\r\n|[\r\n])[ \t]*"),
    '"""': re.compile(r"\\[ \t]*\r?\n[ \t\r\n]*"),
}
"""Line breaks that stand for nothing."""

_OPENINGS = {
    **dict.fromkeys(("|", ">"), re.compile(r"[^\r\n]*(?:\r\n|[\r\n])?")),
    **dict.fromkeys(("'", '"'), re.compile(".")),
    **dict.fromkeys(("'''", '"""'), re.compile(r"...(?:\r?\n)?")),
}
"""What stands before the first character."""


def find_offset(source: str, start: int, value: str, style: str, offset: int) -> int:
    """The index in `source` of the character at `offset` of a scalar that starts at `source[start]`.

    Exact for every character but white space within a line break that YAML's folding changed: that gives the break.
    Rests on what YAML leaves alone: folding, indentation and chomping touch white space only, so the other characters
    stand in the source in the value's order, each as itself or as one escape. JSON and TOML change none at all.

    Args:
        style: the scalar's: `|`, `>`, the quotes it stands in, or empty for a plain one.
        offset: up to `len(value)`, which gives the end.
    """
    opening = _OPENINGS[style].match(source, start) if style in _OPENINGS else None
    position = opening.end() if opening else start
    for character in value[:offset]:
        position = _find(source, position, character, style)
        position += _length(source, position, character, style)
    if offset < len(value):
        return _find(source, position, value[offset], style)
    return position


def _find(source: str, position: int, character: str, style: str) -> int:
    """Where `character`, next in the value, stands at or after `position`."""
    continuation = _CONTINUATIONS.get(style)
    while position < len(source):
        if continuation and (skipped := continuation.match(source, position)):
            position = skipped.end()
        elif source[position] in _SPACE and character not in _SPACE:
            position += 1
        else:
            break
    return position


def _length(source: str, position: int, character: str, style: str) -> int:
    """How many characters of the source stand for `character`, at `position`."""
    if style == "'" and source.startswith("''", position):
        return 2
    if style in ("'''", '"""') and source.startswith("\r\n", position):
        return 2
    if style in _CONTINUATIONS and source.startswith("\\", position):
        kind = source[position + 1 : position + 2]
        return 12 if kind == "u" and ord(character) >= _ASTRAL else _ESCAPE_LENGTHS.get(kind, 2)
    return 1
