"""JSON that a model wrote almost right, mended where it can mean one thing only.

What is mended: JSON between lines of ``` or within other text, if it is the only object or list there; JSON put into a
JSON text once more; commas in front of a closing bracket; Python's `True`, `False`, `None` and single quotes; line
breaks and tabs that stand as they are within a text. What is not: a reply that was cut off, and whatever has two
readings, such as two values, a missing comma or an unescaped quote. Nothing here knows what was asked for: whoever
calls it takes a mended text only if that fits.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

MAX_LAYERS = 3
"""How often JSON may be put into a JSON text."""
MAX_STARTS = 64
"""Brackets that are tried in a text: each is read to its end."""

_FENCED = re.compile(r"\s*```[\w+-]*[ \t]*\r?\n(.*?)\r?\n?[ \t]*```\s*", re.DOTALL)
_WORDS = {"True": "true", "False": "false", "None": "null"}
_CLOSED = {"{": "}", "[": "]"}
_TOKEN = re.compile(
    r"""(?P<text>"(?:[^"\\]|\\.)*")
    |(?P<single>'(?:[^'\\]|\\.)*')
    |(?P<blank>[ \t\r\n]+)
    |(?P<word>[\w.+-]+)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = re.compile(r"""(?:[^\\]|\\(?:[\\'"nrtbf]|u[0-9a-fA-F]{4}))*""", re.DOTALL)
"""Texts in single quotes whose escapes mean the same in JSON and in Python."""
_CUT_ESCAPE = re.compile(r"(?:\\u[dD][89abAB][0-9a-fA-F]{2})?\\(?:u[0-9a-fA-F]{0,3})?$|\\u[dD][89abAB][0-9a-fA-F]{2}$")
"""An escape within a text of which the end is missing, or its other half."""
_CUT_WORD = re.compile(
    r"(?<![\w.+-])(?:-?\d[\d.eE+-]*|-|t(?:r(?:ue?)?)?|f(?:a(?:l(?:se?)?)?)?|n(?:u(?:ll?)?)?)$", re.ASCII
)
"""A number, or a word of JSON, of which more may have followed."""
_CONTROL = re.compile(r"[\n\r\t]")
_SHOWN = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_WRAPPERS = frozenset(
    {"value", "result", "output", "response", "reply", "answer", "data", "json", "arguments", "parameters", "input"}
)


class Repaired(NamedTuple):
    """JSON, and what was mended to get it.

    Attributes:
        value_text: valid JSON.
        repairs: in words, in order; empty where the text was JSON as it came.
    """

    value_text: str
    repairs: tuple[str, ...] = ()


def repair_json(text: str) -> Repaired | None:
    r"""The one JSON value that `text` can mean, None where there is none or more than one. Raises nothing.

    A JSON text that holds an object or list as JSON is that object or list, so ask only once `text` itself did not fit.

    ```
    >>> repaired = repair_json('Sure:\n```json\n{"city": "Emden",}\n```')
    >>> repaired.value_text, repaired.repairs
    ('{"city": "Emden"}', ('text around the JSON was left out', 'a comma too many was left out'))
    >>> repair_json('{"city": "Em')

    ```
    """
    text = text.removeprefix("\ufeff")
    return _repair(text, MAX_LAYERS) or _find_value(text)


def find_missing_end(text: str) -> str:
    """What is missing at the end of a JSON object or list that was cut off: its quote and brackets. Raises nothing.

    Empty where that is not what is wrong with the text, or not all.

    ```
    >>> find_missing_end('{"city": "Emden", "guests": [{"name": "Ad')
    '"}]}'
    >>> find_missing_end('{"city": "Emden", "days": three')
    ''

    ```
    """
    open_marks: list[str] = []
    quote = ""
    for kind, token, _ in _iter_tokens(text, 0):
        if kind == "open":
            quote = token
            break
        if kind == "mark" and token in _CLOSED:
            open_marks.append(_CLOSED[token])
        elif kind == "mark" and token in "}]" and (not open_marks or open_marks.pop() != token):
            return ""
    if not open_marks or quote == "'":
        return ""
    brackets = "".join(reversed(open_marks))
    if quote:
        whole = [start + end for start in (text, _CUT_ESCAPE.sub("", text)) for end in ('"', '": 0')]
    else:
        whole = [text, f"{text}0", f"{text}: 0", f'{text}"": 0', f"{_CUT_WORD.sub('', text)}0"]
    return quote + brackets if any(_is_json(each + brackets) for each in whole) else ""


def decode_text(value: Any) -> Any:
    """The object or list that a text is as JSON, for where an object or a list belongs; None for any other value."""
    if not isinstance(value, str) or (repaired := _repair(value, MAX_LAYERS)) is None:
        return None
    held = orjson.loads(repaired.value_text)
    return held if isinstance(held, (dict, list)) else None


def unwrap_value(value: Any, *names: str) -> Any:
    """What an object or a list of just one value holds, where that is a wrapper by its looks; else None.

    Args:
        names: of what was asked for, as a model may write in front of it.
    """
    if isinstance(value, list) and len(value) == 1:
        return value[0] if isinstance(value[0], dict) else None
    if not isinstance(value, Mapping) or len(value) != 1:
        return None
    (key, held), *_ = value.items()
    known = _WRAPPERS | {name.casefold() for name in names}
    return held if isinstance(key, str) and key.casefold() in known else None


