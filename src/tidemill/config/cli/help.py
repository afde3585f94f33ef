"""What `--help` shows: every option with its type, bounds, default and what its author wrote of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import to_jsonable_python
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tidemill.config.cli.options import LISTS, Option, Section
from tidemill.config.layers.environment import spell_variable
from tidemill.config.secrets import MASK
from tidemill.config.shapes.shape import Shape
from tidemill.config.wording.words import MAX_SHOWN, cut, describe_value

_USAGE = "[FILE ...] [--KEY VALUE ...]"
_GENERAL = (
    ("FILE", "a YAML, TOML or JSON file; each is laid over those before it, values given here over all files"),
    ("--KEY VALUE", "also --KEY=VALUE and KEY=VALUE; the value is YAML: --KEY '[1, 2]', --KEY null"),
    ("--KEY A --KEY B", "of a list each item by its own, instead of --KEY '[A, B]'"),
    ("@FILE, --KEY @FILE", "a file's values over what was given before, as a whole or below a key"),
    ("--set KEY=VALUE", "the same as --KEY VALUE"),
    ("--completion SHELL", "print a script by which bash, zsh or fish completes these options"),
    ("-h, --help", "show this, whatever else is given"),
)


def render_help(
    console: Console, program: str, description: str, sections: list[Section], environment: str | None
) -> str:
    """How `program` is used, as wide as the console; plain where that is no terminal.

    Args:
        description: stands in place of what the configuration's class says of itself.
        environment: the prefix of the variables that set keys; None where none do.
    """
    with console.capture() as capture:
        console.print(Group(*_iter_parts(program, description, sections, environment)))
    return re.sub(r" +$", "", capture.get(), flags=re.MULTILINE)


def _iter_parts(
    program: str, description: str, sections: list[Section], environment: str | None
) -> Iterator[RenderableType]:
    yield Text.assemble(("usage: ", "bold"), f"{program} {_USAGE}")
    for section in sections:
        told = section.description if section.title else description or section.description
        if section.title:
            yield Text.assemble("\n", (section.title, "bold"), f": {told}" if told else "")
        elif told:
            yield Text(f"\n{told}")
        if section.options:
            rows = [(_name(each), _details(each, environment)) for each in section.options]
            yield _table(rows, space=not section.title)
    yield Text("\nfiles, values and help", "bold")
    yield _table([(Text(name, "cyan"), Text(words)) for name, words in _GENERAL])


def _table(rows: list[tuple[Text, Text]], *, space: bool = False) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(overflow="fold", ratio=2)
    table.add_column(overflow="fold", ratio=3)
    for name, details in rows:
        table.add_row(name, details)
    return Padding(table, (int(space), 0, 0, 2))


def _name(option: Option) -> Text:
    names = [option.name]
    if option.is_flag and option.name.startswith("--"):
        names.append(f"--no-{option.name.removeprefix('--')}")
    return Text(", ".join(names), "cyan")


def _details(option: Option, environment: str | None) -> Text:
    text = Text(", ".join(filter(None, [_describe_type(option.shape), _default_words(option, option.default)])))
    if environment is not None:
        text.append(f"  [{spell_variable(environment, option.path)}]", "dim")
    if option.description:
        text.append(f"\n{option.description}")
    return text


def _describe_type(shape: Shape) -> str:
    """`list of 2 items, each a number`: what is expected; of a list and of free keys what they hold, too."""
    words = shape.describe()
    for article in ("a ", "an "):
        words = words.removeprefix(article)
    if shape.core["type"] not in LISTS | {"dict"}:
        return words
    inner = {each.describe() for each in shape.iter_inner() if each.core is not shape.core.get("keys_schema")}
    item = inner.pop() if len(inner) == 1 else ""
    return f"{words}, each {item}" if item else words


def _default_words(option: Option, value: Any) -> str:
    if value is ...:
        return "required" if option.is_required else ""
    if option.is_secret and value is not None:
        return f"default {MASK}"
    return f"default {_to_words(to_jsonable_python(value, fallback=describe_value))}"


def _to_words(value: Any) -> str:
    """A value as it is typed: of a list and a mapping what they hold."""
    if isinstance(value, Mapping):
        return _shorten(f"{{{', '.join(f'{key}: {_to_words(each)}' for key, each in value.items())}}}", value)
    if isinstance(value, list):
        return _shorten(f"[{', '.join(map(_to_words, value))}]", value)
    return describe_value(value)


def _shorten(text: str, value: Any) -> str:
    return cut(text) if len(text) <= MAX_SHOWN else describe_value(value)
