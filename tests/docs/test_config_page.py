"""docs/config.md runs as printed: its files are written, its code and commands run, in the order of the page."""

from __future__ import annotations

import datetime
import enum
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from docpages import ROOT, Page, bare, list_said
from pydantic import Field, FilePath, HttpUrl, SecretStr

import tidemill as tm
import tidemill.config
from tidemill.config.report.rendering import describe_problem
from tidemill.config.types.durations import Duration
from tidemill.config.types.sizes import ByteSize
from tidemill.config.types.unique import Unique

PAGE = Page.load("docs/config.md")
ANY = {"…\n": "(?s:.*)", "…": ".*"}
"""What the page leaves out: further lines, a folder."""


class Mode(enum.Enum):
    """What the tables call `Mode`."""

    FAST = "fast"
    SLOW = "slow"


TYPES: dict[str, Any] = {
    "Annotated": Annotated,
    "Any": Any,
    "ByteSize": ByteSize,
    "Decimal": Decimal,
    "Duration": Duration,
    "Field": Field,
    "FilePath": FilePath,
    "Fraction": Fraction,
    "HttpUrl": HttpUrl,
    "IPv4Address": IPv4Address,
    "Literal": Literal,
    "Mode": Mode,
    "Path": Path,
    "SecretStr": SecretStr,
    "Unique": Unique,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "timedelta": datetime.timedelta,
    "tm": tm,
}


@dataclass(frozen=True)
class Block:
    """A fenced block of the page, and the line it stands on."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str:
        """The file that the block is; empty where it is none."""
        named = re.match(r"# ([\w/.-]+\.\w+)\n", self.text)
        return named.group(1) if named else ""


def list_blocks() -> list[Block]:
    found = re.finditer(r"^```(\w+)\n(.*?)^```", PAGE.text, re.DOTALL | re.MULTILINE)
    return [Block(each[1], each[2], PAGE.text.count("\n", 0, each.start()) + 2) for each in found]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, whose modules can be imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for block in list_blocks():  # a test of another file may have imported a module of that name
        if block.file.endswith(".py"):
            monkeypatch.delitem(sys.modules, block.file.removesuffix(".py"), raising=False)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


def test_the_page_runs_and_prints_what_it_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A block that begins with a file's name is that file; `$ command` prints what stands below it."""
    names: dict[str, Any] = {"__name__": "config_page"}
    blocks = list_blocks()
    for block, following in zip(blocks, [*blocks[1:], Block("", "", 0)], strict=True):
        if block.file:
            (folder / block.file).write_text(block.text)
            importlib.invalidate_caches()
        elif block.language == "console":
            check_commands(block, folder)
        elif block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, PAGE.name, "exec", dont_inherit=True)
            exec(code, names)  # noqa: S102 - the page's own code
            shown = following.text.splitlines() if following.language == "text" else []
            assert capsys.readouterr().out.splitlines() == [*list_said(block.text), *shown], f"line {block.line}"


def test_a_mistake_is_told_before_the_training_module_is_imported(folder: Path) -> None:
    for block in reversed(list_blocks()):  # of a file that is written twice, the first version
        if block.file in ("train.py", "train.yaml"):
            (folder / block.file).write_text(block.text)
    (folder / "train_loop.py").write_text("print('imported')\n")
    assert "imported" in run("python train.py", folder)
    printed = run("python train.py train.yaml; echo $?", folder)
    assert printed.endswith("2 errors\n2\n")
    assert "imported" not in printed


def check_commands(block: Block, folder: Path) -> None:
    """Each command prints the lines up to the next one; `…` stands for a folder or for further lines."""
    for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        printed = run(command, folder)
        pieces = re.split("(^…\n|…)", expected, flags=re.MULTILINE)
        pattern = "".join(ANY.get(piece, re.escape(piece)) for piece in pieces)
        assert re.fullmatch(pattern, printed), f"line {block.line}: $ {command}\n{printed}"


def run(command: str, folder: Path) -> str:
    """What a command prints, on a terminal of 120 columns, without blanks at the ends of lines."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "PATH", "TMPDIR") if name in os.environ}
    paths = {
        "PYTHONPATH": str(ROOT / "src"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}",
    }
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env={**kept, **paths, "COLUMNS": "120", "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return re.sub(r" +$", "", done.stdout, flags=re.MULTILINE)


def test_the_readme_s_script_prints_what_stands_there(folder: Path) -> None:
    readme = Page.load("README.md")
    script = next(text for text in readme.blocks("python") if text.startswith("# train.py"))
    (folder / "train.py").write_text(script)
    (folder / "train.yaml").write_text("learningrate: 0.01\n")
    report = next(text for text in readme.blocks("console") if "train.py" in text)
    check_commands(Block("console", report, 1 + readme.text[: readme.text.index(report)].count("\n")), folder)


def make_config(field: str) -> type[tm.Config]:
    """A configuration with one field `x`, annotated as a table's cell says."""
    names = {**TYPES, "__name__": __name__}
    code = compile(f"class One(tm.Config):\n    x: {field}\n", PAGE.name, "exec", dont_inherit=True)
    exec(code, names)  # noqa: S102 - the page's own types
    made: type[tm.Config] = names["One"]
    return made


def list_codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def write_one(given: str, folder: Path) -> Path:
    path = folder / "one.yaml"
    path.write_text(f"x: {given}\n")
    return path


def load_one(field: str, source: Any) -> Any:
    return vars(tm.load_config(make_config(field), source))["x"]


@pytest.mark.parametrize("row", PAGE.table("coercion"), ids=lambda row: bare(row["type"]))
def test_a_row_of_what_becomes_what_is_true(row: dict[str, str], tmp_path: Path) -> None:
    """As YAML, and as a mapping that Python holds."""
    field = bare(row["type"])
    for given in list_codes(row["taken"]):
        path = write_one(given, tmp_path)
        assert load_one(field, path) == load_one(field, {"x": load_one("Any", path)})
    for given in list_codes(row["refused"]):
        path = write_one(given, tmp_path)
        for source in (path, {"x": load_one("Any", path)}):
            with pytest.raises(tm.ConfigError, match="expected"):
                load_one(field, source)


@pytest.mark.parametrize("row", PAGE.table("rules"), ids=lambda row: bare(row["field"]))
def test_a_rule_is_told_as_printed(row: dict[str, str], folder: Path) -> None:
    (folder / "tokenizer.json").touch()
    with pytest.raises(tm.ConfigError, match="expected") as caught:
        load_one(bare(row["field"]), write_one(bare(row["given"]), folder))
    assert [re.sub("^`[^`]*`: ", "", describe_problem(each)) for each in caught.value.problems] == [row["told"]]


def test_every_type_comes_from_where_the_page_says() -> None:
    for row in PAGE.table("types"):
        assert hasattr(tidemill.config, bare(row["type from `tidemill.config`"]))
    assert all(hasattr(tidemill.config, name) for name in tidemill.config.__all__)


def test_every_public_method_is_told() -> None:
    own = {name for name in vars(tm.Config) if not name.startswith(("_", "model_"))}
    assert own <= set(re.findall(r"\w+", PAGE.text))


def test_its_hooks_are_those_that_the_repository_offers() -> None:
    offered = {each["id"] for each in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    text = next(block.text for block in list_blocks() if "repos:" in block.text)
    named = [hook for repo in yaml.safe_load(text)["repos"] for hook in repo["hooks"]]
    assert {hook["id"] for hook in named} <= offered


def test_every_link_leads_somewhere() -> None:
    """To a heading of this page or another, or to a file beside it."""
    assert PAGE.find_broken_links() == []
