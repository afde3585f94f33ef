"""`cli`: a script's configuration from its command line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

from tidemill.config.cli.arguments import Arguments, parse_arguments
from tidemill.config.cli.completion import render_completion
from tidemill.config.cli.options import list_sections
from tidemill.config.coercion.adapters import shape_of
from tidemill.config.layers.stacking import Source
from tidemill.config.loading import load_config
from tidemill.config.report.rendering import raise_problems, render_report, takes_color
from tidemill.config.text.nodes import Text
from tidemill.errors import ConfigError

T = TypeVar("T")


def cli(
    model: type[T],
    *sources: Source,
    arguments: Sequence[str] | None = None,
    environment: str | None = None,
    prog: str | None = None,
    description: str = "",
) -> T:
    """A validated `model` from what was typed after the script's name, over `sources`.

    `python train.py base.yaml --optim.lr 3e-4 --no-resume`: files, each over those before, then the environment, then
    values. A value is YAML; where only a text fits, the text itself. Options are keys; `-` and `_` are alike in them.

    - `--optim.lr 3e-4`, `--optim.lr=3e-4`, `optim.lr=3e-4` and `--set optim.lr=3e-4` say the same. A key given twice
      is an error.
    - `--resume` and `--no-resume` set what is true or false.
    - A list is `--tags '[a, b]'`, or `--tags a --tags b`; it replaces the one of the files.
    - `--models.big.lr 1` reaches into mappings, `--stages.0.lr 1` into lists.
    - `@other.yaml` and `--optim @adam.yaml` lay a file over what was given before.

    Call it before the training module is imported: `--help` and a mistake then take no longer than the configuration.

    Args:
        model: a `Config`, any Pydantic model, a dataclass or a TypedDict.
        sources: as of `load_config`; under the files that are named.
        arguments: in place of the process's own.
        environment: the prefix of variables that set keys, as of `load_config`.
        prog: the script's name in help and completion; by default the one it was started by.
        description: what the help says the script does; by default the docstring of `model`.

    Raises:
        SystemExit: 0 after `--help` and `--completion`; 2, the report printed, when the process's own arguments or
            the files they name have mistakes.
        ConfigError: when the `arguments` given have: every problem there is, those of the files included.
    """
    try:
        return _load(model, sources, arguments, environment, prog, description)
    except ConfigError as error:
        if arguments is not None:
            raise
        report = render_report(error.problems, color=takes_color(sys.stderr)) if error.problems else str(error)
        sys.stderr.write(f"{report}\n")
        raise SystemExit(2) from None


def _load(
    model: type[T],
    sources: Sequence[Source],
    arguments: Sequence[str] | None,
    environment: str | None,
    prog: str | None,
    description: str,
) -> T:
    found = parse_arguments(sys.argv[1:] if arguments is None else arguments, shape_of(model))
    program = prog or _find_program()
    if found.wants_help:
        _print_help(model, program, description, environment)
        raise SystemExit(0)
    if found.shell:
        options = [option for section in list_sections(shape_of(model)) for option in section.options]
        sys.stdout.write(render_completion(found.shell, program, options))
        raise SystemExit(0)
    return _merge(model, sources, found, environment)


def _merge(model: type[T], sources: Sequence[Source], found: Arguments, environment: str | None) -> T:
    """The values; what is wrong with them and with the arguments is raised as one."""
    files = [*sources, *found.files] or [Text("command line", "{}", "override")]  # where a key is missing otherwise
    problems = found.problems
    value: T | None = None
    try:
        value = load_config(model, *files, environment=environment, overrides=found.overrides)
    except ConfigError as error:
        if not error.problems:
            raise
        problems = [*error.problems, *problems]
    raise_problems(problems)
    return cast(T, value)


def _print_help(model: type[T], program: str, description: str, environment: str | None) -> None:
    from rich.console import Console

    from tidemill.config.cli.help import render_help

    console = Console(highlight=False, markup=False, emoji=False)
    sections = list_sections(shape_of(model))
    sys.stdout.write(render_help(console, program, description, sections, environment))


def _find_program() -> str:
    """How the script was started: `train.py`, or `python -m package.train`."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    return Path(sys.argv[0]).name or "python"
