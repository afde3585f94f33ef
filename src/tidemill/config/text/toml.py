"""TOML 1.0 text to nodes that know where they stand.

The structure is scanned here, for the positions; what the characters of a key or a scalar mean is `tomllib`'s to say.
A table stands from the header or dotted key that first names it to the end of the last pair in it.
"""

from __future__ import annotations

import re
from typing import ClassVar

from tidemill.config.text.nodes import Fault, Node, Scalar, Sequence, Text
from tidemill.config.text.scanner import Scanner
from tidemill.config.text.toml_scalars import (
    explain_bare,
    explain_string,
    find_bare,
    find_control,
    find_quote,
    find_string,
    parse_bare,
    parse_string,
)
from tidemill.config.text.toml_tables import Table, Tables, settle

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"[ \t]*(?:\r?\n[ \t]*)*")
_NEWLINE = re.compile(r"\r?\n")
_COMMENT = re.compile(r"#(?:[^\r\n]|\r(?!\n))*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_KEYS = rf"{_KEY}(?:[ \t]*\.[ \t]*{_KEY})*"
_PAIR = re.compile(rf"{_KEYS}[ \t]*=")
_HEADER_LINE = re.compile(
    rf"\[{{1,2}}[ \t]*(?!true\b|false\b|inf\b|nan\b)(?=[A-Za-z_]){_KEYS}[ \t]*\]{{1,2}}[ \t]*(?:#[^\n]*)?\r?(?:\n|\Z)"
)
"""A header that no list could hold as an item."""

_UNQUOTED_KEY = re.compile(r"[^=:#\"'\[\]{}\r\n]+(?=[=:\]])")
_REST_OF_LINE = re.compile(r"[^#\r\n]*")
_REST_OF_ENTRY = re.compile(r"(?:\$?\{[^}\r\n]*\}|[^#\r\n,\]}])*")


class _Composer(Scanner):
    """Composes one TOML text, line by line."""

    language = "TOML"
    nouns: ClassVar[dict[str, str]] = {"]": "list", "}": "table"}

    def __init__(self, source: Text) -> None:
        super().__init__(source)
        self.tables = Tables(self)
        self.starts_line = True

    def compose_document(self) -> Table:
        root = table = self.tables.root
        self.skip()
        root.start = root.outer = root.stop = self.position
        while here := self.peek():
            if here == "[":
                table = self._compose_header()
                self._end_line(None)
            else:
                self._end_line(self._compose_pair(table, _REST_OF_LINE))
        settle(root)
        return root

    def skip(self) -> None:
        """Pass over white space, line breaks and comments."""
        self.starts_line = "\n" in self.take(_BLANK)
        while self.text.startswith("#", self.position):
            self._pass_comment()
            self.starts_line = "\n" in self.take(_BLANK)

    def check_open(self, start: int, closer: str, *, after_entry: bool) -> None:
        """Stop too where the next statement begins, as what opens at `start` seems to go on over it."""
        if self.starts_line:
            next_line = self.looks_at(_HEADER_LINE) or (closer == "]" and self.looks_at(_PAIR))
            if next_line or (closer == "}" and after_entry):
                noun = self.nouns[closer]
                self.stop(f"the {noun} opened here is not closed by `{closer}`, or lacks a `,`", "", start)
        super().check_open(start, closer, after_entry=after_entry)

    def starts_entry(self, here: str) -> bool:
        return super().starts_entry(here) or self.looks_at(_PAIR)

    def _pass_comment(self) -> None:
        start = self.position
        if self.take(_COMMENT) and (fault := find_control(self.text, start, self.position)):
            self.faults.append(fault)

    def _peek_in_line(self) -> str:
        self.take(_SPACE)
        return self.text[self.position : self.position + 1]

    def _end_line(self, value: Node | None) -> None:
        """Pass over the end of a line; what else stands there is a fault, by which `value` is in doubt."""
        stop = self.position
        start = stop + len(self.take(_SPACE))
        self._pass_comment()
        if self.take(_NEWLINE) or self.position == len(self.text):
            return
        if self.looks_at(_PAIR):
            self.fault("a second pair on the line", "give each a line of its own", start)
            return
        rest = self.take(_REST_OF_LINE).rstrip()
        self._check_printable(rest or self.text[start], start)
        message = "text after the end of the value" if value else "text after the header"
        hint = "a quote within a text closes it" if self.text[stop - 1] in "\"'" else "remove it" if rest == "," else ""
        self.fault(message, hint, start, start + len(rest))
        if value:
            value.broken = True

    def _check_printable(self, text: str, start: int) -> None:
        for offset, character in enumerate(text):
            if not character.isprintable() and character != "\t":
                self.stop("a character that cannot be seen", "remove it", start + offset)

    def _compose_header(self) -> Table:
        start = self.position
        closer = "]]" if self.text.startswith("[[", start) else "]"
        self.position += len(closer)
        keys = self._compose_keys()
        if self.text.startswith(closer, self.position):
            self.position += len(closer)
        elif self.text.startswith("]", self.position):
            self.fault("a header that `[[` opens is closed by one `]`", "write `]]`", self.position)
            self.position += 1
        else:
            self._refuse_unquoted(keys[-1].start)
            self.stop(f"the header opened here is not closed by `{closer}`", "", start)
        table = self.tables.open_item(keys, start) if closer == "]]" else self.tables.open_table(keys, start)
        table.stop = max(table.stop, self.position)
        return table

    def _compose_pair(self, table: Table, rest: re.Pattern[str]) -> Node:
        """The value of `keys = value`, which is added to `table`; `rest` is how far an unquoted text goes."""
        keys = self._compose_keys()
        holder = self.tables.enter_dots(table, keys)
        value: Node
        if self._pass_equals(keys):
            self.take(_SPACE)
            value = self._compose_value(holder.depth + 1, rest)
        else:
            value = self.make_broken(keys[-1].stop, keys[-1].stop)
        self.tables.add(holder, keys[-1], value)
        return value

    def _compose_keys(self) -> list[Scalar]:
        """The keys between dots."""
        keys: list[Scalar] = []
        while not keys or self.text.startswith(".", self.position):
            self.position += bool(keys)
            here = self._peek_in_line()
            start = self.position
            if here in ("'", '"'):
                key = self._compose_string(start, here)
                keys.append(key if not key.broken else _as_key(key))
            elif word := self.take(_BARE_KEY):
                keys.append(Scalar(start, self.position, start, value=word, text=word, source=self.source))
            else:
                self._refuse_key(keys, start)
            self.take(_SPACE)
        return keys

    def _refuse_key(self, keys: list[Scalar], start: int) -> None:
        """Stop at what is no key."""
        here = self.text[start : start + 1]
        self._check_printable(here.strip("\n"), start)
        if keys:
            self.stop("a key is missing after `.`", "", start)
        if here == "=":
            self.stop("a key is missing before `=`", "", start)
        self._refuse_unquoted(start)
        self.stop("expected a key here", "", start)

    def _refuse_unquoted(self, start: int) -> None:
        """Stop at a key that would be one in quotes, as far as that can be told."""
        match = _UNQUOTED_KEY.match(self.text, start)
        if match and match.end() > self.position:
            stop = start + len(match.group().rstrip())
            message = "a key of more than letters, digits, `-` and `_`"
            self.stop(message, "put it in quotes", start, stop)

    def _pass_equals(self, keys: list[Scalar]) -> bool:
        """Whether a value follows."""
        here = self._peek_in_line()
        key = keys[-1]
        if here == "=":
            self.position += 1
            return True
        if here == ":":
            self.fault("`:` instead of `=`", "TOML writes `key = value`", self.position)
            self.position += 1
            return True
        if here in ("", "\r", "\n", "#", ",", "}"):
            self.fault(f"the key `{key.text}` has no `=` and value", "", key.start, key.stop)
            return False
        self._refuse_unquoted(key.start)
        if self.position == key.stop or not super().starts_entry(here):
            self.stop(f"expected `=` after the key `{key.text}`", "", self.position)
        self.fault(f"a `=` is missing after the key `{key.text}`", "", key.stop)
        return True

    def _compose_value(self, depth: int, rest: re.Pattern[str]) -> Node:
        start = self.position
        self.check_depth(depth, start)
        if self.text.startswith("{{", start):
            return self.refuse_template(start, rest)
        if self.text.startswith("[", start):
            return self._compose_list(start, depth)
        if self.text.startswith("{", start):
            return self._compose_braces(start, depth)
        quote = find_quote(self.text, start)
        return self._compose_string(start, quote) if quote else self._compose_bare(start, rest)

    def _compose_list(self, start: int, depth: int) -> Sequence:
        node = Sequence(start, start, start, source=self.source)
        for _ in self.iter_entries(start, "]", last_comma=True):
            item = self._compose_value(depth + 1, _REST_OF_ENTRY)
            node.items.append(item)
            node.size += item.size
        node.stop = self.position
        return node

    def _compose_braces(self, start: int, depth: int) -> Table:
        node = Table(start, start, start, opened_by="braces", depth=depth, source=self.source)
        between = start
        breaks = 0
        for _ in self.iter_entries(start, "}", last_comma=False):
            breaks += self.text.count("\n", between, self.position)
            self._compose_pair(node, _REST_OF_ENTRY)
            between = self.position
        node.stop = self.position
        if breaks + self.text.count("\n", between, node.stop):
            hint = "put it on one line, or give it a `[header]`"
            self.fault("a table in braces must stand on one line", hint, start)
        settle(node)
        return node

    def _compose_string(self, start: int, quote: str) -> Scalar:
        written = find_string(self.text, start, quote)
        if not written:
            self._refuse_open_string(start, quote)
        self.position = stop = start + len(written)
        node = Scalar(start, stop, start, style=quote, source=self.source)
        try:
            node.value = node.text = parse_string(written)
        except ValueError:
            node.broken = True
            node.text = written[len(quote) : -len(quote)]
            self.faults.append(explain_string(self.text, start, stop))
        return node

    def _refuse_open_string(self, start: int, quote: str) -> None:
        if len(quote) == 3:
            self.stop(f"the text opened here is never closed by `{quote}`", "", start, start + 3)
        self.position = start
        hint = f"a text of several lines stands in `{quote * 3}`"
        if quote == '"' and self.take(_REST_OF_LINE).rstrip().endswith('\\"'):
            hint = '`\\"` does not close it: write `\\\\` for a backslash, or use single quotes'
        self.stop("the quote opened here is never closed on its line", hint, start)

    def _compose_bare(self, start: int, rest: re.Pattern[str]) -> Scalar:
        word = find_bare(self.text, start)
        node = Scalar(start, start + len(word), start, text=word, source=self.source)
        self.position = node.stop
        try:
            node.value = parse_bare(word)
        except ValueError:
            self._check_printable(word or self.text[start : start + 1].strip("\n"), start)
            self._refuse_bare(node, self.take(rest).rstrip())
        return node

    def _refuse_bare(self, node: Scalar, rest: str) -> None:
        """The fault of a word that means nothing, with the `rest` of what it seems to belong to."""
        node.broken = True
        if node.text:
            node.text, message, hint = explain_bare(node.text, node.text + rest)
        else:
            node.text = rest
            message = "expected a value here"
            hint = "quote a text that starts with `#`" if self.text.startswith("#", self.position) else ""
        node.stop = self.position = node.start + len(node.text)
        self.fault(message, hint, node.start, max(node.stop, node.start + 1))


def _as_key(key: Scalar) -> Scalar:
    """The key under its characters as they stand: they mean nothing, but its value should not seem to be missing."""
    key.broken = False
    key.value = key.text
    return key


def compose_toml(source: Text) -> tuple[Node | None, list[Fault]]:
    """The root node of a TOML text and all that is wrong with it; no node when it cannot be read to the end."""
    return _Composer(source).read()
