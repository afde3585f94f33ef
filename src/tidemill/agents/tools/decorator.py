"""`tm.tool`: makes a function a tool, its schema from its signature and its docstring."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import FrameType
from typing import Any, TypedDict, Unpack, overload

from tidemill.agents.tools.arguments import TypeSignature
from tidemill.agents.tools.methods import ToolMethod
from tidemill.agents.tools.options import Approve, ToolOptions
from tidemill.agents.tools.parameters import Source, read_parameters, to_plain
from tidemill.agents.tools.tool import Signature, Tool
from tidemill.config.schemas.docstrings import describe_class, describe_function
from tidemill.config.schemas.json_schema import json_schema
from tidemill.config.subschemas import close_object, map_schemas
from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What OpenAI and Anthropic take for a tool's name (their API references, function calling and tool use)."""

_UNTAKEN = re.compile(r"[^a-zA-Z0-9_-]+")


class ToolKeywords(TypedDict, total=False):
    """The options of a tool as keywords; see `ToolOptions`."""

    timeout_s: float | str | None
    concurrency: int
    retries: int
    retry_on: tuple[Any, ...]
    idempotent: bool
    sequential: bool
    needs_approval: bool | Approve
    shows_errors: bool
    max_result: int | str
    isolate: bool


@overload
def tool(
    function: Callable[..., Any],
    /,
    *,
    name: str = "",
    description: str | None = None,
    arguments: type | None = None,
    **options: Unpack[ToolKeywords],
) -> Tool: ...


@overload
def tool(
    function: None = None,
    /,
    *,
    name: str = "",
    description: str | None = None,
    arguments: type | None = None,
    **options: Unpack[ToolKeywords],
) -> Callable[[Callable[..., Any]], Tool]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    description: str | None = None,
    arguments: type | None = None,
    **options: Unpack[ToolKeywords],
) -> Any:
    """The tool that a function is: `@tm.tool`, `@tm.tool(timeout_s=5)` or `tm.tool(function)`.

    ```
    >>> @tool(idempotent=True)
    ... def search(query: str, limit: int = 10) -> list[str]:
    ...     '''Find pages.
    ...
    ...     Args:
    ...         query: what to look for.
    ...     '''
    ...     return [query] * limit
    >>> search.signature.check('{"query": "tide", "limit": "2"}').values
    {'query': 'tide', 'limit': 2}
    >>> print(search.signature.check('{"qery": "tide", "limit": 2.5}').render())
    $.limit: expected an integer, got 2.5
    $.qery: unknown key; did you mean `query`?  (text, required)

    ```

    A plain or a coroutine function, a method, a static or class method (with `@tm.tool` on top), a callable object or
    a `functools.partial`, whose filled-in arguments the model does not see. A method is a tool of each instance. What
    is called as a function goes on as it did: `search("tide")`.

    Each parameter is an argument: by its annotation, `Annotated[…, Field(…)]` too, with its description from there or
    from the docstring (Google, NumPy or Sphinx), and its default. One annotated with `tm.Context` is given by the
    agent. Values are checked under the rules of `Config` at every depth, nested Pydantic models included, and unknown
    keys refused.

    Args:
        function: the function; without it a decorator is given.
        name: as the model sees it; by default the function's.
        description: by default the first paragraph of the docstring, or else of that of `arguments`.
        arguments: a Pydantic model, dataclass or TypedDict whose fields are the tool's arguments; the function then
            has one parameter, beside the context, which takes it whole.
        options: how it is called: the fields of `ToolOptions`.

    Raises:
        ConfigError: a model cannot call it, or an option is wrong; with the function's place and the mend.
    """
    names = _read_names(sys._getframe(1))

    def make(function: Callable[..., Any]) -> Any:
        return _make(function, name, description, arguments, ToolOptions(**options), names)

    return make if function is None else make(function)


def make_tool(
    function: Callable[..., Any],
    signature: Signature,
    *,
    name: str,
    description: str,
    options: ToolOptions | None = None,
    **fields: Any,
) -> Tool:
    """A tool of a function whose arguments are described elsewhere: by a server, or a specification.

    Args:
        function: called with the checked arguments by name.
        fields: of `Tool`, besides: `context`, `open_session`, `identity`.

    Raises:
        ConfigError: no provider takes the name.
    """
    check_name(name)
    given = options if options is not None else ToolOptions()
    return Tool(name, description, signature, function, given, is_async=is_async(function), **fields)


