"""A default that does not fit its own field: a mistake of the class, not of what was given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidemill.config.layers.document import Document
from tidemill.config.paths import join_path
from tidemill.config.report.failures import MISSING, SELF_SAID, Failure
from tidemill.config.secrets import MASK
from tidemill.config.shapes.shape import Shape, Shapes, enter
from tidemill.errors import Problem


def name_default(problem: Problem, failure: Failure, document: Document, shape: Shape) -> Problem:
    """The problem of `failure`; of a default with its whole path and class, and without a place in what was given."""
    owner = _find_owner(failure, document, shape)
    if owner is None:
        return problem
    told = problem.message.removeprefix(f"`{join_path(document.resolve(failure.path))}`: ")
    if failure.kind in SELF_SAID or failure.is_custom:  # it may be another field's value that does not go with it
        reason = "not given, and its default fails"
    else:
        reason = f"the default in class `{owner}` is wrong"
    return replace(problem, message=f"`{join_path(failure.path)}`: {reason}: {told}", place=None)


def _find_owner(failure: Failure, document: Document, shape: Shape) -> str | None:
    """The class whose default is what failed; None where it was given, or made of what was."""
    value, owner = document.value, None
    shapes: Shapes = (shape,)
    for item in failure.path[:-1] if failure.kind in MISSING else failure.path:
        shapes = tuple(each.narrow(value) for each in shapes)
        if isinstance(value, Mapping) and item not in value:
            value, owner = _find_default(shapes, str(item))
        else:
            value = _step(value, item)
        shapes = enter(shapes, item)
    return owner if _is_same(value, failure.value) else None


def _find_default(shapes: Shapes, name: str) -> tuple[Any, str | None]:
    """The default of a field, `...` where there is none, and the class that has it."""
    for option in (option for shape in shapes for option in shape.iter_options()):
        field = option.fields.get(option.keys.get(name, name))
        default = field.find_default() if field is not None else ...
        if default is not ...:
            return default, next((each["cls"].__name__ for each in option.layers if "cls" in each), None)
    return ..., None


def _step(value: Any, item: Any) -> Any:
    try:
        return value[item] if isinstance(value, (Mapping, list, tuple)) else getattr(value, str(item), ...)
    except (LookupError, TypeError):
        return ...


def _is_same(default: Any, failed: Any) -> bool:
    if default is failed or (isinstance(failed, str) and failed == MASK):
        return True
    is_plain = isinstance(failed, (str, int, float, list, tuple, Mapping))
    return is_plain and type(default) is type(failed) and bool(default == failed)
