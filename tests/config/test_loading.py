"""Loading: coercion, overrides, and the types a configuration may have."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationInfo, field_validator
from typing_extensions import TypedDict

from tidemill.config.layers.document import Document
from tidemill.config.loading import load_config, validate_document
from tidemill.config.model import Config
from tidemill.config.report.rendering import render_report
from tidemill.config.text.nodes import Text
from tidemill.errors import ConfigError


class Optimizer(Config):
    lr: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)


class Train(Config):
    learning_rate: float = Field(1e-4, gt=0)
    batch_size: int = Field(32, ge=1)
    optim: Optimizer = Optimizer()
    stages: list[Optimizer] = Field([])
    models: dict[str, Optimizer] = Field({})


class Numbers(Config):
    integer: int = 0
    number: float = 0
    flag: bool = False
    maybe: int | None = None
    listed: list[int] = Field([])
    either: int | str = 0


REFUSED: Any = object()


@pytest.mark.parametrize(
    ("text", "integer", "number"),
    [
        ("64", 64, 64.0),
        ("'64'", 64, 64.0),
        ("64.0", 64, 64.0),
        ("1e2", 100, 100.0),
        ("'1e-4'", REFUSED, 1e-4),
        ("1e-4", REFUSED, 1e-4),
        ("64.5", REFUSED, 64.5),
        ("'64.5'", REFUSED, 64.5),
        ("true", REFUSED, REFUSED),
        ("no", REFUSED, REFUSED),
        ("on", REFUSED, REFUSED),
        ("null", REFUSED, REFUSED),
        ("", REFUSED, REFUSED),
        (".inf", REFUSED, REFUSED),
        (".nan", REFUSED, REFUSED),
        ("'nan'", REFUSED, REFUSED),
        ("12:30", REFUSED, REFUSED),
        ("1_000_", REFUSED, REFUSED),
        ("[1]", REFUSED, REFUSED),
    ],
)
def test_numbers_are_coerced_where_nothing_is_lost(text: str, integer: Any, number: Any) -> None:
    for field, expected in (("integer", integer), ("number", number)):
        loaded, problems = validate_document(Numbers, Document.parse(f"{field}: {text}"))
        if expected is REFUSED:
            assert loaded is None
            assert len(problems) == 1
        else:
            assert loaded is not None
            assert repr(getattr(loaded, field)) == repr(expected)


@pytest.mark.parametrize("text", ["maybe: true", "listed: [true]", "either: true", "either: 1.5"])
def test_a_boolean_is_no_integer_at_any_depth(text: str) -> None:
    assert len(validate_document(Numbers, Document.parse(text))[1]) == 1


def test_a_union_keeps_the_type_it_was_given() -> None:
    assert load_config(Numbers, {"either": "64"}).either == "64"
    assert load_config(Numbers, {"either": 64}).either == 64


def test_fields_may_be_named_like_parts_of_a_schema() -> None:
    class Odd(Config):
        type: int = 0
        default: int = 0
        function: int = 0
        fields: dict[str, int] = Field({})

    for name in ("type", "default", "function"):
        assert len(validate_document(Odd, Document.from_value({name: True}))[1]) == 1


@dataclasses.dataclass
class Plain:
    """A standard dataclass gets all of it."""

    batch_size: Annotated[int, Field(ge=1)] = 32
    optim: Optimizer = dataclasses.field(default_factory=Optimizer)


class Typed(TypedDict, total=False):
    batch_size: Annotated[int, Field(ge=1)]
    scale: float


@pytest.mark.parametrize("model", [Plain, Typed])
def test_unknown_keys_are_refused_of_a_type_without_configuration(model: Any) -> None:
    assert len(validate_document(model, Document.parse("batch_sise: 1"))[1]) == 1


def test_infinity_is_refused_of_a_type_without_configuration() -> None:
    assert len(validate_document(Typed, Document.parse("scale: .inf"))[1]) == 1


class Foreign(BaseModel):
    batch_size: int = Field(32, ge=1)


@pytest.mark.parametrize("model", [Train, Plain, Typed, Foreign])
def test_any_type_gets_the_report(model: Any) -> None:
    _, problems = validate_document(model, Document.parse("batch_size: 0", "f"))
    assert render_report(problems).splitlines()[0] == "f:1:13  `batch_size`: expected an integer >= 1, got 0"


def test_a_dataclass_gets_key_suggestions_and_safe_numbers() -> None:
    _, problems = validate_document(Plain, Document.parse("batchsize: 1\noptim: {lrr: 1}", "f"))
    assert {each.hint for each in problems} == {
        "did you mean `batch_size`?  (integer >= 1, default 32)",
        "did you mean `lr`?  (number > 0, default 0.0001)",
    }
    with pytest.raises(ConfigError, match="expected an integer >= 1, got true"):
        load_config(Plain, {"batch_size": True})


def test_a_mapping_gives_the_report_with_key_paths() -> None:
    raw = {"learningrate": 0.01, "optim": {"lr": -0.05, "bets": 1}, "batch_size": "64.5"}
    with pytest.raises(ConfigError, match=r"4 errors$") as caught:
        load_config(Train, raw)
    assert [(each.message, each.hint) for each in caught.value.problems] == [
        (
            "unknown key `learningrate`",
            "did you mean `learning_rate`?  (number > 0, default 0.0001)",
        ),
        ("`optim.lr`: expected a number > 0, got -0.05", ""),
        ("unknown key `optim.bets`", "did you mean `optim.betas`?  (list of 2 items)"),
        ('`batch_size`: expected an integer >= 1, got "64.5"', ""),
    ]


def test_a_file_is_loaded_with_its_own_folder_as_context(tmp_path: Path) -> None:
    class Here(Config):
        data: Path

        @field_validator("data")
        @classmethod
        def _beside(cls, path: Path, info: ValidationInfo) -> Path:
            return Path((info.context or {})["folder"]) / path

    (tmp_path / "f.yaml").write_text("data: x.bin")
    assert load_config(Here, tmp_path / "f.yaml").data == tmp_path / "x.bin"
    assert load_config(Here, {"data": "x.bin"}).data == Path.cwd() / "x.bin"
    assert load_config(Here, tmp_path / "f.yaml", context={"folder": "/other"}).data == Path("/other/x.bin")


def test_a_syntax_error_is_the_only_error(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("batch_size: 0\nlearning_rate: [\n")
    with pytest.raises(ConfigError, match=r"1 error$") as caught:
        load_config(Train, tmp_path / "f.yaml")
    assert len(caught.value.problems) == 1


def test_an_empty_file_is_a_configuration_of_defaults(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text("# defaults\n")
    assert load_config(Train, tmp_path / "f.yaml") == Train()


def test_no_validation_error_hangs_on_to_what_was_given() -> None:
    """A traceback shows the report alone, not Pydantic's error with its input."""
    with pytest.raises(ConfigError, match="expected a number") as caught:
        load_config(Train, {"learning_rate": "hunter2"})
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


