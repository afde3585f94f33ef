"""Tool arguments and model replies: the same sentences, JSON paths for places."""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from tidemill.config.coercion.table import ConfigRules
from tidemill.config.model import Config
from tidemill.config.report.values import Checked, check_value, explain_value, render_lines, to_json_path
from tidemill.errors import Place, Problem


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


class Step(Config):
    prompt: str
    mode: Mode = Mode.FAST
    max_tokens: int = Field(64, ge=1)


class Plan(Config):
    steps: list[Step]
    api_key: SecretStr | None = None
    notes: dict[str, str] = Field({})


@dataclasses.dataclass
class Data:
    size: Annotated[int, Field(gt=0)]


class Typed(TypedDict):
    size: Annotated[int, Field(gt=0)]


def told(target: Any, value: Any, **options: Any) -> list[str]:
    return check_value(target, value, **options).render().splitlines()


VALUE = {
    "steps": [
        {"prompt": "a", "mode": "SLOW", "max_tokens": "8"},
        {"promt": "b", "mode": "fsat"},
        {"prompt": 5, "max_tokens": 0, "zzz": 1},
    ],
    "notes": {"on error": 1},
}
TOLD = [
    '$.steps[1].mode: expected `fast` or `slow`, or by name `FAST` or `SLOW`, got "fsat"; did you mean `fast`?',
    "$.steps[1].promt: unknown key; did you mean `prompt`?  (text, required)",
    "$.steps[2].prompt: expected text, got 5; put it in quotes",
    "$.steps[2].max_tokens: expected an integer >= 1, got 0",
    "$.steps[2].zzz: unknown key; known: `prompt`, `mode`, `max_tokens`",
    '$.notes["on error"]: expected text, got 1; put it in quotes',
]


@pytest.mark.parametrize("value", [VALUE, json.dumps(VALUE), json.dumps(VALUE).encode(), json.dumps(VALUE, indent=4)])
def test_every_problem_is_told_with_its_json_path(value: Any) -> None:
    assert told(Plan, value) == TOLD


def test_a_problem_keeps_its_key_path_and_its_place() -> None:
    problem = check_value(Plan, {"steps": [{"prompt": 5}]}).problems[0]
    assert problem == Problem(
        "expected text, got 5", Place("$.steps[0].prompt"), ("steps", 0, "prompt"), hint="put it in quotes"
    )


@pytest.mark.parametrize(
    ("target", "value", "expected"),
    [
        (Step, '{"prompt": "a", "mode": "SLOW"}', Step(prompt="a", mode=Mode.SLOW)),
        (Step, {"prompt": "a"}, Step(prompt="a")),
        (Data, '{"size": "5"}', Data(5)),
        (Typed, {"size": 5.0}, {"size": 5}),
        (list[int], "[1, 2.0]", [1, 2]),
        (int | None, None, None),
        (int | None, "null", None),
        (Literal["a", "b"], '"a"', "a"),
        (str, '"text"', "text"),
    ],
)
def test_a_value_that_fits_is_given(target: Any, value: Any, expected: Any) -> None:
    assert check_value(target, value) == Checked(expected)


def test_the_order_of_a_union_counts() -> None:
    for target, kind in ((int | float, int), (float | int, float)):
        assert type(check_value(target, "64", parsed=True).value) is kind


def test_a_text_may_be_the_value_itself() -> None:
    assert check_value(str, "text", parsed=True).value == "text"
    assert told(int, "text", parsed=True) == ['$: expected an integer, got "text"']


@pytest.mark.parametrize("target", [Data, Typed])
def test_any_type_has_the_rules_of_a_config(target: Any) -> None:
    assert told(target, {"size": True, "sise": 1}) == [
        "$.size: expected an integer > 0, got true",
        "$.sise: unknown key; did you mean `size`?  (integer > 0, required)",
    ]
    assert told(float, "1e999") == [
        '$: expected a number, got "1e999"; no float has its digits: 16 at most, up to 1e308'
    ]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ('{"prompt": "a",}', "$:1:15: "),
        ('{"prompt": "a"', "$:1:"),
        ("Sure! {}", "$:1:1: "),
        ('{"prompt": "a",\n "prompt": "b"}', "$:2:2: the key `prompt` is given twice"),
        ('{"prompt": "a", "max_tokens": NaN}', "$:1:31: "),
        ("Infinity", "$:1:1: JSON has no `Infinity`"),
        ("", "$:1:1: "),
    ],
)
def test_a_text_that_is_no_json_is_told_with_line_and_column(text: str, start: str) -> None:
    checked = check_value(Step, text)
    assert checked.value is None
    assert checked.render().startswith(start)


def test_the_name_stands_for_the_whole() -> None:
    assert told(Plan, {"steps": [{}]}, name="arguments") == ["arguments.steps[0].prompt: missing key (text)"]
    assert told(Plan, {}, name="arguments") == ["arguments.steps: missing key (a list)"]


def test_no_secret_is_told() -> None:
    canary = "canary-of-values"
    for key in ("api_key", "apikey", "api_kye"):
        for given_value in (canary, [canary], {canary: canary}, {"a": canary}):
            value = {"steps": canary, key: given_value}
            for checked in (check_value(Plan, value), check_value(Plan, json.dumps(value))):
                assert "canary" not in checked.render() + repr(checked.problems)
            broken = check_value(Plan, json.dumps(value)[:-1])
            assert "canary" not in broken.render() + repr(broken.problems)


def test_many_problems_are_cut_to_twenty() -> None:
    lines = told(Plan, {"steps": [{}] * 50})
    assert len(lines) == 21
    assert lines[-1] == "and 30 more"


class Reply(BaseModel):
    """A model's own acceptance: an enum by its value alone."""

    mode: Mode
    note: str = Field("", max_length=3)


def test_what_another_check_found_is_told_alike() -> None:
    value = {"mode": "FAST", "note": "long"}
    with pytest.raises(ValidationError) as caught:
        Reply.model_validate_json(json.dumps(value))
    assert render_lines(explain_value(caught.value, Reply, value)) == [
        '$.mode: expected `fast` or `slow`, got "FAST"; did you mean `fast`?',
        '$.note: expected text of at most 3 characters, got "long" (4 characters)',
    ]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ((), "$"),
        (("a", 0, "b_1", "c-d"), "$.a[0].b_1.c-d"),
        (("a.b", "1", "", 'q"\\'), r'$["a.b"]["1"][""]["q\"\\"]'),
    ],
)
def test_a_path_is_written_as_json_paths_are(path: Any, shown: str) -> None:
    assert to_json_path(path) == shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_text_and_its_value_are_judged_alike(value: Any) -> None:
    fitting: TypeAdapter[Any] = TypeAdapter(Annotated[dict[str, int | list[float]], ConfigRules()])
    by_text = check_value(dict[str, int | list[float]], json.dumps(value))
    by_value = check_value(dict[str, int | list[float]], value, parsed=True)
    assert by_text.value == by_value.value
    assert len(by_text.problems) == len(by_value.problems)
    assert (by_text.value is None) == bool(by_text.problems)
    if by_text.value is not None:
        assert by_text.value == fitting.validate_python(value)
