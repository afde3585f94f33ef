"""docs/jobs.md says what the code says: each key, default, bound, option and provider; and its examples run."""

from __future__ import annotations

import json
import re
import sqlite3
import typing
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from docpages import MODEL, Page, bare
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import tidemill as tm
from tidemill.commands import app, run_command
from tidemill.config.types.templates import Template
from tidemill.data.nodes.node import Node
from tidemill.jobs.running.report import EXIT_CODES
from tidemill.jobs.spec.file import load_job_file
from tidemill.jobs.spec.written import NODES, JobFile, Step
from tidemill.models.model import PROVIDERS
from tidemill.testing import FaultServer

PAGE = Page.load("docs/jobs.md")
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
REVIEWS = ("The battery lasts for a week.", "", "It broke. After an hour.", "A bright screen and a fair price.")


def iter_models(annotation: Any, outer: tuple[Any, ...] = ()) -> Iterator[type[BaseModel]]:
    """The models that a value of this type may hold, outermost first."""
    if annotation is BaseModel or annotation in outer:
        return  # stands for a user's own model, which a key names; or it holds itself
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from iter_models(field.annotation, (*outer, annotation))
    else:
        for argument in typing.get_args(annotation):
            yield from iter_models(argument, outer)


MODELS = {model.__name__: model for model in iter_models(JobFile)} | {"Node": Node}
del MODELS[Step.__name__]  # one key a kind, each with a section of its own
DOCUMENTED = [(title, name) for title in PAGE.markers("keys") for name in title.split()]


def expected_fields(name: str) -> dict[str, FieldInfo]:
    """The fields of a model by the key a job file has for them; of a step those that not all steps have."""
    model = MODELS[name]
    common = Node.model_fields if model in NODES else {}
    return {field.alias or key: field for key, field in model.model_fields.items() if key not in common}


def key_of(row: dict[str, str]) -> str:
    """The key a row is about: its first cell, whatever the column is called."""
    return bare(next(iter(row.values())))


def test_every_model_of_a_job_file_has_a_table() -> None:
    assert sorted(name for _, name in DOCUMENTED) == sorted(MODELS)


@pytest.mark.parametrize(("title", "name"), DOCUMENTED)
def test_a_table_has_every_key_and_no_other(title: str, name: str) -> None:
    assert sorted(key_of(row) for row in PAGE.table(f"keys: {title}")) == sorted(expected_fields(name))


@pytest.mark.parametrize(("title", "name"), DOCUMENTED)
def test_defaults_and_bounds_are_those_of_the_code(title: str, name: str) -> None:
    fields = expected_fields(name)
    for row in PAGE.table(f"keys: {title}"):
        key = key_of(row)
        field = fields[key]
        if field.is_required():
            assert row["default"] == "required", key
        else:
            default = field.get_default(call_default_factory=True)
            shown = yaml.safe_load(bare(row["default"]))
            if isinstance(default, BaseModel):  # a mapping of defaults stands there as an empty one
                dumped: Any = default.model_dump()
                default = {} if isinstance(dumped, dict) else dumped
            if isinstance(default, Template):
                default = default.text
            assert shown == (list(default) if isinstance(default, tuple) else default), key
        assert row["bounds"] == ", ".join(find_bounds(field)), key


def find_bounds(field: FieldInfo) -> list[str]:
    """The bounds of a field in the page's signs."""
    found = [*field.metadata]
    for argument in typing.get_args(field.annotation):
        for each in getattr(argument, "__metadata__", ()):
            found += each.metadata if isinstance(each, FieldInfo) else [each]
    return [f"{sign} {getattr(each, name):g}" for each in found for name, sign in BOUNDS.items() if hasattr(each, name)]


@pytest.mark.parametrize(("title", "name"), DOCUMENTED)
def test_choices_stand_in_the_type(title: str, name: str) -> None:
    for row in PAGE.table(f"keys: {title}"):
        annotation = expected_fields(name)[key_of(row)].annotation
        for each in (annotation, *typing.get_args(annotation)):
            if typing.get_origin(each) is typing.Literal:
                assert [bare(part) for part in row["type"].split(", ")] == list(typing.get_args(each))


def test_every_kind_of_step_has_a_section() -> None:
    headings = re.findall(r"^### (.*)$", PAGE.text, re.MULTILINE)
    named = {name for heading in headings for name in heading.split(", ")}
    assert {node.kind for node in NODES} <= named


def test_every_provider_stands_there() -> None:
    rows = {bare(row["provider"]): row for row in PAGE.table("providers")}
    assert list(rows) == list(PROVIDERS)
    for name, provider in PROVIDERS.items():
        assert bare(rows[name]["base URL"]) == (provider.base_url or "in process")
        variables = [bare(cell) for cell in rows[name]["the key's variable"].split(", ")]
        assert variables == list(provider.key_variables or ("none",))


