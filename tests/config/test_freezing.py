"""A configuration is not changed in place, and says what to do instead."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ConfigDict, Field, PrivateAttr, SecretStr, ValidationError

from tidemill.config.model import Config
from tidemill.errors import ConfigError


class Train(Config):
    seed: int = 0
    api_key: str = ""
    login: SecretStr | None = None
    rate: float = Field(0.1, alias="lr")
    inner: Train | None = None
    _calls: int = PrivateAttr(0)

    @functools.cached_property
    def double(self) -> int:
        return 2 * self.seed


class Changeable(Train):
    model_config = ConfigDict(frozen=False, validate_assignment=True)


COPY = "a configuration is frozen; a copy can have another value"


def set_value(name: str, value: Any) -> Callable[[Train], None]:
    return lambda train: setattr(train, name, value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (set_value("seed", 3), f'`seed` cannot be set: {COPY}: `cfg.replace("seed", 3)`'),
        (set_value("rate", 0.5), f'`rate` cannot be set: {COPY}: `cfg.replace("lr", 0.5)`'),
        (set_value("inner", Train()), f'`inner` cannot be set: {COPY}: `cfg.replace("inner", …)`'),
        (set_value("api_key", "canary-name"), f'`api_key` cannot be set: {COPY}: `cfg.replace("api_key", …)`'),
        (set_value("login", "canary-type"), f'`login` cannot be set: {COPY}: `cfg.replace("login", …)`'),
        (set_value("seed", "sk-canary0123"), f'`seed` cannot be set: {COPY}: `cfg.replace("seed", …)`'),
        (set_value("sead", 3), "`sead` cannot be set: a configuration is frozen; did you mean `seed`?"),
        (lambda train: delattr(train, "seed"), f'`seed` cannot be deleted: {COPY}: `cfg.replace("seed", …)`'),
    ],
    ids=["field", "alias", "section", "secret name", "secret type", "secret form", "no field", "deleted"],
)
def test_a_change_is_refused_with_the_way_to_a_copy(change: Callable[[Train], None], told: str) -> None:
    train = Train()
    with pytest.raises(ConfigError, match="a configuration is frozen") as caught:
        change(train)
    assert f"  {told}\n" in str(caught.value)
    assert "canary" not in str(caught.value) + repr(caught.value.problems)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert train == Train()


def test_it_is_told_at_the_line_that_would_change_it() -> None:
    train = Train()
    with pytest.raises(ConfigError, match="a configuration is frozen") as caught:
        train.login = "canary-source"  # type: ignore[misc, assignment]
    (problem,) = caught.value.problems
    assert problem.place is not None
    assert problem.place.source_line.strip().startswith("train.login = ****")
    assert "canary" not in str(caught.value)


def test_what_is_no_field_can_be_set() -> None:
    train = Train(seed=2)
    train._calls += 1
    assert (train._calls, train.double) == (1, 4)


def test_a_subclass_that_may_change_checks_as_pydantic_does() -> None:
    train = Changeable()
    train.seed = 3
    assert train.seed == 3
    with pytest.raises(ValidationError, match=r"seed\n"):
        train.seed = "x"  # type: ignore[assignment]
