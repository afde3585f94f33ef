"""What counts as told in the side-by-side of configuration libraries, and that Tidemill tells all of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import peer_tidemill
from judging import Score, find_place, hides_secret, is_right, judge, list_wrong, names, read_error
from trials import COERCIONS, MISTAKES, NO_MATCH, REFUSED, SECRET, TRIALS, Coercion, Mistake, try_all, write_trials

BOUND = Mistake("weight_decay: 0.05", "weight_decay: -0.05")
"""Its key stands at 3:1, its value at 3:15."""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("weight_decay\n  Input should be >= 0", (), id="pydantic"),
        pytest.param('Invalid value "-0.05" for [weight_decay] provided by /a/train.yaml.', ("file",), id="cyclopts"),
        pytest.param("1/train.yaml:3:15  `weight_decay`: expected >= 0", ("file", "line", "column"), id="value"),
        pytest.param("1/train.yaml:3:1  `weight_decay`: expected >= 0", ("file", "line", "column"), id="key"),
        pytest.param("1/train.yaml:3:4  `weight_decay`: expected >= 0", ("file", "line"), id="other-column"),
        pytest.param("1/train.yaml:13:15  `weight_decay`: expected >= 0", ("file",), id="other-line"),
        pytest.param('in "1/train.yaml", line 3, column 15', ("file", "line", "column"), id="pyyaml"),
        pytest.param("In 'train': ConfigKeyError raised while composing config", ("file",), id="hydra"),
        pytest.param("in line 3", ("line",), id="line"),
    ],
)
def test_a_place_counts_in_each_form(error: str | None, told: tuple[str, ...] | None) -> None:
    assert find_place(error, BOUND) == told


@pytest.mark.parametrize(
    ("carets", "told"),
    [
        ("               ^^^^^", True),
        (" ^^^^^^^^^^^^", True),
        ("            ^^^^^", False),
        ("               ^^^^", False),
    ],
    ids=["value", "key", "beside", "too-short"],
)
def test_a_caret_is_a_column_where_it_stands_under_what_is_wrong(carets: str, told: bool) -> None:
    text = f"[weight_decay] must be >= 0\n │ ├── weight_decay: -0.05\n │ │  {carets}\n └── FILE '1/train.yaml', line 3"
    assert find_place(text, BOUND) == (("file", "line", "column") if told else ("file", "line"))


def test_lines_of_python_and_flags_of_a_usage_say_nothing() -> None:
    text = (
        "usage: train.py [--learning_rate LEARNING_RATE]\n"
        "                [--epochs EPOCHS]\n"
        "Traceback (most recent call last):\n"
        '  File "/a/train.py", line 3, in main\n'
        "error: Option 'learningrate' is not accepted\n"
    )
    error = read_error({"typo": {"error": text}}, "typo")
    assert error is not None
    assert find_place(error, BOUND) == ()
    assert names(error, "learningrate")
    assert not names(error, "learning_rate")
    assert not names(error, "epochs")


def test_a_key_is_named_as_a_field_or_as_a_flag_but_not_within_another() -> None:
    assert names("did you mean `learning_rate`?", "learning_rate")
    assert names("Did you mean --learning-rate?", "learning_rate")
    assert not names("learning_rates", "learning_rate")


@pytest.mark.parametrize(
    ("outcome", "wanted", "right"),
    [
        ({"value": {"count": 64}}, 64, True),
        ({"value": {"count": 64.0}}, 64, False),
        ({"value": {"count": True}}, 1, False),
        ({"value": {"count": None}}, REFUSED, False),
        ({"error": "no"}, REFUSED, True),
        ({"error": "no"}, 64, False),
    ],
    ids=["value", "float", "bool", "null-taken", "refused", "refused-wrongly"],
)
def test_a_value_is_right_in_its_type_too(outcome: dict[str, object], wanted: float | str, right: bool) -> None:
    assert is_right(outcome, Coercion("count", "64", wanted)) is right


def test_a_secret_is_shown_even_where_a_frame_breaks_it() -> None:
    assert hides_secret("apikey: *****")
    assert not hides_secret(f"got {SECRET}")
    assert not hides_secret(f"│ got {SECRET[:9]} │\n│ {SECRET[9:]} │")


def test_the_mistakes_stand_where_they_are_said_to_stand() -> None:
    places = [(each.line, each.columns) for each in (*MISTAKES, NO_MATCH)]
    assert places == [(1, (1, 15)), (3, (1, 14)), (3, (1, 15)), (4, (1, 9)), (5, (1, 11))]


def test_a_library_that_reads_no_right_file_is_not_judged() -> None:
    outcomes = {trial.name: {"error": "always"} for trial in TRIALS}
    with pytest.raises(ValueError, match="the file without a mistake is not read"):
        judge(outcomes)


def test_tidemill_has_every_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_trials(tmp_path)
    monkeypatch.chdir(tmp_path)
    outcomes = try_all(peer_tidemill.load)
    verdict = judge(outcomes)
    assert list_wrong(outcomes) == []
    assert verdict.is_full, verdict
    assert verdict.coerced == Score(len(COERCIONS), len(COERCIONS))
