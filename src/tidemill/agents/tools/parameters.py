"""What a function takes, as one type: a TypedDict of its parameters, or the class that one of them is."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field, PydanticUserError, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict

from tidemill.agents.tools.context import Context
from tidemill.agents.tools.image import gives_images
from tidemill.agents.tools.tool import Tool, ToolSource
from tidemill.config.coercion.adapters import adapt, make_adapter
from tidemill.config.coercion.depth import deepen
from tidemill.config.paths import shorten_path
from tidemill.config.report.values import explain_value, render_lines
from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError

_POSITIONAL = inspect.Parameter.POSITIONAL_ONLY
_VARIADIC: Mapping[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a function takes.

    Attributes:
        target: the type of the arguments.
        context: the parameter that takes the `Context`, empty where none does.
        whole: the parameter that takes all arguments as one object, empty where each is a parameter of its own.
        gives_images: whether the function says that what it returns has pictures.
    """

    target: Any
    context: str = ""
    whole: str = ""
    gives_images: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """A function, and what to know to read its parameters.

    Attributes:
        function: as it is called, or, of a method, as it stands in its class.
        name: of the tool, for messages.
        is_method: whether the first parameter is the instance or the class.
        names: what the annotations may name besides the function's globals: of where it is defined.
        described: what its docstring says of each parameter.
    """

    function: Callable[..., Any]
    name: str
    is_method: bool = False
    names: Mapping[str, Any] | None = None
    described: Mapping[str, str] | None = None

    def refuse(self, message: str, hint: str = "") -> ConfigError:
        """The error that the function cannot be a tool, at its first line."""
        return ConfigError(message, where=find_place(self.function), hint=hint)


def read_parameters(source: Source, arguments: Any = None) -> Parameters:
    """What a function takes as a tool.

    Args:
        source: the function.
        arguments: the class that its only parameter takes, whose fields are the tool's arguments.

    Raises:
        ConfigError: a model cannot give what it takes, or not by name; with its place and the mend.
    """
    hints = _read_hints(source)
    if _gives_tools(hints.get("return")):
        raise source.refuse(
            f"`{source.name}` makes tools and is none itself", f"give what it makes: `{source.name}(…)`"
        )
    given = [_merge_default(each, hints.get(each.name, each.annotation)) for each in _iter_parameters(source)]
    contexts = [each for each in given if _is_context(each.annotation)]
    if len(contexts) > 1:
        names = " and ".join(f"`{each.name}`" for each in contexts)
        raise source.refuse(f"`{source.name}` takes two contexts, {names}", "leave one of them")
    context = contexts[0].name if contexts else ""
    taken = [each for each in given if each.name != context]
    for each in taken:
        if any(_is_context(part) for part in typing.get_args(each.annotation)):
            raise source.refuse(
                f"`{each.name}` of `{source.name}` is a context or something else, which no call could tell apart",
                "annotate it with `Context[…]` alone",
            )
    shows = gives_images(hints.get("return"))
    if arguments is not None:
        return replace(_read_whole(source, arguments, taken, context), gives_images=shows)
    for each in taken:
        _check_parameter(source, each)
    fields = {each.name: _to_field(source, each) for each in taken}
    target: Any = TypedDict(source.name, fields)  # type: ignore[misc]
    return Parameters(_deepen(source, target, taken), context, gives_images=shows)


def find_place(function: Callable[..., Any]) -> str:
    """The file and first line of a function; empty where Python does not tell."""
    code = getattr(inspect.unwrap(to_plain(function)), "__code__", None)
    return "" if code is None else f"{shorten_path(Path(code.co_filename))}:{code.co_firstlineno}"


def to_plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function that is written somewhere: of a partial the one it calls, of an object its class's `__call__`."""
    while isinstance(function, partial):
        function = function.func
    if inspect.isroutine(function) or inspect.isclass(function):
        return getattr(function, "__func__", function)
    call: Callable[..., Any] = type(function).__call__
    return call


def _iter_parameters(source: Source) -> Iterator[inspect.Parameter]:
    """The parameters that a call gives: not the instance, nor what a partial has filled in."""
    try:
        found = list(inspect.signature(source.function).parameters.values())
    except (ValueError, TypeError):
        raise source.refuse(
            f"Python does not tell what `{source.name}` takes", "wrap it in a function of yours"
        ) from None
    if source.is_method:
        del found[:1]
    filled = source.function.keywords if isinstance(source.function, partial) else {}
    yield from (each for each in found if each.name not in filled)


def _read_hints(source: Source) -> dict[str, Any]:
    plain = to_plain(source.function)
    space = getattr(inspect.unwrap(plain), "__globals__", {})
    try:
        return typing.get_type_hints(plain, globalns=space, localns=dict(source.names or {}), include_extras=True)
    except NameError as error:
        raise source.refuse(
            f"an annotation of `{source.name}` names `{error.name}`, which is not defined there",
            f"define or import `{error.name}` above it, outside of `if TYPE_CHECKING:`",
        ) from None
    except (TypeError, SyntaxError) as error:
        raise source.refuse(f"the annotations of `{source.name}` cannot be read: {error}") from None


