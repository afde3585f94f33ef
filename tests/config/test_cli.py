"""What is typed after a script's name: values, files, and every mistake in one report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from tidemill.config.cli.script import cli
from tidemill.config.layers.origins import find_origins
from tidemill.config.model import Config
from tidemill.errors import ConfigError


class Adam(Config):
    type: Literal["adam"] = "adam"
    lr: float = Field(3e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)


class Sgd(Config):
    type: Literal["sgd"] = "sgd"
    lr: float = Field(0.1, gt=0)
    nesterov: bool = False


class Stage(Config):
    lr: float = 1.0
    steps: int = Field(1, ge=1)


class Train(Config):
    learning_rate: float = Field(1e-4, gt=-2)
    batch_size: int = Field(32, ge=1)
    resume: bool = True
    compile: bool | Literal["default", "max-autotune"] = False
    maybe: bool | None = False
    tags: list[str] = Field([])
    ids: list[int] = Field([])
    pairs: list[list[int]] = Field([])
    prompt: str = ""
    optim: Annotated[Adam | Sgd, Field(discriminator="type")] = Adam()
    warmup: Stage | None = None
    stages: list[Stage] = Field([])
    models: dict[str, Stage] = Field({})
    free: dict[str, Any] = Field({})
    help: str = ""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def find_values(*arguments: str, model: type[BaseModel] = Train) -> dict[str, Any]:
    """What was given."""
    return cli(model, arguments=arguments).model_dump(exclude_unset=True)


def find_report(*arguments: str, model: type[Any] = Train, environment: str | None = None) -> str:
    with pytest.raises(ConfigError, match=r"\d errors?$") as caught:
        cli(model, arguments=arguments, environment=environment)
    return str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--batch_size 8", {"batch_size": 8}),
        ("--batch_size=8", {"batch_size": 8}),
        ("--batch-size 8", {"batch_size": 8}),
        ("batch_size=8", {"batch_size": 8}),
        ("--set batch_size=8", {"batch_size": 8}),
        ("--set=batch-size=8", {"batch_size": 8}),
        ("--learning_rate -1", {"learning_rate": -1.0}),
        ("--learning_rate -1e-1", {"learning_rate": -0.1}),
        ("--prompt -x", {"prompt": "-x"}),
        ("--prompt=--x", {"prompt": "--x"}),
        ("--prompt 7", {"prompt": "7"}),
        ("--prompt={{a}}", {"prompt": "{{a}}"}),
        ("--no-resume", {"resume": False}),
        ("--no_resume", {"resume": False}),
        ("--resume false", {"resume": False}),
        ("--resume=no", {"resume": False}),
        ("--resume --batch_size 8", {"resume": True, "batch_size": 8}),
        ("--maybe", {"maybe": True}),
        ("--maybe null", {"maybe": None}),
        ("--compile", {"compile": True}),
        ("--compile max-autotune", {"compile": "max-autotune"}),
        ("--no-compile", {"compile": False}),
        ("--tags a", {"tags": ["a"]}),
        ("--tags a --tags 1", {"tags": ["a", "1"]}),
        ("--tags [a,b]", {"tags": ["a", "b"]}),
        ("--tags []", {"tags": []}),
        ("--ids 3 --ids=-4", {"ids": [3, -4]}),
        ("--pairs [[1,2]]", {"pairs": [[1, 2]]}),
        ("--pairs [1,2] --pairs [3]", {"pairs": [[1, 2], [3]]}),
        ("--warmup.lr 2", {"warmup": {"lr": 2.0}}),
        ("--warmup {}", {"warmup": {}}),
        ("--models.big.lr 2", {"models": {"big": {"lr": 2.0}}}),
        ("--models.gpt-4.1.lr 2", {"models": {"gpt-4.1": {"lr": 2.0}}}),
        ("--free.a-b.c 1", {"free": {"a-b": {"c": 1}}}),
        ("--stages [{}] --stages.0.lr 2", {"stages": [{"lr": 2.0}]}),
        ("--optim.type sgd --optim.nesterov", {"optim": {"type": "sgd", "nesterov": True}}),
        ("--no-optim.nesterov --optim.type sgd", {"optim": {"type": "sgd", "nesterov": False}}),
        ("--optim.no-nesterov --optim.type sgd", {"optim": {"type": "sgd", "nesterov": False}}),
        ("help=me", {"help": "me"}),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_values(arguments: str, expected: dict[str, Any]) -> None:
    assert find_values(*arguments.split()) == expected


words = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1).filter(
    lambda text: text.strip()[:1] not in ("'", '"', "@", "[", "") and not text.startswith("- ") and "$" not in text
)


@given(words, words)
@example("0", "|")
@example(">", "|-")
def test_a_text_arrives_as_it_was_typed(one: str, other: str) -> None:
    """But for YAML's quotes, references, lists and `@FILE`; what YAML calls comment, anchor or tag is text."""
    given = cli(Train, arguments=[f"--prompt={one}", f"--tags={one}", "--tags=x", f"--tags={other}"])
    assert (given.prompt, given.tags) == (one, [one, "x", other])


