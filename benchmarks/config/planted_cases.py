"""A made-up schema and document with planted mistakes, and whether what is reported is exactly those."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import tidemill as tm
from planted_json import render_json
from planted_mistakes import Expected, drop_nulls, list_expected, plant, repeat_values
from planted_schema import Section, draw_schema
from planted_toml import render_toml
from planted_tree import Branch
from planted_yaml import render_yaml
from tidemill.errors import Problem

RENDERERS: dict[str, Callable[[Branch, int], str]] = {
    "yaml": render_yaml,
    "toml": render_toml,
    "json": render_json,
}
SCHEMA_EVERY = 5
"""How many cases share a schema: to build its models takes longer than to load a document."""

_DID_YOU_MEAN = re.compile(r"did you mean `([^`]+)`\?")


@dataclass
class Case:
    """One document: its tree, and what it is written as."""

    seed: int
    section: Section
    root: Branch
    suffix: str

    def render(self) -> str:
        return RENDERERS[self.suffix](self.root, self.seed)


@dataclass
class Verdict:
    """What came of one case.

    Attributes:
        disagreements: a line for each report that should not be, that is missing, or that is not as it should be.
        misses: typos whose original name was not suggested, as `(typo, original, suggested)`.
        suggested: how many were.
    """

    text: str
    mistakes: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)
    misses: list[tuple[str, str, str]] = field(default_factory=list)
    suggested: int = 0


class Cases:
    """Cases by their seeds: a seed gives the same case each time."""

    def __init__(self) -> None:
        self._sections: dict[int, Section] = {}

    def make(self, seed: int, suffix: str, mistakes: int | None = None) -> Case:
        """The case of a seed, with one to three mistakes unless told how many."""
        section = self._draw_section(seed // SCHEMA_EVERY)
        rng = random.Random(f"document {seed}")
        root = section.draw(rng)
        if suffix == "yaml" and rng.random() < 0.5:
            repeat_values(root, rng)
        takes_null = suffix != "toml"
        if not takes_null:
            drop_nulls(root)
        plant(root, rng, rng.randint(1, 3) if mistakes is None else mistakes, takes_null=takes_null)
        if not takes_null:
            drop_nulls(root)  # those in lists that were made too long
        return Case(seed, section, root, suffix)

    def _draw_section(self, number: int) -> Section:
        """The schema of a number; the last one is kept."""
        if number not in self._sections:
            self._sections = {number: draw_schema(random.Random(f"schema {number}"))}
        return self._sections[number]


def judge(case: Case, folder: Path) -> Verdict:
    """Load the case from a file and compare what is reported with what is wrong."""
    text = case.render()
    path = folder / f"case.{case.suffix}"
    path.write_bytes((b"\xef\xbb\xbf" if case.seed % 20 == 0 and case.suffix != "json" else b"") + text.encode())
    expected = list_expected(case.root)
    verdict = Verdict(text, Counter(each.mistake.kind for each in expected))
    try:
        loaded: Any = tm.load_config(case.section.annotation, path)
    except tm.ConfigError as error:
        compare(expected, list(error.problems), verdict)
    else:
        verdict.disagreements += [f"not reported: {_describe(each, text)}" for each in expected]
        assert isinstance(loaded, BaseModel)
        got, meant = loaded.model_dump(mode="json", exclude_unset=True), case.root.to_value()
        if not expected and got != meant:
            verdict.disagreements.append(f"loaded as {got}, not as {meant}")
    return verdict


def compare(expected: list[Expected], problems: list[Problem], verdict: Verdict) -> None:
    """Pair each expected report with one that is at its place and path and says what it should."""
    for each in expected:
        found = next((problem for problem in problems if _is_report(each, problem, verdict.text)), None)
        if found is None:
            verdict.disagreements.append(f"not reported: {_describe(each, verdict.text)}")
            continue
        problems.remove(found)
        if each.mistake.kind in ("typo", "choice"):
            match = _DID_YOU_MEAN.search(found.hint)
            suggested = match.group(1) if match else ""
            verdict.suggested += suggested == each.mistake.original
            if suggested != each.mistake.original:
                typo = each.name or str(found.message)
                verdict.misses.append((typo, each.mistake.original, suggested))
    for problem in problems:
        verdict.disagreements.append(f"reported too much: {problem.place} {problem.message}; {problem.hint}")


def _is_report(expected: Expected, problem: Problem, text: str) -> bool:
    place = problem.place
    if place is None or (place.line, place.column) != find_place(text, expected.at.start):
        return False
    width = _width(expected, text)
    return problem.path == expected.path and place.length == width and problem.message.startswith(_says(expected, text))


def _says(expected: Expected, text: str) -> str:
    """How the message begins."""
    prefix = f"`{'.'.join(map(str, expected.path))}`: "
    if expected.first is not None:
        line, _ = find_place(text, expected.first.start)
        return f"the key `{expected.name}` is given twice, first on line {line}"
    if expected.mistake.kind == "typo":
        return f"unknown key `{expected.name}`"
    if expected.mistake.kind == "missing":
        above = ".".join(map(str, expected.path[:-1]))
        return f"`{above}`: missing key `{expected.name}`" if above else f"missing key `{expected.name}`"
    return f"{prefix}expected "


def _width(expected: Expected, text: str) -> int:
    """How many characters are marked: of what has several lines, its part of the first."""
    if not expected.is_whole:
        return 1
    start, stop = expected.at.start, expected.at.stop
    line_end = text.find("\n", start)
    return max(1, len(text[start : stop if line_end < 0 else min(stop, line_end)].rstrip()))


def _describe(expected: Expected, text: str) -> str:
    line, column = find_place(text, expected.at.start)
    path = ".".join(map(str, expected.path)) or expected.name
    return f"{line}:{column} (width {_width(expected, text)}) {expected.mistake.kind} at `{path}`"


def find_place(text: str, start: int) -> tuple[int, int]:
    """Line and column of a character, from 1."""
    return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
