"""Trees as YAML: block and flow, every style of scalar, comments, anchors, aliases and merge keys."""

from __future__ import annotations

import random
import re

from planted_text import Writer, escape
from planted_tree import Again, Branch, Leaf, Node, Pair, Series

_PLAIN = re.compile(r"[^\W\d_][\w./:@+-]*(?: [\w./@+][\w./@+-]*)*")
_PLAIN_IN_FLOW = re.compile(r"[^\W\d_][\w./@+-]*(?: [\w./@+][\w./@+-]*)*")
_PLAIN_IN_BLOCK = frozenset({"12:30", "2024-01-01", "1.2.3"})
_WORDS = frozenset({"null", "true", "false"})
_FOLDABLE = re.compile(r"[^\s]+(?: [^\s]+)+")
_CHOMPED = re.compile(r"\S[^\n]*(?:\n[^\n]*\S)*\n?")
"""A text that a literal block can hold without saying how it is indented."""

Entry = Pair | Again
"""A pair, or what is merged."""


def render_yaml(root: Branch, seed: int) -> str:
    """The text; every node and key knows where in it it stands."""
    writer = _YamlWriter(seed)
    rng = random.Random(seed)
    writer.write_between(rng, 0)
    if rng.random() < 0.2:
        writer.write("---")
        writer.end_line(rng)
    if not _entries(root) or rng.random() < 0.1:
        writer.flow(root, 1, rng)
        writer.end_line(rng)
    else:
        writer.block_mapping(root, 0, rng)
    return writer.to_text()


def _entries(branch: Branch) -> list[Entry]:
    """The pairs in order, what is merged somewhere among them."""
    entries: list[Entry] = list(branch.pairs)
    for again in branch.merged:
        entries.insert(again.seed % (len(entries) + 1), again)
    return entries


