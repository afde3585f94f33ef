"""Made-up configurations with planted mistakes: each is reported where it stands, and nothing else is.

A few hundred of the cases that `make proof` looks at by the thousand.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from planted_cases import RENDERERS, Cases, Verdict, compare, judge
from planted_mistakes import Expected
from planted_tree import KINDS, Leaf, Mistake, Pair
from tidemill.errors import Place, Problem

SEEDS = range(100)


@pytest.fixture(scope="module", params=RENDERERS)
def verdicts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Verdict]:
    """What came of each seed, in one format; every fifth document is valid."""
    cases = Cases()
    folder = tmp_path_factory.mktemp("planted")
    return {seed: judge(cases.make(seed, request.param, 0 if seed % 5 == 4 else None), folder) for seed in SEEDS}


def test_each_planted_mistake_is_reported_at_its_place_and_nothing_else(verdicts: dict[int, Verdict]) -> None:
    assert {seed: verdict.disagreements for seed, verdict in verdicts.items() if verdict.disagreements} == {}


def test_every_kind_of_mistake_is_planted(verdicts: dict[int, Verdict]) -> None:
    counts = sum((verdict.mistakes for verdict in verdicts.values()), Counter[str]())
    assert {kind for kind in KINDS if counts[kind] < 10} == set()
    assert sum(not verdict.mistakes for verdict in verdicts.values()) >= len(SEEDS) // 5


def test_nearly_every_mistyped_name_is_suggested(verdicts: dict[int, Verdict]) -> None:
    suggested = sum(verdict.suggested for verdict in verdicts.values())
    missed = [miss for verdict in verdicts.values() for miss in verdict.misses]
    assert suggested >= 0.99 * (suggested + len(missed)), missed


def test_a_seed_gives_the_same_case_each_time() -> None:
    for suffix in RENDERERS:
        assert Cases().make(7, suffix).render() == Cases().make(7, suffix).render()


TEXT = "# first\nlrr: -1\n"
LEAF = Leaf(0, start=13, stop=15)
PAIR = Pair("lrr", LEAF, 0, mistake=Mistake("typo", "lr"), start=8, stop=11)
TYPO = Expected(Mistake("typo", "lr"), PAIR, ("lrr",), "lrr")
TOLD = Problem("unknown key `lrr`", Place("f", 2, 1, 3), ("lrr",), hint="did you mean `lr`?")


@pytest.mark.parametrize(
    ("problems", "disagreements"),
    [
        pytest.param([TOLD], 0, id="as planted"),
        pytest.param([], 1, id="none"),
        pytest.param([TOLD, TOLD], 1, id="twice"),
        pytest.param([replace(TOLD, place=Place("f", 2, 2, 3))], 2, id="other column"),
        pytest.param([replace(TOLD, place=Place("f", 1, 1, 3))], 2, id="other line"),
        pytest.param([replace(TOLD, place=Place("f", 2, 1, 2))], 2, id="other width"),
        pytest.param([replace(TOLD, place=None)], 2, id="no place"),
        pytest.param([replace(TOLD, path=("lr",))], 2, id="other path"),
        pytest.param([replace(TOLD, message="`lrr`: expected a number, got -1")], 2, id="other message"),
    ],
)
def test_a_report_that_differs_from_what_was_planted_is_noticed(problems: list[Problem], disagreements: int) -> None:
    verdict = Verdict(TEXT)
    compare([TYPO], list(problems), verdict)
    assert len(verdict.disagreements) == disagreements


def test_another_name_than_the_original_is_a_miss() -> None:
    verdict = Verdict(TEXT)
    compare([TYPO], [replace(TOLD, hint="did you mean `rr`?")], verdict)
    assert (verdict.disagreements, verdict.misses, verdict.suggested) == ([], [("lrr", "lr", "rr")], 0)