def test_files_lie_under_values_and_over_the_scripts_own(folder: Path) -> None:
    (folder / "own.yaml").write_text("batch_size: 1\nlearning_rate: 1\nprompt: own\n")
    (folder / "a.yaml").write_text("batch_size: 2\nlearning_rate: 2\n")
    (folder / "b.toml").write_text("learning_rate = 3\n")
    trained = cli(Train, folder / "own.yaml", arguments=["a.yaml", "b.toml", "--prompt", "typed"])
    assert (trained.batch_size, trained.learning_rate, trained.prompt) == (2, 3, "typed")


def test_a_file_is_laid_over_what_was_given_before_it(folder: Path) -> None:
    (folder / "other.yaml").write_text("batch_size: 5\nprompt: other\n")
    (folder / "stage.yaml").write_text("steps: 3\n")
    trained = cli(Train, arguments=["--batch_size=4", "@other.yaml", "--prompt", "x", "--warmup", "@stage.yaml"])
    assert (trained.batch_size, trained.prompt, trained.warmup) == (5, "x", Stage(steps=3))


def test_a_file_whose_name_has_an_equals_sign_is_a_file(folder: Path) -> None:
    (folder / "lr=1.yaml").write_text("batch_size: 5\n")
    assert find_values("lr=1.yaml") == {"batch_size": 5}


def test_options_are_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAIN__BATCH_SIZE", "4")
    monkeypatch.setenv("TRAIN__PROMPT", "environment")
    trained = cli(Train, arguments=["--batch_size", "5"], environment="TRAIN")
    assert (trained.batch_size, trained.prompt) == (5, "environment")


def test_values_know_that_the_command_line_gave_them() -> None:
    origins = find_origins(cli(Train, arguments=["--optim.lr", "1", "--optim.type", "sgd"]))
    assert origins is not None
    assert str(origins.find(("optim", "lr"))) == "--optim.lr"


OPTION = "did you mean `--batch_size`?"
ITEM = "each item has its own option, as `--tags b`; or give one list, as `--tags '[a, b]'`"
SIZE = "did you mean `--batch_size`?  (integer >= 1, default 32)"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--batch_siz 8", "--batch_siz  unknown key `batch_siz`; {size}"),
        (
            "--optim.lrr 8 --optim.type sgd",
            "--optim.lrr  unknown key `optim.lrr`; did you mean `--optim.lr`?  (number > 0, default 0.0003)",
        ),
        ("--set batch_siz=8", "--set batch_siz  unknown key `batch_siz`; {size}"),
        ("batch_siz=8", "argument batch_siz  unknown key `batch_siz`; {size}"),
        ("--no-resum", "--no-resum  unknown key `no-resum`; did you mean `--no-resume`?"),
        (
            "--nesterov",
            "--nesterov  unknown key `nesterov`; did you mean `--optim.nesterov`?  (true or false, default false)",
        ),
        (
            "--steps 3",
            "--steps  unknown key `steps`; did you mean `--warmup.steps`, `--stages.N.steps` or `--models.KEY.steps`?",
        ),
        ("--no-batch_size", "--no-batch_size  unknown key `no-batch_size`; {size}"),
        ("-batch_size 8", "-batch_size  an option begins with `--`; {size}"),
        (
            "batch_size 8",
            "8  there is no file `8` in {folder}\nbatch_size  there is no file `batch_size`; {option}",
        ),
        ("--batch_size", "--batch_size  expected an integer >= 1, got nothing"),
        (
            "--prompt --resume",
            "--prompt  expected text, got nothing; a value that begins with `--` is given as `--prompt=--…`",
        ),
        ("--no-resume=1", "--no-resume  takes no value; give `--no-resume` alone, or `--resume=1`"),
        ("--batch_size 8 --batch-size 8", "--batch_size  given twice, also as `--batch-size`; keep one of them"),
        ("--prompt a --prompt b --set prompt=c", "--prompt  given 3 times, also as `--set prompt`; keep one of them"),
        ("--tags [a] --tags b", "--tags  given twice; give one list, or each item by its own option"),
        (
            "--tags a b",
            "b  there is no file `b`; {item}",
        ),
        ("--ids 1,2", '--ids  `ids.0`: expected an integer, got "1,2"'),
        ("--compile fast", '--compile  `compile`: expected true or false or `default` or `max-autotune`, got "fast"'),
        (
            "--stages.0.lr 1",
            "--stages.0.lr  `stages` is given by no source: it has no item 0 to set; give the whole list",
        ),
        ("--optim.type adm", '--optim.type  `optim.type`: expected `adam` or `sgd`, got "adm"; did you mean `adam`?'),
        ("--set", "--set  expected `path=value`, as `optim.lr=3e-4`"),
        ("--set seed", "--set seed  expected `path=value`, as `optim.lr=3e-4`, got `seed`"),
        ("--completion bsh", "--completion  expected `bash`, `zsh` or `fish`, got `bsh`; did you mean `bash`?"),
    ],
    ids=lambda each: each.partition("  ")[0],
)
def test_mistakes(arguments: str, expected: str, folder: Path) -> None:
    lines = find_report(*arguments.split()).splitlines()[:-1]
    assert sorted(lines) == sorted(expected.format(folder=folder, size=SIZE, option=OPTION, item=ITEM).splitlines())


