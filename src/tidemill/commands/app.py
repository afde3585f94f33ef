"""The command line as a whole: its options, how it ends, and what it prints with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from tidemill.config.report.formats import ReportFormat, format_problems
from tidemill.config.report.rendering import takes_color
from tidemill.config.secrets import mask
from tidemill.disk import DISK_FAULTS
from tidemill.errors import ConfigError, DataError, Place, Problem, StateError, TidemillError
from tidemill.resources.process import find_exit_code, sigterm_as_interrupt
from tidemill.version import __version__

app = typer.Typer(
    name="tidemill",
    help="Stream records through models and land validated data, whatever kills it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

JobArgument = Annotated[Path, typer.Argument(metavar="JOB", help="A job file.", show_default=False)]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A job file, its output folder or its run folder.", show_default=False)
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Over the files: budget.usd=40, @other.yaml.")
]
FormatOption = Annotated[
    ReportFormat, typer.Option("--format", help="How errors are told; json and github go to the standard output.")
]


def main() -> None:
    """Run the command line; every error ends in one message and an exit code."""
    sys.exit(run_command(lambda: app(standalone_mode=False)))


def run_command(command: Callable[[], Any]) -> int:
    """The exit code of `command`: its own, or 2 where the author must mend something, 3 for any other failure.

    What the system refuses is for the author to mend, a file that cannot be written say, unless the disk is at fault.
    SIGTERM ends it as Ctrl-C does, with 143.
    """
    try:
        with sigterm_as_interrupt():
            code = command()
            return code if isinstance(code, int) else 0
    except ConfigError as exc:
        text = format_problems(exc.problems, color=takes_color(sys.stderr)) if exc.problems else str(exc)
        return _fail(text, 2)
    except (DataError, StateError) as exc:
        return _fail(str(exc), 2)
    except TidemillError as exc:
        return _fail(str(exc), 3)
    except OSError as exc:
        return _fail(_describe_refusal(exc), 3 if exc.errno in DISK_FAULTS else 2)
    except typer.Exit as exc:
        return exc.exit_code
    except KeyboardInterrupt as exc:
        code = find_exit_code(type(exc))
        return _fail("terminated" if code == 143 else "interrupted", code)
    except typer.Abort:
        return _fail("interrupted", 130)
    except typer.TyperException as exc:
        return _fail(exc.format_message(), 2)


@contextmanager
def telling_as(form: ReportFormat) -> Iterator[None]:
    """Errors of a configuration in the format asked for: what programs read goes to the standard output."""
    try:
        yield
    except ConfigError as exc:
        if form == "text":
            raise
        problems = exc.problems or (Problem(exc.message, Place(exc.where) if exc.where else None, hint=exc.hint),)
        sys.stdout.write(f"{format_problems(problems, form)}\n")
        raise typer.Exit(2) from None
    if form == "json":
        sys.stdout.write(f"{format_problems([], form)}\n")


def _describe_refusal(error: OSError) -> str:
    """What the system refused, and of which file where it says that."""
    reason = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, (str, bytes)) else reason


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"{mask(text)}\n")
    return code


def make_console() -> Console:
    """What a command prints with."""
    return Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        make_console().print(__version__)
        raise typer.Exit
