"""Tagged unions: a member by its tag, a default where there is none, and errors as if there were no union."""

from __future__ import annotations

import dataclasses
import json
import pickle
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, SecretStr, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from tidemill.config.layers.document import Document
from tidemill.config.loading import load_config, load_with_origins, validate_document
from tidemill.config.model import Config
from tidemill.config.report.rendering import render_report
from tidemill.config.schemas.json_schema import json_schema
from tidemill.config.unions.tagged import Tagged
from tidemill.errors import ConfigError


class Adam(Config):
    type: Literal["adam"] = "adam"
    lr: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)


class Sgd(Config):
    type: Literal["sgd"]
    lr: float = 0.1
    momentum: float = Field(0, ge=0, lt=1)
    token: SecretStr | None = None


Optim = Annotated[Adam | Sgd, Tagged(default="adam")]


class Train(Config):
    optim: Optim = Adam()
    stages: list[Optim] = Field([])
    named: dict[str, Optim] = Field({})
    maybe: Annotated[Adam | Sgd | None, Tagged("type")] = None
    warmup: float = 0


def report(text: str, model: Any = Train) -> list[str]:
    """The report's lines, without source lines and the count."""
    _, problems = validate_document(model, Document.parse(text, "t.yaml"))
    return [line for line in render_report(problems).splitlines()[:-1] if not line.startswith("    ")]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, Adam()),
        ({"lr": "1e-3"}, Adam(lr=1e-3)),
        ({"type": "adam", "betas": [0, 0.5]}, Adam(betas=(0, 0.5))),
        ({"type": "sgd", "momentum": 0.9}, Sgd(type="sgd", momentum=0.9)),
        (Sgd(type="sgd"), Sgd(type="sgd")),
    ],
)
def test_the_tag_names_the_member_and_the_default_needs_none(raw: Any, expected: Config) -> None:
    assert Train(optim=raw).optim == expected
    assert Train(stages=[raw]).stages == [expected]
    assert Train(named={"a": raw}).named == {"a": expected}
    text = json.dumps({"optim": raw if isinstance(raw, dict) else raw.model_dump(mode="json")})
    assert load_config(Train, {"optim": raw}).optim == expected
    assert validate_document(Train, Document.parse(text))[0] == Train(optim=expected)
    assert Train.model_validate_json(text).optim == expected


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("optim: {lrr: 1}", ["t.yaml:1:9  unknown key `lrr`; did you mean `lr`?  (number > 0, default 0.0001)"]),
        ("optim: {lr: 0}", ["t.yaml:1:13  `optim.lr`: expected a number > 0, got 0"]),
        (
            "stages: [{}, {type: sgd, betas: [1, 1]}]",
            ["t.yaml:1:26  unknown key `betas`; `betas` is a key of `type: adam`; this section is `sgd`"],
        ),
        (
            "optim: {momentum: 0.5, bets: [0, 0]}",
            [
                "t.yaml:1:9   unknown key `momentum`; `momentum` is a key of `type: sgd`; this section is `adam`",
                "t.yaml:1:24  unknown key `bets`; did you mean `betas`?  (list of 2 items)",
            ],
        ),
        ("optim: {warmup: 1}", ["t.yaml:1:9  unknown key `warmup`; known: `type`, `lr`, `betas`"]),
        (
            "named: {a: {type: sgd, lr: x, momentm: 0}}",
            [
                't.yaml:1:28  `named.a.lr`: expected a number, got "x"',
                "t.yaml:1:31  unknown key `momentm`; did you mean `momentum`?  (number >= 0 and < 1, default 0)",
            ],
        ),
        (
            "optim: {type: sdg, betas: 3, momentum: 2}",
            [
                't.yaml:1:15  `optim.type`: expected `adam` or `sgd`, got "sdg"; did you mean `sgd`?',
                "t.yaml:1:20  unknown key `betas`; `betas` is a key of `type: adam`; this section is `sgd`",
                "t.yaml:1:40  `optim.momentum`: expected a number >= 0 and < 1, got 2",
            ],
        ),
        (
            "optim: {type: rmsprop, betas: 3}",
            ['t.yaml:1:15  `optim.type`: expected `adam` or `sgd`, got "rmsprop"'],
        ),
        ("optim: {type: }", ["t.yaml:1:15  `optim.type`: expected `adam` or `sgd`, got null"]),
        ("optim: {type: [sgd]}", ["t.yaml:1:15  `optim.type`: expected `adam` or `sgd`, got a list of 1"]),
        ("optim: sgd", ['t.yaml:1:8  `optim`: expected a mapping, got "sgd"; write `{type: sgd}`']),
        ("optim: 5", ["t.yaml:1:8  `optim`: expected a mapping, got ***"]),
        ("optim:", ["t.yaml:1:7  `optim`: expected a mapping, got null"]),
        ("maybe: {lr: 1}", ["t.yaml:1:1  `maybe`: missing key `type` (`adam` or `sgd`)"]),
    ],
)
def test_errors_are_the_members_and_have_no_tag_in_their_path(text: str, lines: list[str]) -> None:
    assert report(text) == lines


