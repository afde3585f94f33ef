"""The report for people, for programs and for GitHub."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tidemill.config.report.formats import format_problems
from tidemill.config.secrets import register_secret
from tidemill.errors import Place, Problem

BOUND = Problem(
    "`batch_size`: expected an integer >= 1, got 0", Place("train.yaml", 3, 13, 1, "batch_size: 0"), ("batch_size",)
)
KEY = Problem(
    "unknown key `learningrate`",
    Place("train.yaml", 2, 1, 12, "learningrate: 0.01"),
    ("learningrate",),
    hint="did you mean `learning_rate`?",
)
SET = Problem(
    "`optim.lr`: expected a number > 0, got -1",
    Place("--set optim.lr"),
    ("optim", "lr"),
    overrode=Place("train.yaml", 5, 7),
)


def test_what_a_value_overrides_is_told_with_its_place() -> None:
    assert format_problems([SET]).splitlines()[0] == (
        "--set optim.lr  `optim.lr`: expected a number > 0, got -1; it overrides train.yaml:5:7"
    )


def test_json_has_every_part_of_every_problem() -> None:
    assert json.loads(format_problems([SET, BOUND, KEY], "json")) == {
        "errors": [
            {
                "file": "train.yaml",
                "line": 2,
                "column": 1,
                "length": 12,
                "path": ["learningrate"],
                "message": "unknown key `learningrate`",
                "hint": "did you mean `learning_rate`?",
                "source_line": "learningrate: 0.01",
                "overrides": None,
            },
            {
                "file": "train.yaml",
                "line": 3,
                "column": 13,
                "length": 1,
                "path": ["batch_size"],
                "message": "`batch_size`: expected an integer >= 1, got 0",
                "hint": "",
                "source_line": "batch_size: 0",
                "overrides": None,
            },
            {
                "file": "--set optim.lr",
                "line": None,
                "column": None,
                "length": None,
                "path": ["optim", "lr"],
                "message": "`optim.lr`: expected a number > 0, got -1",
                "hint": "",
                "source_line": "",
                "overrides": {"file": "train.yaml", "line": 5, "column": 7},
            },
        ]
    }


def test_github_gets_a_command_for_each_problem() -> None:
    key = "file=train.yaml,line=2,col=1,endColumn=12,title=learningrate"
    bound = "file=train.yaml,line=3,col=13,endColumn=13,title=batch_size"
    override = "--set optim.lr  `optim.lr`: expected a number > 0, got -1; it overrides train.yaml:5:7"
    assert format_problems([BOUND, KEY, SET, Problem("what")], "github").splitlines() == [
        f"::error {key}::unknown key `learningrate`; did you mean `learning_rate`?",
        f"::error {bound}::`batch_size`: expected an integer >= 1, got 0",
        f"::error title=optim.lr::{override}",
        "::error title=configuration::what",
    ]


def test_what_github_would_obey_is_escaped() -> None:
    problem = Problem("100%: a,b\nand\n::stop-commands::x", Place("a,b:c%.yaml", 1, 2), ("a,b", "c::d"))
    assert format_problems([problem], "github") == (
        "::error file=a%2Cb%3Ac%25.yaml,line=1,col=2,endColumn=2,title=a%2Cb.c%3A%3Ad"
        "::100%25: a,b%0Aand%0A::stop-commands::x"
    )


def test_no_format_shows_a_secret() -> None:
    register_secret("canary-of-formats")
    said = "got canary-of-formats"
    place = Place("canary-of-formats", 1, 1, 1, said)
    problem = Problem(said, place, (said,), said, overrode=place)
    for form in ("text", "json", "github"):
        assert "canary" not in format_problems([problem], form)


TEXTS = st.text(max_size=12)


@given(st.lists(st.builds(Problem, TEXTS, st.builds(Place, TEXTS, st.integers(0, 9)), st.tuples(TEXTS), TEXTS)))
def test_a_problem_is_one_line_for_github_whatever_it_holds(problems: list[Problem]) -> None:
    lines = format_problems(problems, "github").split("\n") if problems else []
    assert len(lines) == len(problems)
    assert all(line.startswith("::error ") and line.count("::") >= 2 for line in lines)


def test_no_problem_is_an_empty_report() -> None:
    empty: dict[str, Any] = {"errors": []}
    assert json.loads(format_problems([], "json")) == empty
    assert format_problems([], "github") == ""
