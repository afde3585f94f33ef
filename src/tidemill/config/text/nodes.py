"""A configuration's text as a tree of nodes that know where they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

MAX_DEPTH = 100
"""How deep mappings and lists may nest."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with the text itself, at `[start, stop)`."""

    message: str
    hint: str
    start: int
    stop: int


@dataclass(slots=True)
class Node:
    """A value and where it stands: `text[start:stop]`, without anchor and tag.

    Attributes:
        outer: where its anchor or tag starts, `start` when it has none.
        size: how many values it is made of, aliases followed.
        broken: True when the text was faulty here: `value` stands for nothing.
    """

    start: int
    stop: int
    outer: int = 0
    size: int = 1
    broken: bool = False

    def to_value(self) -> Any:
        """A fresh plain value."""
        return None

    def follow(self) -> Node:
        """The node itself; of an alias what it stands for."""
        return self


@dataclass(slots=True)
class Scalar(Node):
    """A scalar: its value, and its text and style as PyYAML gives them."""

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
