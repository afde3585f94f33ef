"""`${…}` in texts, put in once all sources are laid over one another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from tidemill.config.layers.given import read_given
from tidemill.config.layers.lookup import takes_secret
from tidemill.config.layers.references import MalformedError, Part, Reference, parse_references
from tidemill.config.layers.targets import Targets, UnresolvedError
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.secrets import MASK, is_secret_key, register_secret
from tidemill.config.shapes.shape import Shapes, enter, enter_path
from tidemill.config.text.nodes import Alias, Mapping, Node, Scalar, Sequence, Text
from tidemill.config.text.offsets import find_offset
from tidemill.config.text.yaml import MAX_ALIASED
from tidemill.config.wording.words import describe_value
from tidemill.errors import Problem

MAX_CHARS = 10_000_000
"""How many characters the references of a configuration may put into texts in all: what a chain of them multiplies."""

_ESCAPE = "write `$${` for it as text"


class _BrokenError(Exception):
    """A reference to what is itself wrong, which is told there."""


class Interpolation:
    """Puts values for the references of a tree; each node is looked at once, so that a chain of them ends.

    Attributes:
        problems: references that stand for nothing, or for each other.
    """

    def __init__(self, root: Node | None, shapes: Shapes, targets: Targets) -> None:
        self.root = root
        self.shapes = shapes
        self.problems: list[Problem] = []
        self._targets = targets
        self._done: dict[int, Node] = {}
        self._active: dict[int, KeyPath] = {}
        self._trail: list[KeyPath] = []
        self._chars = 0
        self._aliased = 0
        self._exceeded = False
        self._defaulted: set[Reference] = set()

    def resolve(self) -> Node | None:
        """The tree without references; a text with one that stands for nothing is broken."""
        if self.root is None or not _holds_references(self.root, set()):
            return self.root
        return self.resolve_node(self.root, (), self.shapes)

    def resolve_node(self, node: Node, path: KeyPath, shapes: Shapes) -> Node:
        """As `resolve`, of the node at `path`."""
        if id(node) not in self._done:
            self._active[id(node)] = path
            self._done[id(node)] = self._resolve_inner(node, path, shapes)
            del self._active[id(node)]
        return self._done[id(node)]

    def _resolve_inner(self, node: Node, path: KeyPath, shapes: Shapes) -> Node:
        if isinstance(node, Alias):
            target = self.resolve_node(node.target, path, shapes)
            return node if target is node.target else replace(node, target=target, broken=target.broken)
        if isinstance(node, Mapping):
            values = {
                key: self.resolve_node(each, (*path, key), enter(shapes, key)) for key, (_, each) in node.pairs.items()
            }
            if all(values[key] is each for key, (_, each) in node.pairs.items()):
                return node
            pairs = {key: (pair[0], values[key]) for key, pair in node.pairs.items()}
            return replace(node, pairs=pairs, size=_size_of(values.values()))
        if isinstance(node, Sequence):
            each = enumerate(node.items)
            items = [self.resolve_node(item, (*path, index), enter(shapes, index)) for index, item in each]
            changed = any(new is not old for new, old in zip(items, node.items, strict=True))
            return replace(node, items=items, size=_size_of(items)) if changed else node
        if isinstance(node, Scalar) and _may_refer(node):
            return self._resolve_text(node, path, shapes)
        return node

    def _resolve_text(self, node: Scalar, path: KeyPath, shapes: Shapes) -> Node:
        self._trail.append(path)
        try:
            parts = parse_references(node.value)
        except MalformedError as error:
            self._report(node, path, str(error), _ESCAPE, error.start, len(node.value))
            found = None
        else:
            if len(parts) == 1 and isinstance(parts[0], Reference):
                found = self._find_whole(parts[0], node, path, shapes)
            else:
                found = self._join_all(parts, node, path)
        self._trail.pop()
        return replace(node, broken=True) if found is None else found

    def _find_whole(self, reference: Reference, node: Scalar, path: KeyPath, shapes: Shapes) -> Node | None:
        found: list[Node] = []
        with self._reporting(reference, node, path):
            found.append(self._stand_for(node, reference, shapes))
        return found[0] if found else None

    def _join_all(self, parts: tuple[Part, ...], node: Scalar, path: KeyPath) -> Node | None:
        """The text with all its references put in; every one that stands for nothing is told."""
        pieces = []
        for part in parts:
            with self._reporting(part, node, path):
                pieces.append(self._to_text(part, node))
        via = tuple(self._name(part) for part in parts if isinstance(part, Reference))
        return replace(node, value="".join(pieces), via=via) if len(pieces) == len(parts) else None

    @contextmanager
    def _reporting(self, part: Part, node: Scalar, path: KeyPath) -> Iterator[None]:
        try:
            yield
        except UnresolvedError as error:
            start, stop = (part.start, part.stop) if isinstance(part, Reference) else (0, 1)
            message, hint = str(error), error.hint
            if isinstance(part, Reference) and part.may_be_secret and takes_secret(self.shapes, self.root, path):
                message, hint = (text.replace(part.name, MASK) for text in (message, hint))
            self._report(node, path, message, hint, start, stop)
        except _BrokenError:
            pass

    def _report(self, node: Scalar, path: KeyPath, message: str, hint: str, start: int, stop: int) -> None:
        offset = find_offset(node.source.content, node.start, node.text, node.style, start)
        place = node.source.place(offset, offset + stop - start)
        prefix = f"`{join_path(path)}`: " if path else ""
        self.problems.append(Problem(f"{prefix}{message}", place, path, hint=hint))

    def _stand_for(self, node: Scalar, reference: Reference, shapes: Shapes) -> Node:
        """What a text that is one reference stands for: a key's value itself; any other text as it would be given."""
        found = self._find(reference, node)
        via = (self._name(reference),)
        if isinstance(found, Node):
            self._aliased += found.size
            if self._aliased > MAX_ALIASED:
                raise self._exceed(f"the references stand for more than {MAX_ALIASED:,} values")
            place = (node.start, node.stop, node.outer, found.size, found.broken)
            return Alias(*place, target=found, source=node.source, over=node.over, via=via)
        if reference.kind != "file":
            given, faults = read_given(Text(str(reference), found, "environment"), shapes)
            if isinstance(given, Scalar) and not faults:
                found = given.value
            elif given is not None and not faults:
                return replace(given, start=node.start, stop=node.stop, source=node.source, over=node.over, via=via)
        return replace(node, value=found, via=via)

    def _find(self, reference: Reference, node: Scalar) -> Node | str:
        """The value of a reference: of a key its node without references, else a text."""
        if reference.kind == "key":
            found = self._targets.find_key(self.root, self.shapes, reference)
            if found is not None:
                return self._resolve_target(*found)
        else:
            text = self._targets.find_text(reference, node.source.folder)
            if text is not None:
                return text
        if reference.default is not None:
            self._defaulted.add(reference)
            text = "".join(self._to_text(part, node) for part in reference.default)
            if reference.kind == "env" and is_secret_key(reference.name) and not text.isalpha():  # a word is no secret
                register_secret(text)
            return text
        raise self._targets.explain(self.root, self.shapes, reference, node.source.folder)

    def _name(self, reference: Reference) -> str:
        return f"default of {reference}" if reference in self._defaulted else str(reference)

    def _resolve_target(self, path: KeyPath, node: Node) -> Node:
        if id(node) in self._active:
            start = next((i for i, each in enumerate(self._trail) if each[: len(path)] == path), 0)
            shown = " → ".join(f"`{join_path(each)}`" for each in [*self._trail[start:], path])
            raise UnresolvedError(f"these refer to each other: {shown}", "write one of them out")
        resolved = self.resolve_node(node, path, enter_path(self.shapes, path))
        if resolved.broken:
            raise _BrokenError
        return resolved

    def _to_text(self, part: Part, node: Scalar) -> str:
        text = part if isinstance(part, str) else self._find_text(part, node)
        self._chars += len(text)
        if self._chars > MAX_CHARS:
            raise self._exceed(f"the references make texts of more than {MAX_CHARS:,} characters")
        return text

    def _exceed(self, message: str) -> Exception:
        """What ends a reference beyond a bound: the first is told, and stands for the others."""
        is_told, self._exceeded = self._exceeded, True
        return _BrokenError() if is_told else UnresolvedError(message)

    def _find_text(self, reference: Reference, node: Scalar) -> str:
        found = self._find(reference, node)
        if isinstance(found, str):
            return found
        target = found.follow()
        if not isinstance(target, Scalar):
            message = f"{describe_value(target.to_value())} cannot stand within a text"
            raise UnresolvedError(message, "let the reference be the whole value")
        return target.value if isinstance(target.value, str) else target.text or describe_value(target.value)


def expand_text(node: Scalar, targets: Targets) -> tuple[str, list[Problem]]:
    """A text that stands before all values, with its references to the environment and to files put in."""
    interpolation = Interpolation(None, (), targets)
    value = interpolation.resolve_node(node, (), ()).to_value()
    return str(value), interpolation.problems


def _size_of(inner: Iterable[Node]) -> int:
    return 1 + sum(node.size for node in inner)


def _holds_references(node: Node, seen: set[int]) -> bool:
    """Whether there is anything to put in below `node`; an alias's target, in `seen`, is looked at once."""
    if isinstance(node, Alias):
        if id(node.target) in seen:
            return False
        seen.add(id(node.target))
        return _holds_references(node.target, seen)
    if isinstance(node, Mapping):
        return any(_holds_references(each, seen) for _, each in node.pairs.values())
    if isinstance(node, Sequence):
        return any(_holds_references(each, seen) for each in node.items)
    return isinstance(node, Scalar) and _may_refer(node)


def _may_refer(node: Scalar) -> bool:
    """Whether a text may hold references: one that Python gave is data."""
    return isinstance(node.value, str) and "${" in node.value and node.source.kind != "python"
