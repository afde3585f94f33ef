"""A report of thousands of errors: it is cut, and what it costs grows with their number alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tidemill import Config, load_config
from tidemill.config.report.caller import Caller
from tidemill.config.report.formats import format_problems
from tidemill.config.report.literals import Span
from tidemill.errors import ConfigError, Place, Problem


class Steps(Config):
    sizes: list[int]
    password: str = ""


def make_problems(count: int) -> list[Problem]:
    line = '{"sizes": [' + ", ".join("x" for _ in range(count)) + "]}"
    return [Problem("wrong", Place("a.json", 1, 12 + 3 * i, 1, line), ("sizes", i)) for i in range(count)]


def test_a_report_tells_a_hundred_problems_and_how_many_more_there_are() -> None:
    lines = format_problems(make_problems(4000)).splitlines()
    assert (len(lines), lines[-2:]) == (302, ["and 3,900 more", "4,000 errors"])


def test_a_hundred_problems_are_all_told() -> None:
    lines = format_problems(make_problems(100)).splitlines()
    assert (len(lines), lines[-1]) == (301, "100 errors")


def test_json_says_how_many_errors_it_leaves_out() -> None:
    report = json.loads(format_problems(make_problems(4000), "json"))
    assert (len(report["errors"]), report["more"]) == (100, 3900)
    assert json.loads(format_problems(make_problems(100), "json")).keys() == {"errors"}


def test_github_is_given_a_hundred_errors_and_told_of_the_others() -> None:
    lines = format_problems(make_problems(4000), "github").splitlines()
    assert (len(lines), lines[-1]) == (101, "::error title=configuration::and 3,900 more")


def test_all_problems_on_a_line_share_one_masked_copy_of_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"sizes": ["x"] * 300, "password": "hunter22"}))
    with pytest.raises(ConfigError, match="and 200 more\n300 errors") as caught:
        load_config(Steps, path)
    lines = {id(each.place.source_line): each.place.source_line for each in caught.value.problems if each.place}
    assert len(lines) == 1
    assert all(line.endswith('"password": **********}') for line in lines.values())


def test_all_places_on_a_line_of_python_share_one_masked_copy_of_it() -> None:
    call = "Steps(sizes=[" + ", ".join(["'x'"] * 300) + "], password='hunter22')"
    caller = Caller("a.py", 1, Span(1, 0, 1, len(call)), call)
    places = [caller.place(("sizes", index)) for index in range(300)]
    assert [each.column for each in places] == [14 + 5 * index for index in range(300)]
    assert len({id(each.source_line) for each in places}) == 1
    assert places[0].source_line.endswith("password=**********)")
