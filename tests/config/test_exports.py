"""A configuration as plain data, as YAML that loads as an equal one, and as a dataclass."""

from __future__ import annotations

import dataclasses
import enum
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from uuid import UUID

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import (
    AliasChoices,
    AnyUrl,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    RootModel,
    SecretStr,
    TypeAdapter,
    field_serializer,
    model_serializer,
    model_validator,
)

import tidemill as tm
from tidemill.config.exports.yaml import WIDTH, render_scalar
from tidemill.config.model import Config
from tidemill.config.secrets import register_secret
from tidemill.config.types.functions import Function
from tidemill.errors import ConfigError


class Kind(enum.Enum):
    OFF = "off"
    WIDE = (1, 2)


class Adam(Config):
    """The usual optimizer."""

    type: Literal["adam"] = "adam"
    lr: float = Field(1e-4, gt=0)
    """The learning rate."""


class Sgd(Config):
    type: Literal["sgd"] = "sgd"
    momentum: float | None = Field(None, description="How much of the last step is kept.")


class Loose(BaseModel):
    size: int = 1


class Tags(RootModel[list[str]]):
    pass


class Pair(NamedTuple):
    left: int
    right: int


@dataclasses.dataclass
class Point:
    x: int
    y: int = 2


class Span(Config):
    """Its short form is a number."""

    start: int
    stop: int

    @model_validator(mode="before")
    @classmethod
    def _from_number(cls, value: Any) -> Any:
        return {"start": 0, "stop": value} if isinstance(value, int) else value

    @model_serializer
    def _to_number(self) -> Any:
        return self.stop if not self.start else {"start": self.start, "stop": self.stop}


class Train(Config):
    """One training run.

    More of it.

    Attributes:
        name: what it is called.
        optim: the optimizer.
        notes: whatever a reader of the file, who has not written it and may never have seen one, would like to know.
    """

    name: str = "on"
    optim: Annotated[Adam | Sgd, Field(discriminator="type")] = Adam()
    stages: list[Adam | Sgd] = Field(default_factory=list)
    by_name: dict[str, Adam] = Field(default_factory=dict)
    counts: dict[int, int] = Field(default_factory=dict)
    notes: dict[str, Any] = Field(default_factory=dict)
    kind: Kind = Kind.OFF
    every: timedelta = timedelta(minutes=1)
    day: date | None = None
    at: datetime | None = None
    price: Decimal = Decimal("0.10")
    id: UUID | None = None
    url: AnyUrl | None = None
    folder: Path = Path("out put")
    tags: frozenset[str] = frozenset()
    betas: tuple[float, float] = (0.9, 0.999)
    loose: Loose = Loose()
    labels: Tags = Tags([])
    point: Point = Field(default_factory=lambda: Point(1))
    pair: Pair = Pair(1, 2)
    span: Span = Span(start=0, stop=3)
    either: int | str = 1
    record_schema: str = Field("s.json", alias="schema")
    seed: Annotated[int, Field(validation_alias=AliasChoices("seed", "random_seed"))] = 0
    key: SecretStr | None = None
    loss: Function | None = None
    note: str | None = None


FULL: dict[str, Any] = {
    "name": "a: b # c",
    "optim": {"type": "sgd", "momentum": 0.5},
    "stages": [{"type": "adam", "lr": 1e-5}, {"type": "sgd"}],
    "by_name": {"no": {}, "12:30": {"lr": 3e22}},
    "counts": {1: 2},
    "notes": {"x": [1, [], {}, [2, {"y": None}]], "t": True, "": "", "1e3": "~", "f": 0.1},
    "kind": "WIDE",
    "every": timedelta(seconds=0.25),
    "day": "2024-01-01",
    "at": datetime(2024, 1, 1, 12, 30, tzinfo=UTC),
    "price": Decimal("1.10"),
    "id": UUID(int=1),
    "url": "http://localhost:1/v1",
    "folder": "a/b",
    "tags": ["b", "a"],
    "betas": [1, 0.5],
    "loose": {"size": 2},
    "labels": ["x"],
    "point": {"x": 3},
    "pair": [3, 4],
    "span": {"start": 1, "stop": 2},
    "either": "1",
    "schema": "t.json",
    "seed": 7,
    "loss": sorted,
    "note": "One\n  two\n\n# three\n",
}


def load(text: str, cls: type[Any] = Train) -> Any:
    """The configuration in a text, through a file, as a user loads it."""
    return tm.load_config(cls, write(text))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str) -> Path:
    path = Path("train.yaml")
    path.write_bytes(text.encode())
    return path


