"""Where each character of a YAML scalar's value stands in the text it was written in."""

from __future__ import annotations

import re

_SPACE = frozenset(" \t\r\n\x85\u2028\u2029")
_ESCAPE_LENGTHS = {"x": 4, "u": 6, "U": 10}
_CONTINUATION = re.compile(r"\\(?:\r\n|[\r\n])[ \t]*")


def find_offset(source: str, start: int, value: str, style: str, offset: int) -> int:
    """The index in `source` of the character at `offset` of a scalar that starts at `source[start]`.

    Exact for every character but white space within a line break that folding changed: that gives the break. Rests
    on what YAML leaves alone: folding, indentation and chomping touch white space only, so the other characters
    stand in the source in the value's order, each as itself or as one escape.

    Args:
        style: as PyYAML tells it: `|`, `>`, `"`, `'`, or empty for a plain scalar.
        offset: up to `len(value)`, which gives the end.
    """
    position = start
    if style in ("|", ">"):
        header = re.compile(r"[^\r\n]*(?:\r\n|[\r\n])?").match(source, start)
        position = header.end() if header else start
    elif style in ("'", '"'):
        position = start + 1
    for character in value[:offset]:
        position = _find(source, position, character, style)
        position += _length(source, position, style)
    if offset < len(value):
        return _find(source, position, value[offset], style)
    return position


def _find(source: str, position: int, character: str, style: str) -> int:
    """Where `character`, next in the value, stands at or after `position`."""
    while position < len(source):
        if style == '"' and (continuation := _CONTINUATION.match(source, position)):
            position = continuation.end()
        elif source[position] in _SPACE and character not in _SPACE:
            position += 1
        else:
            break
    return position


def _length(source: str, position: int, style: str) -> int:
    """How many characters of the source stand for the one at `position`."""
    if style == "'" and source.startswith("''", position):
        return 2
    if style == '"' and source.startswith("\\", position):
        return _ESCAPE_LENGTHS.get(source[position + 1 : position + 2], 2)
    return 1