TEXT = "batch_size: 8\noptim: {lr: 0.1}\nstages: [{lr: 1}, {lr: 2}]\nmodels: {gpt-4.1: {lr: 3}}\n"


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("batch_size=16", lambda train: train.batch_size == 16),
        ("batch_size='16'", lambda train: train.batch_size == 16),
        ("optim.lr=3e-4", lambda train: train.optim.lr == 3e-4),
        ("optim={betas: [0.5, 0.6]}", lambda train: train.optim == Optimizer(lr=0.1, betas=(0.5, 0.6))),
        ("optim.betas=[0.5, 0.6]", lambda train: train.optim == Optimizer(lr=0.1, betas=(0.5, 0.6))),
        ("stages.1.lr=7", lambda train: [stage.lr for stage in train.stages] == [1, 7]),
        ("models.gpt-4.1.lr=7", lambda train: train.models["gpt-4.1"].lr == 7),
        ("models.new.lr=7", lambda train: train.models["new"].lr == 7),
        ("learning_rate=0.5", lambda train: train.learning_rate == 0.5),
    ],
)
def test_an_override_is_taken_over_the_file(tmp_path: Path, override: str, read: Any) -> None:
    (tmp_path / "f.yaml").write_text(TEXT)
    assert read(load_config(Train, tmp_path / "f.yaml", overrides=[override]))