def test_every_option_of_every_command_stands_there() -> None:
    told: dict[str, dict[str, str]] = {}
    command = ""
    for row in PAGE.table("commands"):
        if row["command"]:
            words = bare(row["command"]).split()[1:]
            names = [word for word in words if word.replace("-", "").islower()]
            command = " ".join(names)
            told[command] = dict.fromkeys(words[len(names) :], row["default"])
        else:
            told[command][bare(row["option"]).split()[0]] = row["default"]
    commands = dict(iter_commands(typer.main.get_command(app)))
    assert told.keys() == commands.keys()
    for name, known in commands.items():
        options = {each.opts[0]: each for each in known.params if each.opts[0].startswith("-")}
        assert {option for option in told[name] if option.startswith("-")} == options.keys(), name
        for option, parameter in options.items():
            default = parameter.default
            assert bare(told[name][option]) == ("" if default in (None, False) else str(default)), option


def iter_commands(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Each command by its whole name: `config show`."""
    for name, each in group.commands.items():
        if hasattr(each, "commands"):
            yield from iter_commands(each, f"{above}{name} ")
        else:
            yield f"{above}{name}", each


def test_every_outcome_has_its_exit_code() -> None:
    rows = re.findall(r"^\| ([\d, ]+) \| ([^|]*)\|", PAGE.text, re.MULTILINE)
    told = {bare(outcome): codes for codes, cell in rows for outcome in cell.strip().split(", ") if outcome}
    assert told.keys() == EXIT_CODES.keys()
    for outcome, code in EXIT_CODES.items():
        assert str(code) in told[outcome].split(", ")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page's jobs name."""
    PAGE.write_files(tmp_path)
    (tmp_path / "job.yaml").write_text(PAGE.blocks("yaml")[0])
    for name in ("reviews", "more", "out/clean"):
        (tmp_path / name).mkdir(parents=True)
    lines = [json.dumps({"id": number, "text": text}) + "\n" for number, text in enumerate(REVIEWS, 1)]
    for name in ("reviews", "out/clean"):
        (tmp_path / name / "a.jsonl").write_text("".join([*PAGE.blocks("json"), *lines]))
    (tmp_path / "more" / "b.jsonl.gz").write_bytes(b"")
    monkeypatch.setenv("OPENAI_API_KEY", "none-needed")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_whole_job_file_has_nothing_wrong(folder: Path) -> None:
    job = tm.load_job("job.yaml")
    job.check()
    assert tm.load_job(write(folder, job.to_yaml())) == job


def write(folder: Path, text: str) -> Path:
    path = folder / "written.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", PAGE.blocks("yaml")[1:], ids=lambda text: text.partition(":")[0])
def test_a_part_of_a_job_file_stands_in_for_that_part(folder: Path, text: str) -> None:
    """Each shorter block loads with the keys of the whole file around it."""
    whole: dict[str, Any] = yaml.safe_load(PAGE.blocks("yaml")[0])
    part: dict[str, Any] = yaml.safe_load(text)
    assert part.keys() <= JobFile.model_fields.keys()
    spec = load_job_file(write(folder, yaml.safe_dump(whole | part)))
    tm.Job(spec).check()


def test_the_page_s_resource_is_given_to_its_step(folder: Path) -> None:
    text = next(text for text in PAGE.blocks("yaml") if text.startswith("resources:"))
    with closing(sqlite3.connect("products.db")) as db, db:
        db.execute("create table products (review integer, name text)")
        db.executemany("insert into products values (?, ?)", ((number, f"lamp {number}") for number in range(9)))
    with FaultServer(reply=reply) as server:
        whole: dict[str, Any] = yaml.safe_load(PAGE.blocks("yaml")[0]) | yaml.safe_load(text)
        whole["models"]["fast"]["base_url"] = server.base_url
        report = tm.load_job(write(folder, yaml.safe_dump(whole))).run(progress=False)
        assert report.outcome == "finished", report.reason
    landed = list(tm.dataset("out/labelled"))
    assert landed
    assert all(row["product"] == f"lamp {row['id']}" for row in landed)


def test_short_and_long_forms_are_one_step(folder: Path) -> None:
    steps = load_job_file("job.yaml").steps
    short = next(text for text in PAGE.blocks("yaml") if "name: narrow" in text)
    whole = yaml.safe_load(PAGE.blocks("yaml")[0]) | yaml.safe_load(short)
    given = load_job_file(write(folder, yaml.safe_dump(whole))).steps
    assert {node.kind for node in (*steps, *given)} == {node.kind for node in NODES if node.record_wise} | {"take"}
    kinds = [(node.kind, {key: value for key, value in node if key not in ("name", "on_error")}) for node in given]
    assert kinds[0] == kinds[1]
    assert kinds[-1] == kinds[-2]


def test_the_page_s_job_and_commands_run(folder: Path) -> None:
    """Against a fault server in the place of the paid model."""
    with FaultServer(reply=reply) as server:
        text = (folder / "job.yaml").read_text()
        text = text.replace(f"model: {MODEL}", f"model: {MODEL}\n    base_url: {server.base_url}")
        text = text.replace("max_errors: 0.02", "max_errors: 10")
        (folder / "job.yaml").write_text(text)
        assert tm.load_job("job.yaml").run(progress=False).outcome == "finished"
        commands = list(PAGE.commands())
        assert len(commands) == 3
        billed = server.billed
        assert billed == 2 * len(tm.dataset("out/labelled"))
        assert [run_command(partial(app, command, standalone_mode=False)) for command in commands] == [0, 0, 0]
        assert server.billed == 2 * billed, "the second command reuses every reply"


def reply(call: Any) -> str:
    return json.dumps({"sentiment": "positive", "topic": "batteries"})
