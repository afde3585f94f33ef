"""Configurations are the same when their class and fields are, as keys, as pickles and as copies too."""

from __future__ import annotations

import copy
import dataclasses
import enum
import pickle
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr

from tidemill.config.model import Config
from tidemill.data.sources.read import Read

T = TypeVar("T")


class Loose(BaseModel):
    tags: list[str] = []


@dataclasses.dataclass
class Point:
    axes: list[int]
    note: str = dataclasses.field(default="", compare=False)


class Kind(enum.Enum):
    FAST = "fast"


class Optim(Config):
    lr: float = Field(1e-4, gt=0)
    betas: list[float] = Field(default_factory=lambda: [0.9, 0.99])


class Train(Config):
    optim: Optim = Optim()
    stages: list[Optim] = Field(default_factory=list)
    weights: dict[str, Any] = Field(default_factory=dict)
    tags: set[str] = Field(default_factory=set)
    shape: tuple[int, ...] = ()
    kind: Kind = Kind.FAST
    folder: Path = Path("out")
    key: SecretStr | None = None
    loose: Loose = Loose()
    point: Point | None = None
    held: Any = None

    _seen: list[int] = PrivateAttr(default_factory=list)

    @cached_property
    def total(self) -> float:
        return self.optim.lr * 2


class Mixin:
    pass


class Mixed(Mixin, Config):
    tags: list[str]


class Pair(Config, Generic[T]):
    items: list[T]


class Open(Config):
    model_config = ConfigDict(extra="allow")


def make(**more: Any) -> Train:
    given: dict[str, Any] = {
        "stages": [{"lr": 0.1}, {}],
        "weights": {"a": [1, {"b": {2}}], "c": None},
        "tags": ["x", "y"],
        "shape": (1, 2),
        "key": "canary",
        "loose": {"tags": ["z"]},
        "point": {"axes": [1]},
    }
    return Train(**given | more)


def test_equal_ones_have_one_hash() -> None:
    one, other = make(), make(weights={"c": None, "a": [1.0, {"b": {2}}]}, tags=["y", "x"])
    assert one == other
    assert len({one, other}) == 1
    assert {one: 1}[other] == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"optim": {"lr": 0.5}},
        {"stages": [{}, {"lr": 0.1}]},
        {"weights": {"a": []}},
        {"tags": []},
        {"shape": (1,)},
        {"key": None},
        {"loose": {}},
        {"point": {"axes": [2]}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_another_field_makes_another(changed: dict[str, Any]) -> None:
    assert make(**changed) != make()
    assert len({make(**changed), make()}) == 2


def test_what_does_not_compare_by_its_value_still_hashes() -> None:
    held = bytearray(b"x")
    assert hash(make(held=held)) == hash(make(held=bytearray(b"x")))
    assert make(held=held) == make(held=bytearray(b"x"))
    assert hash(make(point={"axes": [1], "note": "a"})) == hash(make(point={"axes": [1], "note": "b"}))


def test_another_class_makes_another() -> None:
    class Other(Optim):
        pass

    assert Optim() != Other()
    assert hash(Optim()) != hash(Other())
    assert Optim() != {"lr": 1e-4}
    assert Optim() != Loose()


def test_mixins_and_generics_hash_too() -> None:
    assert hash(Mixed(tags=["a"])) == hash(Mixed(tags=["a"]))
    assert Pair[int](items=[1]) == Pair(items=[1])
    assert hash(Pair[int](items=[1])) == hash(Pair(items=[1]))
    one, other = Open.model_validate({"a": [1]}), Open.model_validate({"a": [1]})
    assert one == other
    assert hash(one) == hash(other)
    assert one != Open.model_validate({"b": [1]})


def test_a_class_may_say_itself_what_is_equal() -> None:
    class ByName(Config):
        name: str
        note: list[str] = Field(default_factory=list)

        def __eq__(self, other: object) -> bool:
            return isinstance(other, ByName) and self.name == other.name

        def __hash__(self) -> int:
            return hash(self.name)

    assert hash(ByName(name="a", note=["b"])) == hash(ByName(name="a"))


def test_private_attributes_and_what_is_cached_make_no_difference() -> None:
    one, other = make(), make()
    one._seen.append(1)
    one.__dict__["__carried__"] = {"optim.lr": "base.yaml:12:7"}
    assert one.total == 2e-4
    assert one == other
    assert hash(one) == hash(other)
    assert repr(one) == repr(other)


@pytest.mark.parametrize(
    "to_copy",
    [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_a_copy_is_equal_and_carries_the_rest_along(to_copy: Any) -> None:
    config = make()
    config._seen.append(1)
    config.__dict__["__carried__"] = {"optim.lr": "base.yaml:12:7"}
    copied = to_copy(config)
    assert copied == config
    assert hash(copied) == hash(config)
    assert copied._seen == [1]
    assert copied.__dict__["__carried__"] == {"optim.lr": "base.yaml:12:7"}


def test_sources_of_two_folders_are_two() -> None:
    here, there = (Read.model_validate({"path": "a.jsonl"}, context={"folder": folder}) for folder in ("a", "b"))
    assert here != there
    assert here == Read.model_validate({"path": "a.jsonl"}, context={"folder": "a"})


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=6,
)


@given(plain, plain)
def test_equal_values_make_equal_hashes(one: Any, other: Any) -> None:
    first, second = make(held=one), make(held=other)
    assert (first == second) is (one == other)
    assert first != second or hash(first) == hash(second)
