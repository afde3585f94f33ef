"""A section given in part keeps what its field's own default says, wherever it is given."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field

from tidemill.config.coercion.adapters import shape_of
from tidemill.config.inspection import list_entries
from tidemill.config.layers.stacking import Sources
from tidemill.config.loading import load_config, load_document
from tidemill.config.model import Config
from tidemill.config.unions.tagged import Tagged
from tidemill.errors import ConfigError


class Adam(Config):
    type: Literal["adam"] = "adam"
    lr: float = 1
    beta: float = 0


class Sgd(Config):
    type: Literal["sgd"] = "sgd"
    lr: float = 2


class Cache(Config):
    size: int = 1
    folder: str = "a"


class Data(Config):
    workers: int = Field(1, alias="num-workers")
    path: str = "here"
    cache: Cache = Cache(size=5)

    model_config = ConfigDict(populate_by_name=True)


class Train(Config):
    data: Data = Data(workers=8, cache=Cache(folder="b"))
    maybe: Data | None = Data(path="there")
    either: Cache | Data = Cache(size=7)
    plain: Annotated[Adam | Sgd, Field(discriminator="type")] = Adam(beta=4)
    tagged: Annotated[Adam | Sgd, Tagged(default="adam")] = Sgd(lr=9)


@pytest.mark.parametrize(
    ("given", "path", "value"),
    [
        ({"data": {"path": "x"}}, "data", Data(workers=8, path="x", cache=Cache(folder="b"))),
        ({"data": {"num-workers": 2}}, "data", Data(workers=2, cache=Cache(folder="b"))),
        ({"data": {"workers": 2}}, "data", Data(workers=2, cache=Cache(folder="b"))),
        ({"data": {"cache": {"size": 3}}}, "data", Data(workers=8, cache=Cache(size=3, folder="b"))),
        ({"maybe": {"workers": 3}}, "maybe", Data(workers=3, path="there")),
        ({"maybe": None}, "maybe", None),
        ({"either": {"folder": "c"}}, "either", Cache(folder="c")),
        ({"plain": {"lr": 3}}, "plain", Adam(lr=3, beta=4)),
        ({"plain": {"type": "adam"}}, "plain", Adam(beta=4)),
        ({"plain": {"type": "sgd"}}, "plain", Sgd()),
        ({"tagged": {}}, "tagged", Sgd(lr=9)),
        ({"tagged": {"type": "adam"}}, "tagged", Adam()),
    ],
)
def test_what_is_left_out_is_the_defaults(given: dict[str, Any], path: str, value: Any) -> None:
    for train in (Train(**given), load_config(Train, given), load_config(Train, {}, given)):
        assert getattr(train, path) == value


def test_what_is_listed_and_referred_to_is_what_is_taken() -> None:
    sources = Sources(({}, {"data": {"path": "x"}, "plain": {"lr": 3}}))
    listed = {each.key: each.value for each in list_entries(load_document(Train, sources), shape_of(Train))}
    assert (listed["data.num-workers"], listed["data.cache.folder"], listed["plain.beta"]) == (8, "b", 4)
    assert (listed["plain.type"], listed["tagged.lr"]) == ("adam", 9)


def test_a_mistake_in_a_part_is_told_as_ever() -> None:
    with pytest.raises(ConfigError, match=r"unknown key `plain.lrr`; did you mean `plain.lr`\?") as caught:
        load_config(Train, {"plain": {"lrr": 3}, "data": {"workers": "x"}})
    assert {each.path for each in caught.value.problems} == {("data", "workers"), ("plain", "lrr")}
