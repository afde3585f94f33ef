"""The JSON Schema of job files takes every job of the repository, and flags what an editor can know to be wrong."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

import tidemill as tm
from tidemill.jobs.spec.written import NODES

ROOT = Path(__file__).parents[2]
PLACES = ("README.md", "docs/*.md", "benchmarks/**/*.yaml", "src/**/*.py", "examples/*.py")
TESTS = ("jobs/test_file", "jobs/test_replay_run", "data/test_tokenizing", "testing/test_run", "faces/test_pipeline")
"""Those whose jobs load; many others have jobs that must not."""
PARTS = {"models", "stores", "resources", "source", "steps", "sink", "budget", "max_errors", "run"}
LEAST = {"source": {"path": "a.jsonl"}, "steps": [], "sink": {"path": "out"}}


def read_texts(path: Path) -> Iterator[str]:
    """The texts of a file that may be job files: itself, its fenced blocks, its literals with anything filled in."""
    text = path.read_text()
    if path.suffix == ".yaml":
        yield text
    elif path.suffix == ".md":
        yield from re.findall(r"^```ya?ml\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    elif "source:" in text and "sink:" in text:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "some/thing" for part in node.values]
                yield "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def read_jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """The jobs that stand in the repository, and parts of jobs in its pages with a job around them."""
    tests = [ROOT / "tests" / f"{name}.py" for name in TESTS]
    for path in [*sorted(path for place in PLACES for path in ROOT.glob(place)), *tests]:
        for number, text in enumerate(read_texts(path)):
            if "type: shelf" in text:  # a store of another package, which the schema has where that is installed
                continue
            try:
                value = yaml.safe_load(text)
            except (yaml.YAMLError, ValueError):
                continue
            keys = value.keys() if isinstance(value, dict) else set()
            if keys >= {"source", "steps", "sink"} or (path.suffix == ".md" and keys and keys <= PARTS):
                yield f"{path.relative_to(ROOT)}-{number}", LEAST | value


JOBS = dict(read_jobs())


@cache
def validator(*, of_file: bool = False) -> Draft202012Validator:
    schema = tm.json_schema(tm.Job, of_file=of_file)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def find_places(value: Any) -> list[list[str | int]]:
    """Where the schema finds something wrong, within alternatives too."""
    pending = list(validator(of_file=True).iter_errors(value))
    found = []
    while pending:
        error = pending.pop()
        found.append(list(error.absolute_path))
        pending += error.context or ()
    return found


def test_there_are_jobs() -> None:
    places = {name.partition("/")[0].partition("-")[0] for name in JOBS}
    assert places == {"README.md", "docs", "benchmarks", "src", "tests"}
    assert len(JOBS) >= 19


@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("of_file", [False, True])
def test_every_job_is_taken(name: str, of_file: bool) -> None:
    assert [error.message for error in validator(of_file=of_file).iter_errors(JOBS[name])] == []


STEPS = [
    {"map": "my_steps:clean"},
    {"map": {"fn": "my_steps:clean", "concurrency": 4, "on": "processes"}},
    {"with_columns": {"size": "my_steps:size"}},
    {"with_columns": {"columns": {"size": "my_steps:size"}, "on_error": "skip"}},
    {"select": ["id", "text"]},
    {"take": 5},
    {"repeat": {}},
    {"batch": {"tokens": 100}},
    {"batch": 8},
    {"catch": "bad.jsonl"},
    {"tokenize": "tokenizer.json"},
    {"chunk": {"by": "headings", "max_chars": 1000, "min_size": 100}},
    {"chunk": {"max_tokens": 200, "tokenizer": "tokenizer.json"}},
    {"decode_image": "jpg"},
    {"decode_image": {"size": [224, 224], "fit": "pad", "concurrency": 4}},
    {"unbatch": {}},
    {"generate": {"model": {"model": "openai/any"}, "prompt": {"file": "p.txt"}, "temperature": {"column": "t"}}},
    {"generate": {"model": "openai/any", "messages": [{"role": "user", "content": "{{ a }}"}], "stop": ["."]}},
    {"generate": {"model": "openai/any", "prompt": "{{ a }}", "examples": {"file": "examples.jsonl"}}},
    {"generate": {"model": "openai/any", "prompt": "a", "examples": [{"user": "a", "assistant": {"b": 1}}]}},
    {"embed": {"model": "openai/any", "column": "text"}},
    {"call": "my_steps:ask"},
    {"call": {"fn": "my_steps:ask", "retry_on": ["OSError"], "limits": {"concurrency": "auto"}}},
    {"predict": "my_steps:ask"},
    {"predict": {"load": "my_steps:ask", "column": "ids", "pad": 0, "devices": ["cuda:0"], "inference": True}},
    {"gather": {"a": {"call": "my_steps:ask"}, "b": {"generate": {"model": "openai/any", "prompt": "a"}}}},
]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: next(iter(step)))
def test_every_form_of_a_step_is_taken(step: Any) -> None:
    assert find_places(LEAST | {"steps": [step]}) == []


WRONG = [
    ({"step": []}, []),
    ({"budget": {"dollars": 5}}, ["budget"]),
    ({"budget": {"deadline": "soon"}}, ["budget", "deadline"]),
    ({"max_errors": -1}, ["max_errors"]),
    ({"source": {"path": "a", "compression": "zip"}}, ["source", "compression"]),
    ({"sink": {"path": "out", "format": "csv"}}, ["sink", "format"]),
    ({"models": {"fast": {"model": "openai/any", "limits": {"max_atempts": 3}}}}, ["models", "fast", "limits"]),
    ({"steps": [{"mapp": "a:b"}]}, ["steps", 0]),
    ({"steps": [{"map": "a:b", "filter": "a:b"}]}, ["steps", 0]),
    ({"steps": [{}]}, ["steps", 0]),
    ({"steps": [{"map": {"fn": "a:b", "concurency": 2}}]}, ["steps", 0, "map"]),
    ({"steps": [{"map": {"fn": "a:b", "on": "thread"}}]}, ["steps", 0, "map", "on"]),
    ({"steps": [{"take": -1}]}, ["steps", 0, "take"]),
    ({"steps": [{"generate": {"model": "openai/any", "n": 0}}]}, ["steps", 0, "generate", "n"]),
]


@pytest.mark.parametrize(("part", "place"), WRONG)
def test_what_is_wrong_is_flagged_at_its_place(part: dict[str, Any], place: list[str | int]) -> None:
    assert place in find_places(LEAST | part)


def test_every_kind_of_step_and_every_key_says_what_it_is() -> None:
    schema = tm.json_schema(tm.Job)
    kinds = schema["$defs"]["Step"]["properties"]
    assert kinds.keys() == {node.kind for node in NODES}
    for name, whole in {**schema["$defs"], "Job": schema}.items():
        for part in (whole, *whole.get("anyOf", ())):
            silent = [
                key for key, each in part.get("properties", {}).items() if not {"description", "$ref"} & each.keys()
            ]
            assert silent == [], name


def test_a_job_s_schema_is_that_of_job_files(tmp_path: Path) -> None:
    job = tm.read(str(tmp_path / "a.jsonl")).take(3).job("out")
    assert tm.json_schema(job) == tm.json_schema(tm.Job)
    assert list(validator().iter_errors(yaml.safe_load(job.to_yaml()))) == []
