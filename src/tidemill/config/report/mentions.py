"""The field that a validator of a whole mapping speaks of, or took a value from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tidemill.config.layers.document import Document
from tidemill.config.paths import KeyPath
from tidemill.config.report.failures import Failure
from tidemill.config.shapes.shape import Shape
from tidemill.errors import Place

_QUOTED = re.compile(r"""([`'"])([A-Za-z_][\w.-]*)\1""")

_MAKERS = frozenset({"function-before", "function-wrap"})


def find_mentioned(failure: Failure, document: Document) -> KeyPath:
    """The path of the field that the message names in backticks or quotes; the failure's own where it names none.

    A dotted name, as `optim.lr` or `stages.0.lr`, leads further in. Of several, the first that was given is meant,
    else the first.
    """
    shape = failure.walk.shape
    if shape is None or not shape.fields:
        return failure.path
    found = [_find_path(shape, name) for _, name in _QUOTED.findall(failure.text)]
    paths = [(*failure.path, *path) for path in found if path]
    given = (path for path in paths if document.resolve(path) == path)
    return next(given, paths[0] if paths else failure.path)


def find_source(failure: Failure, document: Document) -> Place | None:
    """Where a value stands that a validator of its section took from another key; None of one at its own path."""
    parent, value, shown = failure.walk.parent, failure.value, document.resolve(failure.path)
    is_made = parent is not None and any(layer["type"] in _MAKERS for layer in parent.layers)
    if not is_made or not isinstance(value, (str, int, float)) or document.find_value(shown) == value:
        return None
    section = shown[:-1] if shown == failure.path else shown
    scalars = _iter_scalars(document.find_value(section), section)
    found = next((path for path, each in scalars if type(each) is type(value) and each == value), None)
    return document.place(found) if found is not None else None


def _iter_scalars(value: Any, path: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """What stands at and below `path`, each with its own path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _iter_scalars(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _iter_scalars(item, (*path, index))
    else:
        yield path, value


def _find_path(shape: Shape, name: str) -> KeyPath:
    """The keys and indices that a dotted name means; none where it leads nowhere."""
    path: list[str | int] = []
    inner: Shape | None = shape
    for part in name.split("."):
        if inner is None:
            return ()
        item: str | int = int(part) if part.isdecimal() else inner.keys.get(part, part)
        path.append(item)
        inner = inner.step(item)
    return tuple(path) if inner is not None else ()
