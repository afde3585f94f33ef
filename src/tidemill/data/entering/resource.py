"""`Resource`: a context manager of the user's that workers open and steps' functions are called with."""

from __future__ import annotations

import contextlib
import inspect
import keyword
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tidemill.config.model import Settings
from tidemill.config.types.functions import import_object, to_import_path
from tidemill.config.wording.suggest import find_near, list_names, suggest
from tidemill.config.wording.words import Says, describe_value
from tidemill.data.entering.managers import is_manager
from tidemill.data.entering.opener import Opener
from tidemill.data.files.storage import register_secrets
from tidemill.errors import ConfigError


@contextlib.contextmanager
def _open_once() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def _aopen_once() -> AsyncIterator[None]:
    yield


_ONCE = (type(_open_once()), type(_aopen_once()))
"""What functions of `contextlib` give: it can be entered once, and no copy of it either."""


def _to_use(value: Any, info: ValidationInfo) -> Any:
    folder = (info.context or {}).get("folder")
    found = import_object(value, None if folder is None else Path(folder)) if isinstance(value, str) else value
    if isinstance(found, _ONCE):
        message = "expected what makes a context manager, got one that is made and can be entered only once"
        raise _error(message, hint="name the function, without calling it")
    if callable(found) or is_manager(found):
        return found
    shown = f"`{value}` is {describe_value(found)}" if isinstance(value, str) else f"got {describe_value(found)}"
    raise _error(f"expected what makes a context manager, or one itself: {shown}")


def find_name_fault(name: str) -> tuple[str, str] | None:
    """Why no resource can be named so, as message and hint; None where one can."""
    if not name.isidentifier() or keyword.iskeyword(name):
        return f"expected the name of a parameter, got `{name}`", "letters, digits and `_`, and no word of Python's"
    if name == "key":
        return "`key` is the parameter by which a `call` gives its key", "give the resource another name"
    return None


def _error(message: str, *, hint: str = "", **context: Any) -> PydanticCustomError:
    return PydanticCustomError("resource", "{message}", {"message": message, "hint": hint, **context})


_COLLECTING = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

Use = Annotated[
    Any,
    BeforeValidator(_to_use),
    PlainSerializer(to_import_path, return_type=str),
    Says("the import path of what makes a context manager"),
    WithJsonSchema({"type": "string", "description": "An import path, `module:name`."}),
]
"""A function or class that gives a context manager, or a context manager, or its import path; holds the object."""


class Resource(Settings):
    """A context manager that each worker opens, and steps' functions are called with by the name of a parameter.

    All further keys are arguments of `use`. What its entering gives is what the functions get.

    Attributes:
        use: what gives the context manager, plain or async, or a coroutine of one; or the context manager itself, of
            which each worker enters a copy.
    """

    model_config = ConfigDict(extra="allow")

    use: Use

    if TYPE_CHECKING:  # its further keys are arguments by any name

        def __init__(self, /, *, use: Any, **arguments: Any) -> None: ...

    @property
    def arguments(self) -> dict[str, Any]:
        """What `use` is called with, by name."""
        return dict(self.__pydantic_extra__ or {})

    @model_validator(mode="before")
    @classmethod
    def _check_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise _error(f"expected a mapping, got {describe_value(value)}", hint=f"for example `{{use: {value}}}`")
        near = find_near("use", map(str, value)) if isinstance(value, Mapping) and "use" not in value else None
        if near is not None:  # it would be taken for an argument of what nobody named
            raise _error(f"unknown key `{near}`", hint="did you mean `use`?", path=(near,), at_key=True)
        return value

    @model_validator(mode="after")
    def _check_arguments(self) -> Self:
        register_secrets(self.arguments)
        given = list(self.arguments)
        if is_manager(self.use):
            if given:
                raise _error("a context manager itself takes no arguments", path=(given[0],), at_key=True)
            return self
        try:
            parameters = inspect.signature(self.use).parameters.values()
        except (ValueError, TypeError):  # one written in C that tells nothing of itself
            return self
        name = getattr(self.use, "__qualname__", type(self.use).__qualname__)
        known = [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
        takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
        for argument in given if not takes_any else ():
            if argument not in known:
                message = f"`{name}` takes no argument `{argument}`"
                raise _error(message, hint=suggest(argument, known), path=(argument,), at_key=True)
        needed = [each.name for each in parameters if each.default is each.empty and each.kind not in _COLLECTING]
        if missing := [each for each in needed if each not in given]:
            raise _error(f"`{name}` needs {list_names(missing, ' and ')}", hint="give it as a key beside `use`")
        return self


def make_openers(resources: Mapping[str, Resource]) -> dict[str, Opener]:
    """How workers open each of `resources`."""
    return {name: Opener(name, each.use, each.arguments) for name, each in resources.items()}


def name_resources(given: Mapping[str, Any]) -> dict[str, Resource]:
    """Resources by the names of parameters, of what Python code gives as such.

    Raises:
        ConfigError: a name is no parameter's, or what is given is neither a resource nor makes a context manager.
    """
    for name in given:
        if (fault := find_name_fault(name)) is not None:
            raise ConfigError(fault[0], hint=fault[1])
    return {name: _to_resource(each) for name, each in given.items()}


def _to_resource(given: Any) -> Resource:
    if isinstance(given, Resource):
        return given
    if isinstance(given, partial) and not given.args:
        return Resource(use=given.func, **given.keywords)
    return Resource(use=given)
