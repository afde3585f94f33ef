"""Values put over those of the files: `optim.lr=3e-4`, `@other.yaml`, `optim=@adam.yaml`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tidemill.config.layers.lookup import find_node, find_path
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.shapes.shape import Shapes
from tidemill.config.text.nodes import Node
from tidemill.config.text.nodes import Sequence as SequenceNode
from tidemill.config.wording.suggest import suggest
from tidemill.errors import Place, Problem


@dataclass(frozen=True, slots=True)
class Override:
    """One value given outside the files.

    Attributes:
        path: the key path it is for.
        text: the value as given; None for a file's.
        name: what gave it, as messages name it: `--set optim.lr`, `environment TRAIN__SEED`.
        file: the file that holds the values, as `@FILE` names it.
        problem: why there is no value, told in its stead.
    """

    path: KeyPath
    text: str | None
    name: str
    kind: Literal["environment", "override"] = "override"
    file: Path | None = None
    problem: Problem | None = None


def parse_override(override: str | Override, root: Node | None, shapes: Shapes = ()) -> Override | Problem:
    """The override in `key.path=value`, `@file` or `key.path=@file`; what is wrong with it where it is none."""
    if isinstance(override, Override):
        return override
    if override.startswith("@"):
        return Override((), None, f"--set {override}", file=Path(override[1:]))
    label, equals, text = override.partition("=")
    label = label.strip()
    if not equals or not label:
        shown = _show_start(label)
        return Problem(f"expected `path=value`, as `budget.usd=40`, got `{shown}`", Place(f"--set {shown}"))
    name = f"--set {label}"
    path = find_path(root, label, shapes)
    if "" in path:
        return Problem(f"`{label}` lacks a key beside a dot", Place(name), hint="write `section.key=value`")
    if text.startswith("@"):
        return Override(path, None, name, file=Path(text[1:]))
    return Override(path, text, name)


def _show_start(text: str) -> str:
    """A text as far as to a blank or a colon, which may stand for the `=`: behind it may be a secret."""
    start = re.split(r"[\s:]", text, maxsplit=1)[0]
    return text if start == text else f"{start} …".lstrip()


def anchor_override(override: str) -> str:
    """The same override for a process in another folder: a file it names, by its whole path."""
    label, equals, text = override.partition("=")
    if override.startswith("@"):
        return f"@{Path(override[1:]).absolute()}"
    return f"{label}=@{Path(text[1:]).absolute()}" if equals and text.startswith("@") else override


def explain_lookup(root: Node | None, override: Override, item: str | int) -> Problem:
    """Why nothing can be set at the path of `override`: `item` of it is not there."""
    path = override.path
    above = path[: path.index(item)]
    found = find_node(root, above)
    holder = found.follow() if found is not None else None
    shown = join_path(above)
    if isinstance(holder, SequenceNode):
        known: Sequence[str] = [str(index) for index in range(len(holder.items))]
        message = f"`{shown}` is a list of {len(holder.items)} and has no `{item}`"
        return Problem(message, Place(override.name), path, hint=suggest(str(item), known) if known else "")
    if holder is None:
        message = f"`{shown}` is given by no source: it has no item {item} to set"
        return Problem(message, Place(override.name), path, hint="give the whole list")
    message = f"`{shown}` is no mapping: nothing can be set below it"
    return Problem(message, Place(override.name), path, hint="set it as a whole")
