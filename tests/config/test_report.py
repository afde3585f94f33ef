"""The error report: what an author sees, to the letter."""

from __future__ import annotations

import io
import pickle
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import AnyUrl, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cases import load_cases
from tidemill.config.layers.document import Document
from tidemill.config.loading import validate_document
from tidemill.config.model import Config
from tidemill.config.report.rendering import problem_at, raise_problems, render_report, takes_color
from tidemill.config.types.functions import Function, Schema
from tidemill.config.types.templates import Template
from tidemill.errors import ConfigError, Place, Problem


class Read(Config):
    path: str | tuple[str, ...]
    on_error: Literal["raise", "quarantine", "skip"] | None = None
    since: date | None = None


class Limits(Config):
    concurrency: int = Field(64, ge=1, le=1000)
    attempt_timeout_s: float = Field(120, gt=0)


class Model(Config):
    model: str = Field(pattern=r"^[a-z]+/\S+$")
    base_url: AnyUrl | None = None
    api_key: SecretStr | None = None
    limits: Limits = Limits()
    headers: dict[str, str] = Field({})


class Apply(Config):
    fn: Function

    @model_validator(mode="before")
    @classmethod
    def _from_function(cls, value: Any) -> Any:
        return {"fn": value} if isinstance(value, str) else value


class WithColumns(Config):
    columns: dict[str, Function]

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, value: Any) -> Any:
        return value if isinstance(value, dict) and "columns" in value else {"columns": value}


class Generate(Config):
    model: str
    prompt: Template
    output: Schema | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float = Field(0, ge=0, le=2)
    stop: list[str] = Field([], max_length=4)
    into: str = Field("reply", min_length=1, max_length=40)
    samples: int | Literal["auto"] = 1


class Step(Config):
    filter: Apply | None = None
    with_columns: WithColumns | None = None
    generate: Generate | None = None

    @model_validator(mode="after")
    def _check_one(self) -> Step:
        if len(self.model_fields_set) != 1:
            raise ValueError("a step is one key: its kind")
        return self


class Budget(Config):
    usd: float | None = Field(None, gt=0)
    tokens: int | None = Field(None, gt=0, multiple_of=1000)


class Parquet(Config):
    type: Literal["parquet"] = "parquet"
    path: Path
    row_group: int = Field(1000, ge=1)


class Jsonl(Config):
    type: Literal["jsonl"]
    path: Path
    gzip: bool = False


class Job(Config):
    source: Read
    models: dict[str, Model] = Field({})
    steps: list[Step] = Field([], max_length=8)
    budget: Budget | None = None
    sink: Annotated[Parquet | Jsonl, Field(discriminator="type")] | None = None
    window: tuple[int, int] = (1, 100)
    tags: set[str] = Field(set())

    @field_validator("tags")
    @classmethod
    def _check_tags(cls, tags: set[str]) -> set[str]:
        for tag in tags:
            if " " in tag:
                raise PydanticCustomError("tag", "a tag has no space: `{tag}`", {"tag": tag, "hint": "use `-`"})
        return tags

    @model_validator(mode="after")
    def _check_budget(self) -> Job:
        if self.budget is not None and not self.models:
            raise PydanticCustomError("budget", "a budget needs a model to bound", {"path": ("budget",)})
        return self


def report(text: str) -> str:
    _, problems = validate_document(Job, Document.parse(text, "job.yaml"))
    return render_report(problems)


CASES = load_cases(Path(__file__).with_name("reports.txt"))


@pytest.mark.parametrize("name", CASES)
def test_report_of(name: str) -> None:
    text, expected = CASES[name]
    assert report(text) == expected


def test_a_valid_job_has_no_problem() -> None:
    text = "source: {path: a}\nmodels: {m: {model: a/b, limits: {concurrency: '64'}}}\nbudget: {usd: 1e-4}\n"
    job, problems = validate_document(Job, Document.parse(text))
    assert problems == []
    assert job is not None
    assert job.models["m"].limits.concurrency == 64


def test_problems_of_several_files_keep_their_files_apart() -> None:
    problems = [
        Problem("b", Place("job.yaml", 9, 1)),
        Problem("no place"),
        Problem("c", Place("prompt.txt", 2, 1)),
        Problem("--set", Place("--set a.b")),
        Problem("a", Place("job.yaml", 2, 5)),
        Problem("a", Place("job.yaml", 2, 3)),
    ]
    assert render_report(problems).splitlines() == [
        "job.yaml:2:3    a",
        "job.yaml:2:5    a",
        "job.yaml:9:1    b",
        "prompt.txt:2:1  c",
        "no place",
        "--set a.b       --set",
        "6 errors",
    ]


