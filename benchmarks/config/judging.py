"""What an error says, judged by its text alone: the same rules for every library.

A place counts in whatever form it is told: `train.yaml:3:13`, `line 3, column 13`, or a caret under what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from trials import COERCIONS, MISTAKES, NO_MATCH, REFUSED, SECRET, SECRETS, TYPOS, Coercion, Mistake, Outcome

Outcomes = Mapping[str, Outcome]

RIGHT_VALUES = {"learning_rate": 0.01, "batch_size": 64, "weight_decay": 0.05, "epochs": 3, "run_name": "run-7"}
NAMED_IN_FOUR = ("learningrate", "weight_decay", "epochs")

_FRAME = re.compile(r'^.*File ".*", line \d+, in .*$', re.MULTILINE)
_USAGE = re.compile(r"^usage:.*\n(?:[ \t].*\n)*", re.MULTILINE)
_FILE = r"(?:\btrain\.yaml\b|'train')"  # Hydra names a file without its suffix


@dataclass(frozen=True)
class Score:
    """How many of so many."""

    got: int
    of: int

    def __str__(self) -> str:
        return f"{self.got}/{self.of}"

    @property
    def is_full(self) -> bool:
        return self.got == self.of


@dataclass(frozen=True)
class Verdict:
    """What a library makes of all trials; of the mistakes one by one, but for `together`.

    Attributes:
        caught: mistakes that raise.
        file, line, column: mistakes whose error tells this of their place.
        suggested: mistyped keys whose error has the one that is meant.
        together: mistakes of one file that its one error names.
        pattern: what the error of a text that does not match its pattern tells of the place; None where there is none.
        coerced: values that became what they should, or were refused as they should.
        kept: errors that do not show the secret beside them.
    """

    caught: Score
    file: Score
    line: Score
    column: Score
    suggested: Score
    together: Score
    pattern: tuple[str, ...] | None
    coerced: Score
    kept: Score

    @property
    def cells(self) -> list[str]:
        """As the table has them."""
        pattern = "no" if self.pattern is None else ", ".join(self.pattern) or "caught"
        places = [self.caught, self.file, self.line, self.column, self.suggested, self.together]
        return [*map(str, places), pattern, str(self.coerced), str(self.kept)]

    @property
    def is_full(self) -> bool:
        scores = (
            self.caught,
            self.file,
            self.line,
            self.column,
            self.suggested,
            self.together,
            self.coerced,
            self.kept,
        )
        return self.pattern == ("file", "line", "column") and all(score.is_full for score in scores)


def judge(outcomes: Outcomes) -> Verdict:
    """The verdict over a library's outcomes.

    Raises:
        ValueError: it does not read a file that is right, so that its errors would say nothing.
    """
    if outcomes["right"].get("value") != RIGHT_VALUES:
        raise ValueError(f"the file without a mistake is not read: {outcomes['right']}")
    errors = {each: read_error(outcomes, each.wrong) for each in (*MISTAKES, NO_MATCH)}
    found = {each: find_place(error, each) for each, error in errors.items()}
    told = [found[each] or () for each in MISTAKES]
    unmatched = found[NO_MATCH]
    together = read_error(outcomes, "four") or ""
    secrets = [outcomes[name] for name in SECRETS if outcomes[name]]
    return Verdict(
        caught=count([each is not None for each in (found[one] for one in MISTAKES)]),
        file=count(["file" in place for place in told]),
        line=count(["line" in place for place in told]),
        column=count(["column" in place for place in told]),
        suggested=count([names(errors[each] or "", meant) for each, meant in TYPOS.items()]),
        together=count([names(together, key) for key in NAMED_IN_FOUR]),
        pattern=unmatched,
        coerced=count([is_right(outcomes[each.name], each) for each in COERCIONS]),
        kept=count(["error" in each and hides_secret(each["error"]) for each in secrets]),
    )


def count(passed: Sequence[bool]) -> Score:
    return Score(sum(passed), len(passed))


def read_error(outcomes: Outcomes, name: str) -> str | None:
    """The error of a trial, without Python's frames and a usage line's list of every flag; None where none came."""
    text = outcomes[name].get("error")
    return None if text is None else _USAGE.sub("", _FRAME.sub("", text))


def find_place(error: str | None, mistake: Mistake) -> tuple[str, ...] | None:
    """Which of `file`, `line` and `column` the error tells, None where there is no error."""
    if error is None:
        return None
    checks: Mapping[str, Callable[[str, Mistake], bool]] = {
        "file": lambda text, _: re.search(_FILE, text) is not None,
        "line": tells_line,
        "column": tells_column,
    }
    return tuple(name for name, check in checks.items() if check(error, mistake))


def tells_line(text: str, mistake: Mistake) -> bool:
    """Whether the text has the mistake's line."""
    return re.search(rf"{_FILE}:{mistake.line}\b|\bline {mistake.line}\b", text, re.IGNORECASE) is not None


def tells_column(text: str, mistake: Mistake) -> bool:
    """Whether the text has the column of the mistake's key or value, as a number or by a caret."""
    either = "|".join(map(str, mistake.columns))
    numbered = rf"{_FILE}:{mistake.line}:(?:{either})\b|\bline {mistake.line}, column (?:{either})\b"
    return re.search(numbered, text, re.IGNORECASE) is not None or has_caret(text, mistake)


def has_caret(text: str, mistake: Mistake) -> bool:
    """Whether a row of carets stands under the mistake's key or value."""
    lines = text.splitlines()
    for above, below in pairwise(lines):
        carets = re.search(r"\^+", below)
        if carets and mistake.wrong in above and above[carets.start() : carets.end()] in (mistake.key, mistake.value):
            return True
    return False


def names(text: str, key: str) -> bool:
    """Whether the text has this key, as a field or as a flag."""
    either = key.replace("_", "[-_]")
    return re.search(rf"(?<![A-Za-z0-9_]){either}(?![A-Za-z0-9_])", text) is not None


def is_right(outcome: Outcome, coercion: Coercion) -> bool:
    """Whether it was refused as it should be, or became the value it should, of that value's type."""
    if coercion.wanted == REFUSED:
        return "error" in outcome
    value = outcome.get("value", {}).get(coercion.field)
    return type(value) is type(coercion.wanted) and value == coercion.wanted


def list_wrong(outcomes: Outcomes) -> list[str]:
    """What came of each value that did not become what it should."""
    wrong = [each for each in COERCIONS if not is_right(outcomes[each.name], each)]
    return [f"`{each.name}` {_show(outcomes[each.name], each)}" for each in wrong]


def _show(outcome: Outcome, coercion: Coercion) -> str:
    return "is refused" if "error" in outcome else f"gives {outcome['value'][coercion.field]!r}"


def hides_secret(text: str) -> bool:
    """Whether the secret is nowhere in the text, nor broken over the lines of a frame."""
    return SECRET not in re.sub(r"[\s│|]", "", text)
