"""YAML that readers of version 1.1 and of 1.2 take alike, with what each key is for beside it."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tidemill.config.exports.entries import Entry
from tidemill.config.text.scalars import parse_scalar
from tidemill.disk import Disk
from tidemill.errors import ConfigError

WIDTH = 100
"""Columns that lists and comments are kept within."""

_INDENT = "  "
_OTHER_FORMATS = {".json": "JSON", ".toml": "TOML"}
_PLAIN = re.compile(r"[A-Za-z_/](?:[\w./@+-]| (?=[\w./@+-]))*", re.ASCII)
_LETTERS = frozenset({"y", "n"})
"""Booleans of YAML 1.1 that PyYAML leaves out."""
_BLOCK = re.compile(r"(?=\S)(?:[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff])*")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\xa0\xad\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff\"\\]")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_RESOLVER: Any = yaml.SafeLoader("")


def render_yaml(entry: Entry, *, comments: bool = True, defaults: bool = True, title: str = "") -> str:
    """The text of a document; a key whose value is masked, or is a list with one that is, is commented out.

    Args:
        comments: whether descriptions stand behind their keys, or above where they are long; each once.
        defaults: whether fields at their default are written.
        title: a comment at the top.
    """
    writer = _Writer(comments, defaults)
    head = [*_comment(title, ""), ""] if title and comments else []
    return "\n".join([*head, *writer.render(entry, "")]) + "\n"


def save_text(path: Path, text: str) -> None:
    """Write a YAML text durably; missing folders are made.

    Raises:
        ConfigError: the file would be read as another format.
    """
    if path.suffix in _OTHER_FORMATS:
        message = f"expected a file to hold YAML, got one that is read as {_OTHER_FORMATS[path.suffix]}"
        raise ConfigError(message, where=str(path), hint=f"name it {path.with_suffix('.yaml').name}")
    disk = Disk()
    disk.make_folder(path.parent)
    disk.write_file(path, text.encode())
    disk.sync_folder(path.parent)


class _Writer:
    """Renders entries as lines, each with its indentation."""

    def __init__(self, comments: bool, defaults: bool) -> None:
        self.comments = comments
        self.defaults = defaults
        self._told: set[tuple[str, str]] = set()

    def render(self, entry: Entry, indent: str) -> list[str]:
        """The lines of a value that begins on a line of its own."""
        if isinstance(entry.value, dict) and (pairs := self._pairs(entry)):
            lines = [line for key, each in pairs for line in self._render_pair(key, each, indent)]
            return lines if any(not line.lstrip().startswith("#") for line in lines) else [*lines, f"{indent}{{}}"]
        if isinstance(entry.value, list) and entry.value:
            return [line for each in entry.value for line in self._render_item(each, indent)]
        return [indent + self._render_flow(entry)]

    def _pairs(self, entry: Entry) -> list[tuple[Any, Entry]]:
        return [(key, each) for key, each in entry.value.items() if self.defaults or not each.is_default]

    def _render_pair(self, key: Any, entry: Entry, indent: str) -> Iterator[str]:
        name = render_scalar(key) if not isinstance(key, str) else _render_text(key)
        description = self._describe(name, entry)
        if entry.lacks_secret:
            secret = "a secret" if entry.is_masked else "a list with secrets"
            yield from _comment(f"{description}\n{name}: {secret}, which is not written".strip(), indent)
        elif (flow := self._find_flow(entry, f"{indent}{name}: ")) is not None:
            yield from _annotate(f"{indent}{name}: {flow}", description, indent)
        elif isinstance(entry.value, str):
            head, *lines = _render_block(entry.value, indent + _INDENT)
            yield from (*_comment(description, indent), f"{indent}{name}: {head}", *lines)
        else:
            yield from _annotate(f"{indent}{name}:", description, indent)
            yield from self.render(entry, indent + _INDENT)

    def _describe(self, name: str, entry: Entry) -> str:
        """The description, the first time that it comes up: items of a list share theirs."""
        if not self.comments or (name, entry.description) in self._told:
            return ""
        self._told.add((name, entry.description))
        return entry.description

    def _render_item(self, entry: Entry, indent: str) -> Iterator[str]:
        if (flow := self._find_flow(entry, f"{indent}- ")) is not None:
            yield f"{indent}- {flow}"
            return
        if isinstance(entry.value, str):
            head, *lines = _render_block(entry.value, indent + _INDENT)
            yield from (f"{indent}- {head}", *lines)
            return
        lines = self.render(entry, indent + _INDENT)
        first = next(index for index, line in enumerate(lines) if not line.lstrip().startswith("#"))
        yield from (indent + line.lstrip() for line in lines[:first])
        yield f"{indent}- {lines[first].lstrip()}"
        yield from lines[first + 1 :]

    def _find_flow(self, entry: Entry, before: str) -> str | None:
        """The value on one line, None where it stands on lines of its own."""
        value = entry.value
        if isinstance(value, dict):
            return None if self._pairs(entry) else "{}"
        if isinstance(value, list):
            if any(isinstance(each.value, (dict, list)) or _is_block(each.value) for each in value):
                return None
            flow = self._render_flow(entry)
            return flow if len(before) + len(flow) <= WIDTH else None
        return None if _is_block(value) else self._render_flow(entry)

    def _render_flow(self, entry: Entry) -> str:
        if isinstance(entry.value, list):
            return f"[{', '.join(map(self._render_flow, entry.value))}]"
        return "{}" if isinstance(entry.value, dict) else render_scalar(entry.value)


def render_scalar(value: Any) -> str:
    """A scalar on one line, quoted where any reader would take it for something else.

    >>> [render_scalar(value) for value in ("adam", "no", "1e-4", "12:30", 1e-05, None)]
    ['adam', '"no"', '"1e-4"', '"12:30"', '1.0e-05', 'null']
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return _render_float(value)
    if not isinstance(value, str):
        return str(value)
    return _render_text(_escape_references(value))


