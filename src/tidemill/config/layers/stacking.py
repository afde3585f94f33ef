"""All sources of a configuration, laid over one another in their order.

Files, each over what it includes; then the environment; then overrides. Mappings merge key by key, so that a partly
set environment leaves the rest of a file's section; lists and scalars replace. References are put in at the end.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tidemill.config.layers.document import Document
from tidemill.config.layers.environment import read_environment
from tidemill.config.layers.given import read_given
from tidemill.config.layers.inclusion import Loader
from tidemill.config.layers.interpolation import Interpolation
from tidemill.config.layers.layer import Layer, compose_layer, layer_of
from tidemill.config.layers.lookup import expect, find_node, takes_secret
from tidemill.config.layers.merging import assign, merge
from tidemill.config.layers.overrides import Override, explain_lookup, parse_override
from tidemill.config.layers.targets import Targets
from tidemill.config.shapes.membership import choose_members
from tidemill.config.shapes.shape import Shape, Shapes, enter_path
from tidemill.config.text.nodes import Mapping as MappingNode
from tidemill.config.text.nodes import Node, Scalar, Text
from tidemill.errors import ConfigError, Place, Problem

Source = str | os.PathLike[str] | Mapping[str, Any] | Text
"""A file's path, a text that is at hand, or the values themselves."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the values of a configuration come from, each over those before.

    Attributes:
        files: files and mappings, in order.
        environment: the prefix of the variables that set keys; None when none do.
        overrides: `key.path=value`, `@file`, `key.path=@file`, in order.
    """

    files: tuple[Source, ...] = ()
    environment: str | None = None
    overrides: tuple[str | Override, ...] = ()

    @property
    def folder(self) -> Path:
        """What relative paths in values start from: the last file's folder, without files the working folder."""
        paths = [Path(each) for each in self.files if not isinstance(each, (Mapping, Text))]
        return paths[-1].absolute().parent if paths else Path.cwd()


def stack_document(sources: Sources, shape: Shape | None = None) -> Document:
    """The document that `sources` make together; its `problems` say what is wrong with them.

    Args:
        shape: what is expected; says which tag a section is of, which variables name keys and where a text needs no
            quotes.
    """
    only = sources.files[0] if len(sources.files) == 1 else None
    if isinstance(only, Mapping) and sources.environment is None and not sources.overrides:
        return Document.from_value(dict(only))  # the very values, of whatever types
    return _Stack((shape,) if shape is not None else (), sources.folder).pile(sources)


_NO_SECRET = Problem("there is no such file", hint="""to give a text that begins with `@`, quote it: `'"@…"'`""")
"""Where a secret is expected, which the name of the file may be."""


class _Stack:
    """One pass over the sources; what is wrong with one keeps none of the others from being looked at."""

    def __init__(self, shapes: Shapes, folder: Path) -> None:
        self.shapes = shapes
        self.folder = folder
        self.targets = Targets()
        self.loader = Loader(self.targets)
        self.problems: list[Problem] = []
        self.layers: list[Layer] = []
        self.root: Node | None = None
        self.is_whole = True

    def pile(self, sources: Sources) -> Document:
        for source in sources.files:
            self._lay(source)
        if sources.environment is not None:
            given, problems = read_environment(sources.environment, os.environ, self.shapes, self.root)
            self.problems += problems
            for each in given:
                self._put(each)
        for override in sources.overrides:
            parsed = parse_override(override, self.root, self.shapes)
            if isinstance(parsed, Problem):
                self.problems.append(parsed)
            else:
                self._put(parsed)
        is_whole = self.loader.is_whole and self.is_whole
        if self.root is None and is_whole:  # there is no source, or only one that is empty
            self.root = MappingNode(0, 0, source=Text("", kind="python"))
        self._choose_members()
        interpolation = Interpolation(self.root, self.shapes, self.targets)
        resolved = interpolation.resolve()
        problems = [*self.loader.problems, *self.problems, *interpolation.problems]
        return Document([*self.loader.layers, *self.layers], resolved, problems, is_whole=is_whole)

    def _choose_members(self) -> None:
        """Know the plug-ins that are named so far."""
        value = self.root.to_value() if self.root is not None and any(each.has_open for each in self.shapes) else None
        self.shapes = tuple(choose_members(each, value, {"folder": self.folder}) for each in self.shapes)

    def _lay(self, source: Source) -> None:
        """A file or a mapping over what there is."""
        if isinstance(source, Mapping):
            layer = layer_of(source)
            self.layers.append(layer)
            root = layer.root
        elif isinstance(source, Text):
            root = self.loader.take(compose_layer(source), self.shapes)
        else:
            root = self._load(Path(source))
        if root is None:
            self.is_whole = False
        else:
            self.root = merge(self.root, root, self.shapes)

    def _load(self, path: Path, override: Override | None = None) -> Node | None:
        at = override.path if override is not None else ()
        try:
            return self.loader.load(path, enter_path(self.shapes, at), at=at)
        except ConfigError as error:
            place = Place(override.name) if override is not None else None
            problems = [_NO_SECRET] if takes_secret(self.shapes, self.root, at) else error.problems
            self.problems += [replace(each, place=place or each.place, path=at) for each in problems]
            return None

    def _put(self, override: Override) -> None:
        """What was given outside the files over what there is."""
        self._choose_members()
        shapes = expect(self.shapes, self.root, override.path)
        node: Node | None
        if override.problem is not None:
            self.problems.append(override.problem)
            text = Text(override.name, kind=override.kind)
            broken = Scalar(0, 0, broken=True, source=text)
            self.layers.append(Layer(text, broken, (), override.path))
            node = broken if find_node(self.root, override.path) is None else None
        elif override.file is not None:
            node = self._load(override.file, override)
            self.is_whole = self.is_whole and node is not None
        else:
            text = Text(override.name, override.text or "", override.kind)
            node, faults = read_given(text, shapes)
            self.layers.append(Layer(text, node, tuple(faults), override.path))
        if node is not None:
            try:
                self.root = assign(self.root, override.path, node, self.shapes)
            except LookupError as error:
                self.problems.append(explain_lookup(self.root, override, error.args[0]))
