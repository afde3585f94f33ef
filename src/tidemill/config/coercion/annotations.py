"""What a type must be so that values can be checked by it, and what is wrong with one that cannot."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from typing import Any, ForwardRef, TypeVar

from pydantic import BaseModel, PydanticUndefinedAnnotation, PydanticUserError
from typing_extensions import Format, evaluate_forward_ref, get_annotations, is_typeddict

from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError

_CLASSES = "a Config, a Pydantic model, a dataclass or a TypedDict"

_SWAPPED = "the class comes first, what is loaded behind it"

_NAMED = ("__supertype__", "__value__")
"""What a `NewType` and a `type` statement have."""


def is_annotation(target: Any) -> bool:
    """Whether `target` is a class or another annotation, not a value."""
    if target is None or isinstance(target, (type, TypeVar, ForwardRef)) or typing.get_origin(target) is not None:
        return True
    return any(hasattr(target, name) for name in _NAMED)


def check_annotation(target: Any) -> None:
    """Nothing where `target` is a class or another annotation.

    Raises:
        ConfigError: it is neither.
    """
    if not is_annotation(target):
        message = f"expected a class ({_CLASSES}), got {describe_value(target)}"
        is_source = isinstance(target, (str, os.PathLike, Mapping))
        raise ConfigError(message, hint=_SWAPPED if is_source else suggest_class(target))


def suggest_class(value: Any) -> str:
    """The mend where a value was given in place of a class."""
    if isinstance(value, BaseModel) or dataclasses.is_dataclass(value):
        kind = value if isinstance(value, type) else type(value)
        return f"pass its class, `{kind.__qualname__}`"
    return "pass a class or an annotation"


def explain_annotation(target: Any, error: PydanticUserError | PydanticUndefinedAnnotation) -> tuple[str, str]:
    """Why Pydantic makes nothing of `target`, and the mend."""
    if isinstance(error, PydanticUndefinedAnnotation):
        return _explain_undefined(target, error.name or str(error))
    if error.code == "class-not-fully-defined" and (named := re.search(r"you should define `(\w+)`", error.message)):
        return _explain_undefined(target, named[1])
    if error.code == "typed-dict-version":
        mend = "import `TypedDict` from `typing_extensions`"
        found = next((each for each in _iter_classes(target) if is_typeddict(each)), None)
        name = f"`{found.__qualname__}`" if found is not None else "one in it"
        return f"{name} is a `typing.TypedDict`, which can be checked from Python 3.12 on", mend
    if unknown := re.match(
        r"Unable to generate pydantic-core schema for (?:<class ')?([^\n]*?)(?:'>)?\. ", error.message
    ):
        return f"Pydantic does not know the type `{unknown[1]}`", f"make it one of these: {_CLASSES}"
    return error.message.partition("\n")[0].rstrip("."), ""


def _explain_undefined(target: Any, name: str) -> tuple[str, str]:
    for cls in _iter_classes(target):
        for field, annotation in _list_annotations(cls):
            if any(_evaluate(text, cls) == name for text in _iter_texts(annotation)):
                label = f"{cls.__qualname__.rpartition('<locals>.')[2]}.{field}"
                mend = f"import `{name}` outside of `if TYPE_CHECKING:`"
                if issubclass(cls, BaseModel):
                    mend += f", or call `{cls.__name__}.model_rebuild()` where it is defined"
                return f"`{label}` is annotated with `{name}`, which is not defined there", mend
    return f"an annotation names `{name}`, which is not defined", f"import `{name}` where the class is written"


def _iter_classes(target: Any) -> Iterator[type]:
    """The classes that `target` is made of, each before its bases and those of its fields."""
    seen: set[type] = set()
    pending = [target]
    while pending:
        each = pending.pop(0)
        pending += typing.get_args(each)
        if not isinstance(each, type) or each in seen:
            continue
        seen.add(each)
        yield each
        pending += each.__bases__
        for _, annotation in _list_annotations(each):
            found = (_evaluate(text, each) for text in _iter_texts(annotation))
            pending += [annotation, *(kind for kind in found if not isinstance(kind, str))]


def _list_annotations(cls: type) -> list[tuple[str, Any]]:
    own = cls.__module__ not in ("builtins", "typing") and not cls.__module__.startswith("pydantic")
    return list(get_annotations(cls, format=Format.FORWARDREF).items()) if own else []


def _iter_texts(annotation: Any) -> Iterator[str]:
    """The parts of an annotation that are still to be evaluated."""
    if isinstance(annotation, (str, ForwardRef)):
        yield annotation if isinstance(annotation, str) else annotation.__forward_arg__
    elif typing.get_origin(annotation) is not typing.Literal:
        for each in typing.get_args(annotation):
            yield from _iter_texts(each)


def _evaluate(text: str, cls: type) -> Any:
    """What a text in an annotation means in the module of its class; the name that is not defined there."""
    try:
        return evaluate_forward_ref(ForwardRef(text), globals=vars(sys.modules[cls.__module__]))
    except NameError as error:
        return error.name or str(error)  # typing_extensions gives a lone name as its text
    except (SyntaxError, TypeError, AttributeError, KeyError):  # it is no annotation, or only Pydantic knows where
        return None
