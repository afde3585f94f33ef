"""Completion: a real bash completes options, choices and files; the scripts of zsh and fish hold the same."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field

from tidemill.config.cli.completion import SHELLS, render_completion
from tidemill.config.cli.options import list_sections
from tidemill.config.cli.script import cli
from tidemill.config.coercion.adapters import shape_of
from tidemill.config.model import Config


class Adam(Config):
    type: Literal["adam"] = "adam"
    lr: float = 3e-4


class Sgd(Config):
    type: Literal["sgd"] = "sgd"
    nesterov: bool = False


class Stage(Config):
    lr: float = 1.0


class Train(Config):
    batch_size: int = 32
    data: Path = Path()
    mode: Literal["two words", "it's"] = "it's"
    optim: Annotated[Adam | Sgd, Field(discriminator="type")] = Adam()
    models: dict[str, Stage] = Field({})


def render_script(shell: str, program: str = "train.py") -> str:
    options = [option for section in list_sections(shape_of(Train)) for option in section.options]
    return render_completion(shell, program, options)


COMPLETE = """
_tidemill_train_py "${COMP_WORDS[0]}" "$1" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def complete(folder: Path, line: str, current: str | None = None, *, before: str = "") -> list[str]:
    """What bash offers at the end of `line`, whose words are as bash breaks them: `=` and `@` are words."""
    words = line.split(" ")
    shown = words[-1] if current is None else current
    script = f"{before}\n{render_script('bash')}\nCOMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}\n"
    command = ["bash", "--norc", "-c", f"{script}set -- {shlex.quote(shown)}\n{COMPLETE}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return sorted(filter(None, done.stdout.splitlines()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text("")
    (tmp_path / "sub").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "current", "expected"),
    [
        ("python train.py --op", None, ["--optim.lr", "--optim.nesterov", "--optim.type"]),
        ("./train.py --no", None, ["--no-optim.nesterov"]),
        ("python -u ./sub/train.py --he", None, ["--help"]),
        ("python train.py --mod", None, ["--mode", "--models", "--models."]),
        ("python train.py --optim.type ", None, ["adam", "sgd"]),
        ("python train.py --optim.type s", None, ["sgd"]),
        ("python train.py --optim.type =", "", ["adam", "sgd"]),
        ("python train.py --optim.type = s", None, ["sgd"]),
        ("python train.py optim.type = s", None, ["sgd"]),
        ("python train.py --set optim.type = s", None, ["sgd"]),
        ("python train.py --mode ", None, ["it\\'s", "two\\ words"]),
        ("python train.py --completion ", None, ["bash", "fish", "zsh"]),
        ("python train.py --batch_size ", None, []),
        ("python train.py ", None, ["base.yaml", "sub"]),
        ("python train.py --data b", None, ["base.yaml"]),
        ("python train.py @ b", "@b", ["@base.yaml"]),
        ("python train.py @", None, ["@base.yaml", "@sub/"]),
        ("python train.py --optim.nesterov b", None, ["base.yaml"]),
        ("python other.py --op", None, []),
    ],
)
def test_bash_completes(line: str, current: str | None, expected: list[str], folder: Path) -> None:
    assert complete(folder, line, current) == expected


def test_another_scripts_completion_is_kept(folder: Path) -> None:
    before = 'other() { COMPREPLY=("other:$2"); }\ncomplete -F other python\n'
    assert complete(folder, "python other.py x", before=before) == ["other:x"]
    assert complete(folder, "python train.py --he", before=before) == ["--help"]
    again = f"{before}\n{render_script('bash')}"
    assert complete(folder, "python other.py x", before=again) == ["other:x"]


def test_a_module_is_completed_as_it_is_started() -> None:
    script = render_script("bash", "python -m package.train")
    assert 'eval "$(python -m package.train --completion bash)"' in script
    assert "complete -F _tidemill_package_train package.train python python3" in script


def test_zsh_holds_options_choices_and_files() -> None:
    script = render_script("zsh")
    for line in (
        "'--batch_size:an integer'",
        "optim.type) compadd -- adam sgd; return ;;",
        "mode) compadd -- 'two words' 'it'\"'\"'s'; return ;;",
        "data) _files; return ;;",
        "compadd -S '' -- --models.",
        "compdef _tidemill_train_py train.py",
    ):
        assert line in script


def test_fish_holds_options_choices_and_files() -> None:
    script = render_script("fish")
    for line in (
        "-l 'batch_size' -x -d 'an integer'",
        "-l 'optim.type' -x -a '\\'adam\\' \\'sgd\\''",
        "-l 'data' -r -F",
        "-l 'no-optim.nesterov' -d",
        "-a '--models.'",
        "for command in 'train.py' python python3",
    ):
        assert line in script


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_prints_its_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli(Train, arguments=["none.yaml", "--completion", shell], prog="train.py")
    assert capsys.readouterr().out == render_script(shell)