def test_a_file_that_is_not_there_is_told_with_the_one_that_is(folder: Path) -> None:
    (folder / "base.yaml").write_text("batch_size: 0\n")
    report = find_report("bse.yaml", "@bas.yaml")
    assert f"bse.yaml  there is no file `bse.yaml` in {folder}; did you mean `base.yaml`?" in report
    assert f"@bas.yaml  there is no file `bas.yaml` in {folder}; did you mean `base.yaml`?" in report


def test_all_mistakes_are_in_one_report_with_those_of_the_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "base.yaml").write_text("batch_size: 0\nprompts: x\n")
    monkeypatch.setenv("TRAIN__SEEED", "1")
    arguments = ["base.yaml", "--optim.lrr", "3", "--ids", "x", "--tags", "--resumee"]
    report = find_report(*arguments, environment="TRAIN")
    assert report.splitlines()[:6] == [
        "base.yaml:1:13  `batch_size`: expected an integer >= 1, got 0",
        "    1 | batch_size: 0",
        "      |             ^",
        'base.yaml:2:1   unknown key `prompts`; did you mean `prompt`?  (text, default "")',
        "    2 | prompts: x",
        "      | ^^^^^^^",
    ]
    places = [line.partition("  ")[0] for line in report.splitlines()[6:-1]]
    assert places == ["--optim.lrr", "--ids", "--tags", "--resumee", "environment TRAIN__SEEED"]
    assert report.endswith("7 errors")


class Required(Config):
    rate: float = Field(gt=0)
    size: int


def test_a_required_key_that_was_mistyped_or_has_no_value_is_not_missing_as_well() -> None:
    report = find_report("--rates", "3", "--size", model=Required)
    assert report.splitlines() == [
        "--rates  unknown key `rates`; did you mean `--rate`?  (number > 0, required)",
        "--size  expected an integer, got nothing",
        "2 errors",
    ]


def test_a_required_key_that_is_missing_is_told_of_the_command_line() -> None:
    assert "command line  missing key `size` (an integer)" in find_report("--rate", "3", model=Required)


def test_a_mistyped_option_hides_nothing_that_is_wrong_with_the_key_it_is_near_to(folder: Path) -> None:
    (folder / "base.yaml").write_text("rate: -1\nsize: 1\n")
    assert find_report("base.yaml", "--ratee", "3", model=Required).endswith("2 errors")


class Plain(BaseModel):
    """Ignores what it does not know, as Pydantic does."""

    size: int = 1


def test_an_option_that_the_model_would_ignore_is_an_error() -> None:
    assert "--sizes  unknown key `sizes`; did you mean `--size`?" in find_report("--sizes", "3", model=Plain)


SCRIPT = """\
import tidemill as tm


class Train(tm.Config):
    batch_size: int = 32


cfg = tm.cli(Train)
import train_loop
"""


def run_script(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "train.py").write_text(SCRIPT)
    (folder / "train_loop.py").write_text("raise SystemExit('the training module was imported')\n")
    command = [sys.executable, "train.py", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_a_mistake_is_seen_before_the_training_module_is_imported(folder: Path) -> None:
    done = run_script(folder, "--batch_size", "x")
    assert done.returncode == 2
    assert done.stderr == '--batch_size  `batch_size`: expected an integer, got "x"\n1 error\n'
    assert "the training module was imported" in run_script(folder, "--batch_size", "8").stderr


def test_help_comes_before_the_training_module_whatever_else_is_wrong(folder: Path) -> None:
    done = run_script(folder, "none.yaml", "--batch_sze", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: train.py [FILE ...]")


def test_nothing_heavy_is_imported(folder: Path) -> None:
    code = SCRIPT.replace("import train_loop", "import sys\nprint(*sys.modules)")
    (folder / "light.py").write_text(code)
    done = subprocess.run([sys.executable, "light.py"], cwd=folder, capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pyarrow", "rich", "griffe", "uvloop", "httptools"} & set(done.stdout.split())
