"""The field that a validator of a whole mapping speaks of."""

from __future__ import annotations

import re

from tidemill.config.layers.document import Document
from tidemill.config.paths import KeyPath
from tidemill.config.report.failures import Failure
from tidemill.config.shapes.shape import Shape

_QUOTED = re.compile(r"""([`'"])([A-Za-z_][\w.-]*)\1""")


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