@pytest.mark.parametrize("name", ["optim", "maybe"])
def test_a_mistyped_tag_key_is_all_that_is_told(name: str) -> None:
    default = ', default "adam"' if name == "optim" else ", required"
    assert report(f"{name}: {{typ: sgd, momentum: 0.5}}") == [
        f"t.yaml:1:9  unknown key `typ`; did you mean `type`?  (`adam` or `sgd`{default})"
    ]


class Typed(Config):
    types: str = ""


def test_a_key_like_the_tags_is_a_key_of_its_own() -> None:
    class Other(Config):
        type: Literal["other"] = "other"
        types: str

    class Holder(Config):
        it: Annotated[Adam | Other, Tagged(default="other")]

    assert Holder(it={"types": "adam"}).it == Other(types="adam")


def test_a_tag_may_have_another_key_and_be_a_number_or_of_an_enum() -> None:
    class Kind(Enum):
        FAST = "fast"

    class First(Config):
        version: Literal[1] = 1

    class Second(Config):
        version: Literal[2, 3] = 2

    class Fast(Config):
        version: Literal[Kind.FAST] = Kind.FAST

    class Holder(Config):
        it: Annotated[First | Second | Fast, Tagged("version", default=2)]

    assert Holder(it={}).it == Second()
    assert Holder(it={"version": 1}).it == First()
    assert Holder(it={"version": 3}).model_dump() == {"it": {"version": 3}}
    assert Holder(it=Second(version=3)).model_dump() == {"it": {"version": 3}}
    assert Holder(it={"version": "fast"}).it == Holder(it={"version": Kind.FAST}).it == Fast()
    with pytest.raises(ConfigError, match=r"`it\.version`: expected 1, 2, 3 or `fast`, got true"):
        Holder(it={"version": True})


@dataclasses.dataclass(frozen=True)
class Leaf:
    value: Annotated[int, Field(ge=0)] = 0


@dataclasses.dataclass(frozen=True)
class Branch:
    children: list[Annotated[Annotated[Leaf, pydantic.Tag("leaf")] | Branch, Tagged(default="leaf")]]
    type: Literal["branch"] = "branch"


class Table(TypedDict):
    type: Literal["table"]
    rows: int


def test_dataclasses_and_typed_dicts_are_members() -> None:
    """Also one that holds the union itself, and one that has no field for its tag."""
    value, problems = validate_document(Branch, Document.parse("children: [{value: 1}, {type: branch, children: []}]"))
    assert (value, problems) == (Branch([Leaf(1), Branch([])]), [])
    assert report("children: [{type: branch, children: [{valu: 1}, {type: leaf, value: -1}]}]", Branch) == [
        "t.yaml:1:39  unknown key `valu`; did you mean `value`?  (integer >= 0, default 0)",
        "t.yaml:1:69  `children.0.children.1.value`: expected an integer >= 0, got -1",
    ]
    dumped = TypeAdapter(Branch).dump_python(Branch([Leaf(1)]))
    assert dumped == {"children": [{"type": "leaf", "value": 1}], "type": "branch"}

    class Holder(Config):
        it: Annotated[Table | Adam, Tagged(default="table")]

    assert Holder(it={"rows": 3}).it == {"type": "table", "rows": 3}
    assert Holder(it={"rows": 3}).model_dump() == {"it": {"type": "table", "rows": 3}}


