"""What the scanners of JSON and TOML share: a position, the faults so far, entries between commas."""

from __future__ import annotations

import bisect
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, NoReturn

from tidemill.config.text.nodes import MAX_DEPTH, Fault, Mapping, Node, Scalar, Text

_ENTRIES = {"]": "item", "}": "pair"}
_TEMPLATE = re.compile(r"\{\{[^\r\n]*?\}\}")
_STARTS = frozenset("\"'[{-0123456789")


class UnreadableError(Exception):
    """The text cannot be read any further; the faults say why."""


class Scanner(ABC):
    """Reads a text from its start; collects faults and goes on wherever it can tell what was meant.

    Attributes:
        language: the format's name.
        nouns: what the format calls that which a bracket closes.
        position: where the next character is read.
        faults: what is wrong with the text so far.
    """

    language = ""
    nouns: ClassVar[dict[str, str]] = {"]": "list", "}": "mapping"}

    def __init__(self, source: Text) -> None:
        self.source = source
        self.text = source.content
        self.position = 0
        self.faults: list[Fault] = []

    def fault(self, message: str, hint: str, start: int, stop: int | None = None) -> None:
        self.faults.append(Fault(message, hint, start, start + 1 if stop is None else stop))

    def fault_once(self, message: str, hint: str, start: int, stop: int) -> None:
        """A fault of habit: where a text has one it has many, and the first tells of them all."""
        if all(each.message != message for each in self.faults):
            self.fault(message, hint, start, stop)

    def stop(self, message: str, hint: str, start: int, stop: int | None = None) -> NoReturn:
        """A fault that ends the reading."""
        self.fault(message, hint, start, stop)
        raise UnreadableError

    def read(self) -> tuple[Node | None, list[Fault]]:
        """The root node and all faults in the text's order; no node when the text cannot be read to the end."""
        try:
            root: Node | None = self.compose_document()
        except UnreadableError:
            root = None
        return root, sorted(self.faults, key=lambda fault: fault.start)

    @abstractmethod
    def compose_document(self) -> Node:
        """The root node."""

    @abstractmethod
    def skip(self) -> None:
        """Pass over what stands between two entries."""

    def take(self, pattern: re.Pattern[str]) -> str:
        """The characters that match here, which are passed; empty when none do."""
        match = pattern.match(self.text, self.position)
        self.position = match.end() if match else self.position
        return match.group() if match else ""

    def looks_at(self, pattern: re.Pattern[str]) -> bool:
        return pattern.match(self.text, self.position) is not None

    def peek(self) -> str:
        """The next character that is not skipped; empty at the end of the text."""
        self.skip()
        return self.text[self.position : self.position + 1]

    def line_of(self, position: int) -> int:
        return bisect.bisect_right(self.source.line_starts, position)

    def check_depth(self, depth: int, start: int) -> None:
        if depth > MAX_DEPTH:
            self.stop(f"nested deeper than {MAX_DEPTH} levels", "", start)

    def make_broken(self, start: int, stop: int) -> Scalar:
        """The node of a faulty value."""
        return Scalar(start, stop, start, broken=True, text=self.text[start:stop], source=self.source)

    def refuse_template(self, start: int, rest: re.Pattern[str]) -> Scalar:
        """The node of a text that starts with `{{` and lacks its quotes; it goes on over `rest`."""
        message = f"`{{{{` starts a {self.nouns['}']} in {self.language}"
        hint = "quote a text that starts with `{{`"
        if not self.take(_TEMPLATE):
            self.stop(message, hint, start, start + 2)
        self.fault(message, hint, start, self.position)
        self.take(rest)
        return self.make_broken(start, start + len(self.text[start : self.position].rstrip()))

    def add_pair(self, node: Mapping, key: Scalar, value: Node) -> None:
        """Add a pair; a key that is there already is a fault, and keeps its first value."""
        if key.value not in node.pairs:
            node.pairs[key.value] = (key, value)
            return
        line = self.line_of(node.pairs[key.value][0].start)
        message = f"the key `{key.text}` is given twice, first on line {line}"
        self.fault(message, "keep one of them", key.start, key.stop)
        node.repeated.append((key.value, value))

    def iter_entries(self, start: int, closer: str, *, last_comma: bool) -> Iterator[None]:
        """Stop before each entry of what opens at `start`; at the end, after `closer`.

        Whoever iterates reads the entry.

        Args:
            last_comma: whether a comma may follow the last entry.
        """
        self.position = start + 1
        comma = -1
        while (here := self.peek()) != closer:
            comma = -1
            if here == ",":
                self.fault("nothing stands before this `,`", "remove it", self.position)
                self.position += 1
                continue
            self.check_open(start, closer, after_entry=False)
            yield
            comma = self._pass_comma(start, closer)
        if comma >= 0 and not last_comma:
            self.fault(f"a `,` after the last {_ENTRIES[closer]}", "remove it", comma)
        self.position += 1

    def check_open(self, start: int, closer: str, *, after_entry: bool) -> None:
        """Stop where what opens at `start` ends without its `closer`; else an entry or a comma comes next."""
        noun = self.nouns[closer]
        here = self.text[self.position : self.position + 1]
        if not here:
            self.stop(f"the {noun} opened here is never closed by `{closer}`", "", start)
        if here in self.nouns and here != closer:
            line = self.line_of(start)
            self.stop(f"`{here}` closes the {noun} opened on line {line}", f"write `{closer}`", self.position)

    def starts_entry(self, here: str) -> bool:
        """Whether the next character, which is `here`, most likely starts an entry."""
        return here in _STARTS

    def _pass_comma(self, start: int, closer: str) -> int:
        """Where the comma after an entry stood, -1 without one."""
        stop = self.position
        here = self.peek()
        if here == ",":
            self.position += 1
            return self.position - 1
        if here != closer:
            self.check_open(start, closer, after_entry=True)
            if self.position == stop or not self.starts_entry(here):
                hint = "a quote within a text closes it" if self.text[stop - 1] in "\"'" else ""
                self.stop(f"expected `,` or `{closer}` here", hint, self.position)
            self.fault("a `,` is missing here", "", stop)
        return -1