def check_name(name: str, where: str = "") -> None:
    """Nothing where a name is one that every provider takes: 1 to 64 letters, digits, `_` and `-`.

    Raises:
        ConfigError: it is none.
    """
    if not _NAME.fullmatch(name):
        near = _UNTAKEN.sub("_", name).strip("_")[:64]
        raise ConfigError(
            f"a tool's name has 1 to 64 letters, digits, `_` and `-`, got {describe_value(name)}",
            where=where,
            hint=f'give it one: `name="{near or "search"}"`',
        )


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a function is to be awaited: a coroutine function, a partial of one, an object called by one."""
    while isinstance(function, partial):
        function = function.func
    if inspect.iscoroutinefunction(function):
        return True
    return not inspect.isroutine(function) and inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004 - the method itself


def describe_arguments(target: Any) -> dict[str, Any]:
    """The JSON Schema of a type as a tool's arguments: closed where it does not say otherwise, described, untitled."""
    schema: dict[str, Any] = map_schemas(json_schema(target), close_object)
    return {key: value for key, value in schema.items() if key not in ("$schema", "description")}


def _make(
    function: Callable[..., Any],
    name: str,
    description: str | None,
    arguments: type | None,
    options: ToolOptions,
    names: Mapping[str, Any],
) -> Tool | ToolMethod:
    is_class_method = isinstance(function, classmethod)
    plain: Any = function.__func__ if isinstance(function, (classmethod, staticmethod)) else function
    _check_kind(plain)
    label = name or getattr(to_plain(plain) if isinstance(plain, partial) else plain, "__name__", type(plain).__name__)
    said, described = describe_function(_find_documented(plain).__doc__)
    is_method = is_class_method or (not isinstance(function, staticmethod) and _is_method(plain))
    source = Source(plain, label, is_method, names, described)
    if is_method and not is_class_method and next(iter(inspect.signature(plain).parameters)) == "cls":
        raise source.refuse(f"`{label}` is a class method by its `cls`", "put `@tm.tool` above `@classmethod`")
    _check_label(source)
    if inspect.isgeneratorfunction(to_plain(plain)) or inspect.isasyncgenfunction(to_plain(plain)):
        raise source.refuse(f"`{label}` is a generator, whose items no model could be told", "return a list")
    found = read_parameters(source, arguments)
    schema = describe_arguments(found.target)
    if (kind := schema.get("type", "object")) != "object":
        raise source.refuse(
            f"the `arguments` of `{label}` are no object of keys, but of JSON's type {kind}",
            "name a Pydantic model, a dataclass or a TypedDict; a value by itself is a parameter",
        )
    made = Tool(
        label,
        said or describe_class(arguments) if description is None else description,
        TypeSignature(found.target, schema, found.whole),
        plain,
        options,
        found.context,
        is_async(plain),
        gives_images=found.gives_images,
    )
    return ToolMethod(made, function if is_class_method else plain) if is_method else made


def _check_kind(function: Any) -> None:
    if isinstance(function, ToolMethod):
        raise ConfigError(
            f"`{function.__name__}` is a method that is a tool, taken of its class",
            hint="take it of an instance",
        )
    if isinstance(function, Tool):
        raise ConfigError(
            f"`{function.name}` is a tool already", hint="make it one once, and give the options there: `@tm.tool(…)`"
        )
    if isinstance(function, type):
        raise ConfigError(
            f"`{function.__qualname__}` is a class, which does nothing by itself",
            hint=f"write a function that takes it: `@tm.tool(arguments={function.__name__})`",
        )
    if not callable(function):
        raise ConfigError(f"expected a function, got {describe_value(function)}", hint="write `@tm.tool` above one")


def _check_label(source: Source) -> None:
    try:
        check_name(source.name)
    except ConfigError as error:
        raise source.refuse(error.message, error.hint) from None


def _find_documented(function: Any) -> Any:
    """What has the docstring: the function of a partial; of an object its class's `__call__`, or the class."""
    plain = to_plain(function)
    is_object = not inspect.isroutine(function) and not isinstance(function, partial)
    return type(function) if is_object and not plain.__doc__ else plain


def _is_method(function: Any) -> bool:
    """Whether a function stands in a class and takes its instance: its first parameter says nothing of its own."""
    holder = getattr(function, "__qualname__", "").rpartition(".")[0]
    if not inspect.isfunction(function) or not holder or holder.endswith("<locals>"):
        return False
    first = next(iter(inspect.signature(function).parameters.values()), None)
    return first is not None and (first.name == "self" or first.annotation is inspect.Parameter.empty)


def _read_names(frame: FrameType | None) -> dict[str, Any]:
    """The names that a function's annotations may use where it is defined: of a class body, and the function around."""
    levels: list[Mapping[str, Any]] = []
    while frame is not None and frame.f_locals is not frame.f_globals:
        levels.append(dict(frame.f_locals))
        if "__qualname__" not in frame.f_locals:
            break
        frame = frame.f_back
    return {name: value for level in reversed(levels) for name, value in level.items()}
