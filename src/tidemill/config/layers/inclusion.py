"""`include:` in a file: other files whose values its own are laid over."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from collections.abc import Sequence as SequenceType
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from tidemill.config.layers.interpolation import expand_text
from tidemill.config.layers.layer import Layer, load_layer
from tidemill.config.layers.merging import merge
from tidemill.config.layers.references import MalformedError, Reference, parse_references
from tidemill.config.layers.targets import Targets, locate_file
from tidemill.config.paths import KeyPath, shorten_path
from tidemill.config.shapes.shape import Shapes, enter
from tidemill.config.text.nodes import Mapping, Node, Scalar, Sequence
from tidemill.errors import ConfigError, Problem

INCLUDE = "include"

EXTENSION = "x-"
SCHEMA = "$schema"
"""By which an editor finds the schema of a JSON file."""

MAX_INCLUDED = 1000
"""How many files one configuration may take in, each counted as often as it is named."""


class Loader:
    """Loads files with what they include, and notes every layer and every problem on the way.

    Attributes:
        layers: one for each file, in the order in which they are laid over one another.
        problems: files that cannot be opened, or that include each other.
        is_whole: whether every file could be read.
    """

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self.layers: list[Layer] = []
        self.problems: list[Problem] = []
        self.is_whole = True
        self._count = 0

    def load(self, path: Path, shapes: Shapes, *, at: KeyPath = (), chain: SequenceType[Path] = ()) -> Node | None:
        """The tree of a file over those of the files it includes; None when it cannot be read.

        Raises:
            ConfigError: it cannot be opened.
        """
        return self.take(load_layer(path), shapes, at=at, chain=(*chain, _resolve(path)))

    def take(self, layer: Layer, shapes: Shapes, *, at: KeyPath = (), chain: SequenceType[Path] = ()) -> Node | None:
        """As `load`, of a layer that is at hand; `chain` ends with its own file."""
        root = layer.root
        if isinstance(root, Scalar) and root.value is None:  # an empty file sets nothing
            root = Mapping(root.start, root.stop, source=layer.text)
        if root is not None:
            root = self._expand(root, shapes, at, chain) if _names_files(root) else root
            root = _leave_out_extensions(root, shapes) if not at else root
        else:
            self.is_whole = False
        self.layers.append(replace(layer, at=at))
        return root

    def _expand(self, node: Node, shapes: Shapes, at: KeyPath, chain: SequenceType[Path]) -> Node:
        """`node` with the files named in it beneath the mappings that name them."""
        if isinstance(node, Sequence):
            pairs = enumerate(node.items)
            items = [self._expand(item, enter(shapes, index), (*at, index), chain) for index, item in pairs]
            return node if all(map(_is, items, node.items)) else replace(node, items=items)
        if not isinstance(node, Mapping):
            return node
        named = node.pairs.get(INCLUDE) if _may_include(shapes, at) else None
        inner = {
            key: (key_node, self._expand(value, enter(shapes, key), (*at, key), chain))
            for key, (key_node, value) in node.pairs.items()
            if named is None or key != INCLUDE
        }
        if named is None and all(inner[key][1] is value for key, (_, value) in node.pairs.items()):
            return node
        expanded: Node = replace(node, pairs=inner)
        return expanded if named is None else self._include(named[1], expanded, shapes, at, chain)

    def _include(self, named: Node, own: Node, shapes: Shapes, at: KeyPath, chain: SequenceType[Path]) -> Node:
        base: Node | None = None
        target = named.follow()
        for each in target.items if isinstance(target, Sequence) else [target]:
            tree = self._load_named(each.follow(), shapes, at, chain)
            if tree is not None:
                base = merge(base, tree, shapes)
        return merge(base, own, shapes)

    def _load_named(self, node: Node, shapes: Shapes, at: KeyPath, chain: SequenceType[Path]) -> Node | None:
        """The tree of the file that `node` names; None, and its problems noted, where there is none."""
        try:
            path = self._find_path(node, chain)
            return self.load(path, shapes, at=at, chain=chain)
        except ConfigError as error:
            place = node.source.place(node.start, node.stop)
            self.problems += [replace(each, place=place, path=(*at, INCLUDE)) for each in error.problems]
            self.is_whole = False
            return None

    def _find_path(self, node: Node, chain: SequenceType[Path]) -> Path:
        """The file that `node` names.

        Raises:
            ConfigError: it names none, or one that is being read.
        """
        if not isinstance(node, Scalar) or not isinstance(node.value, str):
            _refuse("`include`: expected a file's path, or a list of them")
        text, problems = expand_text(node, self._targets)
        if key := next((each for each in _iter_references(node.value) if each.kind == "key"), None):
            hint = "`${env:NAME}` and `${file:path}` are"
            _refuse(f"`{key}` is not known where files are included", hint)
        if problems:
            raise ConfigError("", problems=problems)
        if _ADDRESS.match(text):
            _refuse("`include`: expected a file's path, got an address", "fetch it first, and include the file")
        path = locate_file(node.source.folder, text)
        self._count += 1
        if _resolve(path) in chain:
            names = [*chain[chain.index(_resolve(path)) :], path]
            shown = " → ".join(f"`{shorten_path(each)}`" for each in names)
            _refuse(f"these files include each other: {shown}", "leave out one of the includes")
        if self._count == MAX_INCLUDED + 1:
            _refuse(f"more than {MAX_INCLUDED:,} files are included")
        if self._count > MAX_INCLUDED:  # told once
            raise ConfigError("")
        return path


_ADDRESS = re.compile(r"[A-Za-z][\w+.-]+://")


def _iter_references(text: str) -> Iterator[Reference]:
    """Those of a text; none of one that cannot be read, which expanding it tells."""
    try:
        yield from (part for part in parse_references(text) if isinstance(part, Reference))
    except MalformedError:
        return


def _leave_out_extensions(root: Node, shapes: Shapes) -> Node:
    """The tree without its keys `x-…`, which hold what anchors name, as in Docker Compose's files, and `$schema`."""
    known = {name for shape in shapes for option in shape.iter_options() for name in option.fields}
    if not known or not isinstance(root, Mapping):
        return root
    kept = {key: pair for key, pair in root.pairs.items() if key in known or not _is_extension(key)}
    return root if len(kept) == len(root.pairs) else replace(root, pairs=kept)


def _is_extension(key: Any) -> bool:
    return key == SCHEMA or str(key).startswith(EXTENSION)


def _resolve(path: Path) -> Path:
    """The file a path leads to; of links in a circle, which cannot be opened, no more than that."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # a name that no file can have, which opening it tells
        return path


def _refuse(message: str, hint: str = "") -> NoReturn:
    raise ConfigError(message, problems=[Problem(message, hint=hint)])


def _names_files(node: Node) -> bool:
    """Whether any mapping may include others; what an alias stands for is left as it is."""
    if isinstance(node, Mapping):
        return INCLUDE in node.pairs or any(_names_files(value) for _, value in node.pairs.values())
    return isinstance(node, Sequence) and any(map(_names_files, node.items))


def _may_include(shapes: Shapes, at: KeyPath) -> bool:
    """Whether `include` is not a key of the mapping's own: free mappings may hold it as data."""
    known = [option.fields for shape in shapes for option in shape.iter_options()]
    return not any(INCLUDE in fields for fields in known) and (not at or any(known))


def _is(one: Node, other: Node) -> bool:
    return one is other