def test_plain_data_is_what_json_has() -> None:
    plain = Train(**FULL | {"loss": None, "counts": {}, "either": 1}).to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert plain["kind"] == "WIDE"
    assert Train().to_dict()["kind"] == "off"
    assert (plain["every"], Train().to_dict()["every"]) == ("0.25s", "60s")
    assert (plain["at"], plain["price"], plain["folder"]) == ("2024-01-01T12:30:00Z", "1.10", "a/b")
    assert (plain["tags"], plain["betas"], plain["pair"]) == (["a", "b"], [1.0, 0.5], [3, 4])
    assert (plain["labels"], plain["span"], Train().to_dict()["span"]) == (["x"], {"start": 1, "stop": 2}, 3)
    assert (plain["schema"], plain["seed"], plain["point"]) == ("t.json", 7, {"x": 3, "y": 2})


@pytest.mark.parametrize("values", [{}, FULL], ids=["defaults", "full"])
@pytest.mark.parametrize("comments", [True, False])
@pytest.mark.parametrize("defaults", [True, False])
def test_what_is_exported_loads_as_an_equal_one(values: dict[str, Any], comments: bool, defaults: bool) -> None:
    config = Train(**values)
    assert load(config.to_yaml(comments=comments, defaults=defaults)) == config
    assert tm.load_config(Train, config.to_dict(defaults=defaults)) == config


def test_comments_are_what_docstrings_say() -> None:
    text = Train(stages=[Adam(), Sgd(momentum=0.5)], note="a\nb").to_yaml()
    assert text.splitlines()[:17] == [
        "# One training run.",
        "",
        'name: "on"  # what it is called.',
        "optim:  # the optimizer.",
        "  type: adam",
        "  lr: 0.0001  # The learning rate.",
        "stages:",
        "  - type: adam",
        "    lr: 0.0001",
        "  - type: sgd",
        "    momentum: 0.5  # How much of the last step is kept.",
        "by_name: {}",
        "counts: {}",
        "# whatever a reader of the file, who has not written it and may never have seen one, would like to",
        "# know.",
        "notes: {}",
        'kind: "off"',
    ]
    assert text.endswith("note: |-\n  a\n  b\n")
    assert "#" not in Train().to_yaml(comments=False)
    assert all(len(line) <= WIDTH for line in text.splitlines())


def test_without_defaults_only_what_differs_is_left_and_tags() -> None:
    assert Train(name="x", optim=Sgd()).to_yaml(defaults=False, comments=False) == "name: x\noptim:\n  type: sgd\n"
    assert Train().to_yaml(defaults=False, comments=False) == "{}\n"
    assert Train(seed=1).to_dict(defaults=False) == {"seed": 1}


def test_secrets_are_left_out_unless_asked_for() -> None:
    class Open(Config):
        keys: list[SecretStr] = Field(default_factory=list)
        address: str = ""
        options: dict[str, Any] = Field(default_factory=dict)
        api_key: str | None = None
        nested: list[dict[str, SecretStr]] = Field(default_factory=list)

    register_secret("canary-registered")
    given: dict[str, Any] = {
        "keys": ["canary-1"],
        "address": "postgres://me:canary-2@host/db",
        "options": {"token": {"a": "canary-3", "b": 123454321}, "note": "canary-registered", "on": True},
        "api_key": "canary-4",
        "nested": [{"pin": "canary-5"}],
    }
    config = Open(**given)
    for text in (config.to_yaml(), str(config.to_dict())):
        assert "canary" not in text
        assert "123454321" not in text
    assert config.to_dict()["keys"] == ["***"]
    assert "# api_key: a secret, which is not written" in config.to_yaml()
    assert "# keys: a list with secrets, which is not written" in config.to_yaml()
    kept = {"options": {"token": {}, "on": True}, "nested": [{}]}
    assert load(config.to_yaml(), Open) == Open(**kept)
    assert load(config.to_yaml(secrets=True), Open) == config
    assert tm.load_config(Open, config.to_dict(secrets=True)) == config


class Rows(Config):
    limits: Json[dict[str, int]]
    adams: list[Json[Adam]] = Field([])
    anything: Json[Any] | None = None
    login: Json[dict[str, str]] | None = None


def test_a_field_of_json_is_written_as_the_text_it_takes() -> None:
    rows = Rows.model_validate({"limits": '{"a": 1}', "adams": ['{"lr": 2}'], "anything": '["é", null]'})
    assert rows.to_dict(defaults=False) == {
        "limits": '{"a": 1}',
        "adams": ['{"type": "adam", "lr": 2.0}'],
        "anything": '["é", null]',
    }
    assert load(rows.to_yaml(defaults=False), Rows) == rows
    secret = Rows.model_validate({"limits": "{}", "login": '{"password": "canary"}'})
    assert "canary" not in secret.to_yaml()
    assert secret.to_dict()["login"] == "***"
    assert load(secret.to_yaml(secrets=True), Rows) == secret


