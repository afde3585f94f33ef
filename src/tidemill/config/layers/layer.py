"""One source of values: a text, read as a tree of nodes."""

from __future__ import annotations

import errno
from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.config.paths import KeyPath, shorten_path
from tidemill.config.text.json import compose_json
from tidemill.config.text.nodes import Fault, Mapping, Node, Scalar, Sequence, Text
from tidemill.config.text.toml import compose_toml
from tidemill.config.text.yaml import compose_yaml
from tidemill.config.wording.suggest import find_near_file
from tidemill.errors import ConfigError, Place, Problem

SUFFIXES = (".yaml", ".yml", ".toml", ".json")
"""What the names of configuration files end in."""

MAX_BYTES = 16 * 2**20
"""The largest file that is read; an endless one, as `/dev/zero`, is refused there."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A source of values, as it was read.

    Attributes:
        root: its tree; None when the text cannot be read to its end.
        faults: what is wrong with the text itself.
        at: the key path at which its root stands in the whole configuration.
    """

    text: Text
    root: Node | None
    faults: tuple[Fault, ...] = ()
    at: KeyPath = ()


def load_layer(path: Path) -> Layer:
    """The values in a YAML, TOML or JSON file, as its suffix says; any other is YAML.

    Raises:
        ConfigError: there is no such file, or it cannot be opened. A text that cannot be read gives `faults`.
    """
    name = shorten_path(path)
    try:
        data = read_file(path)
    except OSError as error:
        raise _cannot_open(path, error) from None
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        fault = Fault("the file is not UTF-8", "save it as UTF-8", len(before), len(before) + 1)
        return Layer(Text(name, before, folder=path.parent), None, (fault,))
    return compose_layer(Text(name, content, folder=path.parent))


def read_file(path: Path) -> bytes:
    """The bytes of a file, or of what else can be read, up to a bound.

    Raises:
        OSError: it cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except ValueError as error:  # a name that no file can have
        raise OSError(errno.EINVAL, str(error)) from None
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_BYTES:,} bytes")
    return data


def compose_layer(text: Text) -> Layer:
    """The values in `text`; its format is that of its name's suffix."""
    compose = _COMPOSERS.get(Path(text.name).suffix.casefold(), compose_yaml)
    root, faults = compose(text)
    return Layer(text, root, tuple(faults))


_COMPOSERS = {".json": compose_json, ".toml": compose_toml}


def layer_of(value: Any) -> Layer:
    """The values of a Python object: mappings and lists as nodes, everything else as it is."""
    text = Text("", kind="python")
    return Layer(text, make_node(value, text))


def make_node(value: Any, source: Text) -> Node:
    """A plain value as nodes that stand nowhere in `source`."""
    if isinstance(value, MappingType):
        pairs: dict[Any, tuple[Node, Node]] = {}
        for key, item in value.items():
            pairs[key] = Scalar(0, 0, value=key, text=str(key), source=source), make_node(item, source)
        return Mapping(0, 0, pairs=pairs, source=source)
    if isinstance(value, (list, tuple)):
        return Sequence(0, 0, items=[make_node(item, source) for item in value], source=source)
    return Scalar(0, 0, value=value, text=str(value) if isinstance(value, str) else "", source=source)


def explain_opening(path: Path, error: OSError) -> tuple[str, str]:
    """Why a file cannot be opened, and the next step."""
    if isinstance(error, FileNotFoundError):
        near = find_near_file(path)
        hint = f"did you mean `{path.with_name(near)}`?" if near else ""
        return f"there is no file `{path.name}` in {path.parent.absolute()}", hint
    if isinstance(error, IsADirectoryError):
        return "this is a folder", "name the file in it"
    return f"cannot open it: {error.strerror or error}", ""


def _cannot_open(path: Path, error: OSError) -> ConfigError:
    message, hint = explain_opening(path, error)
    problem = Problem(message, Place(str(path)), hint=hint)
    text = f"{message}\n  {hint}" if hint else message
    return ConfigError(text, problems=[problem], where=str(path))
