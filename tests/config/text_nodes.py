"""What the tests of texts have in common: a tree's nodes one by one, faults as lines."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tidemill.config.text.nodes import Fault, Mapping, Node, Scalar, Sequence, Text
from tidemill.config.text.offsets import find_offset


def iter_nodes(node: Node, key: Node | None = None) -> Iterator[tuple[Node | None, Node]]:
    """Every node with its key's."""
    yield key, node
    if isinstance(node, Mapping):
        for inner_key, value in node.pairs.values():
            yield from iter_nodes(value, inner_key)
    elif isinstance(node, Sequence):
        for item in node.items:
            yield from iter_nodes(item)


def written(node: Node) -> str:
    """The characters a node stands for."""
    assert node.outer == node.start
    return node.source.content[node.start : node.stop]


def check_offsets(node: Node, read: Callable[[str], Any]) -> None:
    """What lies between the offsets of two characters of a text stands for the first of them, as `read` takes it."""
    if not isinstance(node, Scalar) or not node.style or not node.text:
        return
    content = node.source.content
    starts = [find_offset(content, node.start, node.text, node.style, offset) for offset in range(len(node.text))]
    opening = node.style if len(node.style) == 1 else f"{node.style}\n"
    for start, stop, character in zip(starts, [*starts[1:], node.stop - len(node.style)], node.text, strict=True):
        assert read(f"{opening}{content[start:stop]}{node.style}") == character


def tell(faults: list[Fault], source: Text) -> list[str]:
    """Each fault as `line:column+width message | mend`."""
    lines = []
    for fault in faults:
        place = source.place(fault.start, fault.stop)
        mend = f" | {fault.hint}" if fault.hint else ""
        lines.append(f"{place.line}:{place.column}+{place.length} {fault.message}{mend}")
    return lines


def load_faults(path: Path) -> list[tuple[str, list[str]]]:
    """The texts in a file, each a Python literal on a line, with the lines told of it, which are indented below it."""
    cases: list[tuple[str, list[str]]] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith(" "):
            cases[-1][1].append(line.strip())
        elif line:
            cases.append((ast.literal_eval(line), []))
    return cases
