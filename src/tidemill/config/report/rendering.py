"""The error report: every problem at once, each with its place, its source line and its mend."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TextIO

from tidemill.config.layers.document import Document
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.secrets import mask, mask_in_place
from tidemill.errors import ConfigError, Place, Problem

MAX_LINE = 110
"""Characters of a source line that are shown; a longer one is cut around its caret."""

MAX_PROBLEMS = 100
"""How many problems a report tells before it says how many more there are."""

_BOLD, _RED, _RESET = "\x1b[1m", "\x1b[31m", "\x1b[0m"


def takes_color(stream: TextIO) -> bool:
    """Whether a report on `stream` is coloured: on a terminal, unless `NO_COLOR` is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def render_report(problems: Iterable[Problem], *, color: bool = False) -> str:
    """The first hundred problems in file order, with secrets masked, and the count of all.

    ```
    train.yaml:2:1   unknown key `learningrate`; did you mean `learning_rate`?  (number > 0, default 0.0001)
        2 | learningrate: 0.01
          | ^^^^^^^^^^^^
    1 error
    ```
    """
    ordered = sort_problems(problems)
    told, more_said = cut_problems(ordered)
    show_line = cache(lambda line: printable(mask_in_place(line)))  # a long one may have many problems
    width = max((len(show_place(each.place)) for each in told if each.place and each.place.line), default=0)
    lines = []
    for problem in told:
        first, *more = describe_problem(problem).splitlines() or [""]
        label = show_place(problem.place) if problem.place else ""
        head = f"{label:<{width}}  " if label else ""
        lines.append(f"{_BOLD}{head}{_RESET}{first}" if color and head else f"{head}{first}")
        lines += [f"    {line}" for line in more]
        if problem.place and problem.place.source_line:
            lines += _render_source(problem.place, show_line(problem.place.source_line), color)
    lines += [more_said] if more_said else []
    lines.append(f"{len(ordered):,} error{'' if len(ordered) == 1 else 's'}")
    return "\n".join(lines)


def cut_problems(ordered: Sequence[Problem]) -> tuple[Sequence[Problem], str]:
    """The first hundred, and of the others how many they are; empty when there are none."""
    left_out = len(ordered) - MAX_PROBLEMS
    return ordered[:MAX_PROBLEMS], f"and {left_out:,} more" if left_out > 0 else ""


def describe_problem(problem: Problem) -> str:
    """What is wrong, the mend and what the value overrides, secrets masked: all but the place."""
    overrode = f"it overrides {show_place(problem.overrode)}" if problem.overrode else ""
    return printable("; ".join(filter(None, [mask(problem.message), mask(problem.hint), overrode])))


def show_place(place: Place) -> str:
    """`train.yaml:3:13`, secrets masked in the name alone: `api_key.yaml:3` is no assignment."""
    return printable(str(replace(place, file=mask(place.file))))


def sort_problems(problems: Iterable[Problem]) -> list[Problem]:
    """The problems by file, line and column, files in the order they come up; those without a line behind."""
    problems = list(problems)
    files: dict[str, int] = {}
    for problem in problems:
        if problem.place and problem.place.line:
            files.setdefault(problem.place.file, len(files))

    def order(problem: Problem) -> tuple[int, int, int]:
        place = problem.place
        return (files[place.file], place.line, place.column) if place and place.line else (len(files), 0, 0)

    return sorted(problems, key=order)


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise one ConfigError with all the problems and their report; nothing when there is none."""
    if problems:
        raise ConfigError(render_report(problems), problems=sort_problems(problems))


def problem_at(
    document: Document,
    path: KeyPath,
    message: str,
    *,
    hint: str = "",
    key: bool = False,
    offset: int | None = None,
    length: int | None = None,
    place: Place | None = None,
) -> Problem:
    """A problem with what stands at `path`: the message begins with the path, secrets are masked.

    A message that itself begins with the key, in backticks, has the path in its place.

    Args:
        offset: of a text, where in it the problem is; `length` characters from there are marked.
        place: instead of the document's own.
    """
    shown = document.resolve(path)
    where = place or document.place(path, key=key, offset=offset, length=length)
    overrode = None if key or place else next(document.iter_earlier(path), None)
    return Problem(mask(_begin_with(shown, message)), where, path, hint=mask(hint), overrode=overrode)


def _begin_with(path: KeyPath, message: str) -> str:
    named = re.match(r"`([\w.-]+)`(?=[ :])", message)
    if named and f".{join_path(path)}".endswith(f".{named[1]}"):
        return f"`{join_path(path)}`{message[named.end() :]}"
    return f"`{join_path(path)}`: {message}" if path else message


def _render_source(place: Place, line: str, color: bool) -> list[str]:
    """Its number, its piece of the `line` as it may be shown, and the caret below."""
    start = max(0, place.column - 1)
    length = max(1, place.length)
    if len(line) > MAX_LINE:
        first = max(0, min(start - MAX_LINE // 3, len(line) - MAX_LINE))
        shown = line[first : first + MAX_LINE]
        line = f"{'…' if first else ''}{shown}{'…' if first + MAX_LINE < len(line) else ''}"
        length = min(length, MAX_LINE - (start - first))
        start += bool(first) - first
    number = f"{place.line:>5}"
    caret = " " * _columns(line[:start]) + " " * max(0, start - len(line))
    marks = "^" * max(1, _columns(line[start : start + length]) or length)
    if color:
        marks = f"{_RED}{marks}{_RESET}"
    return [f"{number} | {line.rstrip()}", f"{'':>5} | {caret}{marks}"]


def _columns(text: str) -> int:
    """How wide a terminal shows it: East Asian wide characters take two columns, combining ones none."""
    return sum(0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF") for each in text)


def printable(text: str) -> str:
    """The text without what a terminal would obey; every character keeps its column, lines stay lines."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each == "\n" else " " if each == "\t" else "\ufffd" for each in text)
