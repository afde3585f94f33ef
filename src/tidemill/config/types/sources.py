"""The source of functions and classes, and what it names at the top of their module."""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import linecache
import textwrap
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

_READS_GLOBAL = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})

_Span = tuple[int | None, int | None, int | None, int | None]
"""The first and last line, and the first and last column."""

_found: WeakKeyDictionary[type | CodeType, tuple[str, str]] = WeakKeyDictionary()
"""For classes and functions the text of their file, and their own source in it."""


def read_source(target: Any) -> str:
    """The dedented source; of a lambda its expression; of what has none the compiled code."""
    try:
        if isinstance(target, FunctionType) and target.__name__ == "<lambda>":
            expression = _find_lambda(target.__code__)
            if expression is not None:
                return expression
        return textwrap.dedent(_read_named(target))
    except (OSError, TypeError, SyntaxError):
        return repr(_describe_code(target.__code__)) if isinstance(target, FunctionType) else ""


@functools.lru_cache(maxsize=1024)
def find_globals(code: CodeType) -> tuple[str, ...]:
    """The global names that the code reads, what is defined within it included; sorted."""
    names = {each.argval for each in dis.get_instructions(code) if each.opname in _READS_GLOBAL}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.update(find_globals(constant))
    return tuple(sorted(names))


def find_assignments(function: FunctionType, name: str) -> tuple[list[str], list[str]]:
    """The statements at the top of the function's file that assign `name`, and the names they read."""
    try:
        lines, _ = inspect.findsource(function.__code__)
        return _index_assignments("".join(lines)).get(name, ([], []))
    except (OSError, TypeError, SyntaxError):  # there is no file any more, or it is torn
        return [], []


@functools.lru_cache(maxsize=8)
def _index_assignments(text: str) -> dict[str, tuple[list[str], list[str]]]:
    found: dict[str, tuple[list[str], list[str]]] = {}
    for statement in _iter_assignments(_parse(text)):
        names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
        read = sorted({node.id for node in names if isinstance(node.ctx, ast.Load)})
        for node in names:
            if isinstance(node.ctx, ast.Store):
                statements, reads = found.setdefault(node.id, ([], []))
                statements.append(ast.unparse(statement))
                reads.extend(read)
    return found


def _iter_assignments(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            yield child
        elif not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.expr)):
            yield from _iter_assignments(child)


def _find_lambda(code: CodeType) -> str | None:
    """The text of the lambda with this code: several may share a line, so they are told apart by columns."""
    lines, _ = inspect.findsource(code)
    spans = set(code.co_positions())
    found = (node for span, node in _index_lambdas("".join(lines)).items() if span in spans)
    node = next(found, None)
    return None if node is None else ast.unparse(node)


@functools.lru_cache(maxsize=8)
def _index_lambdas(text: str) -> dict[_Span, ast.Lambda]:
    """By where their bodies stand."""
    found: dict[_Span, ast.Lambda] = {}
    for node in ast.walk(_parse(text)):
        if isinstance(node, ast.Lambda):
            body = node.body
            found.setdefault((body.lineno, body.end_lineno, body.col_offset, body.end_col_offset), node)
    return found


def _read_named(target: FunctionType | type) -> str:
    """The source, looked for once while its file says the same: finding a class goes through all of a file."""
    key = target if isinstance(target, type) else inspect.unwrap(target).__code__
    text = _read_text(target)
    known = _found.get(key)
    if known is not None and text and known[0] == text:
        return known[1]
    source = inspect.getsource(target)
    _found[key] = (text, source)
    return source


def _read_text(target: FunctionType | type) -> str:
    """The text of the file as it is now; empty where there is none, or one that only `inspect` finds."""
    file = inspect.getsourcefile(target) or ""
    linecache.checkcache(file)
    return _same_text("".join(linecache.getlines(file)))


@functools.lru_cache(maxsize=64)
def _same_text(text: str) -> str:
    """One string for all that are equal: many functions are of one file."""
    return text


@functools.lru_cache(maxsize=8)
def _parse(text: str) -> ast.Module:
    return ast.parse(text)


def _describe_code(code: CodeType) -> list[Any]:
    constants = [_describe_code(item) if isinstance(item, CodeType) else repr(item) for item in code.co_consts]
    return [code.co_code.hex(), constants, code.co_names, code.co_varnames]