def test_an_error_in_a_template_file_points_into_that_file(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Label this:\n  {{ text | trm }}\n")
    text = "source: {path: a}\nsteps:\n- generate: {model: m, prompt: {file: prompt.txt}}\n"
    _, problems = validate_document(Job, Document.parse(text, "job.yaml"), {"folder": tmp_path})
    message = "the template is not valid: no filter named 'trm'; did you mean `trim`?"
    assert render_report(problems).splitlines() == [
        f"{tmp_path}/prompt.txt:2:13  `steps.0.generate.prompt`: {message}",
        "    2 |   {{ text | trm }}",
        "      |             ^^^",
        "1 error",
    ]


def test_a_missing_template_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("x")
    text = "source: {path: a}\nsteps:\n- generate: {model: m, prompt: {file: promt.txt}}\n"
    _, problems = validate_document(Job, Document.parse(text, "job.yaml"), {"folder": tmp_path})
    assert render_report(problems).splitlines()[0] == (
        f"job.yaml:3:39  `steps.0.generate.prompt.file`: there is no file `promt.txt` in {tmp_path}; "
        "did you mean `prompt.txt`?"
    )


def test_a_callers_own_problem_has_the_form_of_the_others() -> None:
    document = Document.parse("steps:\n- generate:\n    prompt: >-\n      Label\n      {{ txt }}\n", "job.yaml")
    path = ("steps", 0, "generate", "prompt")
    problem = problem_at(
        document, path, "no column `txt`", hint="did you mean `text`?", offset="Label {{ txt }}".index("txt"), length=3
    )
    assert render_report([problem]).splitlines() == [
        "job.yaml:5:10  `steps.0.generate.prompt`: no column `txt`; did you mean `text`?",
        "    5 |       {{ txt }}",
        "      |          ^^^",
        "1 error",
    ]


@pytest.mark.parametrize("offset", [0, 40, 200, 299])
def test_the_caret_of_a_long_line_stands_under_its_character(offset: int) -> None:
    line = "." * offset + "X" + "." * (300 - offset)
    source, caret = render_report([Problem("m", Place("f", 1, offset + 1, 1, line))]).splitlines()[1:3]
    assert source.index("X") == caret.index("^")
    assert len(source) < 125


def test_the_caret_counts_wide_characters_as_terminals_do() -> None:
    caret = render_report([Problem("m", Place("f", 1, 5, 1, "日本: x"))]).splitlines()[2]
    assert caret == "      |       ^"


def test_nothing_a_terminal_obeys_is_printed() -> None:
    text = render_report([Problem("a\x1b[31mb", Place("f", 1, 1, 1, "\x1b[2J\tx"))], color=False)
    assert "\x1b" not in text


def test_color_marks_place_and_caret_only() -> None:
    problem = Problem("m", Place("f", 1, 1, 1, "x"))
    colored = render_report([problem], color=True)
    assert "\x1b[31m^\x1b[0m" in colored
    plain = colored
    for code in ("\x1b[1m", "\x1b[31m", "\x1b[0m"):
        plain = plain.replace(code, "")
    assert plain == render_report([problem])


@pytest.mark.parametrize(
    ("is_terminal", "no_color", "colored"), [(True, "", True), (True, "1", False), (False, "", False)]
)
def test_color_is_for_terminals_that_want_it(
    is_terminal: bool, no_color: str, colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

    monkeypatch.setenv("NO_COLOR", no_color)
    assert takes_color(Stream()) is colored


def test_raising_gives_every_problem_and_pickles() -> None:
    raise_problems([])
    problems = [Problem("second", Place("f", 2, 1)), Problem("first", Place("f", 1, 1))]
    with pytest.raises(ConfigError, match=r"first\n.*second\n2 errors") as caught:
        raise_problems(problems)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert [each.message for each in copy.problems] == ["first", "second"]
    assert str(copy) == str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("f.yaml", "name: 1.10", "expected text, got 1.10"),
        ("f.yaml", "name: 1e2", "expected text, got 1e2"),
        ("f.yaml", "window: &x 0x1F\nname: *x", "expected text, got 0x1F"),
        ("f.yaml", "kind: 010", "expected `a` or `b`, got 010"),
        ("f.yaml", "name: True", "expected text, got true"),
        ("f.yaml", "sizes: {1.10: 2}", "expected the key to be text, got 1.10"),
        ("f.toml", "name = 1_000", "expected text, got 1_000"),
        ("f.json", '{"name": 1E+2}', "expected text, got 1E+2"),
    ],
)
def test_a_number_is_told_as_it_is_written(name: str, text: str, told: str) -> None:
    class Written(Config):
        name: str = ""
        kind: Literal["a", "b"] = "a"
        sizes: dict[str, int] = Field({})
        window: int = 1

    problems = validate_document(Written, Document.parse(text, name))[1]
    assert [each.message.partition(": ")[2] for each in problems] == [told]
