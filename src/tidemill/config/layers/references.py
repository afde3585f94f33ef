"""References in a text: `${a.b.c}`, `${env:NAME}`, `${file:path}`, each with an optional `:-default`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

Kind = Literal["key", "env", "file"]

_OPENING = re.compile(r"\$\$\{|\$\{(?:(?P<kind>env|file):)?")


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference, at `text[start:stop]`.

    Attributes:
        name: the key path, the variable or the file.
        default: what stands behind `:-`; None when there is nothing.
    """

    kind: Kind
    name: str
    default: tuple[Part, ...] | None
    start: int
    stop: int

    @property
    def may_be_secret(self) -> bool:
        """Whether its name may be a secret that was written in its place: a variable of one is named in capitals."""
        return self.kind == "key" or (self.kind == "env" and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.name))

    def __str__(self) -> str:
        return f"${{{self.name}}}" if self.kind == "key" else f"${{{self.kind}:{self.name}}}"


Part = str | Reference


class MalformedError(ValueError):
    """What starts as `${env:` or `${file:` and is no reference; `start` is where."""

    def __init__(self, start: int) -> None:
        super().__init__("expected `${env:NAME}`, `${env:NAME:-default}` or `${file:path}`")
        self.start = start


def parse_references(text: str) -> tuple[Part, ...]:
    """The text cut into literal pieces and references; `$${` stands for the characters `${`.

    What does not look like a reference is literal: `$5`, `${{ x }}`, `${ x }`.

    Raises:
        MalformedError: one starts as only a reference does, and does not go on as one.

    >>> parse_references("a $${b}")
    ('a ${b}',)
    """
    return _Parser(text).parse(0, nested=False)[0]


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text

    def parse(self, position: int, *, nested: bool) -> tuple[tuple[Part, ...], int]:
        """The parts from `position` on, to the end or, within a default, to its `}`; and where that stands."""
        parts: list[Part] = []
        literal = ""
        while position < len(self.text):
            if nested and self.text[position] == "}":
                break
            match: re.Match[str] | None = _OPENING.match(self.text, position)
            found = self._parse_reference(position, match) if match and match.group() != "$${" else None
            if found is not None:
                parts += [literal, found] if literal else [found]
                literal, position = "", found.stop
            else:
                escaped = match is not None and match.group() == "$${"
                literal += "${" if escaped else self.text[position]
                position += 3 if escaped else 1
        return (*parts, literal) if literal else tuple(parts), position

    def _parse_reference(self, start: int, opening: re.Match[str]) -> Reference | None:
        """The reference that starts here, None when it is none."""
        kind = cast(Kind, opening["kind"] or "key")
        name = _NAME[kind].match(self.text, opening.end())
        position = name.end() if name else len(self.text)
        default: tuple[Part, ...] | None = None
        if self.text.startswith(":-", position):
            default, position = self.parse(position + 2, nested=True)
        if name is not None and self.text.startswith("}", position):
            return Reference(kind, name.group().strip(), default, start, position + 1)
        if kind != "key":
            raise MalformedError(start)
        return None


_NAME = {
    "key": re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+)*"),
    "env": re.compile(r"[A-Za-z_]\w*"),
    "file": re.compile(r"(?:(?!:-)[^{}\r\n])+"),
}