class Keyring(Config):
    keys: list[SecretStr]
    by_name: dict[str, list[SecretStr]] = Field({})
    either: list[SecretStr] | None = None
    api_keys: list[list[str]] = Field([])
    pair: tuple[SecretStr, int] | None = None
    key: SecretStr = SecretStr("")


def test_a_list_with_secrets_is_left_out_whole() -> None:
    """Written in part or masked it would load as another one."""
    given: dict[str, Any] = {"by_name": {"a": ["b"]}, "either": ["c"], "api_keys": [["d"]], "pair": ["e", 1]}
    text = Keyring(keys=[SecretStr("a")], **given).to_yaml()
    assert yaml.safe_load(text) == {"by_name": {}}
    with pytest.raises(ConfigError, match=r"missing key `keys`"):
        load(text, Keyring)
    assert load(f"keys: [x]\n{text}", Keyring) == Keyring(keys=[SecretStr("x")])


@pytest.mark.parametrize("mask", ["***", "**********"])
def test_the_mask_of_a_secret_is_not_taken_for_it(mask: str) -> None:
    cases: list[tuple[dict[str, Any], str]] = [({"keys": [mask]}, "keys.0"), ({"keys": [], "key": mask}, "key")]
    for values, path in cases:
        told = rf"`{path}`: this is a mask, no secret; write the secret itself, or `\$\{{env:NAME\}}` for it"
        with pytest.raises(ConfigError, match=told):
            tm.load_config(Keyring, values)
        with pytest.raises(ConfigError, match=told):
            Keyring(**values)
    with pytest.raises(ConfigError, match="this is a mask, no secret"):
        tm.load_config(Keyring, Keyring(keys=[SecretStr("a")]).to_dict())


def test_what_has_no_form_as_plain_data_is_refused() -> None:
    class Held(Config):
        value: Any

    with pytest.raises(ConfigError, match=r"`.*<lambda>` has no import path"):
        Held(value=lambda: 1).to_yaml()
    with pytest.raises(ConfigError, match=r"an object has no form as plain data\n  give the field .* a `field_seri"):
        Held(value=[object()]).to_dict()
    assert Held(value=[len, Adam]).to_dict() == {"value": ["builtins:len", f"{__name__}:Adam"]}


def test_a_serializer_says_what_its_own_type_is() -> None:
    class Custom:
        def __init__(self, size: int) -> None:
            self.size = size

    class Held(Config):
        model_config = ConfigDict(arbitrary_types_allowed=True)

        value: Custom

        @field_serializer("value")
        def _to_size(self, value: Custom) -> int:
            return value.size

    assert Held(value=Custom(3)).to_dict() == {"value": 3}


def test_jobs_parts_load_again() -> None:
    model = tm.model("openai/x", limits=tm.Limits(concurrency=4), price=tm.Price(1, 2), params={"a": 1})
    assert tm.load_config(type(model), model.to_dict()) == model
    assert model.to_dict()["limits"]["concurrency"] == 4
    assert load(model.to_yaml(), type(model)) == model


def test_saving_is_whole_and_makes_folders() -> None:
    Train(seed=3, key="canary").save("runs/a/train.yaml")
    text = Path("runs/a/train.yaml").read_text()
    assert text == Train(seed=3, key="canary").to_yaml()
    assert "canary" not in text
    assert [path.name for path in Path("runs/a").iterdir()] == ["train.yaml"]
    Train(key="canary").save(Path("runs/a/train.yaml"), secrets=True)
    assert tm.load_config(Train, "runs/a/train.yaml") == Train(key="canary")


def test_saving_is_refused_where_it_would_be_read_as_another_format() -> None:
    with pytest.raises(ConfigError, match=r"^train\.json: expected a file to hold YAML, .*\n  name it train\.yaml"):
        Train().save("train.json")


@dataclasses.dataclass
class Step:
    lr: float
    type: str = ""


@dataclasses.dataclass(frozen=True)
class Script:
    optim: Step
    stages: list[Step]
    by_name: dict[str, Step]
    key: str
    seed: int = 0


class Small(Config):
    optim: Adam = Adam()
    stages: list[Adam] = Field(default_factory=list)
    by_name: dict[str, Adam] = Field(default_factory=dict)
    key: SecretStr = SecretStr("canary")


