"""Trees as JSON: on one line or indented."""

from __future__ import annotations

import json
import random

from planted_text import Writer
from planted_tree import Branch, Leaf, Node, Pair, Series


def render_json(root: Branch, seed: int) -> str:
    """The text; every node and key knows where in it it stands."""
    rng = random.Random(seed)
    writer = _JsonWriter(seed, indent=rng.choice((None, 2, 2, 4)), is_ascii=rng.random() < 0.3)
    writer.value(root, 0)
    if rng.random() < 0.8:
        writer.break_line()
    return writer.to_text()


class _JsonWriter(Writer):
    def __init__(self, seed: int, *, indent: int | None, is_ascii: bool) -> None:
        super().__init__(seed)
        self.indent = indent
        self.is_ascii = is_ascii

    def value(self, node: Node, depth: int) -> None:
        if isinstance(node, Leaf):
            self.write_at(node, _spell(node, is_ascii=self.is_ascii))
            return
        entries: list[Pair | Node] = list(node.pairs) if isinstance(node, Branch) else list(node.iter_inner())
        is_compact = self.indent is None or not entries or random.Random(node.seed).random() < 0.3
        node.start = self.position
        self.write("{" if isinstance(node, Branch) else "[")
        for number, entry in enumerate(entries):
            if number:
                self.write("," if self.indent is None or not is_compact else ", ")
            if not is_compact:
                self.break_line((depth + 1) * (self.indent or 0))
            self._entry(entry, depth + 1)
        if not is_compact:
            self.break_line(depth * (self.indent or 0))
        self.write("]" if isinstance(node, Series) else "}")
        node.stop = self.position

    def _entry(self, entry: Pair | Node, depth: int) -> None:
        if isinstance(entry, Pair):
            self.write_at(entry, json.dumps(entry.name))
            self.write(":" if self.indent is None else ": ")
            entry = entry.node
        self.value(entry, depth)


def _spell(leaf: Leaf, *, is_ascii: bool) -> str:
    text = json.dumps(leaf.written, ensure_ascii=is_ascii)
    return (
        f"{leaf.written:e}" if isinstance(leaf.written, float) and float(f"{leaf.written:e}") == leaf.written else text
    )
