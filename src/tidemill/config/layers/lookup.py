"""Where in a tree of nodes a key path leads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidemill.config.paths import KeyPath, split_label
from tidemill.config.secrets import is_secret_key
from tidemill.config.shapes.shape import Shapes, enter
from tidemill.config.text.nodes import Mapping, Node, Sequence


def find_key(node: Mapping, item: Any) -> Any:
    """The key of `node` that `item` names, itself or as text; None when there is none."""
    if item in node.pairs:
        return item
    return next((key for key in node.pairs if str(key) == str(item)), None)


def step(node: Node | None, item: str | int) -> tuple[Node | None, Node] | None:
    """The key and value nodes under a key or index of `node`, None when there are none."""
    target = node.follow() if node is not None else None
    if isinstance(target, Mapping):
        return target.pairs.get(find_key(target, item))
    if isinstance(target, Sequence) and isinstance(item, int) and 0 <= item < len(target.items):
        return None, target.items[item]
    return None


def find_path(root: Node | None, label: str, shapes: Shapes = ()) -> KeyPath:
    """The key path a dotted label means; where nothing is given, `shapes` say whether a number is an index."""
    return split_label(label, (root, shapes), _list_keys, _enter)


def takes_index(shapes: Shapes) -> bool:
    """Whether a list or a tuple may stand where `shapes` are expected."""
    kinds = {option.core["type"] for shape in shapes for option in shape.iter_options()}
    return not kinds.isdisjoint(("list", "tuple"))


def _list_keys(at: tuple[Node | None, Shapes]) -> dict[str, str | int] | None:
    node, shapes = at
    target = node.follow() if node is not None else None
    if isinstance(target, Mapping):
        return {str(key): str(key) for key in target.pairs}
    return None if isinstance(target, Sequence) or (target is None and takes_index(shapes)) else {}


def _enter(at: tuple[Node | None, Shapes], item: str | int) -> tuple[Node | None, Shapes]:
    node, shapes = at
    found = step(node, item)
    return found[1] if found else None, enter(shapes, item)


def find_node(root: Node | None, path: Iterable[str | int]) -> Node | None:
    """The value node at `path`, None when nothing is there."""
    node = root
    for item in path:
        found = step(node, item)
        if found is None:
            return None
        node = found[1]
    return node


def expect(shapes: Shapes, root: Node | None, path: KeyPath) -> Shapes:
    """What may be expected at `path`: of a tagged union what its member has that `root` names, if it has it."""
    for index, item in enumerate(path):
        narrowed = shapes
        if any(shape.discriminator is not None for shape in shapes) and (node := find_node(root, path[:index])):
            value = node.to_value()
            narrowed = tuple(shape.narrow(value) for shape in shapes)
        shapes = enter(narrowed, item) or enter(shapes, item)
    return shapes


def takes_secret(shapes: Shapes, root: Node | None, path: KeyPath) -> bool:
    """Whether what is given at `path` is a secret, by its keys or by what is expected there."""
    named = any(isinstance(item, str) and is_secret_key(item) for item in path)
    return named or any(each.holds_secret(sections=False) for each in expect(shapes, root, path))