class _YamlWriter(Writer):
    def block_mapping(self, branch: Branch, indent: int, rng: random.Random, *, goes_on: bool = False) -> None:
        """One entry a line; with `goes_on` the first stands where the writer is."""
        for number, entry in enumerate(_entries(branch)):
            if number or not goes_on:
                self.write_between(rng, indent)
                self.write(" " * indent)
            if number == 0:
                branch.start = self.position
            self._block_entry(entry, indent)
        branch.stop = self.position

    def _block_entry(self, entry: Entry, indent: int) -> None:
        rng = random.Random(entry.seed)
        if isinstance(entry, Again):
            self.write("<<:")
            self.block_value(entry, indent, rng)
            return
        if rng.random() < 0.03:
            self.write("? ")
            self._key(entry, rng)
            self.break_line(indent)
            self.write(":")
        else:
            self._key(entry, rng)
            self.write(" :" if rng.random() < 0.03 else ":")
        self.block_value(entry.node, indent, random.Random(entry.node.seed))

    def _key(self, pair: Pair, rng: random.Random) -> None:
        quote = rng.choices(("", '"', "'"), (8, 1, 1))[0]
        self.write_at(pair, f"{quote}{pair.name}{quote}")

    def block_value(self, node: Node, indent: int, rng: random.Random, *, in_list: bool = False) -> None:
        """What follows a key's colon or a list's dash, which stand at `indent`, to the end of its last line."""
        if node.anchor:
            self.write(f" &{node.anchor}")
        if isinstance(node, Leaf) and (self._empty(node, rng) or self._block_text(node, indent, rng)):
            return
        is_block = not isinstance(node, (Leaf, Again)) and bool(list(node.iter_inner())) and rng.random() < 0.7
        if not is_block:
            self.write(" " * rng.choice((1, 1, 1, 2)))
            self.flow(node, indent + 2, rng, in_block=True)
            self.end_line(rng)
        elif in_list and not node.anchor and rng.random() < 0.8:
            spaces = rng.choice((1, 1, 3))
            self.write(" " * spaces)
            self._block(node, indent + 1 + spaces, rng, goes_on=True)
        else:
            self.end_line(rng)
            step = 0 if isinstance(node, Series) and not in_list and rng.random() < 0.3 else rng.choice((2, 2, 4))
            self._block(node, indent + step, rng)

    def _block(self, node: Node, indent: int, rng: random.Random, *, goes_on: bool = False) -> None:
        if isinstance(node, Branch):
            self.block_mapping(node, indent, rng, goes_on=goes_on)
            return
        assert isinstance(node, Series)
        for number, item in enumerate(node.items):
            if number or not goes_on:
                self.write_between(rng, indent)
                self.write(" " * indent)
            if number == 0:
                node.start = self.position
            self.write("-")
            self.block_value(item, indent, random.Random(item.seed), in_list=True)
        node.stop = self.position

    def _empty(self, leaf: Leaf, rng: random.Random) -> bool:
        """Write a null as nothing, if it is drawn: it stands right behind the colon or dash."""
        if leaf.written is not None or leaf.anchor or rng.random() < 0.7:
            return False
        self.write_at(leaf, "")
        self.end_line(rng)
        return True

    def _block_text(self, leaf: Leaf, indent: int, rng: random.Random) -> bool:
        """Write a text as a literal or folded block, if it is drawn and can be."""
        text = leaf.written
        if not isinstance(text, str) or rng.random() < (0.4 if "\n" in text else 0.9):
            return False
        inner = indent + rng.choice((2, 2, 3))
        if _CHOMPED.fullmatch(text):
            lines = text.removesuffix("\n").split("\n")
            header = "|" if text.endswith("\n") else "|-"
        elif _FOLDABLE.fullmatch(text):
            lines, header = _fold(text, rng).split("\n"), ">-"
        else:
            return False
        self.write(" ")
        leaf.start = self.position
        self.write(header)
        for line in lines:
            self.break_line(inner if line else 0)
            self.write(line)
        leaf.stop = self.position
        self.break_line()
        return True

    def flow(self, node: Node, indent: int, rng: random.Random, *, in_block: bool = False) -> None:
        """A value that needs no lines of its own; where it breaks its lines, they begin at `indent`."""
        if isinstance(node, Again):
            self.write_at(node, f"*{node.target.anchor}")
        elif isinstance(node, Leaf):
            self._inline(node, indent, rng, in_block=in_block)
        else:
            node.start = self.position
            is_mapping = isinstance(node, Branch)
            self.write("{" if is_mapping else "[")
            entries = _entries(node) if isinstance(node, Branch) else list(node.iter_inner())
            is_broken = rng.random() < 0.2
            for number, entry in enumerate(entries):
                if number:
                    self.write(rng.choice((",", ", ", ", ")))
                if is_broken and rng.random() < 0.5:
                    self.break_line(indent + rng.randint(0, 4))
                self._flow_entry(entry, indent, random.Random(entry.seed), is_mapping=is_mapping)
            if entries and is_broken:
                self.write(",")
                self.break_line(indent)
            self.write("}" if is_mapping else "]")
            node.stop = self.position

    def _flow_entry(self, entry: Pair | Node, indent: int, rng: random.Random, *, is_mapping: bool) -> None:
        node = entry.node if isinstance(entry, Pair) else entry
        if isinstance(entry, Pair):
            self._key(entry, rng)
            self.write(": ")
        elif is_mapping:
            self.write("<<: ")
        if node.anchor:
            self.write(f"&{node.anchor} ")
        self.flow(node, indent, random.Random(node.seed))

    def _inline(self, leaf: Leaf, indent: int, rng: random.Random, *, in_block: bool) -> None:
        written = leaf.written
        if rng.random() < 0.03 and isinstance(written, (str, int)) and not isinstance(written, bool):
            self.write("!!str " if isinstance(written, str) else "!!int ")
        text = _quote(written, rng, in_block=in_block) if isinstance(written, str) else _spell(written, rng)
        if text[:1] in ('"', "'") and rng.random() < 0.15:
            text = _fold(text, rng)
        leaf.start = self.position
        first, *more = text.split("\n")
        self.write(first)
        for line in more:
            self.break_line(indent)
            self.write(line)
        leaf.stop = self.position


def _fold(text: str, rng: random.Random) -> str:
    """The text with line breaks for some of its single spaces."""
    return re.sub(r"(?<=[^\s\\]) (?=[^\s])", lambda _: rng.choice((" ", "\n")), text)


def _quote(text: str, rng: random.Random, *, in_block: bool) -> str:
    plain = _PLAIN if in_block else _PLAIN_IN_FLOW
    is_plain = plain.fullmatch(text) and ": " not in text and not text.endswith(":") and text.lower() not in _WORDS
    if (is_plain or (in_block and text in _PLAIN_IN_BLOCK)) and rng.random() < 0.7:
        return text
    if "\n" not in text and rng.random() < 0.5:
        return "'" + text.replace("'", "''") + "'"
    return f'"{escape(text, rng)}"'


def _spell(value: float | bool | None, rng: random.Random) -> str:
    """One of the ways YAML 1.2 has to write a value that is no text."""
    if value is None:
        return rng.choice(("null", "~", "Null"))
    if isinstance(value, bool):
        return rng.choice((str(value).lower(), str(value), str(value).upper()))
    if isinstance(value, int):
        return rng.choice([str(value)] * 6 + ([hex(value), f"0o{value:o}", f"+{value}"] if value >= 0 else []))
    ways = [repr(value), repr(value), f"{value:e}", f"{value:E}", repr(value).replace("0.", ".", 1)]
    return rng.choice([each for each in ways if float(each) == value])
