"""`cfg.replace(…)` gives a copy whose new values are checked as if loaded, and whose other values are the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from tidemill.config.model import Config
from tidemill.errors import ConfigError

Words = Annotated[list[str], BeforeValidator(lambda text: text.split(","))]
"""Validating one a second time would fail."""


class Optim(Config):
    lr: float = Field(1e-4, gt=0)
    names: Words = Field("a,b", validate_default=True)


class Adam(Optim):
    type: Literal["adam"] = "adam"


class Sgd(Optim):
    type: Literal["sgd"] = "sgd"


class Loose(BaseModel):
    size: int = 1


@dataclasses.dataclass
class Point:
    x: int
    y: int = 2


class Train(Config):
    optim: Optim = Optim()
    low: int = 1
    high: int = 2
    stages: list[Optim] = Field(default_factory=list)
    by_name: dict[str, Optim] = Field(default_factory=dict)
    tagged: Annotated[Adam | Sgd, Field(discriminator="type")] = Adam()
    either: Adam | Sgd | None = None
    loose: Loose = Loose()
    point: Point = Field(default_factory=lambda: Point(1))
    inner: Train | None = None
    key: SecretStr | None = Field(None, min_length=6)
    schema_file: str = Field("s.json", alias="schema")
    given: list[str] = Field(["x", "y"], frozen=True)

    _folder: Path | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        self._folder = context.get("folder") if isinstance(context, Mapping) else None

    @model_validator(mode="after")
    def _check_order(self) -> Train:
        if self.low > self.high:
            raise ValueError("expected low <= high")
        return self


@pytest.fixture
def train() -> Train:
    return Train.model_validate(
        {
            "stages": [{}, {"lr": 1}],
            "by_name": {"a.b": {"lr": 3}, "c": {}},
            "inner": {},
            "either": {"type": "sgd"},
        }
    )


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("optim.lr", "3e-4", 3e-4),
        ("stages.1.lr", 2, 2.0),
        ("by_name.a.b.lr", 2, 2.0),
        ("by_name.c.lr", 2, 2.0),
        ("tagged.lr", 2, 2.0),
        ("either.lr", 2, 2.0),
        ("loose.size", "64", 64),
        ("point.x", "64", 64),
        ("inner.optim.lr", 2, 2.0),
        ("inner.inner", {"low": 2}, Train(low=2)),
        ("low", 2.0, 2),
        ("schema", "t.json", "t.json"),
        ("schema_file", "t.json", "t.json"),
        ("optim.names", "c,d", ["c", "d"]),
        ("tagged", {"type": "sgd", "lr": 2}, Sgd(lr=2)),
    ],
)
def test_a_value_at_any_path(train: Train, path: str, value: object, expected: object) -> None:
    replaced = train.replace(path, value)
    assert find(replaced, path) == expected
    assert replaced != train
    assert type(replaced) is Train


def find(value: Any, path: str) -> Any:
    """What stands at the path, taken apart by hand."""
    for item in path.replace("a.b", "a_b").split("."):
        if isinstance(value, list):
            value = value[int(item)]
        elif isinstance(value, dict):
            value = value[item.replace("_", ".")]
        else:
            value = getattr(value, {"schema": "schema_file"}.get(item, item))
    return value


def test_what_is_not_there_yet_is_made(train: Train) -> None:
    assert train.replace("by_name.new.lr", 2).by_name["new"] == Optim(lr=2)
    assert train.replace("inner.inner.inner.low", 2).inner == Train(inner=Train(inner=Train(low=2)))


def test_all_else_is_the_same_object(train: Train) -> None:
    replaced = train.replace({"optim.lr": 1, "stages.1.lr": 2, "inner.low": 0})
    assert replaced.optim.names is train.optim.names
    assert replaced.stages[0] is train.stages[0]
    assert replaced.inner is not None
    assert train.inner is not None
    assert replaced.inner.stages is train.inner.stages
    for name in ("by_name", "tagged", "either", "loose", "point", "given"):
        assert getattr(replaced, name) is getattr(train, name)
    assert train.optim.lr == 1e-4


def test_fields_that_are_set_are_known_by_it(train: Train) -> None:
    replaced = train.replace("optim.lr", 1)
    assert replaced.model_fields_set == train.model_fields_set | {"optim"}
    assert replaced.optim.model_fields_set == {"lr"}


def test_several_are_checked_together(train: Train) -> None:
    assert train.replace({"low": 5, "high": 6}).low == 5
    with pytest.raises(ConfigError, match=r"  expected low <= high\n"):
        train.replace("low", 5)
    with pytest.raises(ConfigError, match=r"  `inner`: expected low <= high\n"):
        train.replace("inner.low", 5)


def test_every_problem_is_told_at_once_at_its_key(train: Train) -> None:
    with pytest.raises(ConfigError, match=r"7 errors$") as caught:
        train.replace(
            {
                "optim.lrr": 1,
                "stages.1.lr": -1,
                "stages.2.lr": 1,
                "tagged.lr": "x",
                "point.z": 1,
                "low.x": 1,
                "optimm.lr": 1,
            }
        )
    assert [(each.path, each.message, each.hint) for each in caught.value.problems] == [
        (("optim", "lrr"), "unknown key `optim.lrr`", "did you mean `optim.lr`?  (number > 0, default 0.0001)"),
        (("stages", 1, "lr"), "`stages.1.lr`: expected a number > 0, got -1", ""),
        (("stages", 2), "`stages` is a list of 2 and has no `2`", "known: `0`, `1`"),
        (("tagged", "lr"), '`tagged.lr`: expected a number > 0, got "x"', ""),
        (("point", "z"), "unknown key `point.z`", "known: `x`, `y`"),
        (("low",), "`low` is no mapping: nothing can be set below it", "set it as a whole"),
        (("optimm",), "unknown key `optimm`", "did you mean `optim`?  (mapping)"),
    ]
    marked = [
        each.place.source_line[each.place.column - 1 :].partition(":")[0]
        for each in caught.value.problems
        if each.place
    ]
    assert marked == [
        '"optim.lrr"', '"stages.1.lr"', '"stages.2.lr"', '"tagged.lr"', '"point.z"', '"low.x"', '"optimm.lr"',
    ]  # fmt: skip


def test_a_whole_and_a_part_of_it_are_one_too_many(train: Train) -> None:
    for changes in ({"optim": {}, "optim.lr": 1}, {"optim.lr": 1, "optim": {}}):
        with pytest.raises(ConfigError, match=r"`optim(\.lr)?` is given twice: by itself and as a part of another"):
            train.replace(changes)


def test_no_secret_is_told(train: Train) -> None:
    with pytest.raises(ConfigError, match=r"`key`: expected text .*, got \*\*\*") as caught:
        train.replace("key", "1234")
    assert "1234" not in str(caught.value)
    assert train.replace("key", "canary-0123").key == SecretStr("canary-0123")


def test_validators_see_the_context(train: Train) -> None:
    assert train.replace("low", 0, context={"folder": Path("jobs")})._folder == Path("jobs")
    assert train.replace("low", 0)._folder is None


def test_extra_keys_stay() -> None:
    class Open(Config):
        model_config = ConfigDict(extra="allow")

        size: int = 1

    replaced = Open.model_validate({"note": "a"}).replace({"size": 2, "more": 3})
    assert replaced == Open.model_validate({"size": 2, "note": "a", "more": 3})


@given(st.dictionaries(st.sampled_from(["low", "high", "optim.lr", "schema"]), st.integers(-1, 3) | st.just("7")))
def test_it_is_what_loading_the_whole_anew_gives(changes: dict[str, Any]) -> None:
    raw: dict[str, Any] = {name: value for name, value in changes.items() if name != "optim.lr"}
    if "optim.lr" in changes:
        raw["optim"] = {"lr": changes["optim.lr"]}
    try:
        expected = Train(**raw)
    except ConfigError as error:
        with pytest.raises(ConfigError, match="error") as caught:
            Train().replace(changes)
        told = {(each.path, each.message, each.hint) for each in error.problems}
        assert {(each.path, each.message, each.hint) for each in caught.value.problems} == told
    else:
        assert Train().replace(changes) == expected


@pytest.mark.parametrize(
    ("given", "keywords", "told"),
    [
        ((), {"low": 2}, 'takes a path and a value, got the keyword `low`; write `replace("low", …)`'),
        ((), {"lwo": 2}, 'got the keyword `lwo`; did you mean `replace("low", …)`?'),
        ((), {"elsewhere": 2}, 'got the keyword `elsewhere`; write `replace("a.path", …)`'),
        (("low", 2), {"high": 3}, "got the keyword `high`"),
        (("low",), {}, "expected a value for `low`, got none"),
        (("low", 1, 2), {}, "expected one value for `low`, got 2"),
        ((3,), {}, "expected a path, or a mapping of paths, got 3"),
        ((), {}, "expected a path and a value, got nothing"),
    ],
)
def test_what_is_no_change_is_told(given: tuple[Any, ...], keywords: dict[str, Any], told: str) -> None:
    train: Any = Train()
    with pytest.raises(ConfigError, match="error") as caught:
        train.replace(*given, **keywords)
    assert told in str(caught.value)
    assert "test_replacing.py" in str(caught.value)
