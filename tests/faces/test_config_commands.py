"""`tidemill config` and `tidemill schema`: any configuration from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tidemill.commands import app, run_command

MODULE = '''
from pydantic import Field

import tidemill as tm


class Optimizer(tm.Config):
    """What updates the weights.

    Attributes:
        lr: the step size.
    """

    lr: float = Field(1e-4, gt=0)


class Train(tm.Config):
    batch_size: int = Field(32, ge=1)
    optim: Optimizer = Optimizer()
    tags: list[str] = Field([])
    api_key: str = ""
'''


TAGGED = """
from typing import Annotated, Literal

import tidemill as tm
from tidemill.config.unions.tagged import Tagged


class Adam(tm.Config):
    type: Literal["adam"] = "adam"


class Sgd(tm.Config):
    type: Literal["sgd"] = "sgd"
    momentum: float = 0.0


class Train(tm.Config):
    optim: Annotated[Adam | Sgd, Tagged(default="adam")] = Adam()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("shown_train.py").write_text(MODULE)
    Path("base.yaml").write_text("batch_size: 8\noptim: {lr: 0.1}\napi_key: canary-0123456789\n")
    Path("train.yaml").write_text("include: base.yaml\ntags: [a, '${env:TM_TAG:-b}']\noptim: {lr: 3e-4}\n")
    Path("bad.yaml").write_text("batchsize: 8\noptim: {lr: 0}\n")
    return tmp_path


def command(*arguments: str) -> int:
    return run_command(lambda: app(list(arguments), standalone_mode=False))


TYPE = ("--type", "shown_train:Train")


def test_show_prints_every_value_with_its_origin(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "show", "train.yaml", *TYPE, "--set", "batch_size=16") == 0
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines] == [
        ["batch_size", "16"],
        ["optim.lr", "0.0003"],
        ["api_key", "***"],
        ["tags", "[a,"],
    ]
    assert lines[0][2].strip() == "--set batch_size, over base.yaml:1:13"
    assert lines[1][2].strip() == "train.yaml:3:13, over base.yaml:2:13"


def test_show_as_json_lists_defaults_too_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "show", "base.yaml", *TYPE, "--json") == 0
    assert json.loads(capsys.readouterr().out)["tags"] == {"value": [], "origin": "default"}
    assert command("config", "show", "base.yaml", *TYPE, "--json", "--given") == 0
    assert "tags" not in json.loads(capsys.readouterr().out)


def test_diff_prints_what_differs_and_tells_by_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "diff", "base.yaml", "train.yaml", *TYPE) == 1
    assert capsys.readouterr().out.splitlines() == [
        "optim.lr: 0.1 [base.yaml:2:13] → 0.0003 [train.yaml:3:13, over base.yaml:2:13]",
        "tags: [] [default] → [a, b] [train.yaml:2:7]",
    ]
    assert command("config", "diff", "base.yaml", "base.yaml", *TYPE) == 0
    assert capsys.readouterr().out == "no difference\n"


def test_diff_tells_that_a_secret_differs_and_shows_none(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.yaml").write_text("batch_size: 8\noptim: {lr: 0.1}\napi_key: canary-another-one\n")
    assert command("config", "diff", "base.yaml", "other.yaml", *TYPE) == 1
    assert capsys.readouterr().out == "api_key: *** [base.yaml:3:10] → another *** [other.yaml:3:10]\n"


TYPES = """
import enum, datetime, decimal, fractions, ipaddress, pathlib, uuid
from typing import Literal
import pydantic
import tidemill as tm
from tidemill.config import ByteSize, Duration, Unique


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = 2


class Kinds(tm.Config):
    size: ByteSize = 64_000_000
    sizes: list[ByteSize] = [1000]
    pydantic_size: pydantic.ByteSize = pydantic.ByteSize(5000)
    wait: Duration = 90.0
    delta: datetime.timedelta = datetime.timedelta(seconds=90)
    mode: Mode = Mode.FAST
    modes: list[Mode] = [Mode.SLOW]
    day: datetime.date = datetime.date(2026, 1, 2)
    at: datetime.datetime = datetime.datetime(2026, 1, 2, 3, 4, 5)
    exact: decimal.Decimal = decimal.Decimal("1.10")
    path: pathlib.Path = pathlib.Path("a/b")
    address: ipaddress.IPv4Address = ipaddress.IPv4Address("10.0.0.1")
    name: uuid.UUID = uuid.UUID(int=5)
    link: pydantic.HttpUrl = pydantic.HttpUrl("https://example.com/")
    choice: Literal[1, "a"] = "a"
    pair: tuple[int, float] = (1, 2.5)
    several: set[int] = {3}
    named: dict[str, ByteSize] = {"a": 1000}
    flag: bool = True
    maybe: int | None = None
"""


def test_a_default_given_again_is_no_difference(capsys: pytest.CaptureFixture[str]) -> None:
    Path("shown_types.py").write_text(TYPES)
    kinds = ("--type", "shown_types:Kinds")
    Path("empty.yaml").write_text("{}\n")
    Path("given.yaml").write_text(
        "size: 64MB\nsizes: [1kB]\npydantic_size: 5kB\nwait: 1m30s\ndelta: 90s\nmode: FAST\nmodes: [2]\n"
        "day: 2026-01-02\nat: 2026-01-02 03:04:05\nexact: '1.10'\npath: a/b\naddress: 10.0.0.1\n"
        "name: 00000000-0000-0000-0000-000000000005\nlink: https://example.com\nchoice: a\npair: ['1', 2.5]\n"
        "several: [3]\nnamed: {a: 1kB}\nflag: on\nmaybe: null\n"
    )
    said = command("config", "diff", "empty.yaml", "given.yaml", *kinds), capsys.readouterr().out
    assert said == (0, "no difference\n")
    assert command("config", "show", "given.yaml", *kinds) == 0
    assert command("config", "show", "given.yaml", *kinds, "--json") == 0
    assert "64000000" in capsys.readouterr().out


def test_explain_says_what_a_key_means_and_what_gave_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "explain", "optim.lr", "train.yaml", *TYPE, "--set", "optim.lr=1") == 0
    assert capsys.readouterr().out.splitlines() == [
        "optim.lr  (number > 0, default 0.0001)",
        "  the step size.",
        "  is 1  from --set optim.lr",
        "      over train.yaml:3:13",
        "      over base.yaml:2:13",
    ]
    assert command("config", "explain", "optim.lrr", *TYPE) == 2
    assert "did you mean `optim.lr`?" in capsys.readouterr().err