def _render_text(text: str) -> str:
    return text if _is_plain(text) else f'"{_UNPRINTABLE.sub(_escape, text)}"'


def _render_float(value: float) -> str:
    """Readers of version 1.1 take `1e-05` for a text: it has no dot."""
    if not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    digits, exponent, power = repr(value).partition("e")
    return f"{digits}{'' if '.' in digits else '.0'}{exponent}{power}"


def _is_plain(text: str) -> bool:
    if not _PLAIN.fullmatch(text) or text.lower() in _LETTERS or not isinstance(parse_scalar(text), str):
        return False
    return bool(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) == "tag:yaml.org,2002:str")


def _escape_references(text: str) -> str:
    return text.replace("${", "$${")


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _ESCAPES.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _is_block(value: Any) -> bool:
    """Whether it is a text of several lines that a block shows as they are."""
    if not isinstance(value, str) or "\n" not in value.rstrip("\n") or not _BLOCK.fullmatch(value):
        return False
    return not any(line.endswith((" ", "\t")) for line in value.split("\n"))


def _render_block(text: str, indent: str) -> list[str]:
    """`|` and the lines of a text, whose line breaks at the end are kept as they are."""
    body = _escape_references(text)
    ends = len(body) - len(body.rstrip("\n"))
    lines = body.removesuffix("\n").split("\n")
    return ["|" + ("-", "", "+")[min(ends, 2)], *(f"{indent}{line}" if line else "" for line in lines)]


def _annotate(line: str, description: str, indent: str) -> list[str]:
    """The line with the description behind it, or above where it is long."""
    if not description:
        return [line]
    whole = f"{line}  # {description}"
    return [whole] if "\n" not in description and len(whole) <= WIDTH else [*_comment(description, indent), line]


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in text.splitlines():
        wrapped = textwrap.wrap(line, WIDTH - len(indent) - 2, break_long_words=False, break_on_hyphens=False)
        yield from (f"{indent}# {each}".rstrip() for each in wrapped or [""])