def _repair(text: str, layers: int) -> Repaired | None:
    """The value that all of `text` is, with or without lines of ``` around it."""
    fenced = _FENCED.fullmatch(text)
    if fenced is not None and "```" not in fenced[1] and (inner := _repair_whole(fenced[1], layers)) is not None:
        return Repaired(inner.value_text, ("the lines of ``` around the JSON were left out", *inner.repairs))
    return _repair_whole(text, layers)


def _repair_whole(text: str, layers: int) -> Repaired | None:
    """The value that all of `text` is, marks that JSON does not know put right."""
    if _is_json(text):
        return _unwrap_text(text, layers)
    span = _read_span(text, 0)
    if span is None or span.end != len(text) or span.repaired is None:
        return None
    inner = _unwrap_text(span.repaired.value_text, layers)
    return Repaired(inner.value_text, (*span.repaired.repairs, *inner.repairs))


def _unwrap_text(text: str, layers: int) -> Repaired:
    """`text`, which is JSON, or the object or list that it holds as a text."""
    if not layers or not text.lstrip().startswith('"'):
        return Repaired(text)
    inner = _repair(orjson.loads(text), layers - 1)
    if inner is None or inner.value_text.lstrip()[:1] not in _CLOSED:
        return Repaired(text)
    return Repaired(inner.value_text, ("JSON within a text was read", *inner.repairs))


def _find_value(text: str) -> Repaired | None:
    """The only object or list that stands in `text`."""
    found: Repaired | None = None
    place = 0
    for _ in range(MAX_STARTS):
        start = _find_bracket(text, place)
        if start is None:
            return found
        span = _read_span(text, start)
        if span is None:  # it has no end: a value that was cut off, with what stands in it
            return None
        if span.repaired is not None:
            if found is not None:
                return None
            told = ("text around the JSON was left out", *span.repaired.repairs)
            found = Repaired(span.repaired.value_text, told)
        elif '"' in text[start : span.end]:  # a value with a fault, and no mere word in brackets
            return None
        place = span.end
    return None


def _find_bracket(text: str, start: int) -> int | None:
    places = [place for place in (text.find("{", start), text.find("[", start)) if place >= 0]
    return min(places, default=None)


class _Span(NamedTuple):
    """A stretch of a text that may be a value: where it ends, and what it is, if it can be one."""

    end: int
    repaired: Repaired | None


def _read_span(text: str, start: int) -> _Span | None:
    """The stretch that begins at `start` and is over when its brackets are; None where they or a quote stay open.

    Of a text without brackets that is all of it.
    """
    open_marks: list[str] = []
    parts: list[str] = []
    repairs: dict[str, None] = {}
    end = len(text)
    for kind, token, stop in _iter_tokens(text, start):
        if kind == "open":
            return None
        if kind == "mark" and token in _CLOSED:
            open_marks.append(_CLOSED[token])
        elif kind == "mark" and token in "}]":
            if not open_marks or open_marks.pop() != token:
                return _Span(stop, None)
            if _drop_comma(parts):
                repairs["a comma too many was left out"] = None
        part, told = _mend(kind, token)
        parts.append(part)
        if told:
            repairs[told] = None
        if kind == "mark" and token in "}]" and not open_marks:
            end = stop
            if text[end:].strip():
                break
            end = len(text)
    if open_marks:
        return None
    made = "".join(parts)
    return _Span(end, Repaired(made.strip(), tuple(repairs)) if _is_json(made) else None)


def _iter_tokens(text: str, start: int) -> Iterator[tuple[str, str, int]]:
    """Kind, text and end of each token; a single quote begins a text only where a value or a key can stand.

    One that begins and has no end is `open`.
    """
    place, before = start, "["
    while place < len(text):
        match = _TOKEN.match(text, place)
        assert match is not None
        kind, token = str(match.lastgroup), match[0]
        if token[0] == "'" and before not in "{[,:":
            kind, token = "mark", "'"
        elif kind == "mark" and token in "\"'":
            kind = "open"
        place += len(token)
        yield kind, token, place
        if kind != "blank":
            before = token


def _mend(kind: str, token: str) -> tuple[str, str]:
    """The token as JSON has it, and what was mended."""
    if kind == "word" and token in _WORDS:
        return _WORDS[token], "Python's words were read as JSON's"
    if kind == "text" and _CONTROL.search(token):
        return _CONTROL.sub(lambda found: _SHOWN[found[0]], token), "line breaks within a text were escaped"
    if kind == "single" and _ESCAPES.fullmatch(token) and not _CONTROL.search(token):
        inner = re.sub(r"""\\.|["]""", _requote, token[1:-1], flags=re.DOTALL)
        return f'"{inner}"', "single quotes were read as double ones"
    return token, ""


def _requote(found: re.Match[str]) -> str:
    return {"\\'": "'", '"': '\\"'}.get(found[0], found[0])


def _drop_comma(parts: list[str]) -> bool:
    """Take out the comma that the last value is followed by, if it is."""
    place = len(parts) - 1
    while place > 0 and not parts[place].strip():
        place -= 1
    if place <= 0 or parts[place] != ",":
        return False
    before = next((part for part in reversed(parts[:place]) if part.strip()), "[")
    if before in "{[,:":
        return False
    del parts[place]
    return True


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True