def test_a_given_dataclass_is_filled() -> None:
    small = Small(stages=[Adam(lr=1)], by_name={"a": Adam(lr=2)})
    step = Step(1e-4, "adam")
    assert small.to_dataclass(Script) == Script(step, [Step(1.0, "adam")], {"a": Step(2.0, "adam")}, "canary")


def test_a_dataclass_that_does_not_fit_is_refused_field_by_field() -> None:
    @dataclasses.dataclass
    class Other:
        optim: Step
        stage: list[Step]
        by_name: dict[str, int]
        key: int

    with pytest.raises(ConfigError, match=r"3 errors$") as caught:
        Small(by_name={"a": Adam()}).to_dataclass(Other)
    assert [(each.path, each.message, each.hint) for each in caught.value.problems] == [
        (("by_name", "a"), "`by_name.a`: expected an integer, got a mapping", ""),
        (("key",), "`key`: expected an integer, got ***", ""),
        (("stages",), "unknown key `stages`", "did you mean `stage`?  (list, required)"),
    ]
    assert {each.place.file.rpartition("/")[2] for each in caught.value.problems if each.place} == {"test_exports.py"}
    with pytest.raises(ConfigError, match="expected a dataclass, got `int`"):
        Small().to_dataclass(int)


def test_a_frozen_one_is_made_where_none_is_given() -> None:
    config = Train(**FULL)
    made: Any = config.to_dataclass()
    assert dataclasses.is_dataclass(type(made))
    assert made.stages[0].lr == 1e-5
    assert made.by_name["no"].lr == 1e-4
    assert (made.pair, made.labels, made.tags, made.point) == (Pair(3, 4), ["x"], {"a", "b"}, Point(3))
    assert made == Train(**FULL).to_dataclass()
    assert made != Train().to_dataclass()
    with pytest.raises(dataclasses.FrozenInstanceError, match="seed"):
        made.seed = 8
    assert "canary" not in repr(Train(key="canary").to_dataclass())


ODD_TEXTS = [
    *("no", "on", "Y", "yes", "1e-4", "12:30", "0x10", "010", "1_000", "~", "null", "=", "<<", "true", "False", "OFF"),
    *("- a", "a: b", "a #b", "é: ü", "|", ">", "? a", "---", "...", "---\na", "*a", "&a", "!a", "@a", "`a", "%a"),
    *("2024-01-01", ".inf", "nan", "", " a", "a ", "'", '"', "\\", "{a}", "[a]", "a, b", "${a}", "$${a}", "😀"),
    *("\n", "a\nb", "a\n\n b\n", "a\n\n", "#x\n#y", "a\t\nb", "a\r\nb", "\ta\nb", "\x85", "\u2028", "\ufeff", "a\x07"),
]
TEXTS = st.text(max_size=12) | st.sampled_from(ODD_TEXTS)
NUMBERS = st.integers() | st.floats(allow_nan=False) | st.booleans() | st.none()
VALUES = st.recursive(
    TEXTS | NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


class AnyValue(Config):
    model_config = ConfigDict(allow_inf_nan=True)

    value: Any


@example(value="\x1b\n0", comments=False)
@given(VALUES, st.booleans())
def test_any_value_comes_back_from_yaml(value: Any, comments: bool) -> None:
    text = AnyValue(value=value).to_yaml(secrets=True, comments=comments)
    assert load(text, AnyValue) == AnyValue(value=value)


@given(VALUES)
def test_readers_of_yaml_1_1_agree(value: Any) -> None:
    text = AnyValue(value=value).to_yaml(secrets=True)
    assume("${" not in text)
    assert yaml.safe_load(text) == {"value": value}


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(days=2), "172800s"),
        (timedelta(microseconds=10), "0.00001s"),
        (timedelta(seconds=1.5), "1.5s"),
        (timedelta(seconds=-1), "-PT1S"),
    ],
)
def test_a_duration_is_given_in_seconds(duration: timedelta, text: str) -> None:
    config = Train(every=duration)
    assert config.to_dict()["every"] == text
    assert load(config.to_yaml()) == config


@pytest.mark.parametrize("text", ["y", "N", "on", "Yes", "1e-4", "12:30", "=", "", "0o7", "null", "1.", "-"])
def test_a_text_that_a_reader_may_take_for_something_else_is_quoted(text: str) -> None:
    assert render_scalar(text) == f'"{text}"'


ADAMS = st.builds(Adam, lr=st.floats(1e-30, 1e30))


@given(ADAMS | st.builds(Sgd), st.lists(ADAMS, max_size=3))
def test_nested_configurations_come_back(optim: Any, stages: list[Adam]) -> None:
    config = Train(optim=optim, stages=stages)
    assert load(config.to_yaml()) == config
    assert TypeAdapter(Train).validate_python(config.to_dict()) == config