def test_within_another_union_the_tag_still_chooses() -> None:
    class Holder(Config):
        it: int | Annotated[Adam | Sgd, Tagged(default="adam")]

    assert Holder(it=3).it == 3
    assert report("it: {type: sgd, lrr: 1}", Holder) == [
        "t.yaml:1:17  unknown key `lrr`; did you mean `lr`?  (number, default 0.1)"
    ]
    assert report("it: {type: sdg}", Holder) == [
        't.yaml:1:12  `it.type`: expected `adam` or `sgd`, got "sdg"; did you mean `sgd`?'
    ]


def test_a_dump_says_every_tag_and_loads_back_equal() -> None:
    train = Train(optim=Sgd(type="sgd"), stages=[Adam(), {"type": "sgd"}], maybe=Adam(lr=1))
    choices: list[dict[str, Any]] = [{}, {"exclude_unset": True}, {"exclude_defaults": True}]
    for options in choices:
        dumped = train.model_dump(mode="json", **options)
        assert next(iter(dumped["optim"])) == "type"
        assert Train(**dumped) == train
        assert Train.model_validate_json(train.model_dump_json(**options)) == train
    assert pickle.loads(pickle.dumps(train)) == train


def test_secrets_of_a_member_are_masked() -> None:
    lines = report("optim: {type: sgd, tokn: canary-of-the-tag, lr: x}")
    assert "abcdefgh" not in "".join(lines)
    with pytest.raises(ConfigError, match=r"got \*\*\*"):
        Train(optim={"type": "sgd", "token": 12345678})


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("base", "over", "expected"),
    [
        ("{lr: 3, betas: [0, 0]}", "{type: sgd}", Sgd(type="sgd")),
        ("{lr: 3, betas: [0, 0]}", "{type: adam, lr: 2}", Adam(lr=2, betas=(0, 0))),
        ("{type: adam, lr: 3}", "{lr: 2}", Adam(lr=2)),
        ("{type: sgd, momentum: 0.5}", "{lr: 2}", Sgd(type="sgd", lr=2, momentum=0.5)),
        ("{type: sgd, momentum: 0.5}", "{type: sgd, lr: 2}", Sgd(type="sgd", lr=2, momentum=0.5)),
        ("{type: sgd, momentum: 0.5}", "{type: adam}", Adam()),
    ],
)
def test_another_tag_replaces_a_section_and_the_same_merges(
    tmp_path: Path, base: str, over: str, expected: Config
) -> None:
    files = [write(tmp_path, "a.yaml", f"optim: {base}"), write(tmp_path, "b.yaml", f"optim: {over}")]
    section = write(tmp_path, "c.yaml", over)
    assert load_config(Train, *files).optim == expected
    assert load_config(Train, files[0], overrides=[f"optim={over}"]).optim == expected
    assert load_config(Train, files[0], overrides=[f"optim=@{section}"]).optim == expected


@pytest.mark.parametrize("order", [1, -1])
def test_a_tag_set_by_path_starts_the_section_anew(tmp_path: Path, order: int) -> None:
    """What was set beside it, before or behind it, stays."""
    file = write(tmp_path, "a.yaml", "optim: {lr: 3, betas: [0, 0]}\nstages: [{lr: 2}]")
    overrides = ["optim.momentum=0.5", "optim.type=sgd", "stages.0.type=sgd"][::order]
    loaded = load_with_origins(Train, file, overrides=overrides)
    assert loaded.value.optim == Sgd(type="sgd", momentum=0.5)
    assert loaded.value.stages == [Sgd(type="sgd")]
    assert str(loaded.origins.find(("optim", "momentum"))) == "--set optim.momentum"
    assert load_config(Train, file, overrides=["optim.type=adam"]).optim == Adam(lr=3, betas=(0, 0))


def test_the_environment_sets_a_tag_and_what_is_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, "a.yaml", "optim: {lr: 3, betas: [0, 0]}")
    monkeypatch.setenv("TT__OPTIM__TYPE", "sgd")
    monkeypatch.setenv("TT__OPTIM__MOMENTUM", "0.5")
    loaded = load_with_origins(Train, file, environment="TT")
    assert loaded.value.optim == Sgd(type="sgd", momentum=0.5)
    assert "environment TT__OPTIM__TYPE" in str(loaded.origins.find(("optim", "type")))
    monkeypatch.setenv("TT__OPTIM__TYPE", "sdg")
    with pytest.raises(ConfigError, match=r"environment TT__OPTIM__TYPE  `optim\.type`: expected .* mean `sgd`\?"):
        load_config(Train, file, environment="TT")


