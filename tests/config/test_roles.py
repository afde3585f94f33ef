"""A fingerprint is of the fields that decide the result; a field says itself that it is none of them."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr

import tidemill as tm
from tidemill.config.objects.descriptions import describe_value, fingerprint_json
from tidemill.config.roles import Runtime, result_fields
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.model import Model


class Kind(enum.Enum):
    FAST = "fast"
    EXACT = "exact"


class Loader(tm.Config):
    workers: int = Field(4, ge=0)
    shuffle: bool = True


class Optim(tm.Config):
    name: str = "adam"
    lr: float = 1e-4
    fused: Annotated[bool, Runtime] = False


@dataclasses.dataclass
class Window:
    size: int = 1
    log: Annotated[bool, Runtime()] = False


class Train(tm.Config):
    optim: Optim = Optim()
    stages: list[Optim] = Field(default_factory=list)
    by_name: dict[str, Optim] = Field(default_factory=dict)
    loader: Annotated[Loader, Runtime()] = Loader()
    num_workers: Annotated[int, Runtime()] = Field(4, ge=0)
    budget: Annotated[float, Field(gt=0), Runtime()] = 1.0
    window: Window = Field(default_factory=Window)
    kind: Kind = Kind.FAST
    data: Path = Path("data")
    every: timedelta = timedelta(seconds=30)
    tags: set[str] = Field(default_factory=set)
    headers: dict[str, str] = Field(default_factory=dict)
    loss: Callable[..., Any] | None = None
    output: type[BaseModel] | None = None
    auth_token: str = "<pad>"
    key: SecretStr | None = None
    long_key: Annotated[SecretStr, Field(min_length=2)] | None = None
    keys: list[SecretStr] | None = None
    keys_by_name: dict[str, list[SecretStr]] = Field(default_factory=dict)


@pytest.mark.parametrize(
    "changed",
    [
        {"num_workers": 8},
        {"budget": 2},
        {"loader": {"workers": 0, "shuffle": False}},
        {"optim": {"fused": True}},
        {"stages": [{"fused": True}]},
        {"by_name": {"a": {"fused": True}}},
        {"window": {"log": True}},
        {"key": "canary"},
        {"long_key": "canary"},
        {"keys": ["canary"]},
        {"keys_by_name": {"a": ["canary"]}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_runtime_field_makes_no_difference(changed: dict[str, Any]) -> None:
    base = Train(stages=[{}], by_name={"a": {}})
    other = Train(**{"stages": [{}], "by_name": {"a": {}}} | changed)
    assert other != base
    assert other.fingerprint == base.fingerprint
    assert base.find_differences(other) == []


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"optim": {"lr": 3e-4}}, "optim.lr: was 0.0001, is 0.0003"),
        ({"optim": {"name": "sgd"}}, 'optim.name: was "adam", is "sgd"'),
        ({"stages": [{}]}, 'stages: was [], is [{"lr":0.0001,"name":"adam"}]'),
        ({"by_name": {"a": {}}}, 'by_name.a: was not there, is {"lr":0.0001,"name":"adam"}'),
        ({"window": {"size": 2}}, "window.size: was 1, is 2"),
        ({"kind": "exact"}, 'kind: was "fast", is "exact"'),
        ({"data": "other"}, 'data: was "data", is "other"'),
        ({"every": "1m"}, 'every: was "PT30S", is "PT1M"'),
        ({"tags": ["b", "a"]}, 'tags: was [], is ["a","b"]'),
        ({"auth_token": "<p>"}, 'auth_token: was "***", is another'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_any_other_is_told_field_by_field(changed: dict[str, Any], told: str) -> None:
    other = Train(**changed)
    assert other.fingerprint != Train().fingerprint
    assert Train().find_differences(other) == [told]


def test_functions_and_schemas_count_by_what_they_do() -> None:
    class Label(BaseModel):
        topic: str

    class Tag(BaseModel):
        topic: str

    fingerprints = [Train(loss=loss).fingerprint for loss in (len, len, sorted)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]
    assert Train(output=Label).fingerprint == Train(output=Tag).fingerprint != Train().fingerprint


def test_no_secret_is_described() -> None:
    described = str(describe_value(Train(key="canary", headers={"X-Key": "canary"}), defaults=True))
    assert "canary" not in described
    lines = Train(headers={"X-Key": "canary-1"}).find_differences(Train(headers={"X-Key": "canary-2"}))
    assert len(lines) == 1
    assert "canary" not in lines[0]


def test_a_default_that_changed_is_another_result() -> None:
    class Before(tm.Config):
        lr: float = 1e-4

    class After(tm.Config):
        lr: float = 3e-4

    assert Before().fingerprint != After().fingerprint
    assert Before(lr=3e-4).fingerprint == After().fingerprint


def test_what_has_no_form_as_json_counts_by_its_kind() -> None:
    class Held(tm.Config):
        value: Any

    assert Held(value=object()).fingerprint == Held(value=object()).fingerprint
    assert Held(value=object()).fingerprint != Held(value=1).fingerprint


def test_a_dataclass_is_described_alike() -> None:
    assert fingerprint_json(describe_value(Window(log=True))) == fingerprint_json(describe_value(Window()))


def test_a_job_is_told_by_what_its_fields_say() -> None:
    assert result_fields(JobSpec) == ("source", "steps", "sink")
    known = ("model", "wire_format", "params", "headers", "replies", "prompt_cache", "load", "tools")
    assert result_fields(Model) == known


def test_a_key_that_no_field_declares_counts_where_any_is_taken() -> None:
    class Open(tm.Config):
        model_config = ConfigDict(extra="allow")

        seed: int = 0

    plain, other = Open(), Open(beam=3)  # type: ignore[call-arg]
    assert plain.fingerprint != other.fingerprint
    assert plain.find_differences(other) == ["beam: was not there, is 3"]
    assert other.fingerprint == Open(beam=3, api_key="canary").fingerprint  # type: ignore[call-arg]
