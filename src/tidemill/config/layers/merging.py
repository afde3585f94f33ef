"""Trees laid over one another: mappings merge key by key, everything else replaces what stood there."""

from __future__ import annotations

from dataclasses import replace

from tidemill.config.layers.lookup import find_key
from tidemill.config.paths import KeyPath
from tidemill.config.shape import Shapes, enter
from tidemill.config.text.nodes import Mapping, Node, Scalar, Sequence, Text


def merge(base: Node | None, over: Node, shapes: Shapes = ()) -> Node:
    """`over` laid over `base`; neither is changed.

    A mapping of a tagged union that has another tag replaces the whole mapping: the keys of the one mean nothing to
    the other.

    Args:
        shapes: what may be expected there.
    """
    if base is None:
        return over
    below, above = base.follow(), over.follow()
    if not isinstance(below, Mapping) or not isinstance(above, Mapping) or _has_other_tag(below, above, shapes):
        return replace(over, over=base)
    pairs = dict(below.pairs)
    for key, (key_node, node) in above.pairs.items():
        known = find_key(below, key)
        if known is None:
            pairs[key] = (key_node, node)
        else:
            before, value = below.pairs[known]
            pairs[known] = (replace(key_node, over=before), merge(value, node, enter(shapes, known)))
    place = above if above.source.kind == "file" or below.source.kind != "file" else below
    size = 1 + sum(node.size for _, node in pairs.values())
    repeated = [*below.repeated, *above.repeated]
    return replace(place, pairs=pairs, repeated=repeated, size=size, over=base)


def assign(root: Node | None, path: KeyPath, node: Node, shapes: Shapes = ()) -> Node:
    """`root` with `node` laid over what stands at `path`; mappings that are missing on the way are made.

    Raises:
        LookupError: the path leads beyond a list's end, or into a scalar; of the item that is not there.
    """
    if not path:
        return merge(root, node, shapes)
    item, *rest = path
    if root is None and isinstance(item, int):
        raise LookupError(item)
    target = root.follow() if root is not None else Mapping(0, 0, source=node.source)
    if isinstance(target, Scalar) and target.value is None and isinstance(item, str):
        target = Mapping(0, 0, source=node.source, over=target)
    if isinstance(target, Mapping):
        known = find_key(target, item)
        key_node, value = target.pairs[known] if known is not None else (None, None)
        written = _key_node(item if known is None else known, node.source)
        if not rest or key_node is None:
            key_node = replace(written, over=key_node)
        inner = assign(value, tuple(rest), node, enter(shapes, item))
        return replace(target, pairs={**target.pairs, item if known is None else known: (key_node, inner)})
    if isinstance(target, Sequence) and isinstance(item, int) and 0 <= item < len(target.items):
        items = list(target.items)
        items[item] = assign(items[item], tuple(rest), node, enter(shapes, item))
        return replace(target, items=items)
    raise LookupError(item)


def _key_node(item: str | int, source: Text) -> Scalar:
    return Scalar(0, 0, value=item, text=str(item), source=source)


def _has_other_tag(below: Mapping, above: Mapping, shapes: Shapes) -> bool:
    for shape in shapes:
        tag = shape.discriminator
        if tag is not None and tag in above.pairs:
            old = below.pairs[tag][1].to_value() if tag in below.pairs else None
            return bool(above.pairs[tag][1].to_value() != old)
    return False
