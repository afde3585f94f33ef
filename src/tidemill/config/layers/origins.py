"""Where each value of a loaded configuration came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.config.layers.document import Document
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.text.nodes import Mapping as MappingNode
from tidemill.config.text.nodes import Node, Sequence
from tidemill.errors import Place

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one value came from.

    Attributes:
        places: what gave it, then what that was laid over, the nearest first; empty for a default.
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

    Made when it is first asked for; pickles without the sources' texts.
    """

    def __init__(self, document: Document) -> None:
        self._document: Document | None = document
        self._table: Mapping[KeyPath, Origin] | None = None

    @property
    def table(self) -> Mapping[KeyPath, Origin]:
        """Every key path that a source gave, mappings and lists included, in the order of the values."""
        if self._table is None:
            root = self._document.root if self._document is not None else None
            self._table = dict(_iter_origins(root, ())) if root is not None else {}
            self._document = None
        return self._table

    def find(self, path: KeyPath) -> Origin:
        """The origin of the value at `path`: its own, else that of the value above that holds it whole."""
        named = tuple(map(str, path))
        by_name = {tuple(map(str, each)): origin for each, origin in self.table.items()}
        return by_name.get(named, Origin())

    def below(self, path: KeyPath) -> Origins:
        """The origins of what stands at `path`, by the key paths within it."""
        inner = Origins.__new__(Origins)
        inner._document = None
        size = len(path)
        inner._table = {each[size:]: origin for each, origin in self.table.items() if each[:size] == path}
        return inner

    def to_dict(self) -> dict[str, str]:
        """Each scalar's origin, as `{"optim.lr": "train.yaml:3:7"}`."""
        paths = set(self.table)
        parents = {path[:-1] for path in paths if path}
        return {join_path(path): str(origin) for path, origin in self.table.items() if path not in parents and path}

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (dict(self.table),)


def _rebuild(table: dict[KeyPath, Origin]) -> Origins:
    origins = Origins.__new__(Origins)
    origins._document, origins._table = None, table
    return origins


def _iter_origins(node: Node, path: KeyPath) -> Iterator[tuple[KeyPath, Origin]]:
    yield path, Origin(tuple(_iter_places(node)), node.via)
    target = node.follow()
    if isinstance(target, MappingNode):
        for key, (_, value) in target.pairs.items():
            yield from _iter_origins(value, (*path, key))
    elif isinstance(target, Sequence):
        for index, item in enumerate(target.items):
            yield from _iter_origins(item, (*path, index))


def _iter_places(node: Node | None) -> Iterator[str]:
    while node is not None:
        yield str(_place_of(node)) or "Python"
        node = node.over


def _place_of(node: Node) -> Place:
    return node.source.place(node.start, node.stop)
