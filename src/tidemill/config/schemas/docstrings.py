"""What a class says of itself and of its fields: in docstrings, in texts below fields, in `Field(description=…)`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import linecache
import re
import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any, NotRequired, Required

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typing_extensions import ReadOnly, is_typeddict

_SECTION = re.compile(r"^[ \t]*(?:Attributes|Args|Arguments|Parameters):[ \t]*$", re.MULTILINE)
_MARK = re.compile(r"^[ \t]*(?:[A-Z][\w ]*:[ \t]*$|-{3,}[ \t]*$|:\w[^:\n]*:)", re.MULTILINE)
"""What a section of a docstring begins with, in any style."""

_FIELD = re.compile(r"^:param\w*[ \t][^:\n]+:", re.MULTILINE)
"""A parameter in the style of Sphinx; griffe overlooks one in the last line."""

_BREAK = re.compile(r"[ \t]*\n(?!\s|[-*+] |\d+[.)] |[|>]|```)")
"""The end of a line that goes on in the next: no paragraph, list, table or code begins there."""


def describe_fields(cls: Any) -> dict[str, str]:
    """The description of each field that has one, in the order of the fields.

    Of a Pydantic model, dataclass or TypedDict. First comes the field's own `Field(description=…)`, then the text that
    stands below the field in the class, then the class's section `Attributes:` (or `Args:`, as dataclasses have it),
    then the same of the classes it is derived from. A line broken to fit the source is one line again.
    """
    return dict(_describe_fields(_origin(cls)))


def describe_class(cls: Any) -> str:
    """The first paragraph of the class's own docstring; empty where there is none, or one that Python made."""
    cls = _origin(cls)
    if not isinstance(cls, type):
        return ""
    text = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")[0]
    is_made = dataclasses.is_dataclass(cls) and text.startswith(f"{cls.__name__}(")
    return "" if is_made or _SECTION.match(text) else _flow(text)


def describe_function(doc: str | None) -> tuple[str, dict[str, str]]:
    r"""The first paragraph of a function's docstring, and what it says of each parameter.

    In the styles of Google, NumPy and Sphinx, whichever it looks like. A line broken to fit the source is one line
    again.

    ```
    >>> describe_function("Find pages.\n\nArgs:\n    query: what to look for.")
    ('Find pages.', {'query': 'what to look for.'})

    ```
    """
    text = inspect.cleandoc(doc or "")
    if not text:
        return "", {}
    if not _MARK.search(text):
        return _flow(text.partition("\n\n")[0]), {}
    import griffe  # 70 ms, which whoever documents no parameter does not pay

    quiet: Any = {style: {"warnings": False} for style in ("google", "numpy", "sphinx")}
    led = griffe.Docstring(f".\n\n{text}")  # a section that comes first is known as one behind a paragraph only
    default = griffe.Parser.sphinx if _FIELD.search(text) else griffe.Parser.google
    sections = griffe.parse_auto(led, default=default, per_style_options=quiet)
    items = [
        item
        for section in sections
        if section.kind in (griffe.DocstringSectionKind.parameters, griffe.DocstringSectionKind.other_parameters)
        for item in section.value
    ]
    described = {item.name.lstrip("*"): _flow(item.description) for item in items if item.description}
    _, _, own = sections[0].value.partition("\n\n")
    return _flow(own.partition("\n\n")[0]), described


@lru_cache(maxsize=512)
def _describe_fields(cls: Any) -> Mapping[str, str]:
    fields = _find_fields(cls)
    found = {name: field.description for name, field in fields.items() if field and field.description}
    for each in _iter_bases(cls):
        for name, text in (*_read_texts_below(each).items(), *_read_section(each.__doc__ or "").items()):
            found.setdefault(name, text)
    return {name: text for name in fields if (text := _flow(found.get(name) or ""))}


def _origin(cls: Any) -> Any:
    """The class itself, of `Model[int]` too."""
    generic = getattr(cls, "__pydantic_generic_metadata__", None) or {}
    return generic.get("origin") or typing.get_origin(cls) or cls


def _find_fields(cls: Any) -> dict[str, FieldInfo | None]:
    """The fields, each with what `Field` says of it."""
    if isinstance(known := getattr(cls, "__pydantic_fields__", None), dict):  # of models and Pydantic's dataclasses
        return dict(known)
    try:
        hints = typing.get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):  # an annotation that names what is not there, or no class at all
        hints = dict(inspect.get_annotations(cls)) if isinstance(cls, type) else {}
    return {name: _find_info(cls, name, hint) for name, hint in hints.items()}


def _find_info(cls: Any, name: str, hint: Any) -> FieldInfo | None:
    while typing.get_origin(hint) in (Required, NotRequired, ReadOnly):
        hint = typing.get_args(hint)[0]
    given = [getattr(cls, name, None), *reversed(getattr(hint, "__metadata__", ()))]
    return next((each for each in given if isinstance(each, FieldInfo) and each.description), None)


def _iter_bases(cls: Any) -> Iterator[type]:
    """The class and those of its bases that a user may have written; a TypedDict's are not in its `__mro__`."""
    if is_typeddict(cls):
        yield cls
        for base in getattr(cls, "__orig_bases__", ()):
            yield from _iter_bases(_origin(base))
    elif isinstance(cls, type):
        yield from (base for base in cls.__mro__ if base not in (object, BaseModel, typing.Generic))


def _read_section(doc: str) -> dict[str, str]:
    if not _SECTION.search(doc):
        return {}
    import griffe  # 70 ms, which whoever asks for no description does not pay

    sections = griffe.Docstring(inspect.cleandoc(doc)).parse("google", warnings=False)
    wanted = (griffe.DocstringSectionKind.attributes, griffe.DocstringSectionKind.parameters)
    items = [item for section in sections if section.kind in wanted for item in section.value]
    return {item.name: inspect.cleandoc(item.description) for item in items}


def _read_texts_below(cls: type) -> dict[str, str]:
    """The text literals that stand below fields in the class's source; none where there is no source."""
    try:
        file = inspect.getsourcefile(cls)
        classes = _index_classes("".join(linecache.getlines(file))) if file else {}
    except (TypeError, OSError, SyntaxError, RecursionError):  # it is built in, or its file is gone or torn
        return {}
    return classes.get(cls.__qualname__, {})


@lru_cache(maxsize=16)
def _index_classes(source: str) -> Mapping[str, dict[str, str]]:
    return dict(_iter_classes(ast.parse(source), ""))


def _iter_classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The classes in `node` by their qualified names, each with the texts below its fields."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield f"{prefix}{child.name}", dict(_iter_texts(child.body))
            yield from _iter_classes(child, f"{prefix}{child.name}.")
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _iter_classes(child, f"{prefix}{child.name}.<locals>.")
        elif not isinstance(child, ast.expr):
            yield from _iter_classes(child, prefix)


def _iter_texts(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            yield field.target.id, inspect.cleandoc(below.value.value)


def _flow(text: str) -> str:
    return _BREAK.sub(" ", inspect.cleandoc(text)).strip()
