"""What a template reads of its record: which columns, which fields of them, and which it cannot do without."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from jinja2 import nodes

_GUARDS = {nodes.Filter: ("default", "d"), nodes.Test: ("defined", "undefined")}
"""Filters and tests that take what is not there."""

_IN_MACROS = ("caller", "varargs", "kwargs")

_WHITE_SPACE = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Reference:
    """One use of a column, or of a field of what stands in it.

    Attributes:
        column: the name, which nothing in the template itself has bound.
        field: of `label.topic` and `label["topic"]` the field; None for the column itself.
        offset: where the name, or the field's, stands in the text.
        is_guarded: whether this use may find nothing: it is tested, or has a default.
        is_called: whether the field is called, as `label.items()`.
    """

    column: str
    field: str | None
    offset: int
    is_guarded: bool = False
    is_called: bool = False

    @property
    def length(self) -> int:
        """Characters of the name."""
        return len(self.column if self.field is None else self.field)


def find_references(tree: nodes.Template, text: str, builtin: Iterable[str]) -> list[Reference]:
    """Every use of the record, in the order of the text.

    Args:
        tree: the parsed template, each node's `lineno` the offset of its token in `text`.
        builtin: names that the language itself has.
    """
    finder = _Finder(text)
    finder.visit(tree, {*builtin, "self"})
    return sorted(finder.found, key=lambda reference: reference.offset)


def iter_needed(references: Collection[Reference]) -> Iterator[Reference]:
    """The first use of each column and field that no use guards."""
    seen = {(each.column, each.field) for each in references if each.is_guarded}
    for reference in references:
        key = (reference.column, reference.field)
        if key not in seen:
            seen.add(key)
            yield reference


class _Finder:
    """Goes through a template as it runs, with the names that its loops, sets and macros have bound so far."""

    def __init__(self, text: str) -> None:
        self.found: list[Reference] = []
        self._text = text
        self._visits: dict[type[nodes.Node], Callable[[Any, set[str]], None]] = {
            nodes.Name: self._visit_name,
            nodes.Getattr: self._visit_field,
            nodes.Getitem: self._visit_field,
            nodes.Call: self._visit_call,
            nodes.Filter: self._visit_guard,
            nodes.Test: self._visit_guard,
            nodes.For: self._visit_for,
            nodes.With: self._visit_with,
            nodes.Macro: self._visit_macro,
            nodes.CallBlock: self._visit_macro,
            nodes.Assign: self._visit_assign,
            nodes.AssignBlock: self._visit_assign_block,
            nodes.FilterBlock: self._visit_scope,
            nodes.Block: self._visit_scope,
        }

    def visit(self, node: nodes.Node, bound: set[str]) -> None:
        """Note what `node` uses; `bound` grows by what it binds for those behind it."""
        self._visits.get(type(node), self._visit_children)(node, bound)

    def _visit_children(self, node: nodes.Node, bound: set[str]) -> None:
        self._visit_all(node.iter_child_nodes(), bound)

    def _visit_all(self, children: Iterable[nodes.Node], bound: set[str]) -> None:
        for child in children:
            self.visit(child, bound)

    def _visit_name(self, node: nodes.Name, bound: set[str], *, is_guarded: bool = False) -> None:
        if node.name not in bound:
            self.found.append(Reference(node.name, None, node.lineno, is_guarded))

    def _visit_field(
        self, node: nodes.Getattr | nodes.Getitem, bound: set[str], *, is_guarded: bool = False, is_called: bool = False
    ) -> None:
        self._visit_children(node, bound)
        if not isinstance(node.node, nodes.Name) or node.node.name in bound:
            return
        if isinstance(node, nodes.Getattr):
            field: Any = node.attr
            offset = self._find_word(node.lineno + len("."))
        elif isinstance(node.arg, nodes.Const):
            field, offset = node.arg.value, node.arg.lineno + len("'")
        else:
            return
        if isinstance(field, str):
            self.found.append(Reference(node.node.name, field, offset, is_guarded, is_called))

    def _find_word(self, offset: int) -> int:
        space = _WHITE_SPACE.match(self._text, offset)
        return space.end() if space else offset

    def _visit_call(self, node: nodes.Call, bound: set[str]) -> None:
        called, *arguments = node.iter_child_nodes()
        if isinstance(called, nodes.Getattr):
            self._visit_field(called, bound, is_called=True)
        else:
            self.visit(called, bound)
        self._visit_all(arguments, bound)

    def _visit_guard(self, node: nodes.Filter | nodes.Test, bound: set[str]) -> None:
        is_guarded = node.name in _GUARDS[type(node)]
        for child in node.iter_child_nodes():
            if child is node.node and isinstance(child, nodes.Name):
                self._visit_name(child, bound, is_guarded=is_guarded)
            elif child is node.node and isinstance(child, (nodes.Getattr, nodes.Getitem)):
                self._visit_field(child, bound, is_guarded=is_guarded)
            else:
                self.visit(child, bound)

    def _visit_for(self, node: nodes.For, bound: set[str]) -> None:
        self.visit(node.iter, bound)
        inner = bound | _names_in(node.target) | {"loop"}
        self._visit_all([node.test] if node.test else [], inner)
        self._visit_all(node.body, inner)
        self._visit_all(node.else_, set(bound))

    def _visit_with(self, node: nodes.With, bound: set[str]) -> None:
        self._visit_all(node.values, bound)
        self._visit_all(node.body, bound.union(*map(_names_in, node.targets)))

    def _visit_macro(self, node: nodes.Macro | nodes.CallBlock, bound: set[str]) -> None:
        if isinstance(node, nodes.Macro):
            bound.add(node.name)
        else:
            self.visit(node.call, bound)
        inner = bound.union(_IN_MACROS, *map(_names_in, node.args))
        self._visit_all(node.defaults, inner)
        self._visit_all(node.body, inner)

    def _visit_assign(self, node: nodes.Assign, bound: set[str]) -> None:
        self.visit(node.node, bound)
        bound |= _names_in(node.target)

    def _visit_assign_block(self, node: nodes.AssignBlock, bound: set[str]) -> None:
        self._visit_all([node.filter] if node.filter else [], bound)
        self._visit_all(node.body, set(bound))
        bound |= _names_in(node.target)

    def _visit_scope(self, node: nodes.FilterBlock | nodes.Block, bound: set[str]) -> None:
        self._visit_children(node, set(bound))


def _names_in(target: nodes.Node) -> set[str]:
    """What a target of a loop, a set or a macro binds."""
    names = {name.name for name in target.find_all(nodes.Name)}
    return names | {target.name} if isinstance(target, nodes.Name) else names
