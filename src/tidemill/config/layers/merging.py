"""Trees laid over one another: mappings merge key by key, everything else replaces what stood there."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import replace
from typing import Any

from tidemill.config.layers.lookup import find_key
from tidemill.config.paths import KeyPath
from tidemill.config.shapes.shape import Shapes, enter
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
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return replace(over, over=base)
    if _has_other_tag(below, {key: node for key, (_, node) in above.pairs.items()}, shapes):
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

    Another tag of a tagged union replaces what other kinds of sources gave its mapping: of what was set beside it,
    before or behind it, nothing is lost.

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
        if not rest and _has_other_tag(target, {item: node}, shapes):
            anew = _start_anew(target, node.source.kind)
            target = replace(
                anew, pairs={**anew.pairs, **{key: target.pairs[key] for key in target.pairs if key == item}}
            )
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


def _has_other_tag(below: Mapping, above: MappingType[Any, Node], shapes: Shapes) -> bool:
    """Whether what `above` gives names another member of a tagged union than `below` does, or means without a tag."""
    for union in (union for shape in shapes for union in shape.iter_unions()):
        tag = union.discriminator
        if tag is not None and tag in above:
            old = below.pairs[tag][1].to_value() if tag in below.pairs else union.default_tag
            return bool(above[tag].to_value() != old)
    return False


def _start_anew(section: Mapping, kind: str) -> Mapping:
    """The section with nothing but what sources of this kind gave: the others meant another member."""
    kept = {key: (pair[0], node) for key, pair in section.pairs.items() if (node := _keep(pair[1], kind)) is not None}
    return replace(section, pairs=kept, over=section)


def _keep(node: Node, kind: str) -> Node | None:
    """What of a value comes from sources of this kind; None when nothing does."""
    if node.source.kind == kind:
        return node
    kept = _start_anew(node, kind) if isinstance(node, Mapping) else None
    return kept if kept is not None and kept.pairs else None
