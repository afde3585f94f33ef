"""`tidemill config check | show | diff | explain` and `tidemill schema`: any configuration, value by value."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer

from tidemill.commands.app import FormatOption, SetOption, app, make_console, telling_as
from tidemill.config.report.rendering import raise_problems
from tidemill.errors import ConfigError, Problem

if TYPE_CHECKING:
    from tidemill.config.inspection import Entry
    from tidemill.config.layers.document import Document

config_app = typer.Typer(
    name="config", help="Look at a configuration: a job's, or that of any class.", no_args_is_help=True
)
app.add_typer(config_app)

DialectName = Literal["openai", "anthropic", "gemini", "llama.cpp"]

FilesArgument = Annotated[
    list[Path], typer.Argument(metavar="FILE...", help="Each over those before.", show_default=False)
]
TypeOption = Annotated[
    str | None,
    typer.Option(
        "--type", metavar="MODULE:CLASS", help="What the files describe; by default a job.", show_default=False
    ),
]
EnvironmentOption = Annotated[
    str | None, typer.Option("--environment", metavar="PREFIX", help="Take PREFIX__KEY variables over the files.")
]


@config_app.command(name="check")
def check_config(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Each by itself.", show_default=False)],
    target: TypeOption = None,
    environment: EnvironmentOption = None,
    overrides: SetOption = None,
    form: FormatOption = "text",
) -> None:
    """Find everything wrong with configuration files, each by itself."""
    problems: list[Problem] = []
    with telling_as(form):
        for file in files:
            try:
                _load([file], target, environment, overrides)
            except ConfigError as exc:
                if not exc.problems:
                    raise
                problems += exc.problems
        raise_problems(problems)
    for file in files if form == "text" else ():
        make_console().print(f"{file}: nothing wrong")


@config_app.command()
def show(
    files: FilesArgument,
    target: TypeOption = None,
    environment: EnvironmentOption = None,
    overrides: SetOption = None,
    given: Annotated[bool, typer.Option("--given", help="Without what is left at its default.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object: each key's value and origin.")] = False,
) -> None:
    """Print every value as it is taken, and where it came from; of a run, its folder, what it was started with."""
    from tidemill.view.configs import print_entries

    entries = _list_entries(files, target, environment, overrides, defaults=not given)
    if as_json:
        shown = {each.key: {"value": each.value, "origin": str(each.origin)} for each in entries}
        sys.stdout.write(orjson.dumps(shown, option=orjson.OPT_INDENT_2, default=str).decode() + "\n")
    else:
        print_entries(make_console(), entries)


@config_app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="A", help="A file or a run.", show_default=False)],
    new: Annotated[Path, typer.Argument(metavar="B", help="A file or a run.", show_default=False)],
    target: TypeOption = None,
) -> int:
    """Print what differs between two configurations, key by key; the exit code is 1 when something does."""
    from tidemill.config.inspection import find_changes
    from tidemill.view.configs import print_changes

    before, after = (_list_entries([file], target, None, None) for file in (old, new))
    changes = find_changes(before, after)
    print_changes(make_console(), changes)
    if old.is_dir() or new.is_dir():
        make_console().print("secrets are not compared: a run keeps none")
    return 1 if changes else 0


@config_app.command()
def explain(
    key: Annotated[str, typer.Argument(metavar="KEY", help="A dotted path: optim.lr.", show_default=False)],
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE...]", show_default=False)] = None,
    target: TypeOption = None,
    environment: EnvironmentOption = None,
    overrides: SetOption = None,
) -> None:
    """Say what a key means and takes, what it is, and everything that it was laid over."""
    from tidemill.config.coercion.adapters import shape_of
    from tidemill.config.inspection import explain_key
    from tidemill.view.configs import print_explanation

    cls, document, taken = _load(files or [], target, environment, overrides)
    print_explanation(make_console(), explain_key(document, shape_of(cls), key, taken))


@app.command()
def schema(
    target: Annotated[
        str | None, typer.Argument(metavar="[X]", help="MODULE:CLASS; by default a job file's.", show_default=False)
    ] = None,
    dialect: Annotated[
        DialectName | None,
        typer.Option("--for", help="As a provider gets it, of a reply or a tool: MODULE:NAME or a JSON Schema file."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --for: one object, with what is said of it.")] = False,
) -> None:
    """Print the JSON Schema that editors and other programs check a file by, or one that a model is asked with.

    With --for, what the provider does not hold a reply to, and how one is asked for, goes to the standard error.
    """
    if dialect is None:
        from tidemill.config.schemas.json_schema import json_schema

        _print_json(json_schema(_find_type(target), of_file=True))
        return
    from tidemill.commands.dialects import describe_for

    if target is None:
        raise ConfigError("--for needs what is asked for", hint="name it: my_schemas:Label, or a JSON Schema file")
    told = describe_for(target, dialect)
    if as_json:
        _print_json(told.to_dict())
        return
    _print_json(told.schema)
    for line in told.lines:
        sys.stderr.write(f"{line}\n")


def _print_json(value: Any) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def _find_type(target: str | None) -> Any:
    """The class that files describe.

    Raises:
        ConfigError: there is none at that import path.
    """
    from pydantic_core import PydanticCustomError

    from tidemill.config.types.functions import import_object
    from tidemill.config.wording.words import describe_value
    from tidemill.jobs.spec.written import JobFile

    if target is None:
        return JobFile
    try:
        found = import_object(target, Path.cwd())
    except PydanticCustomError as error:
        context = error.context or {}
        raise ConfigError(f"--type {target}: {error.message()}", hint=str(context.get("hint", ""))) from None
    if not isinstance(found, type):
        hint = "name a `tm.Config`, another Pydantic model, a dataclass or a TypedDict: `my_train:Train`"
        raise ConfigError(f"--type {target}: expected a class, got {describe_value(found)}", hint=hint)
    return found


def _load(
    files: Sequence[Path], target: str | None, environment: str | None, overrides: Sequence[str] | None
) -> tuple[Any, Document, Any]:
    """The class and the values, with nothing wrong in them, as given and as taken; of no file, what they may be."""
    from tidemill.config.layers.stacking import Sources
    from tidemill.config.loading import load_document, validate_document

    cls = _find_type(target)
    sources = Sources(tuple(files), environment, tuple(overrides or ()))
    document = load_document(cls, sources)
    taken = None
    if files:
        taken, problems = validate_document(cls, document, {"folder": sources.folder})
        raise_problems(problems)
    return cls, document, taken


def _list_entries(
    files: Sequence[Path],
    target: str | None,
    environment: str | None,
    overrides: Sequence[str] | None,
    *,
    defaults: bool = True,
) -> Sequence[Entry]:
    from tidemill.config.coercion.adapters import shape_of
    from tidemill.config.inspection import list_entries

    if len(files) == 1 and files[0].is_dir():
        return [each for each in _read_run(files[0]) if defaults or each.origin.places]
    cls, document, taken = _load(files, target, environment, overrides)
    return list_entries(document, shape_of(cls), taken, defaults=defaults)


def _read_run(folder: Path) -> Sequence[Entry]:
    """What a run was last started with.

    Raises:
        StateError: there is no run, or one that keeps no configuration: it was started from Python.
    """
    from tidemill.jobs.ledger.configuration import load_configuration
    from tidemill.jobs.ledger.folder import locate_run

    return load_configuration(locate_run(folder))