def _merge_default(parameter: inspect.Parameter, annotation: Any) -> inspect.Parameter:
    """The parameter, with what a `= Field(…)` in place of its default says as part of its annotation."""
    if isinstance(parameter.default, FieldInfo):
        annotated = Annotated[annotation, parameter.default]
        return parameter.replace(annotation=annotated, default=inspect.Parameter.empty)
    return parameter.replace(annotation=annotation)


def _gives_tools(annotation: Any) -> bool:
    """Whether a function that is annotated so gives tools: what those are made of is no model's to choose."""
    if inspect.isclass(annotation) and typing.get_origin(annotation) is None:
        return issubclass(annotation, (Tool, ToolSource))
    return any(_gives_tools(each) for each in typing.get_args(annotation))


def _is_context(annotation: Any) -> bool:
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation is Context or typing.get_origin(annotation) is Context


def _check_parameter(source: Source, parameter: inspect.Parameter) -> None:
    name = parameter.name
    if stars := _VARIADIC.get(parameter.kind, ""):
        mend = "a list" if stars == "*" else "a `dict[str, …]`, or each by its name"
        raise source.refuse(f"`{stars}{name}` of `{source.name}` takes any number of arguments", f"take {mend}")
    if parameter.kind is _POSITIONAL:
        raise source.refuse(f"`{name}` of `{source.name}` cannot be given by name", "leave out the `/` behind it")
    if parameter.annotation is inspect.Parameter.empty:
        raise source.refuse(
            f"`{name}` of `{source.name}` has no annotation, so that nothing could be checked",
            f"say what it takes: `{name}: str`, or `{name}: Any` for anything",
        )
    if parameter.default is not inspect.Parameter.empty:
        _check_default(source, parameter)


def _check_default(source: Source, parameter: inspect.Parameter) -> None:
    """A default is what its annotation says, as the model is told."""
    target = _deepen(source, _drop_aliases(parameter.annotation), [parameter])
    try:
        adapt(target).validate_python(parameter.default)
    except ValidationError as error:
        told = "; ".join(render_lines(explain_value(error, target, parameter.default, name=parameter.name)))
        mend = f"write `{parameter.name}: … | None = None`" if parameter.default is None else "give another default"
        raise source.refuse(
            f"the default of `{parameter.name}` of `{source.name}` does not fit: {told}", mend
        ) from None


def _drop_aliases(annotation: Any) -> Any:
    """The annotation of a value that stands by itself, where another name has no meaning."""
    if typing.get_origin(annotation) is not Annotated:
        return annotation
    held, *about = typing.get_args(annotation)
    fields = [copy(each) if isinstance(each, FieldInfo) else each for each in about]
    for field in fields:
        if isinstance(field, FieldInfo):
            field.alias = field.validation_alias = field.serialization_alias = None
    return Annotated[(held, *fields)]


def _to_field(source: Source, parameter: inspect.Parameter) -> Any:
    """The parameter as a key of a TypedDict: with its description, and its default where it has one."""
    annotation = parameter.annotation
    field = FieldInfo.from_annotation(annotation)
    said = (source.described or {}).get(parameter.name)
    if said and not field.description:
        annotation = Annotated[annotation, Field(description=said)]
    if parameter.default is not inspect.Parameter.empty:
        return NotRequired[Annotated[annotation, Field(default=parameter.default)]]
    return annotation if field.is_required() else NotRequired[annotation]


def _read_whole(source: Source, arguments: Any, taken: list[inspect.Parameter], context: str) -> Parameters:
    if len(taken) != 1 or taken[0].kind in _VARIADIC or taken[0].kind is _POSITIONAL:
        count = f"{len(taken)} parameters" if len(taken) != 1 else f"`{taken[0]}`"
        raise source.refuse(
            f"`{source.name}` takes {count} in place of the one that its `arguments` go to",
            f"take one parameter by name: `args: {getattr(arguments, '__name__', 'Arguments')}`",
        )
    [parameter] = taken
    annotation = parameter.annotation
    if annotation is not inspect.Parameter.empty and annotation != arguments:
        raise source.refuse(
            f"`{parameter.name}` of `{source.name}` is annotated with {describe_value(annotation)}, "
            f"and its `arguments` are {describe_value(arguments)}",
            "name the same class twice",
        )
    return Parameters(_deepen(source, arguments, []), context, parameter.name)


def _deepen(source: Source, target: Any, taken: list[inspect.Parameter]) -> Any:
    """The type of the arguments, or the error of the parameter whose annotation is none."""
    try:
        deep = deepen(target)
        make_adapter(target).json_schema()
    except (ConfigError, PydanticUserError, TypeError) as error:
        for each in taken:
            if each.annotation is not target:
                _deepen(source, each.annotation, [each])
        label = f"`{taken[0].name}` of `{source.name}`" if len(taken) == 1 else f"what `{source.name}` takes"
        if isinstance(error, ConfigError):
            message, hint = error.message, error.hint
        else:
            message, hint = _explain_undescribed(error)
        raise source.refuse(f"{label} cannot be checked: {message}", hint) from error
    return deep


def _explain_undescribed(error: Exception) -> tuple[str, str]:
    """Why there is no JSON Schema of a type that Pydantic knows."""
    message = str(error).partition("\n")[0].rstrip(".")
    hint = "take a type that JSON has values of; `WithJsonSchema` beside a validator of yours says which it reads"
    return f"{message[:1].lower()}{message[1:]}", hint
