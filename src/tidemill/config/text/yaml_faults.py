"""What is wrong with a text that is no YAML: the parser's error as a sentence, at the place where the mend goes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

from tidemill.config.text.nodes import Fault

_BRACES = re.compile(r"\s*(?:- +)*(?:[^\s\"'#:]+:\s+)?(?P<braces>\{\{)")
_KEY = re.compile(r"""(?:"[^"]*"\s*|'[^']*'\s*|[^\s"'#\[\]{}][^#:]*):(?:\s+(?P<value>[^\s#].*)?)?$""")
_TIGHT_FLOW = re.compile(r"""[\w.-]+(?P<colon>:)[{\["']""")
_TIGHT = re.compile(r"[\w.-]+(?P<colon>:)[^\s/]")
_BLOCK = re.compile(r"[|>&][^\s]*\s*(?:#.*)?$")

_SENTENCES = (
    ("mapping values are not allowed", "`: ` starts a value where none can stand", "quote a text that holds `: `"),
    ("found a tab", "a tab in the indentation", "indent with spaces"),
    ("cannot start any token", "a text cannot start with `{character}`", "put it in quotes"),
    ("could not find expected ':'", "a key without `:`", ""),
    ("did not find expected '-' indicator", "expected a list item `- …` here, as on the lines before", ""),
    ("did not find expected node content", "expected a value here", ""),
    ("did not find expected key", "expected a key here", "check the indentation, and quotes that close too early"),
    ("did not find expected ',' or ']'", "the list opened here is not closed by `]`, or lacks a `,`", ""),
    ("did not find expected ',' or '}'", "the mapping opened here is not closed by `}`, or lacks a `,`", ""),
    ("found unexpected end of stream", "the quote opened here is never closed", ""),
    ("found unexpected document indicator", "the quote opened here is never closed", ""),
    ("unknown escape character", "unknown escape in a text in double quotes", "write `\\\\`, or use single quotes"),
)
_AT_CONTEXT = ("opened here", "a key without")


@dataclass(frozen=True, slots=True)
class _Line:
    """A line with something on it.

    Attributes:
        start: where its text begins, behind the `- ` of list items.
        indent: the column there.
    """

    start: int
    indent: int
    text: str

    @property
    def is_key(self) -> bool:
        return _KEY.match(self.text) is not None

    @property
    def is_whole(self) -> bool:
        """Whether it is a key with its value, so that nothing may stand below it."""
        found = _KEY.match(self.text)
        return found is not None and found["value"] is not None and not _BLOCK.match(found["value"])


def explain_error(error: yaml.YAMLError, text: str) -> Fault:
    """The fault that the parser stopped at."""
    position = getattr(error, "position", None)
    if position is not None:  # a reader's error: it has no mark
        return Fault("a control character, which YAML does not allow", "remove it", position, position + 1)
    problem = str(getattr(error, "problem", None) or "this is not YAML")
    mark = getattr(error, "problem_mark", None)
    context = getattr(error, "context_mark", None)
    start = min(mark.index, len(text)) if mark else 0
    if braces := _find_braces(text, [each.index for each in (context, mark) if each]):
        hint = "quote a text that starts with `{{`"
        return Fault("`{{` starts a mapping in YAML", hint, braces.start("braces"), braces.end("braces"))
    at_context = context.index if context else start
    found = _explain_reference(problem, text, start) or _explain_lines(problem, text, start, at_context)
    return found or _translate(problem, text, start, at_context)


def _translate(problem: str, text: str, start: int, at_context: int) -> Fault:
    """The parser's own sentence in other words."""
    message, hint = f"the YAML cannot be read: {problem}", ""
    for phrase, sentence, mend in _SENTENCES:
        if phrase in problem:
            character = text[start : start + 1]
            if phrase.startswith("cannot start") and character == "\t":
                sentence, mend = "a tab in the indentation", "indent with spaces"
            message, hint = sentence.replace("{character}", character), mend
            if any(words in sentence for words in _AT_CONTEXT):
                start = at_context
            break
    return Fault(message, hint, start, start + 1)


def _find_braces(text: str, positions: list[int]) -> re.Match[str] | None:
    """An unquoted template at the start of a value, on a line the error names."""
    for position in positions:
        start = text.rfind("\n", 0, position) + 1
        line_end = text.find("\n", start)
        found = _BRACES.match(text, start, len(text) if line_end < 0 else line_end)
        if found:
            return found
    return None


def _explain_reference(problem: str, text: str, start: int) -> Fault | None:
    """A `${…}` within braces or brackets, whose own brace the parser takes for theirs."""
    closing = next((each for each in ("}", "]") if f"',' or '{each}'" in problem), None)
    if closing is None or not text.startswith("${", start - 1):
        return None
    around = "{ }" if closing == "}" else "[ ]"
    stop = text.find("}", start) + 1
    return Fault(f"a reference within `{around}` needs quotes", 'write `"${…}"`', start - 1, max(stop, start + 1))


def _explain_lines(problem: str, text: str, start: int, at_context: int) -> Fault | None:
    """A slip on one line that the parser noticed on a later one; None where it is none that is known."""
    if "could not find expected ':'" in problem:
        return _explain_tight(_list_lines(text, at_context)[-1:])
    if not any(phrase in problem for phrase in ("mapping values", "expected key", "document start")):
        return None
    lines = _list_lines(text, start)
    if "expected key" in problem and lines and (flow := _TIGHT_FLOW.match(lines[-1].text)):
        colon = lines[-1].start + flow.start("colon")
        return Fault("a space is missing after `:`", "", colon, colon + 1)
    if len(lines) < 2 or not lines[-1].is_key or ": " in text[lines[-1].start : start]:
        return None
    *above, line = lines
    if line.indent > above[-1].indent and above[-1].is_whole:
        return Fault("indented deeper than the line before", "indent them alike", line.start, line.start + 1)
    if "expected key" not in problem:
        return _explain_bare(above, line)
    outer = next((each for each in reversed(above) if each.indent <= line.indent), line)
    if outer.indent < line.indent < above[-1].indent:
        hint = "indent it like the lines it belongs to"
        return Fault("indented like no line above", hint, line.start, line.start + 1)
    return None


def _explain_bare(above: list[_Line], line: _Line) -> Fault | None:
    """The first of the lines in front of a key that are none, but should be."""
    count = next((n for n, each in enumerate(reversed(above)) if each.is_key), len(above))
    bare = above[len(above) - count :]
    if not bare or bare[0].indent != line.indent:
        return None
    holder = above[len(above) - count - 1] if count < len(above) else None
    if holder is not None and holder.is_whole and holder.indent < line.indent:  # a text that goes on
        return None
    if re.fullmatch(r"[\w.-]+\s*(?:#.*)?", bare[0].text):
        return Fault("a key without `:`", "", bare[0].start, bare[0].start + len(bare[0].text.split()[0]))
    return _explain_tight(bare[:1])


def _explain_tight(lines: list[_Line]) -> Fault | None:
    for line in lines:
        if found := _TIGHT.match(line.text):
            colon = line.start + found.start("colon")
            return Fault("a space is missing after `:`", "", colon, colon + 1)
    return None


def _list_lines(text: str, position: int) -> list[_Line]:
    """The lines up to the one that `position` is on, without empty ones and comments."""
    lines = []
    for found in re.finditer(r"^([ ]*(?:- +)*)([^\s#].*)$", text, re.MULTILINE):
        if found.start() > position:
            break
        lines.append(_Line(found.start(2), len(found[1]), found[2].rstrip()))
    return lines
