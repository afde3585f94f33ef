"""A made-up document as a tree: what is meant, what is written, and which mistakes are planted where."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

MistakeKind = Literal["typo", "choice", "type", "bound", "pattern", "duplicate", "missing"]
KINDS: tuple[MistakeKind, ...] = ("typo", "choice", "type", "bound", "pattern", "duplicate", "missing")


@dataclass(eq=False)
class Mistake:
    """One thing that was made wrong; `original` is the name that was meant, where there was one."""

    kind: MistakeKind
    original: str = ""


@dataclass(eq=False)
class Node(ABC):
    """A value.

    Attributes:
        seed: what the style it is written in is drawn from, so that leaving out another changes nothing here.
        kind: what is expected here, a `planted_schema.Kind`.
        start, stop: where a renderer wrote it, in characters; `first_stop` is the end of its part that is on one line.
        anchor: the name other places refer to it by.
        mistake: what is wrong with the value as a whole.
        is_tag: True of the value that tells which section a union's is.
    """

    seed: int
    kind: Any = field(default=None, kw_only=True)
    start: int = field(default=0, kw_only=True)
    stop: int = field(default=0, kw_only=True)
    anchor: str = field(default="", kw_only=True)
    mistake: Mistake | None = field(default=None, kw_only=True)
    is_tag: bool = field(default=False, kw_only=True)

    def follow(self) -> Node:
        return self

    def iter_inner(self) -> Iterator[Node]:
        """The values written within it."""
        return iter(())

    def iter_all(self) -> Iterator[Node]:
        """Itself and all values written within it."""
        yield self
        for inner in self.iter_inner():
            yield from inner.iter_all()

    @abstractmethod
    def to_value(self) -> Any:
        """What is meant, as JSON has it."""


@dataclass(eq=False)
class Leaf(Node):
    """A scalar: `written` is what the text says, `meant` what it becomes."""

    written: Any = None
    meant: Any = None

    def to_value(self) -> Any:
        return self.meant


@dataclass(eq=False)
class Series(Node):
    """A list."""

    items: list[Node] = field(default_factory=list)

    def iter_inner(self) -> Iterator[Node]:
        return iter(self.items)

    def to_value(self) -> Any:
        return [item.to_value() for item in self.items]


@dataclass(eq=False)
class Pair:
    """A key and its value; `mistake` is one of the key. A key's `start` and `stop` are without its quotes' styles."""

    name: str
    node: Node
    seed: int
    required: bool = False
    mistake: Mistake | None = None
    start: int = 0
    stop: int = 0


@dataclass(eq=False)
class Branch(Node):
    """A mapping.

    Attributes:
        pairs: as written, in order.
        merged: mappings whose pairs it takes where it has none of its own (YAML's `<<`).
        lacking: required keys that were left out.
        section: the type it is of, None of a mapping with free keys.
    """

    pairs: list[Pair] = field(default_factory=list)
    merged: list[Again] = field(default_factory=list)
    lacking: dict[str, Mistake] = field(default_factory=dict)
    section: Any = None

    def iter_inner(self) -> Iterator[Node]:
        yield from (pair.node for pair in self.pairs)
        yield from self.merged

    def effective(self) -> dict[str, Pair]:
        """Its pairs by name, merged ones included; of a key written twice the first."""
        pairs: dict[str, Pair] = {}
        for pair in self.pairs:
            pairs.setdefault(pair.name, pair)
        for target in self.iter_merged():
            for name, pair in target.effective().items():
                pairs.setdefault(name, pair)
        return pairs

    def iter_merged(self) -> Iterator[Branch]:
        """The mappings it takes pairs of."""
        for again in self.merged:
            assert isinstance(again.target, Branch)
            yield again.target

    def all_lacking(self) -> dict[str, Mistake]:
        """Required keys that neither it nor what it merges has."""
        lacking = dict(self.lacking)
        for target in self.iter_merged():
            lacking |= target.all_lacking()
        has = {pair.mistake.original if pair.mistake else name for name, pair in self.effective().items()}
        return {name: mistake for name, mistake in lacking.items() if name not in has}

    def is_untold(self) -> bool:
        """Whether the tag is wrong or missing, so that nobody can say which section it should be."""
        if self.section is None or self.section.tag is None:
            return False
        pair = self.effective().get(self.section.tag[0])
        return pair is None or pair.node.mistake is not None

    def to_value(self) -> Any:
        return {name: pair.node.to_value() for name, pair in self.effective().items()}


@dataclass(eq=False)
class Again(Node):
    """A second place of what stands elsewhere: YAML's alias."""

    target: Node = field(kw_only=True)

    def follow(self) -> Node:
        return self.target

    def to_value(self) -> Any:
        return self.target.to_value()


def has_mistake(node: Node) -> bool:
    """Whether something is wrong with what is written as `node`, or within it."""
    for each in node.iter_all():
        if each.mistake:
            return True
        if isinstance(each, Branch) and (each.lacking or any(pair.mistake for pair in each.pairs)):
            return True
    return False
