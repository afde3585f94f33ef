"""Where in the source of a call each value that it gives stands."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tidemill.config.paths import KeyPath, join_path
from tidemill.config.secrets import hide, is_secret_key

_CHANGES = (ast.Store, ast.Del)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Span(NamedTuple):
    """A piece of source: lines from 1, columns in bytes of UTF-8 from 0, the end exclusive."""

    line: int
    column: int
    end_line: int
    end_column: int

    @classmethod
    def of(cls, node: ast.expr | ast.keyword) -> Span:
        """Where the node stands."""
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset + 1
        return cls(node.lineno, node.col_offset, end_line, end_column)


@dataclass(frozen=True)
class Module:
    """A parsed source."""

    tree: ast.Module

    def find_call(self, span: Span) -> ast.Call | None:
        """The call whose instruction stands at `span`: no two calls end at one place."""
        calls = (node for node in _walk_line(self.tree, span.end_line) if isinstance(node, ast.Call))
        return next((node for node in calls if Span.of(node)[2:] == span[2:]), None)

    def find_value(self, call: ast.Call, path: KeyPath) -> Span | None:
        """Where `call` says what stands at `path`: its keyword or a mapping's key, of a list's item the item itself.

        What is nearest above it where the source does not show it whole; None where it shows nothing of it. A
        mapping under a name is found where a single statement sets it and none changes it.
        """
        return self._seek(call, path, call)

    def iter_secrets(self, line: int, names: frozenset[str]) -> Iterator[Span]:
        """Where values stand, on this line too, that are given under a secret name; `names` are further such."""
        for node in _walk_line(self.tree, line):
            for key, _, value in _iter_items(node):
                if isinstance(key, str) and is_secret_key(key, names):
                    yield Span.of(value)

    def _seek(self, node: ast.AST, path: KeyPath, call: ast.Call) -> Span | None:
        if isinstance(node, ast.Name):
            node = self._find_mapping(node.id, call) or node
        if node is not call and isinstance(node, ast.Call) and not _is_named(node.func, "dict"):
            return None
        for key, span, value in reversed(_find_items(node, path)):
            size = 0 if key is None else _match(key, path)
            if size is None:
                continue
            inner = self._seek(value, path[size:], call) if path[size:] else None
            if inner or key is not None:
                return inner or span
            if isinstance(node, ast.Dict) and not isinstance(value, ast.Dict):
                return None  # `{"a": 1, **more}`: what more holds is not known
        return None

    def _find_mapping(self, name: str, call: ast.Call) -> ast.expr | None:
        """The mapping that `name` stands for where `call` is made."""
        for scope in (*reversed(list(_iter_functions(self.tree, call))), self.tree):
            if _binds(scope, name):
                return _find_single(scope, name)
        return None


@lru_cache(maxsize=8)
def parse_module(text: str) -> Module | None:
    """The parsed source, None where it is no Python."""
    try:
        return Module(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        return None


def _walk_line(node: ast.AST, line: int) -> Iterator[ast.AST]:
    """The nodes within `node` that stand on this line, outermost first."""
    for child in ast.iter_child_nodes(node):
        decorators = getattr(child, "decorator_list", ())
        start = min([getattr(child, "lineno", 0), *(each.lineno for each in decorators)])
        if start <= line <= getattr(child, "end_lineno", line):
            yield child
            yield from _walk_line(child, line)


def _iter_items(node: ast.AST) -> Iterator[tuple[str | int | None, Span, ast.expr]]:
    """What a call, a mapping, a list or an attribute is given: the key, where it stands, the value.

    A mapping in place has no key.
    """
    if isinstance(node, ast.Call):
        yield from _iter_arguments(node)
    elif isinstance(node, ast.Assign):
        attributes = (target for target in node.targets if isinstance(target, ast.Attribute))
        yield from ((target.attr, Span.of(target), node.value) for target in attributes)
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                yield None, Span.of(value), value
            elif isinstance(key, ast.Constant):
                yield str(key.value), Span.of(key), value
    elif isinstance(node, (ast.List, ast.Tuple)) and not any(isinstance(item, ast.Starred) for item in node.elts):
        for index, item in enumerate(node.elts):
            yield index, Span.of(item), item


def _find_items(node: ast.AST, path: KeyPath) -> list[tuple[str | int | None, Span, ast.expr]]:
    """As `_iter_items`, those that may hold what stands at `path`: of a long list one."""
    if not isinstance(node, (ast.List, ast.Tuple)) or any(isinstance(item, ast.Starred) for item in node.elts):
        return list(_iter_items(node))
    index = path[0] if path else None
    if not isinstance(index, int) or not 0 <= index < len(node.elts):
        return []
    return [(index, Span.of(node.elts[index]), node.elts[index])]


def _iter_arguments(call: ast.Call) -> Iterator[tuple[str | None, Span, ast.expr]]:
    """A text among the arguments is a key, as `replace("optim.lr", 3e-4)` has it."""
    for index, argument in enumerate(call.args):
        if isinstance(argument, (ast.Dict, ast.Name)):
            yield None, Span.of(argument), argument
        elif isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            value = call.args[index + 1] if index + 1 < len(call.args) else argument
            yield argument.value, Span.of(argument), value
    for keyword in call.keywords:
        span = Span.of(keyword)
        if keyword.arg is None:
            yield None, span, keyword.value
        else:
            end_column = span.column + len(keyword.arg.encode())
            yield keyword.arg, span._replace(end_line=span.line, end_column=end_column), keyword.value


def _match(key: str | int, path: KeyPath) -> int | None:
    """How many items of `path` the key stands for: `optim.lr` for two. One that leads further stands for them all."""
    name = str(key)
    if path and name.startswith(f"{join_path(path)}."):
        return len(path)
    return next((size for size in range(1, len(path) + 1) if join_path(path[:size]) == name), None)


def _iter_functions(tree: ast.Module, call: ast.Call) -> Iterator[ast.AST]:
    """The functions that `call` stands in, outermost first."""
    for node in _walk_line(tree, call.lineno):
        if isinstance(node, _FUNCTIONS) and any(each is call for each in ast.walk(node)):
            yield node


def _find_single(scope: ast.AST, name: str) -> ast.expr | None:
    """What the only statement of `scope` that sets or changes `name` sets it to, where that is a mapping."""
    values: list[ast.expr | None] = []
    changes = 0
    for node in _walk_scope(scope, name):
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            values += [node.value for target in targets if _is_named(target, name)]
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and _is_named(node.value, name):  # `raw.update(…)`
            changes += isinstance(node, ast.Attribute) or isinstance(node.ctx, _CHANGES)
        elif isinstance(node, ast.Name) and node.id == name:
            changes += isinstance(node.ctx, _CHANGES)
        elif isinstance(node, ast.arg) and node.arg == name:
            changes += 1
    value = values[0] if len(values) == changes == 1 else None
    if not isinstance(value, (ast.Dict, ast.Call)) or any(_is_named(node, name) for node in ast.walk(value)):
        return None  # `raw = {**raw}` of a name from elsewhere changes what was there
    return value


def _walk_scope(scope: ast.AST, name: str) -> Iterator[ast.AST]:
    """The nodes in which `name` means what it means in `scope`."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, _FUNCTIONS) or not _binds(child, name):
            yield child
            yield from _walk_scope(child, name)


def _binds(scope: ast.AST, name: str) -> bool:
    """Whether `name` is a name of `scope`'s own, or of a function within it."""
    uses = (node for node in ast.walk(scope) if isinstance(node, (ast.Name, ast.arg)))
    return any(
        node.arg == name if isinstance(node, ast.arg) else node.id == name and isinstance(node.ctx, _CHANGES)
        for node in uses
    )


def _is_named(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def hide_spans(line: str, number: int, spans: Iterable[Span]) -> str:
    """The source line of this number with a `*` for every character within `spans`."""
    shown = list(line)
    for span in spans:
        if span.line <= number <= span.end_line:
            start = count_characters(line, span.column) if number == span.line else 0
            stop = count_characters(line, span.end_column) if number == span.end_line else len(line)
            shown[start:stop] = hide(line[start:stop])
    return "".join(shown)


def count_characters(line: str, size_bytes: int) -> int:
    """How many characters the first bytes of a line are."""
    return len(line.encode()[:size_bytes].decode(errors="replace"))
