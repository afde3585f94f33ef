"""A text in the making that knows how far it is, and what the writers of all formats share."""

from __future__ import annotations

import random

from planted_tree import Node, Pair

COMMENTS = ("a comment", "key: value", "- item", "[x], {y: 1}", "größe 日本", 'it\'s "quoted"', "= 1")


class Writer:
    """Characters so far, with their line breaks as they will stand in the file."""

    def __init__(self, seed: int) -> None:
        self.newline = random.Random(seed).choice(("\n", "\n", "\r\n"))
        self._parts: list[str] = []
        self.position = 0

    def write(self, text: str) -> None:
        self._parts.append(text)
        self.position += len(text)

    def write_at(self, thing: Node | Pair, text: str) -> None:
        """Write what stands for `thing`."""
        thing.start = self.position
        self.write(text)
        thing.stop = self.position

    def break_line(self, indent: int = 0) -> None:
        self.write(self.newline + " " * indent)

    def end_line(self, rng: random.Random) -> None:
        """End the line, now and then with a comment."""
        if rng.random() < 0.1:
            self.write(f"{' ' * rng.randint(1, 2)}# {rng.choice(COMMENTS)}")
        self.break_line()

    def write_between(self, rng: random.Random, indent: int) -> None:
        """Now and then a blank line or a comment on a line of its own."""
        if rng.random() < 0.06:
            self.break_line()
        if rng.random() < 0.06:
            self.write(f"{' ' * rng.choice((0, indent))}# {rng.choice(COMMENTS)}")
            self.break_line()

    def to_text(self) -> str:
        return "".join(self._parts)


def escape(text: str, rng: random.Random) -> str:
    """The text within double quotes, as YAML, TOML and JSON all read it."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    if rng.random() < 0.2:
        escaped = "".join(f"\\u{ord(each):04x}" if 127 < ord(each) < 65_536 else each for each in escaped)
    return escaped
