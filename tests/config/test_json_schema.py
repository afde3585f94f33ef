"""The JSON Schema of a type takes what loading takes, and flags what it refuses."""

from __future__ import annotations

import enum
import string
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import AliasChoices, AnyUrl, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, create_model
from typing_extensions import TypedDict

import tidemill as tm
from tidemill.config.types.durations import Duration
from tidemill.config.types.functions import Function
from tidemill.errors import ConfigError


class Mode(enum.Enum):
    FAST = "fast"
    EXACT = "exact"


class Optimiser(tm.Config):
    """How weights move.

    Not in a schema: this paragraph.

    Attributes:
        lr: the step.
    """

    lr: float = Field(1e-4, gt=0, le=1)
    betas: tuple[float, float] = (0.9, 0.999)


class Train(tm.Config):
    """A training run."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"seed": 3}]})

    learning_rate: float = Field(1e-4, gt=0)
    """how far each step goes"""
    batch_size: int = Field(32, ge=1, multiple_of=8, examples=[64])
    run_name: str = Field("run", pattern="^[a-z][a-z0-9-]*$")
    precision: Literal["bf16", "fp32"] = "bf16"
    mode: Mode = Mode.FAST
    optim: Optimiser = Optimiser(lr=0.01)
    seed: int | None = None
    wait: Duration | None = Field(None, gt=0)
    tags: set[str] = Field(default_factory=set, max_length=3)
    api_key: SecretStr = SecretStr("canary")
    hub_token: str = "canary"
    hook: Function | None = None


@dataclass
class Plain:
    """A plain one."""

    size: Annotated[int, Field(ge=1)] = 1
    inner: list[Plain] = field(default_factory=list)


class Keys(TypedDict, total=False):
    size: Annotated[int, Field(ge=1)]


class Open(BaseModel):
    size: int = Field(1, ge=1)


class Adam(tm.Config):
    type: Literal["adam"] = "adam"
    beta: float = 0.9


class Sgd(tm.Config):
    type: Literal["sgd"]
    momentum: float = 0.0


class Tagged(tm.Config):
    optim: Annotated[Adam | Sgd, Field(discriminator="type")] = Adam()


class Tree(tm.Config):
    left: Tree | None = None


def find_errors(x: Any, value: Any, *, of_file: bool = False) -> list[list[str | int]]:
    """The paths at which a value is not of the schema of `x`, within alternatives too."""
    schema = tm.json_schema(x, of_file=of_file)
    Draft202012Validator.check_schema(schema)
    pending = list(Draft202012Validator(schema).iter_errors(value))
    found: list[list[str | int]] = []
    while pending:
        error = pending.pop(0)
        pending += error.context or ()
        if (path := list(error.absolute_path)) not in found:
            found.append(path)
    return found


def test_a_schema_says_what_the_class_says() -> None:
    schema = tm.json_schema(Train)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["description"] == "A training run."
    assert schema["examples"] == [{"seed": 3}]
    assert schema["additionalProperties"] is False
    keys = schema["properties"]
    assert keys["learning_rate"] == {
        "description": "how far each step goes",
        "type": "number",
        "exclusiveMinimum": 0,
        "default": 1e-4,
    }
    assert keys["batch_size"] == {"type": "integer", "minimum": 1, "multipleOf": 8, "default": 32, "examples": [64]}
    assert keys["run_name"] == {"type": "string", "pattern": "^[a-z][a-z0-9-]*$", "default": "run"}
    assert keys["precision"] == {"type": "string", "enum": ["bf16", "fp32"], "default": "bf16"}
    assert keys["optim"] == {"$ref": "#/$defs/Optimiser", "default": {"lr": 0.01}}
    assert schema["$defs"]["Optimiser"]["description"] == "How weights move."
    assert schema["$defs"]["Optimiser"]["properties"]["lr"]["description"] == "the step."


@dataclass
class Login:
    user: str = "me"
    api_key: str = "canary-1"


class Pin(tm.Config):
    pin: SecretStr | None = None


class Secrets(tm.Config):
    api_keys: list[str] = Field(["canary-1"])
    auth: dict[str, str] = Field({"u": "canary-1"})
    login: Login = Field(default_factory=Login)
    logins: list[Login] = Field([Login("you", "canary-1")])
    other: Login = Login("you", "canary-1")
    address: AnyUrl = AnyUrl("http://u:canary-1@x")
    text: SecretStr = Field("canary-1", validate_default=True)
    texts: list[SecretStr] = Field([SecretStr("canary-1")])
    nothing: SecretStr | None = Field(None, examples=["canary-1"])
    pin: Pin = Pin(pin=SecretStr("canary-1"))
    pins: dict[str, Any] = Field({"a": {"token": "canary-1"}}, examples=[{"a": {"token": "canary-1"}}])
    shared: dict[str, Pin] = Field({"a": Pin(pin=SecretStr("canary-1"))})
    token: int = 1234512345
    size: int = Field(3, examples=[4])


def test_no_default_of_any_depth_shows_a_secret() -> None:
    schema = tm.json_schema(Secrets)
    assert "canary" not in str(schema)
    assert "*" not in str(schema)
    assert "1234512345" not in str(schema)
    kept = {name: each["default"] for name, each in schema["properties"].items() if "default" in each}
    assert kept == {"nothing": None, "size": 3}
    assert schema["properties"]["size"]["examples"] == [4]


def test_no_secret_default_and_no_title_is_in_it() -> None:
    schema = str(tm.json_schema(Train))
    assert "canary" not in schema
    assert "'title'" not in schema
    assert "****" not in schema


FLAGGED = [
    (Train, {"learningrate": 0.1}, []),
    (Train, {"learning_rate": 0}, ["learning_rate"]),
    (Train, {"batch_size": 12}, ["batch_size"]),
    (Train, {"seed": 0.5}, ["seed"]),
    (Train, {"run_name": "Run"}, ["run_name"]),
    (Train, {"precision": "fp8"}, ["precision"]),
    (Train, {"mode": "slow"}, ["mode"]),
    (Train, {"optim": {"lrr": 1}}, ["optim"]),
    (Train, {"optim": {"betas": [0.9]}}, ["optim", "betas"]),
    (Train, {"wait": "soon"}, ["wait"]),
    (Train, {"wait": 0}, ["wait"]),
    (Train, {"tags": ["a", "b", "c", "d"]}, ["tags"]),
    (Plain, {"sise": 1}, []),
    (Plain, {"inner": [{"size": 0}]}, ["inner", 0, "size"]),
    (Keys, {"sise": 1}, []),
    (Keys, {"size": 0}, ["size"]),
    (Open, {"size": 0}, ["size"]),
    (Tagged, {"optim": {"type": "lion"}}, ["optim"]),
    (Tagged, {"optim": {"type": "sgd", "beta": 1}}, ["optim"]),
    (Tree, {"left": {"left": {"right": {}}}}, ["left"]),
    (list[int], [1, "a"], [1]),
    (dict[str, Optimiser], {"a": {"lr": 2}}, ["a", "lr"]),
]


@pytest.mark.parametrize("of_file", [False, True])
@pytest.mark.parametrize(("x", "value", "path"), FLAGGED)
def test_what_loading_refuses_is_flagged(x: Any, value: Any, path: list[str | int], of_file: bool) -> None:
    assert path in find_errors(x, value, of_file=of_file)


TAKEN = [
    (Train, {"mode": "exact"}),
    (Train, {"mode": "EXACT"}),  # by its name
    (Train, {"wait": "1h 30m", "seed": 3, "hook": "my_steps:log"}),
    (Train, {"wait": 30}),
    (Open, {"size": 1, "other": 2}),  # a model of another library keeps its own rules
    (Tagged, {"optim": {"type": "sgd", "momentum": 0.9}}),
    (Tagged, {"optim": {"beta": 0.8}}),
    (Tree, {"left": {"left": {}}}),
    (Plain, {"inner": [{"inner": []}]}),
]


@pytest.mark.parametrize("of_file", [False, True])
@pytest.mark.parametrize(("x", "value"), TAKEN)
def test_what_loading_takes_is_taken(x: Any, value: Any, of_file: bool) -> None:
    assert find_errors(x, value, of_file=of_file) == []


class Named(tm.Config):
    model_config = ConfigDict(populate_by_name=True)

    size: int = Field(validation_alias=AliasChoices("size_px", "pixels"), ge=1)


@pytest.mark.parametrize("key", ["size_px", "pixels", "size"])
def test_every_name_of_a_field_is_taken_and_one_offered(key: str) -> None:
    assert find_errors(Named, {key: 1}) == []
    assert find_errors(Named, {key: 0}) == [[key]]
    assert list(tm.json_schema(Named)["properties"]) == ["size_px"]


def test_a_file_may_include_and_interpolate() -> None:
    values = {
        "learning_rate": "${env:LR:-0.1}",
        "precision": "${other.precision}",
        "mode": "${env:MODE}",
        "optim": {"lr": "${learning_rate}", "betas": ["${a}", 0.9]},
        "seed": "${env:SEED}",
        "run_name": "run-${seed}",
    }
    assert find_errors(Train, values, of_file=True) == []
    assert len(find_errors(Train, values)) == 7
    assert find_errors(Train, {"learning_rate": "fast"}, of_file=True) == [["learning_rate"]]
    for include in ("base.yaml", ["a.yaml", "b.yaml"]):
        assert find_errors(Train, {"include": include}, of_file=True) == []
        assert find_errors(Train, {"include": include}) == [[]]
    assert find_errors(Train, {"include": 1}, of_file=True) == [["include"]]


def test_any_value_of_a_file_may_be_taken_from_elsewhere() -> None:
    for values in ({"optim": "${file:optim.yaml}"}, {"tags": "${other.tags}"}, {"optim": {"betas": "${betas}"}}):
        assert find_errors(Train, values, of_file=True) == []
        assert find_errors(Train, values) != []


def test_what_a_file_includes_need_not_stand_in_it() -> None:
    class Needy(tm.Config):
        size: int
        optim: Optimiser

    assert find_errors(Needy, {"optim": {"include": "optim.yaml"}}, of_file=True) == [[]]
    assert find_errors(Needy, {"include": "base.yaml", "optim": {"lr": 1}}, of_file=True) == []
    assert "include" not in tm.json_schema(Needy, of_file=True)["$defs"]["Optimiser"]["anyOf"][0]["properties"]


def test_a_key_of_one_s_own_called_include_is_no_file() -> None:
    class Own(tm.Config):
        include: int

    assert find_errors(Own, {"include": 1}, of_file=True) == []
    assert find_errors(Own, {"include": "a.yaml"}, of_file=True) == [["include"]]


def test_interpolation_stands_once_behind_the_choices() -> None:
    taken = {"$ref": "#/$defs/interpolation"}
    keys = tm.json_schema(Train, of_file=True)["properties"]
    assert keys["precision"] == {"default": "bf16", "anyOf": [{"type": "string", "enum": ["bf16", "fp32"]}, taken]}
    assert keys["seed"] == {"anyOf": [{"type": "integer"}, {"type": "null"}, taken]}
    assert keys["hub_token"] == {"type": "string"}  # any text is taken anyway


IMPORT = "import `Nowhere` where the class is written"
NO_TYPE = "it is neither a class nor an annotation"


@pytest.mark.parametrize(
    ("x", "told", "hint"),
    [
        (Train(), f"a Train: {NO_TYPE}", "pass its class, `Train`"),
        (Plain(), f"a Plain: {NO_TYPE}", "pass its class, `Plain`"),
        ("Train", f'"Train": {NO_TYPE}', "pass a class or an annotation"),
        (tm.read, f"`read`: {NO_TYPE}", "pass a class or an annotation"),
        (Annotated["Nowhere", 1], "`Annotated`: an annotation names `Nowhere`, which is not defined", IMPORT),  # noqa: F821
    ],
    ids=["config", "dataclass", "text", "function", "unknown"],
)
def test_what_is_no_type_is_refused(x: Any, told: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="no JSON Schema can be made of") as caught:
        tm.json_schema(x)
    assert str(caught.value) == f"no JSON Schema can be made of {told}\n  {hint}"


TEXTS = st.text(string.ascii_lowercase, min_size=1, max_size=8)
KINDS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Annotated[int, Field(ge=-5, lt=50)], st.integers(-5, 49)),
    (Annotated[float, Field(gt=0, le=9)], st.floats(0, 9, exclude_min=True)),
    (bool, st.booleans()),
    (Annotated[str, Field(pattern="^[a-z]+$", max_length=8)], TEXTS),
    (Literal["a", "b", 3], st.sampled_from(["a", "b", 3])),
    (Mode, st.sampled_from(Mode)),
    (Mode | None, st.sampled_from([*Mode, None])),
    (date, st.dates()),
    (Path, TEXTS),
    (Duration, st.floats(0, 1e6) | st.sampled_from(["90s", "1h30m", "5ms"])),
    (list[int], st.lists(st.integers())),
    (tuple[int, str], st.tuples(st.integers(), st.text())),
    (set[int], st.sets(st.integers())),
    (dict[str, float], st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False))),
    (int | str, st.integers() | st.text()),
    (Optimiser, st.builds(Optimiser, lr=st.floats(0, 1, exclude_min=True))),
    (Plain, st.builds(Plain, size=st.integers(1, 9))),
    (Adam | Sgd, st.builds(Adam) | st.builds(Sgd, type=st.just("sgd"))),
]


@settings(max_examples=50)
@given(st.dictionaries(TEXTS.map("f_{}".format), st.sampled_from(KINDS), max_size=6), st.data())
def test_what_a_valid_config_dumps_is_of_its_schema(kinds: dict[str, Any], data: st.DataObject) -> None:
    fields: dict[str, Any] = {name: (annotation, ...) for name, (annotation, _) in kinds.items()}
    made = create_model("Made", __base__=tm.Config, **fields)
    value = made(**{name: data.draw(values) for name, (_, values) in kinds.items()})
    dumped = TypeAdapter(made).dump_python(value, mode="json")
    for of_file in (False, True):
        validator = Draft202012Validator(tm.json_schema(made, of_file=of_file))
        assert list(validator.iter_errors(dumped)) == []
        assert not validator.is_valid(dumped | {"f-unknown": 1})
        assert not any(validator.is_valid({key: dumped[key] for key in dumped if key != name}) for name in dumped)