def test_the_last_override_wins(tmp_path: Path) -> None:
    (tmp_path / "f.yaml").write_text(TEXT)
    overrides = ["optim={lr: 5}", "optim.lr=6", "batch_size=0", "batch_size=4"]
    train = load_config(Train, tmp_path / "f.yaml", overrides=overrides)
    assert (train.optim.lr, train.batch_size) == (6, 4)


@pytest.mark.parametrize(
    ("override", "report"),
    [
        (
            "optim.lrr=1",
            "--set optim.lrr  unknown key `optim.lrr`; did you mean `optim.lr`?  (number > 0, default 0.0001)",
        ),
        ("opitm.lr=1", "--set opitm.lr  unknown key `opitm`; did you mean `optim`?  (mapping)"),
        ("batch_size=0", "--set batch_size  `batch_size`: expected an integer >= 1, got 0; it overrides f:1:13"),
        ("stages.5.lr=1", "--set stages.5.lr  `stages` is a list of 2 and has no `5`; known: `0`, `1`"),
        ("stages.x=1", "--set stages.x  `stages` is a list of 2 and has no `x`; known: `0`, `1`"),
        ("optim.lr.x=1", "--set optim.lr.x  `optim.lr` is no mapping: nothing can be set below it; set it as a whole"),
        ("batch_size", "--set batch_size  expected `path=value`, as `budget.usd=40`, got `batch_size`"),
        ("=5", "--set   expected `path=value`, as `budget.usd=40`, got ``"),
        ("optim={lr: 1", "--set optim  the mapping opened here is not closed by `}`, or lacks a `,`"),
    ],
)  # fmt: skip
def test_a_wrong_override_is_told_with_its_path(override: str, report: str) -> None:
    with pytest.raises(ConfigError, match="1 error") as caught:
        load_config(Train, Text("f", TEXT), overrides=[override])
    assert str(caught.value).splitlines() == [report, "1 error"]


def test_errors_of_file_and_overrides_come_together() -> None:
    with pytest.raises(ConfigError, match="3 errors"):
        load_config(Train, Text("f", "batch_size: 0\n"), overrides=["optim.lr=-1", "zzz"])


class Cat(Config):
    kind: Literal["cat"]
    lives: int = 9


class Dog(Config):
    kind: Literal["dog"]
    tricks: list[str] = Field([])
    friend: Cat | Dog | None = None


class Owner(Config):
    pet: Cat | Dog | Literal["none"]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("pet: {kind: dog, trick: []}", "f:1:18  unknown key `trick`; did you mean `tricks`?  (list)"),
        ("pet: {kind: cat, lives: x}", 'f:1:25  `pet.lives`: expected an integer, got "x"'),
        ("pet: nune", 'f:1:6  `pet`: expected a mapping or `none`, got "nune"; did you mean `none`?'),
        ("pet: {kind: dog, friend: {kind: cat, lives: []}}",
         "f:1:45  `pet.friend.lives`: expected an integer, got an empty list"),
    ],
)  # fmt: skip
def test_a_union_is_told_by_the_member_the_value_comes_nearest_to(text: str, first: str) -> None:
    _, problems = validate_document(Owner, Document.parse(text, "f"))
    assert len(problems) == 1
    assert render_report(problems).splitlines()[0] == first


class Holder(Config):
    plain: Plain
    typed: list[Typed] = Field([])


def test_types_without_configuration_are_tight_within_a_config_too() -> None:
    text = "plain: {batch_size: true, batchsize: 1}\ntyped: [{scale: .inf, sale: 1}]"
    _, problems = validate_document(Holder, Document.parse(text, "f"))
    assert [str(each.place) for each in problems] == ["f:1:21", "f:1:27", "f:2:17", "f:2:23"]


class Tree(Config):
    size: int
    children: list[Tree] = Field([])


def test_a_recursive_type_is_tight_at_every_depth() -> None:
    _, problems = validate_document(
        Tree, Document.parse("size: 1\nchildren: [{size: 2, children: [{size: true}]}]", "f")
    )
    assert [str(each.place) for each in problems] == ["f:2:40"]
