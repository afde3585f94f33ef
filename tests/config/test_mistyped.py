"""A mistyped key is told once, with the name it stands for: of a required field, and of a union's tag, too."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field

from tidemill.config.layers.document import Document
from tidemill.config.loading import validate_document
from tidemill.config.model import Config
from tidemill.config.report.rendering import render_report
from tidemill.config.wording.words import ChoicesElsewhere


class Adam(Config):
    type: Literal["adam"]
    lr: float


class Lion(Config):
    type: Literal["lion"]


class Train(Config):
    max_lr: float
    min_lr: float = 0.0
    datasets: list[str] = Field([])
    optim: Annotated[Adam | Lion, Field(discriminator="type")] | None = None


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param(
            "mix_lr: 0.1",
            ["f:1:1  unknown key `mix_lr`; did you mean `max_lr`?  (number, required)"],
            id="required rather than optional",
        ),
        pytest.param(
            "min_lr: 0\nmix_lr: 0.1",
            ["f:2:1  unknown key `mix_lr`; did you mean `max_lr`?  (number, required)"],
            id="not given rather than given",
        ),
        pytest.param(
            "max_lr: 1\nmin_lr: 0\nmax_lrr: 0.1",
            ["f:3:1  unknown key `max_lrr`; did you mean `max_lr`?  (number, required)"],
            id="given when nothing else is near",
        ),
        pytest.param(
            "maxx_lr: 0.1\nmix_lr: 0.1",
            [
                "f:1:1  unknown key `maxx_lr`; did you mean `max_lr`?  (number, required)",
                "f:2:1  unknown key `mix_lr`; did you mean `min_lr`?  (number, default 0.0)",
            ],
            id="each another",
        ),
        pytest.param(
            "datsets: [a]",
            [
                "f:1:1  missing key `max_lr` (a number)",
                "f:1:1  unknown key `datsets`; did you mean `datasets`?  (list)",
            ],
            id="a typo rather than something alike",
        ),
        pytest.param(
            "max_lr: 1\noptim: {tpye: adam, lr: x}",
            ["f:2:9  unknown key `tpye`; did you mean `type`?  (`adam` or `lion`)"],
            id="tag",
        ),
        pytest.param(
            "max_lr: 1\noptim: {lr: 1}",
            ["f:2:1  `optim`: missing key `type` (`adam` or `lion`)"],
            id="no tag",
        ),
        pytest.param(
            "max_lr: 1\noptim: {type: null}",
            ["f:2:15  `optim.type`: expected `adam` or `lion`, got null"],
            id="null for a tag",
        ),
        pytest.param(
            "max_lr: 1\noptim: {type: 5}",
            ["f:2:15  `optim.type`: expected `adam` or `lion`, got 5"],
            id="number for a tag",
        ),
        pytest.param(
            "max_lr: 1\noptim: {type: adm, lr: 1}",
            ['f:2:15  `optim.type`: expected `adam` or `lion`, got "adm"; did you mean `adam`?'],
            id="mistyped tag",
        ),
    ],
)
def test_a_mistyped_key_is_told_once_with_the_name_it_stands_for(text: str, lines: list[str]) -> None:
    _, problems = validate_document(Train, Document.parse(text, "f"))
    assert [line for line in render_report(problems).splitlines() if line.startswith("f:")] == lines


def test_a_mistyped_tag_of_a_plain_value_is_named_with_its_path() -> None:
    _, problems = validate_document(Train, Document.from_value({"max_lr": 1, "optim": {"tpye": "adam"}}))
    assert render_report(problems).splitlines()[0] == (
        "unknown key `optim.tpye`; did you mean `optim.type`?  (`adam` or `lion`)"
    )


How = Annotated[Literal["mean", "min", "first"], ChoicesElsewhere({"avg": "mean", "median": None, "LowestOf": "min"})]


class Column(Config):
    how: How
    others: dict[str, How | None] = Field({})
    either: How | int = 1


@pytest.mark.parametrize(
    ("how", "meant"),
    [
        pytest.param("avg", "mean", id="a name that others use"),
        pytest.param("lowest_of", "min", id="in another spelling"),
        pytest.param("median", "", id="one that means nothing here, however near"),
        pytest.param("medan", "mean", id="a typo"),
    ],
)
def test_a_choice_by_its_name_elsewhere_is_told_and_not_taken(how: str, meant: str) -> None:
    expected = "expected `mean`, `min` or `first`"
    for text, path, words in (
        (f"how: {how}", "how", expected),
        (f"how: mean\nothers: {{a: {how}}}", "others.a", expected),
        (f"how: mean\neither: {how}", "either", "expected `mean`, `min` or `first` or an integer"),
    ):
        _, problems = validate_document(Column, Document.parse(text, "f"))
        told = f"; did you mean `{meant}`?" if meant else ""
        assert f'`{path}`: {words}, got "{how}"{told}\n' in render_report(problems)
