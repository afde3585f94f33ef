"""A `Config` made in Python says what a job file would be told; within another model it stays Pydantic's error."""

from __future__ import annotations

import pickle

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from tidemill.config.layers.document import Document
from tidemill.config.loading import load_config, validate_document
from tidemill.config.model import Config
from tidemill.config.wording.words import plain
from tidemill.errors import ConfigError


class Sink(Config):
    model_config = ConfigDict(json_schema_extra={"examples": [{"path": "out", "format": "jsonl"}]})

    path: str
    rate: float = Field(1.0, gt=0.00001)
    api_key: SecretStr | None = Field(None, min_length=20)


class Job(Config):
    sink: Sink
    name: str = ""


class Foreign(BaseModel):
    sink: Sink


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"unknown key `pth`; did you mean `path`\?") as caught:
        Sink(pth="out", rate=0)  # type: ignore[call-arg]
    assert [(problem.path, problem.message, problem.hint) for problem in caught.value.problems] == [
        (("pth",), "unknown key `pth`", "did you mean `path`?  (text, required)"),
        (("rate",), "`rate`: expected a number > 0.00001, got 0", ""),
    ]
    assert str(caught.value).endswith("\n2 errors")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_a_nested_value_is_told_with_its_path() -> None:
    with pytest.raises(ConfigError, match=r"  `sink`: missing key `path` \(text\)\n"):
        Job(sink={})


def test_no_secret_is_told() -> None:
    with pytest.raises(ConfigError, match=r"`api_key`: .*got \*\*\*") as caught:
        Sink(path="out", api_key="canary-0123")
    assert "canary" not in str(caught.value)


def test_within_another_model_it_is_that_models_error() -> None:
    for validate in (Foreign.model_validate, TypeAdapter(Foreign).validate_python, Job.model_validate):
        with pytest.raises(ValidationError, match=r"sink\.path\n"):
            validate({"sink": {}})
    with pytest.raises(ValidationError, match=r"sink\.path\n"):
        Foreign(sink={})
    assert Foreign(sink={"path": "out"}).sink == Sink(path="out")


def test_a_mapping_that_is_missing_is_shown_by_example() -> None:
    with pytest.raises(ConfigError, match=r"`sink`: expected a mapping such as `\{path: out, format: jsonl\}`, got"):
        load_config(Job, {"sink": "out"})
    with pytest.raises(ConfigError, match=r"missing key `sink` \(a mapping such as `\{path: out, format: jsonl\}`\)"):
        load_config(Job, {})


@pytest.mark.parametrize("key", ["1", "2024-01-01", "1.5", "true", "null"])
def test_a_key_that_is_no_text_has_its_place(key: str) -> None:
    _, (problem,) = validate_document(Job, Document.parse(f"sink: {{path: out, {key}: 2}}\n", "job.yaml"))
    assert (str(problem.place), problem.message) == ("job.yaml:1:19", f"unknown key `{key}`")


@pytest.mark.parametrize(
    ("number", "digits", "shown"),
    [
        (1e-05, None, "0.00001"),
        (2.5e-07, 10, "0.00000025"),
        (5.0, None, "5"),
        (0.1 + 0.2, 10, "0.3"),
        (1234.5, 2, "1200"),
        (0.0, None, "0"),
        (1e30, None, "1e+30"),
        (float("inf"), None, "inf"),
        (7, None, "7"),
    ],
)
def test_a_number_is_written_as_a_person_would(number: float, digits: int | None, shown: str) -> None:
    assert plain(number, digits=digits) == shown
