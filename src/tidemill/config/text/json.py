"""JSON text (RFC 8259) to nodes that know where they stand.

The structure is scanned here, for the positions; what a text in quotes or a number means is the standard library's
to say.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tidemill.config.text.nodes import Fault, Mapping, Node, Scalar, Sequence, Text
from tidemill.config.text.scalars import MAX_DIGITS, parse_float
from tidemill.config.text.scanner import Scanner

_SPACE = re.compile(r"[ \t\r\n]*")
_COMMENT = re.compile(r"#[^\n]*|//[^\n]*|/\*[\s\S]*?(?:\*/|\Z)")
_STRING = re.compile(r'"(?:[^"\\\r\n]|\\[^\r\n])*"')
_SINGLE_QUOTED = re.compile(r"'(?:[^'\\\r\n]|\\[^\r\n])*'")
_WORD = re.compile(r"[^\s,:\[\]{}\"']+")
_UNQUOTED = re.compile(r"(?:\$\{[^}\r\n]*\}|[^,\[\]{}\"'\r\n])+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?P<fraction>\.[0-9]+)?(?P<exponent>[eE][-+]?[0-9]+)?")
_LIKE_NUMBER = re.compile(r"[-+]?\.?[0-9]")
_SURROGATE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\."
)
_UNPLAIN = re.compile(r"[\x00-\x1f]|\\(?:u[0-9a-fA-F]{0,4}|.)")
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_ESCAPED_IN_SINGLE = re.compile(r"\\(.)")

_WORDS: dict[str, Any] = {"true": True, "false": False, "null": None}
_MEANT = {
    **dict.fromkeys(("True", "TRUE"), "write `true`"),
    **dict.fromkeys(("False", "FALSE"), "write `false`"),
    **dict.fromkeys(("None", "Null", "NULL", "nil", "undefined"), "write `null`"),
    **dict.fromkeys(("NaN", "nan", "Infinity", "-Infinity", "inf", "-inf"), "give a finite number, or `null`"),
}


class _Composer(Scanner):
    """Composes one JSON text."""

    language = "JSON"

    def compose_document(self) -> Node:
        if not self.peek():
            self.stop("the file is empty", "write `{}` for no values", self.position)
        root = self._compose_value(0)
        if self.peek():
            hint = "remove it, or look for a bracket too many before it"
            self.stop("text after the end of the value", hint, self.position, self._find_line_end())
        return root

    def skip(self) -> None:
        """Pass over white space, and over comments, which are a fault."""
        self.take(_SPACE)
        while self.text.startswith(("#", "/"), self.position) and (comment := _COMMENT.match(self.text, self.position)):
            line_end = self._find_line_end()
            self.fault_once("JSON has no comments", "remove all of them", comment.start(), min(comment.end(), line_end))
            self.position = comment.end()
            self.take(_SPACE)

    def _find_line_end(self) -> int:
        end = self.text.find("\n", self.position)
        return len(self.text) if end < 0 else end

    def _compose_value(self, depth: int) -> Node:
        here = self.peek()
        start = self.position
        self.check_depth(depth, start)
        if self.text.startswith("{{", start):
            return self.refuse_template(start, _UNQUOTED)
        if here == "{":
            return self._compose_mapping(start, depth)
        if here == "[":
            return self._compose_sequence(start, depth)
        if here in ('"', "'"):
            return self._compose_string(start, here)
        if here in (",", "}", "]"):
            self.fault("expected a value here", "", start)
            return self.make_broken(start, start)
        return self._compose_word(start)

    def _compose_sequence(self, start: int, depth: int) -> Sequence:
        node = Sequence(start, start, start, source=self.source)
        for _ in self.iter_entries(start, "]", last_comma=False):
            item = self._compose_value(depth + 1)
            node.items.append(item)
            node.size += item.size
        node.stop = self.position
        return node

    def _compose_mapping(self, start: int, depth: int) -> Mapping:
        node = Mapping(start, start, start, source=self.source)
        for _ in self.iter_entries(start, "}", last_comma=False):
            key = self._compose_key()
            found = self._pass_colon(key)
            value = self._compose_value(depth + 1) if found else self.make_broken(key.stop, key.stop)
            node.size += value.size
            self.add_pair(node, key, value)
        node.stop = self.position
        return node

    def _compose_key(self) -> Scalar:
        start = self.position
        here = self.text[start]
        if here in "\"'":
            key = self._compose_string(start, here)
            return Scalar(start, key.stop, start, value=key.text, text=key.text, style=here, source=self.source)
        word = self.take(_WORD)
        if not word:
            self.stop("a key must be a text in double quotes", "", start)
        self.fault("a key without quotes", "put it in double quotes", start, self.position)
        return Scalar(start, self.position, start, value=word, text=word, source=self.source)

    def _pass_colon(self, key: Scalar) -> bool:
        """Whether a value follows."""
        here = self.peek()
        if here in (",", "}"):
            self.fault(f"the key `{key.text}` has no `:` and value", "", key.start, key.stop)
            return False
        if here == "=":
            self.fault("`=` instead of `:`", 'JSON writes `"key": value`', self.position)
        elif here != ":":
            self.stop(f"expected `:` after the key `{key.text}`", "", self.position)
        self.position += 1
        return True

    def _compose_string(self, start: int, quote: str) -> Scalar:
        written = self.take(_STRING if quote == '"' else _SINGLE_QUOTED)
        if not written:
            hint = "a text stays on its line: write `\\n` for a line break"
            self.stop("the quote opened here is never closed on its line", hint, start)
        stop = self.position
        node = Scalar(start, stop, start, text=written[1:-1], style=quote, source=self.source)
        if quote == "'":
            self.fault_once("single quotes, which JSON does not have", "write double quotes", start, stop)
            node.value = node.text = _ESCAPED_IN_SINGLE.sub(r"\1", node.text)
            return node
        try:
            node.value = node.text = json.loads(written)
        except ValueError:
            wrong = next(each for each in _UNPLAIN.finditer(self.text, start, stop) if not _ESCAPE.fullmatch(each[0]))
            self._explain_character(wrong.group(), wrong.start(), wrong.end())
            node.broken = True
        else:
            node.broken = "\\u" in written and self._refuse_half(start, stop)
        return node

    def _refuse_half(self, start: int, stop: int) -> bool:
        """Whether a surrogate stands without its other half, as in no text that can be written to a file."""
        halves = (each for each in _SURROGATE.finditer(self.text, start, stop) if each.group("half"))
        half = next(halves, None)
        if half is not None:
            hint = "write both halves, as `\\ud83d\\ude00`, or the character itself"
            self.fault(f"`{half.group()}` is half of a character", hint, half.start(), half.end())
        return half is not None

    def _explain_character(self, written: str, start: int, stop: int) -> None:
        """The fault of a control character or an escape that JSON does not have."""
        if written.startswith("\\"):
            self.fault(f"`{written}` is no escape in JSON", "write `\\\\` for a backslash", start, stop)
        elif written == "\t":
            self.fault("a tab within a text, which JSON does not allow", "write `\\t`", start, stop)
        else:
            hint = f"remove it, or write `\\u{ord(written):04x}`"
            self.fault("a control character, which JSON does not allow", hint, start, stop)

    def _compose_word(self, start: int) -> Scalar:
        word = self.take(_WORD)
        if not word:
            self.stop("expected a value here", "", start)
        node = Scalar(start, self.position, start, text=word, source=self.source)
        number = _NUMBER.fullmatch(word)
        if number:
            node.value = _parse_number(number)
        elif word in _WORDS:
            node.value = _WORDS[word]
        else:
            self._explain_word(node, word)
        return node

    def _explain_word(self, node: Scalar, word: str) -> None:
        """The fault of what is neither a number nor a word of JSON; it is read as far as an unquoted text would go."""
        node.broken = True
        if word in _MEANT:
            self.fault(f"JSON has no `{word}`", _MEANT[word], node.start, node.stop)
            return
        if not word.isprintable():
            self.stop("a character that cannot be seen", "remove it", node.start)
        self.position = node.start
        node.text = self.take(_UNQUOTED).rstrip()
        self.position = node.stop = node.start + len(node.text)
        if _LIKE_NUMBER.match(word):
            hint = "a number is `0.5`, `12` or `1e-4`; put a text in double quotes"
            self.fault("no number as JSON writes it", hint, node.start, node.stop)
        else:
            self.fault("a text without quotes", "put it in double quotes", node.start, node.stop)


def _parse_number(number: re.Match[str]) -> int | float | str:
    written = number.group()
    if number.group("fraction") or number.group("exponent"):
        return parse_float(written)
    return int(written) if len(written) <= MAX_DIGITS else written


def compose_json(source: Text) -> tuple[Node | None, list[Fault]]:
    """The root node of a JSON text and all that is wrong with it; no node when it cannot be read to the end."""
    return _Composer(source).read()