def test_explain_says_of_another_kind_s_key_which_kind_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    Path("shown_tagged.py").write_text(TAGGED)
    Path("sgd.yaml").write_text("optim: {type: sgd}\n")
    for files, note in [((), ["  `momentum` is a key of `type: sgd`; this section is `adam`"]), (("sgd.yaml",), [])]:
        assert command("config", "explain", "optim.momentum", *files, "--type", "shown_tagged:Train") == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "optim.momentum  (number, default 0.0)"
        assert [line for line in lines if "key of" in line] == note


def test_check_tells_all_mistakes_of_all_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "check", "bad.yaml", "train.yaml", *TYPE) == 2
    said = capsys.readouterr().err
    assert "bad.yaml:1:1   unknown key `batchsize`; did you mean `batch_size`?" in said
    assert "2 errors" in said
    assert command("config", "check", "train.yaml", "base.yaml", *TYPE) == 0
    assert capsys.readouterr().out == "train.yaml: nothing wrong\nbase.yaml: nothing wrong\n"


@pytest.mark.parametrize("arguments", [("config", "check", "bad.yaml", *TYPE), ("check", "job.yaml")])
def test_errors_come_as_json_and_as_annotations(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    Path("job.yaml").write_text("source: {pth: x}\nsink: {path: out}\nsteps: []\n")
    assert command(*arguments, "--format", "json") == 2
    first = json.loads(capsys.readouterr().out)["errors"][0]
    assert (first["file"], first["line"]) == (arguments[1] if len(arguments) == 2 else "bad.yaml", 1)
    assert command(*arguments, "--format", "github") == 2
    assert capsys.readouterr().out.startswith("::error file=")


def test_no_error_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "check", "train.yaml", *TYPE, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"errors": []}


def test_a_wrong_type_is_told_with_what_it_may_have_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config", "check", "bad.yaml", "--type", "shown_train:Trian") == 2
    assert "did you mean `shown_train:Train`?" in capsys.readouterr().err
    assert command("config", "check", "bad.yaml", "--type", "shown_train:tm") == 2
    assert "expected a class, got a module" in capsys.readouterr().err


def test_schema_prints_that_of_a_class_and_of_job_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("schema", "shown_train:Train") == 0
    assert "batch_size" in json.loads(capsys.readouterr().out)["properties"]
    assert command("schema") == 0
    assert {"source", "steps", "sink"} <= json.loads(capsys.readouterr().out)["properties"].keys()


def test_the_hooks_of_pre_commit_run_as_written(folder: Path) -> None:
    hooks = {each["id"]: each for each in yaml.safe_load(Path(__file__).parents[2].joinpath(HOOKS).read_text())}
    Path("job.yaml").write_text("source: {pth: x}\nsink: {path: out}\nsteps: []\n")
    tidemill = Path(sys.executable).with_name("tidemill")
    for name, more, wrong in (("tidemill-check", (), "job.yaml"), ("tidemill-config", TYPE, "bad.yaml")):
        entry = hooks[name]["entry"].split()
        run = subprocess.run(
            [tidemill, *entry[1:], *more, wrong], capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": str(folder)},
        )  # fmt: skip
        assert entry[0] == "tidemill"
        assert run.returncode == 2
        assert f"{wrong}:1:" in run.stderr


HOOKS = ".pre-commit-hooks.yaml"


def test_a_job_may_be_a_toml_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n{"text": "c"}\n')
    Path("job.toml").write_text(
        'source = {path = "rows.jsonl"}\nsteps = [{take = 2}]\n[sink]\npath = "out"\nformat = "jsonl"\n'
    )
    assert command("run", "job.toml") == 0
    assert command("status", "job.toml") == 0
    capsys.readouterr()
    assert command("config", "show", "out", "--given") == 0
    assert "steps.0.take  2           job.toml:2:18" in capsys.readouterr().out
    capsys.readouterr()
    assert command("config", "diff", "out", "job.toml") == 0
    assert capsys.readouterr().out == "no difference\nsecrets are not compared: a run keeps none\n"
    Path("job.toml").write_text(Path("job.toml").read_text().replace("take = 2", "take = 3"))
    assert command("run", "job.toml") == 2
    assert "in the job file:\n      steps.0.take: 2 [job.toml:2:18] → 3 [job.toml:2:18]" in capsys.readouterr().err
    saved = json.loads(Path("out/.run/config.json").read_text())
    assert saved["fingerprint"] == json.loads(Path("out/.run/run.json").read_text())["fingerprint"]