def test_a_reference_takes_the_default_of_the_member_that_is_chosen(tmp_path: Path) -> None:
    chosen = write(tmp_path, "a.yaml", "optim: {type: sgd}\nwarmup: ${optim.lr}")
    assert load_config(Train, chosen).warmup == 0.1
    default = write(tmp_path, "b.yaml", "warmup: ${optim.lr}")
    assert load_config(Train, default).warmup == 1e-4

    class Slow(Train):
        optim: Optim = Adam(lr=9)

    assert load_config(Slow, default).warmup == 9


def test_a_tag_can_be_replaced_by_path() -> None:
    """The section starts anew then, as it does where a source names another."""
    train = Train(optim={"lr": 3}, stages=[{}])
    assert train.replace("optim.type", "sgd").optim == Sgd(type="sgd")
    assert train.replace({"stages.0.type": "sgd", "stages.0.lr": 2}).stages == [Sgd(type="sgd", lr=2)]
    assert train.replace({"optim.type": "adam", "optim.betas": [0, 0]}).optim == Adam(lr=3, betas=(0, 0))
    assert train.replace("optim.type", "adam") == train
    loaded = load_config(Train, {"optim": {"lr": 3}}, {"warmup": 1}).replace({"optim.type": "sgd", "optim.momentum": 0})
    assert [str(loaded.origin(key)) for key in ("optim.momentum", "optim.lr")] == ["Python", "default"]


def test_the_json_schema_needs_a_tag_only_where_the_default_is_not_meant() -> None:
    schema = json_schema(Train)
    adam, sgd = schema["properties"]["optim"]["oneOf"]
    assert adam["properties"]["type"] == {"const": "adam", "default": "adam", "type": "string"}
    assert "required" not in adam
    assert sgd["required"] == ["type"]
    validator = Draft202012Validator(schema)
    good: list[Any] = [{"lr": 1}, {"type": "adam"}, {"type": "sgd", "momentum": 0.5}]
    bad: list[Any] = [{"lrr": 1}, {"momentum": 0.5}, {"type": "sdg"}, {"type": "sgd", "betas": [1, 1]}]
    for value in good:
        validator.validate({"optim": value, "stages": [value], "named": {"a": value}})
    for value in bad:
        assert not validator.is_valid({"optim": value})
    in_file = Draft202012Validator(json_schema(Train, of_file=True))
    in_file.validate({"optim": {"type": "${env:OPTIM}", "lr": "${lr}"}})
    validator.validate({"maybe": None})
    assert not validator.is_valid({"maybe": {"lr": 1}})


def test_a_default_in_the_json_schema_says_its_tag() -> None:
    class Other(Config):
        optim: Optim = Sgd(type="sgd", momentum=0.5)
        same: Optim = Adam()

    properties = json_schema(Other)["properties"]
    assert properties["optim"]["default"] == {"type": "sgd", "momentum": 0.5}
    assert properties["same"]["default"] == {"type": "adam"}


def test_the_json_schema_of_a_member_that_holds_the_union_ends() -> None:
    validator = Draft202012Validator(json_schema(Branch))
    validator.validate({"children": [{"value": 1}, {"type": "branch", "children": []}]})
    assert not validator.is_valid({"children": [{"type": "branch", "children": 1}]})
    assert not validator.is_valid({"children": [{"type": "twig"}]})


def test_within_a_foreign_model_it_is_that_models_error() -> None:
    class Foreign(BaseModel):
        train: Train

    with pytest.raises(ValidationError, match="expected `adam` or `sgd`") as caught:
        Foreign.model_validate({"train": {"optim": {"type": "sdg"}}})
    assert caught.value.errors()[0]["loc"] == ("train", "optim")


def test_what_no_mapping_could_name_is_refused_where_it_is_declared() -> None:
    with pytest.raises(ConfigError, match="no member of the union has the default tag"):
        TypeAdapter(Annotated[Adam | Sgd, Tagged(default="adm")])
    with pytest.raises(ConfigError, match='two members of the union have the tag "adam"'):
        TypeAdapter(Annotated[Adam | Annotated[Leaf, pydantic.Tag("adam")], Tagged()])
    with pytest.raises(ConfigError, match="nothing tells when a mapping is `Typed`"):
        TypeAdapter(Annotated[Adam | Typed, Tagged()])
