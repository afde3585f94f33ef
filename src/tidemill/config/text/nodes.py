"""A configuration's text as a tree of nodes that know where they stand."""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from tidemill.errors import Place

MAX_DEPTH = 100
"""How deep mappings and lists may nest."""


@dataclass(eq=False)
class Text:
    """One source of values: a file's content, or what was given on a command line, in the environment, in Python.

    Attributes:
        name: as messages name it: a file's path, `--set optim.lr`, `environment TRAIN__SEED`.
        content: its characters.
        kind: what it is; only a file's values have lines and columns.
        folder: where relative paths in it start.
    """

    name: str
    content: str = ""
    kind: Literal["file", "environment", "override", "python"] = "file"
    folder: Path = Path()
    _lines: dict[tuple[int, str], str] = field(default_factory=dict, init=False, repr=False)

    def place(self, start: int, stop: int, *, length: int | None = None, masked: str | None = None) -> Place:
        """The place of `content[start:stop]`: of its first line.

        Args:
            length: the caret's width; by default that of the characters on the first line.
            masked: the content with its secrets hidden in place, which the source line is taken from.
        """
        if self.kind != "file":
            return Place(self.name)
        number = bisect.bisect_right(self.line_starts, start)
        first = self.line_starts[number - 1]
        line = self._cut_line(number, self.content if masked is None else masked)
        width = length or len(self.content[start : min(stop, first + len(line))].rstrip())
        return Place(self.name, number, start - first + 1, max(1, width), line)

    def _cut_line(self, number: int, content: str) -> str:
        """A line without its break, the same object each time: there may be thousands of places on a long one."""
        key = (number, content)
        if key not in self._lines:
            following = self.line_starts[number] if number < len(self.line_starts) else len(content)
            self._lines[key] = content[self.line_starts[number - 1] : following].rstrip("\r\n")
        return self._lines[key]

    @cached_property
    def line_starts(self) -> list[int]:
        """Where each line starts, in characters."""
        return [0, *(match.end() for match in re.finditer(r"\r\n|\r|\n", self.content))]


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with the text itself, at `[start, stop)`."""

    message: str
    hint: str
    start: int
    stop: int


@dataclass(slots=True)
class Node:
    """A value and where it stands: `source.content[start:stop]`, without anchor and tag.

    Attributes:
        source: the text it stands in.
        outer: where its anchor or tag starts, `start` when it has none.
        size: how many values it is made of, aliases followed.
        broken: True when the text was faulty here: `value` stands for nothing.
        over: what stood here in a source before, which this was laid over; None when nothing did.
        via: the references that gave this value, as written.
    """

    start: int
    stop: int
    outer: int = 0
    size: int = 1
    broken: bool = False
    source: Text = field(kw_only=True)
    over: Node | None = field(kw_only=True, default=None)
    via: tuple[str, ...] = field(kw_only=True, default=())

    def to_value(self) -> Any:
        """A fresh plain value."""
        return None

    def follow(self) -> Node:
        """The node itself; of an alias what it stands for."""
        return self


@dataclass(slots=True)
class Scalar(Node):
    """A scalar.

    Attributes:
        value: what it means.
        text: the characters it stands for, quotes and escapes resolved.
        style: how it is written: the quotes, three of TOML's long texts, or `|` or `>` of a YAML block; empty for a
            plain one.
    """

    value: Any = None
    text: str = ""
    style: str = ""

    def to_value(self) -> Any:
        return self.value


@dataclass(slots=True)
class Sequence(Node):
    """A list's items."""

    items: list[Node] = field(default_factory=list)

    def to_value(self) -> Any:
        return [item.to_value() for item in self.items]


@dataclass(slots=True)
class Mapping(Node):
    """A mapping's pairs.

    Attributes:
        pairs: the key's value → its node and the value's; of a key given twice the first.
        repeated: the others: the key's value, the value's node.
    """

    pairs: dict[Any, tuple[Node, Node]] = field(default_factory=dict)
    repeated: list[tuple[Any, Node]] = field(default_factory=list)

    def to_value(self) -> Any:
        return {key: node.to_value() for key, (_, node) in self.pairs.items()}


@dataclass(slots=True)
class Alias(Node):
    """Where an alias stands, and what it stands for."""

    target: Node = field(kw_only=True)

    def to_value(self) -> Any:
        return self.target.to_value()

    def follow(self) -> Node:
        return self.target
