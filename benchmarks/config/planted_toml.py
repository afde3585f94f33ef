"""Trees as TOML: headers, arrays of tables, dotted keys, tables in braces, every kind of text."""

from __future__ import annotations

import random
from typing import Literal

from planted_text import Writer, escape
from planted_tree import Branch, Leaf, Node, Pair, Series

Form = Literal["value", "dots", "header", "headers"]


def render_toml(root: Branch, seed: int) -> str:
    """The text; every node and key knows where in it it stands."""
    writer = _TomlWriter(seed)
    writer.body(root, [])
    writer.headers(root, [])
    root.start = max(0, writer.first)
    _settle(root)
    return writer.to_text()


def _settle(node: Node) -> None:
    """Give every table its end, which comes when all it holds has been written."""
    for inner in node.iter_inner():
        _settle(inner)
        node.stop = max(node.stop, inner.stop)


def choose_form(branch: Branch, pair: Pair) -> Form:
    """How a pair is written: a key given twice as a value, so that the first comes first."""
    rng = random.Random(pair.seed)
    node = pair.node
    if [each.name for each in branch.pairs].count(pair.name) > 1:
        return "value"
    if isinstance(node, Series) and node.items and all(isinstance(item, Branch) for item in node.items):
        return rng.choice(("headers", "headers", "value"))
    if isinstance(node, Branch):
        form: Form = rng.choice(("header", "header", "dots", "value"))
        return "value" if form == "dots" and not node.pairs else form
    return "value"


class _TomlWriter(Writer):
    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._named: set[int] = set()  # keys and tables that have their start
        self.first = -1

    def body(self, branch: Branch, dots: list[Pair]) -> None:
        """What is written as `key = value`, the keys that lead to the table before each, dotted."""
        for pair in branch.pairs:
            form = choose_form(branch, pair)
            if dots and form != "dots":
                form = "value"  # a table of dotted keys takes no header below it
            rng = random.Random(pair.seed)
            if form == "dots":
                assert isinstance(pair.node, Branch)
                self.body(pair.node, [*dots, pair])
            elif form == "value":
                self.write_between(rng, 2)
                self._keys([*dots, pair], rng, dots=True)
                self.write(rng.choice((" = ", " = ", " = ", "=")))
                self.value(pair.node, rng)
                self.end_line(rng)

    def headers(self, branch: Branch, above: list[Pair]) -> None:
        """The tables below one that has been written, each with its header."""
        for pair in branch.pairs:
            form = choose_form(branch, pair)
            if form == "header":
                assert isinstance(pair.node, Branch)
                self._table(pair.node, [*above, pair])
            elif form == "headers":
                for item in pair.node.iter_inner():
                    assert isinstance(item, Branch)
                    self._header([*above, pair], item, "[[", "]]")
                    self.body(item, [])
                    self.headers(item, [*above, pair])

    def _table(self, branch: Branch, keys: list[Pair]) -> None:
        rng = random.Random(branch.seed)
        forms = {choose_form(branch, pair) for pair in branch.pairs}
        is_implied = bool(forms) and forms <= {"header", "headers"} and rng.random() < 0.5
        if is_implied:
            self.headers(branch, keys)
        elif "header" in forms and rng.random() < 0.2:
            self.headers(branch, keys)
            self._header(keys, branch, "[", "]")
            self.body(branch, [])
        else:
            self._header(keys, branch, "[", "]")
            self.body(branch, [])
            self.headers(branch, keys)

    def _header(self, keys: list[Pair], table: Branch, opener: str, closer: str) -> None:
        rng = random.Random(table.seed)
        self.write_between(rng, 0)
        self.write(" " * rng.choice((0, 0, 0, 2)))
        start = self._note_first()
        self.write(opener)
        self._keys(keys, rng, start=start)
        self.write(closer)
        if id(table) not in self._named:
            self._named.add(id(table))
            table.start = start
        table.stop = self.position
        keys[-1].node.stop = self.position
        self.end_line(rng)

    def _keys(self, keys: list[Pair], rng: random.Random, *, dots: bool = False, start: int = 0) -> None:
        """The keys between dots; one that was not named before, or has a header of its own, stands here."""
        for number, pair in enumerate(keys):
            if number:
                self.write(rng.choice((".", ".", " . ")))
            here = self._note_first()
            quote = rng.choices(("", '"', "'"), (8, 1, 1))[0]
            self.write(f"{quote}{pair.name}{quote}")
            own = pair is keys[-1] and isinstance(pair.node, Branch)
            if own or id(pair) not in self._named:
                self._named.add(id(pair))
                pair.start, pair.stop = here, self.position
            if not isinstance(pair.node, Leaf) and id(pair.node) not in self._named:
                self._named.add(id(pair.node))
                pair.node.start = here if dots else start
                pair.node.stop = 0

    def _note_first(self) -> int:
        """Where the writer is; the first such place is where the document starts."""
        self.first = self.position if self.first < 0 else self.first
        return self.position

    def value(self, node: Node, rng: random.Random) -> None:
        if isinstance(node, Leaf):
            self._scalar(node, rng)
            return
        node.start = self.position
        if isinstance(node, Branch):
            self._braces(node)
        else:
            self._list(node, rng)
        node.stop = self.position

    def _braces(self, branch: Branch) -> None:
        self.write("{ " if branch.pairs else "{")
        for number, pair in enumerate(branch.pairs):
            rng = random.Random(pair.seed)
            self.write(", " if number else "")
            self._keys([pair], rng, dots=True)
            self.write(" = ")
            self.value(pair.node, rng)
        self.write(" }" if branch.pairs else "}")

    def _list(self, node: Node, rng: random.Random) -> None:
        items = list(node.iter_inner())
        is_broken = rng.random() < 0.3
        self.write("[")
        for number, item in enumerate(items):
            self.write(", " if number else "")
            if is_broken:
                self.end_line(rng)
                self.write("  ")
            self.value(item, random.Random(item.seed))
        if is_broken:
            self.write("," if items else "")
            self.end_line(rng)
        self.write("]")

    def _scalar(self, leaf: Leaf, rng: random.Random) -> None:
        text = _quote(leaf.written, rng) if isinstance(leaf.written, str) else _spell(leaf.written, rng)
        self.write_at(leaf, text.replace("\n", self.newline))


def _quote(text: str, rng: random.Random) -> str:
    ways = [f'"{escape(text, rng)}"'] * 2
    if "'" not in text:
        ways.append(f"'''\n{text}'''" if "\n" in text or rng.random() < 0.1 else f"'{text}'")
    if rng.random() < 0.3:
        several = "\n".join(escape(line, rng) for line in text.split("\n"))
        ways.append('"""' + rng.choice(("", "\n", "\\\n   ")) + several + '"""')
    return rng.choice(ways)


def _spell(value: float | bool, rng: random.Random) -> str:
    """One of the ways TOML has to write a value that is no text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        ways = [str(value)] * 5 + [f"{value:_}"] + ([hex(value), f"0o{value:o}", f"+{value}"] if value >= 0 else [])
        return rng.choice(ways)
    ways = [repr(value), repr(value), f"{value:e}", f"{value:E}"]
    return rng.choice([each for each in ways if float(each) == value])
