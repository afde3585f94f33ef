"""The sections of a text: Markdown's headings of both forms, and those of reStructuredText."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Final, NamedTuple

_CANDIDATE: Final = re.compile(r"""\n {0,3}((?:#|([=\-~^"`*+_])\2\2)[^\n]*)""")
"""Lines that may be headings, stand under one, or open a block of code; with the line end in front, found faster."""
_ATX: Final = re.compile(r"(#{1,6})[ \t]+(\S.*)")
_CLOSING: Final = re.compile(r"(?:^|[ \t])#+$")
_FRONT_MATTER: Final = re.compile(r"\A---[ \t\r]*\n(?:.*\n)*?(?:---|\.\.\.)[ \t\r]*$", re.MULTILINE)
_SETEXT: Final = {"=": 1, "-": 2}

Fits = Callable[[int, int], bool]
"""Whether the text from one place to another is no larger than a size."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A title and where it stands.

    Attributes:
        start: of its line, or of the line over it.
        stop: behind its line, or the line under it.
        level: 1 of the uppermost.
        title: without marks.
    """

    start: int
    stop: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Section:
    """What stands between a heading and the next, the heading with it.

    Attributes:
        start, stop: characters of the text.
        headings: the titles it stands under, its own last; none in front of the first heading.
        is_bare: whether nothing stands under its heading.
    """

    start: int
    stop: int
    headings: tuple[str, ...]
    is_bare: bool


def iter_sections(text: str) -> Iterator[Section]:
    """The sections in the order of the text, all of it."""
    above: list[Heading] = []
    start, body = 0, 0
    for heading in iter_headings(text):
        if heading.start > start:
            yield _make_section(text, start, heading.start, body, above)
        while above and above[-1].level >= heading.level:
            above.pop()
        above.append(heading)
        start, body = heading.start, heading.stop
    yield _make_section(text, start, len(text), body, above)


def _make_section(text: str, start: int, stop: int, body: int, above: list[Heading]) -> Section:
    return Section(start, stop, tuple(each.title for each in above), not text[body:stop].strip())


def iter_headings(text: str) -> Iterator[Heading]:
    """The headings in the order of the text.

    A text with a line such as `## Title` is Markdown (CommonMark 0.31.2, 4.2 and 4.3), of which blocks of code are
    passed over. Any other has the headings of reStructuredText: a title with a line of marks under it, at least as
    long, or one over it too; the kinds of marks are levels in the order they come.
    """
    lines = list(_iter_candidates(text))
    is_markdown = any(_ATX.match(line.marks) for line in lines)
    levels: dict[str, int] = dict(_SETEXT) if is_markdown else {}
    fence = ""
    for line in lines:
        marks, run = line.marks, line.run
        if fence:
            if marks == run and run.startswith(fence):
                fence = ""
        elif marks[0] == "#" and is_markdown:
            if found := _ATX.match(marks):
                yield Heading(line.start, line.stop, len(found.group(1)), _CLOSING.sub("", found.group(2)).rstrip())
        elif marks == run and (heading := _find_over(text, line, levels, is_markdown=is_markdown)):
            yield heading
        elif (run[0] == "`" and "`" not in marks[len(run) :]) or (run[0] == "~" and is_markdown):
            fence = run


class _Line(NamedTuple):
    """A line that may be a heading, or stand under one."""

    start: int
    stop: int
    marks: str

    @property
    def run(self) -> str:
        """The marks of one kind that it begins with."""
        return self.marks[: len(self.marks) - len(self.marks.lstrip(self.marks[0]))]


def _iter_candidates(text: str) -> Iterator[_Line]:
    matter = _FRONT_MATTER.match(text)
    first = _CANDIDATE.match("\n" + text[: text.find("\n") + 1 or len(text)])
    if first is not None and matter is None:
        yield _Line(0, first.end() - 1, first.group(1).rstrip())
    for found in _CANDIDATE.finditer(text, matter.end() if matter else 0):
        yield _Line(found.start() + 1, found.end(), found.group(1).rstrip())


def _find_over(text: str, line: _Line, levels: dict[str, int], *, is_markdown: bool) -> Heading | None:
    """The heading that a line of marks stands under."""
    start, title = _read_line_before(text, line.start)
    if not title or (title[0] * len(title) == title and not title[0].isalnum()):
        return None
    kind = line.marks[0]
    if is_markdown:
        return Heading(start, line.stop, levels[kind], title) if kind in levels else None
    if len(line.marks) < len(title):
        return None
    over, marks = _read_line_before(text, start)
    if marks == line.marks:
        start, kind = over, kind * 2
    return Heading(start, line.stop, levels.setdefault(kind, len(levels) + 1), title)


def _read_line_before(text: str, start: int) -> tuple[int, str]:
    """Where the line in front of the one that begins at `start` begins, and what it says."""
    before = text.rfind("\n", 0, max(start - 1, 0)) + 1
    return before, text[before:start].strip()


def join_sections(sections: Iterator[Section], is_small: Fits, fits: Fits) -> Iterator[Section]:
    """The sections, a heading with nothing under it in one with that under it, and small ones together if they fit.

    The first have the headings of the second; others those that they share.
    """
    held: Section | None = None
    for section in sections:
        if held is None:
            held = section
        elif held.is_bare and _count_shared(held, section) == len(held.headings):
            held = replace(section, start=held.start)
        elif is_small(held.start, held.stop) and fits(held.start, section.stop):
            headings = held.headings[: _count_shared(held, section)]
            held = replace(held, stop=section.stop, headings=headings, is_bare=False)
        else:
            yield held
            held = section
    if held is not None:
        yield held


def _count_shared(first: Section, second: Section) -> int:
    pairs = zip(first.headings, second.headings, strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
