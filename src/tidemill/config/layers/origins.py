"""Where each value of a loaded configuration came from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from tidemill.config.layers.document import Document
from tidemill.config.layers.lookup import step
from tidemill.config.members import iter_members
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.text.nodes import Mapping as MappingNode
from tidemill.config.text.nodes import Node, Sequence

DEFAULT = "default"
PYTHON = "Python"

ORIGINS = "_tidemill_origins"
"""The key in a model's `__dict__` under which it keeps its origins: no field, so that no comparison sees it."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from.

    Attributes:
        places: what gave it, then what that was laid over, the nearest first: `train.yaml:3:7`, `--set optim.lr`,
            `environment TRAIN__SEED`; empty for a default.
        via: the references that stand there, as `${env:LR}`.
    """

    places: tuple[str, ...] = ()
    via: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.places:
            return DEFAULT
        first, *rest = self.places
        through = f" ({', '.join(self.via)})" if self.via else ""
        return f"{first}{through}{', over ' if rest else ''}{', '.join(rest)}"


class Origins:
    """The origin of every value that a source gave, by key path; what is in none is a default.

    Made when first asked for, from the tree of values; pickles without the sources' texts.
    """

    def __init__(self, document: Document) -> None:
        self._root: Node | None = document.root
        self._table: dict[KeyPath, Origin] | None = None

    @classmethod
    def of(cls, table: Mapping[KeyPath, Origin]) -> Origins:
        """Those of a table that is at hand."""
        origins = cls.__new__(cls)
        origins._root, origins._table = None, dict(table)
        return origins

    @property
    def table(self) -> Mapping[KeyPath, Origin]:
        """Every key path that a source gave, mappings and lists included, in the order of the values."""
        if self._table is None:
            self._table = dict(_iter_origins(self._root, ())) if self._root is not None else {}
            self._root = None
        return self._table

    def find(self, path: KeyPath) -> Origin:
        """The origin of the value at `path`, a default's where no source gave it."""
        return self.table.get(path, Origin())

    def to_dict(self, path: KeyPath = ()) -> dict[str, str]:
        """The origin of each scalar, list or mapping at and below `path` that has nothing below it, by its key path."""
        above = {each[:-1] for each in self.table if each}
        below = (each for each in self.table if each not in above and each[: len(path)] == path)
        return {join_path(each[len(path) :]): str(self.table[each]) for each in below}

    def __getstate__(self) -> dict[str, Any]:
        return {"_root": None, "_table": dict(self.table)}


@dataclass(frozen=True, slots=True)
class OriginsBelow:
    """The origins of one part of a configuration: what stands at `path` of the whole."""

    whole: Origins
    path: KeyPath = ()

    def find(self, path: KeyPath) -> Origin:
        """As `Origins.find`, of a path within the part."""
        return self.whole.find((*self.path, *path))

    def to_dict(self) -> dict[str, str]:
        """As `Origins.to_dict`, of the part."""
        return self.whole.to_dict(self.path)


def attach_origins(value: Any, document: Document) -> Origins:
    """The origins of `document`, kept by every model in `value` that was made from a part of it.

    What Python alone gave keeps none: a model knows itself which of its fields were given.
    """
    origins = Origins(document)
    if document.root is not None and any(layer.text.kind != "python" for layer in document.layers):
        _attach(value, document.root, OriginsBelow(origins))
    return origins


def origin_of(node: Node) -> Origin:
    """The origin of a node's value."""
    return Origin(tuple(_iter_places(node)), node.via)


def find_origins(value: BaseModel) -> OriginsBelow | None:
    """The origins that a model keeps, None when it was made in Python."""
    kept: OriginsBelow | None = value.__dict__.get(ORIGINS)
    return kept


def carry_origins(old: BaseModel, new: BaseModel, changed: Iterable[KeyPath]) -> None:
    """Let `new`, which is `old` with other values at `changed`, keep its origins: what was changed came from Python."""
    kept = find_origins(old)
    if kept is None:
        return
    start = len(kept.path)
    table = {path[start:]: each for path, each in kept.whole.table.items() if path[:start] == kept.path}
    for path in changed:
        before = table.get(path, Origin()).places
        table = {each: origin for each, origin in table.items() if each[: len(path)] != path}
        table[path] = Origin((PYTHON, *before))
    _attach_table(new, OriginsBelow(Origins.of(table)))


def _attach_table(value: Any, below: OriginsBelow) -> None:
    if isinstance(value, BaseModel):
        value.__dict__[ORIGINS] = below
    for item, held in iter_members(value):
        path = (*below.path, item)
        if path in below.whole.table and isinstance(held, (BaseModel, dict, list, tuple)):
            _attach_table(held, replace(below, path=path))


def _attach(value: Any, node: Node, below: OriginsBelow) -> None:
    target = node.follow()
    if isinstance(value, BaseModel):
        if not isinstance(target, MappingNode):
            return
        value.__dict__[ORIGINS] = below
    for item, held in iter_members(value):
        if isinstance(held, (BaseModel, dict, list, tuple)) and (found := step(target, item)) is not None:
            _attach(held, found[1], replace(below, path=(*below.path, item)))


def _iter_origins(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, Origin]]:
    yield path, origin_of(node)
    target = node.follow()
    if isinstance(target, MappingNode):
        for key, (_, value) in target.pairs.items():
            yield from _iter_origins(value, (*path, key))
    elif isinstance(target, Sequence):
        for index, item in enumerate(target.items):
            yield from _iter_origins(item, (*path, index))


def _iter_places(node: Node | None) -> Iterator[str]:
    """What gave the value; of a mapping, which is made of several sources, the last alone."""
    while node is not None:
        yield str(node.source.place(node.start, node.stop)) or PYTHON
        node = node.over if not isinstance(node.follow(), MappingNode) else None
