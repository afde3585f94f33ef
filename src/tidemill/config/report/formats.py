"""The error report as people read it, as programs do, and as GitHub shows it beside the lines of a pull request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Literal

from tidemill.config.paths import join_path
from tidemill.config.report.rendering import cut_problems, describe_problem, render_report, show_place, sort_problems
from tidemill.config.secrets import mask, mask_in_place
from tidemill.errors import Place, Problem

ReportFormat = Literal["text", "json", "github"]


def format_problems(problems: Iterable[Problem], form: ReportFormat = "text", *, color: bool = False) -> str:
    """The first hundred problems in file order, secrets masked, without a line break at the end.

    `json` is one object. Its keys stay; later versions may add some:

    ```
    {"errors": [{
        "file": "train.yaml",           where it was written: a file's path, or `--set optim.lr`; null when unknown
        "line": 3,                      from 1; null where there are no lines, as on a command line
        "column": 13,                   in characters, from 1; null where line is
        "length": 1,                    characters that are wrong, on that line; null where line is
        "path": ["batch_size"],         keys and indices from the root; empty for the whole
        "message": "`batch_size`: expected an integer >= 1, got 0",
        "hint": "",                     the mend
        "source_line": "batch_size: 0", the whole line; empty when unknown
        "overrides": {"file": "base.yaml", "line": 2, "column": 13}   what the value was laid over, or null
    }],
    "more": 3900}                       how many errors are left out: there only where any are
    ```

    `github` has one workflow command a line
    (https://docs.github.com/actions/reference/workflow-commands-for-github-actions).

    Args:
        color: for `text` on a terminal.
    """
    if form == "text":
        return render_report(problems, color=color)
    ordered = sort_problems(problems)
    told, more_said = cut_problems(ordered)
    if form == "github":
        more = [f"::error title=configuration::{more_said}"] if more_said else []
        return "\n".join([*map(_to_command, told), *more])
    show_line = cache(mask_in_place)  # a long one may have many problems
    report: dict[str, Any] = {"errors": [_to_json(each, show_line) for each in told]}
    if more_said:
        report["more"] = len(ordered) - len(told)
    return json.dumps(report, ensure_ascii=False, indent=2)


def _to_json(problem: Problem, show_line: Callable[[str], str]) -> dict[str, Any]:
    place = problem.place
    return {
        **_locate(place),
        "length": place.length if place and place.line else None,
        "path": [mask(item) if isinstance(item, str) else item for item in problem.path],
        "message": mask(problem.message),
        "hint": mask(problem.hint),
        "source_line": show_line(place.source_line) if place else "",
        "overrides": _locate(problem.overrode) if problem.overrode else None,
    }


def _locate(place: Place | None) -> dict[str, Any]:
    if place is None:
        return {"file": None, "line": None, "column": None}
    return {"file": mask(place.file), "line": place.line or None, "column": place.column or None}


def _to_command(problem: Problem) -> str:
    """`::error file=train.yaml,line=3,col=13,endColumn=13,title=batch_size::…`; of a command line's value no file."""
    place, properties = problem.place, {}
    text = describe_problem(problem)
    if place and place.line:
        properties = {"file": mask(place.file), "line": place.line}
        if place.column:  # the end is counted in: it is the start where none is given
            properties |= {"col": place.column, "endColumn": place.column + max(1, place.length) - 1}
    elif place:
        text = f"{show_place(place)}  {text}"
    properties["title"] = mask(join_path(problem.path)) or "configuration"
    given = ",".join(f"{name}={_escape_property(str(value))}" for name, value in properties.items())
    return f"::error {given}::{_escape(text)}"


def _escape(text: str) -> str:
    """As the runner reads a message (https://github.com/actions/runner, `ActionCommand`)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")
