"""What references stand for: keys of the configuration, variables of the environment, files."""

from __future__ import annotations

import os
from collections.abc import Mapping as MappingType
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tidemill.config.layers.layer import explain_opening, layer_of, read_file
from tidemill.config.layers.lookup import expect, find_node, find_path
from tidemill.config.layers.references import Reference
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.secrets import is_secret_key, load_env, register_secret
from tidemill.config.shapes.shape import Shapes, enter_path
from tidemill.config.text.nodes import Mapping, Node
from tidemill.config.wording.suggest import find_near


class UnresolvedError(Exception):
    """A reference that stands for nothing."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Targets:
    """Where references are looked up.

    A variable is sought in the environment, then in the `.env` file beside the file that refers to it; one with a
    secret's name has its value masked wherever it occurs.
    """

    def __init__(self, environ: MappingType[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._stored: dict[Path, dict[str, str]] = {}

    def find_text(self, reference: Reference, folder: Path) -> str | None:
        """The text of a variable or a file, None when it is not there; an empty variable is as good as none."""
        if reference.kind == "env":
            value = self._environ.get(reference.name) or self._load_stored(folder).get(reference.name)
            if value and is_secret_key(reference.name):
                register_secret(value)
            return value or (None if reference.default is not None else self._environ.get(reference.name))
        try:
            return read_file(locate_file(folder, reference.name)).decode("utf-8-sig").rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            return None

    def find_key(self, root: Node | None, shapes: Shapes, reference: Reference) -> tuple[KeyPath, Node] | None:
        """The path and node of a key; of a field that no source gives, its default."""
        path = find_path(root, reference.name)
        node = find_node(root, path)
        if node is not None:
            return path, node
        value = _find_default(root, shapes, path)
        return None if value is ... else (path, _to_node(value))

    def explain(self, root: Node | None, shapes: Shapes, reference: Reference, folder: Path) -> UnresolvedError:
        """Why a reference stands for nothing, and what it may have meant."""
        if reference.kind == "env":
            near = find_near(reference.name, [*self._environ, *self._load_stored(folder)])
            hint = f"did you mean `{near}`?" if near else f"set it, or give a default: `${{env:{reference.name}:-…}}`"
            return UnresolvedError(f"the environment has no `{reference.name}`", hint)
        if reference.kind == "file":
            message, hint = _explain_file(locate_file(folder, reference.name))
            return UnresolvedError(message, hint)
        path = find_path(root, reference.name)
        near = _find_near(root, shapes, path)
        hint = f"did you mean `{near}`?" if near else "write `$${` for it as text"
        return UnresolvedError(f"there is no key `{reference.name}`", hint)

    def _load_stored(self, folder: Path) -> dict[str, str]:
        if folder not in self._stored:
            self._stored[folder] = load_env(folder / ".env")
        return self._stored[folder]


def _find_near(root: Node | None, shapes: Shapes, path: KeyPath) -> str | None:
    """The key near the first item of `path` that is neither there nor expected."""
    for depth, item in enumerate(path):
        node = find_node(root, path[:depth])
        target = node.follow() if node is not None else None
        known = dict.fromkeys(map(str, target.pairs) if isinstance(target, Mapping) else ())
        for shape in enter_path(shapes, path[:depth]):
            known |= dict.fromkeys(name for option in shape.iter_options() for name in option.fields)
        if str(item) not in known:
            near = find_near(str(item), known)
            return None if near is None else join_path((*path[:depth], near))
    return None


def locate_file(folder: Path, name: str) -> Path:
    """The file that a text in `folder` names; a home that is nobody's stays as it is written."""
    try:
        return folder / Path(name).expanduser()
    except RuntimeError:
        return folder / name


def _explain_file(path: Path) -> tuple[str, str]:
    try:
        read_file(path).decode("utf-8-sig")
    except OSError as error:
        return explain_opening(path, error)
    except UnicodeDecodeError:
        return f"the file `{path.name}` is not UTF-8", "save it as UTF-8"
    return f"the file `{path.name}` was not there", "load again"


def _find_default(root: Node | None, shapes: Shapes, path: KeyPath) -> Any:
    """What stands at `path` in the default of the outermost field that no source gives; `...` when there is none."""
    depth = next(n for n in range(1, len(path) + 1) if n == len(path) or find_node(root, path[:n]) is None)
    for shape in expect(shapes, root, path[:depth]):
        value = shape.find_default()
        for item in path[depth:]:
            value = value.get(item, ...) if isinstance(value, MappingType) else getattr(value, str(item), ...)
        if value is not ...:
            return value
    return ...


def _to_node(value: Any) -> Node:
    node = layer_of(value.model_dump() if isinstance(value, BaseModel) else value).root
    assert node is not None  # only a text that cannot be read has none
    return node
