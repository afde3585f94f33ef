"""A field with several names (`AliasChoices`): its first choice is the key it is known by, the others are taken."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import pytest
from pydantic import AliasChoices, AliasPath, Field

from tidemill import Agent, Config, load_config
from tidemill.config.text.nodes import Text
from tidemill.config.wording.words import CalledElsewhere
from tidemill.errors import ConfigError


class Rate(Config):
    rate: float = Field(gt=0, validation_alias=AliasChoices("lr", "learning_rate"))  # type: ignore[pydantic-alias]
    steps: int = 1


class Train(Config):
    optim: Rate = Rate(learning_rate=0.5, steps=9)


class Far(Config):
    seed: int = Field(5, validation_alias=AliasPath("random", "seed"))  # type: ignore[pydantic-alias]
    steps: int = 1


@dataclasses.dataclass
class Derived:
    steps: int = 1
    total: int = dataclasses.field(default=2, init=False)


def load(model: Any, text: str, **options: Any) -> Any:
    return load_config(model, Text("t.yaml", text), **options)


@pytest.mark.parametrize(
    ("model", "text", "told"),
    [
        (Rate, "lr: -1", ["t.yaml:1:5  `lr`: expected a number > 0, got -1"]),
        (Rate, "learning_rate: x", ['t.yaml:1:16  `learning_rate`: expected a number > 0, got "x"']),
        (Rate, "rate: 1", ["t.yaml:1:1  unknown key `rate`; did you mean `lr`?  (number > 0, required)"]),
        (
            Rate,
            "learning_rat: 1",
            ["t.yaml:1:1  unknown key `learning_rat`; did you mean `lr`?  (number > 0, required)"],
        ),
        (Rate, "steps: 2", ["t.yaml:1:1  missing key `lr` (a number > 0)"]),
        (
            Rate,
            "lr: 1\nlearning_rate: 2",
            ["t.yaml:2:1  unknown key `learning_rate`; it is another name of `lr`: keep one of them"],
        ),
        (Far, "seed: 1", ["t.yaml:1:1  unknown key `seed`; did you mean `random`?"]),
        (Far, "rndom: 1", ["t.yaml:1:1  unknown key `rndom`; did you mean `random`?"]),
        (Derived, "total: 1", ["t.yaml:1:1  unknown key `total`; known: `steps`"]),
    ],
)
def test_each_name_is_told_as_it_is_taken(model: Any, text: str, told: list[str]) -> None:
    with pytest.raises(ConfigError, match="error") as caught:
        load(model, text)
    assert [line for line in str(caught.value).splitlines() if line.startswith("t.yaml")] == told


@pytest.mark.parametrize("name", ["LR", "LEARNING_RATE"])
def test_a_variable_may_have_each_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"T__{name}", "3")
    assert load_config(Rate, environment="T").rate == 3


def test_an_origin_is_found_by_each_name() -> None:
    train = load(Train, "optim: {learning_rate: 2}")
    labels = ["optim.lr", "optim.rate", "optim.learning_rate"]
    assert [str(train.origin(label)) for label in labels] == ["t.yaml:1:24"] * 3


def test_a_section_keeps_its_default_beside_a_further_name() -> None:
    optim = load(Train, "optim: {learning_rate: 2}").optim
    assert (optim.rate, optim.steps) == (2, 9)


def test_what_is_written_loads_again() -> None:
    train = load(Train, "optim: {learning_rate: 2}")
    assert load(Train, train.to_yaml()) == train


class Elsewhere(Config):
    max_turns: Annotated[int, CalledElsewhere("max_iterations", "recursion_limit")] = 20


def test_a_name_that_others_have_for_a_field_is_told_and_not_taken() -> None:
    told = "unknown key `recursion_limit`; did you mean `max_turns`?  (integer, default 20)"
    with pytest.raises(ConfigError, match="recursion_limit") as caught:
        load(Elsewhere, "recursion_limit: 3")
    assert told in str(caught.value)
    changed: Any = Elsewhere()
    with pytest.raises(ConfigError, match="recursion_limit") as caught:
        changed.replace(recursion_limit=3)
    assert 'did you mean `replace("max_turns", …)`?' in str(caught.value)
    assert Elsewhere(max_turns=3).replace("max_turns", 4).max_turns == 4


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("system", "instructions"),
        ("system_prompt", "instructions"),
        ("response_format", "output"),
        ("max_iterations", "max_turns"),
    ],
)
def test_an_agent_s_fields_are_found_by_their_names_elsewhere(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown key `{name}`; did you mean `{meant}`"):
        Agent("openai/gpt-4.1-mini", **{name: "3"})
