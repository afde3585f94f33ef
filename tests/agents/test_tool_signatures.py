"""What makes a tool: a function's name, docstring and annotations, and what is told of one that cannot be a tool."""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, TypeVar
from uuid import UUID

import pytest
from pydantic import AliasChoices, BaseModel, Field, SecretStr, WithJsonSchema
from pydantic.functional_validators import PlainValidator
from typing_extensions import TypedDict

import tidemill as tm
from tidemill.agents.tools.decorator import check_name, make_tool
from tidemill.agents.tools.methods import ToolMethod
from tidemill.agents.tools.options import ToolOptions
from tidemill.agents.tools.schemas import schema_signature
from tidemill.agents.tools.tool import Tool


class Sort(enum.Enum):
    NEWEST = "newest"
    OLDEST = "oldest"


class Span(BaseModel):
    """A stretch of days.

    Attributes:
        start: its first day.
    """

    start: date
    days: int = Field(7, ge=1, description="How many.")


@dataclasses.dataclass
class Point:
    """A place."""

    x: float
    y: float = 0.0


class Tag(TypedDict, total=False):
    name: str


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


UserId = NewType("UserId", int)
T = TypeVar("T")


def takes(annotation: Any, default: Any = inspect.Parameter.empty) -> Tool:
    """A tool of one argument, `x`, so annotated."""

    def function(x: Any = default) -> Any:
        return x

    if default is inspect.Parameter.empty:
        function.__defaults__ = None
    function.__annotations__["x"] = annotation
    return tm.tool(function)


def check(tool: Tool, value: Any) -> Any:
    """What the function gets for `x`; what the model is told where it gets nothing."""
    found = tool.signature.check({"x": value})
    return found.render() if found.values is None else found.values["x"]


TABLE: list[tuple[Any, dict[str, Any], Any, Any, Any, str]] = [
    (int, {"type": "integer"}, "64", 64, True, "an integer, got true"),
    (int, {"type": "integer"}, 64.0, 64, 64.5, "an integer, got 64.5"),
    (float, {"type": "number"}, 5, 5.0, "x", 'a number, got "x"'),
    (bool, {"type": "boolean"}, "yes", True, 2, "true or false, got 2"),
    (str, {"type": "string"}, "5", "5", 5, "text, got 5; put it in quotes"),
    (int | None, {"anyOf": [{"type": "integer"}, {"type": "null"}]}, None, None, "x", 'an integer, got "x"'),
    (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "64", "64", None, "an integer or text, got null"),
    (
        Annotated[int, Field(gt=0, le=9)],
        {"type": "integer", "exclusiveMinimum": 0, "maximum": 9},
        9,
        9,
        10,
        "an integer > 0 and <= 9, got 10",
    ),
    (
        Annotated[str, Field(pattern="^a", max_length=3)],
        {"type": "string", "maxLength": 3, "pattern": "^a"},
        "ab",
        "ab",
        "b",
        'text of at most 3 characters matching `^a`, got "b"',
    ),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, "a", "a", "c", '`a` or `b`, got "c"'),
    (Literal[1], {"type": "integer", "const": 1}, 1, 1, True, "1, got true"),
    (
        Sort,
        {"$ref": "#/$defs/Sort"},
        "newest",
        Sort.NEWEST,
        "newst",
        '`newest` or `oldest`, or by name `NEWEST` or `OLDEST`, got "newst"; did you mean `newest`?',
    ),
    (
        date,
        {"type": "string", "format": "date"},
        "2024-02-29",
        date(2024, 2, 29),
        20240229,
        "a date (YYYY-MM-DD), got 20240229; did you mean `2024-02-29`?",
    ),
    (Decimal, {"anyOf": [{"type": "number"}, {"type": "string"}]}, "0.10", Decimal("0.10"), "x", 'a number, got "x"'),
    (UUID, {"type": "string", "format": "uuid"}, "0" * 32, UUID(int=0), "x", 'a UUID, got "x"'),
    (UserId, {"type": "integer"}, 5, 5, None, "an integer, got null"),
    (
        SecretStr,
        {"type": "string", "format": "password", "writeOnly": True},
        "hush",
        SecretStr("hush"),
        5,
        "text, got 5; put it in quotes",
    ),
    (list[int], {"type": "array", "items": {"type": "integer"}}, ["1"], [1], [True], "an integer, got true"),
    (
        set[str],
        {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        ["a"],
        {"a"},
        ["a", "a"],
        'different items, got "a" again; item 0 is the same',
    ),
    (
        tuple[int, str],
        {"type": "array", "minItems": 2, "maxItems": 2, "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        [1, "a"],
        (1, "a"),
        [1],
        "a list of 2 items, got a list of 1",
    ),
    (
        dict[str, int],
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"a": "1"},
        {"a": 1},
        {"a": None},
        "an integer, got null",
    ),
    (
        dict[Literal["ham", "eggs"], int],
        {
            "type": "object",
            "propertyNames": {"enum": ["ham", "eggs"]},
            "additionalProperties": {"type": "integer"},
        },
        {"ham": 1},
        {"ham": 1},
        {"egs": 1},
        'expected the key to be `ham` or `eggs`, got "egs"; did you mean `eggs`?',
    ),
    (
        Span,
        {"$ref": "#/$defs/Span"},
        {"start": "2024-01-01"},
        Span(start=date(2024, 1, 1), days=7),
        {"start": "2024-01-01", "day": 1},
        "unknown key; did you mean `days`?  (integer >= 1, default 7)",
    ),
    (Point, {"$ref": "#/$defs/Point"}, {"x": "1.5"}, Point(1.5), {"x": True}, "a number, got true"),
    (Tag, {"$ref": "#/$defs/Tag"}, {}, {}, {"nam": "a"}, "unknown key; did you mean `name`?  (text)"),
    (
        Annotated[Cat | Dog, Field(discriminator="kind")],
        {
            "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
            "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat", "dog": "#/$defs/Dog"}},
        },
        {"kind": "dog"},
        Dog(kind="dog"),
        {"kind": "dgo"},
        '`cat` or `dog`, got "dgo"; did you mean `dog`?',
    ),
    (Any, {}, [1, None], [1, None], ..., ""),
    (T, {}, "x", "x", ..., ""),
]


@pytest.mark.parametrize(
    ("annotation", "schema", "right", "made", "wrong", "told"),
    TABLE,
    ids=[f"{getattr(each[0], '__name__', each[0])}-{each[4]}"[:40] for each in TABLE],
)
def test_an_annotation_says_the_schema_and_what_is_taken(
    annotation: Any, schema: dict[str, Any], right: Any, made: Any, wrong: Any, told: str
) -> None:
    tool = takes(annotation)
    assert {key: value for key, value in tool.signature.schema.items() if key != "$defs"} == {
        "type": "object",
        "properties": {"x": schema},
        "required": ["x"],
        "additionalProperties": False,
    }
    assert check(tool, right) == made
    if told:
        assert told in check(tool, wrong)


def test_what_is_nested_is_described_bounded_and_closed() -> None:
    schema = takes(dict[str, list[Span]]).signature.schema
    assert schema["$defs"]["Span"] == {
        "description": "A stretch of days.",
        "type": "object",
        "properties": {
            "start": {"description": "its first day.", "type": "string", "format": "date"},
            "days": {"description": "How many.", "type": "integer", "minimum": 1, "default": 7},
        },
        "required": ["start"],
        "additionalProperties": False,
    }


GOOGLE = """Find pages that
are about something.

More of it.

Args:
    query: what to
        look for.
    limit: how many.
    gone: of no parameter.

Raises:
    ValueError: never.
"""
NUMPY = """Find pages that
are about something.

Parameters
----------
query : str
    what to
    look for.
limit : int, optional
    how many.

Returns
-------
list
"""
SPHINX = """Find pages that
are about something.

:param query: what to
    look for.
:param int limit: how many.
"""


@pytest.mark.parametrize("doc", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_descriptions_are_those_of_the_docstring(doc: str) -> None:
    def search(query: str, limit: Annotated[int, Field(ge=1)] = 10) -> None: ...

    search.__doc__ = doc
    tool = tm.tool(search)
    assert tool.description == "Find pages that are about something."
    assert tool.signature.schema["properties"] == {
        "query": {"description": "what to look for.", "type": "string"},
        "limit": {"description": "how many.", "type": "integer", "minimum": 1, "default": 10},
    }


def test_a_field_s_own_description_and_the_decorator_s_come_first() -> None:
    @tm.tool(name="find-pages", description="Look.", timeout_s="5s", idempotent=True, retries=2)
    def search(query: Annotated[str, Field(description="Words.")], limit: int = Field(5, ge=1)) -> Any:
        """Find pages.

        Args:
            query: what to look for.
            limit: how many.
        """
        return query, limit

    assert (search.name, search.description) == ("find-pages", "Look.")
    assert search.options == ToolOptions(timeout_s=5, idempotent=True, retries=2)
    assert search.signature.schema["properties"] == {
        "query": {"description": "Words.", "type": "string"},
        "limit": {"description": "how many.", "type": "integer", "minimum": 1, "default": 5},
    }
    assert search.signature.check('{"query": "a"}').values == {"query": "a", "limit": 5}


@pytest.mark.parametrize("name", [Field(alias="query"), Field(validation_alias=AliasChoices("query", "words"))])
def test_an_argument_may_have_another_name_for_the_model(name: Any) -> None:
    """Also where it has a default."""

    def search(text, limit=10): ...  # type: ignore[no-untyped-def]

    search.__annotations__ = {"text": Annotated[str, name], "limit": Annotated[int, Field(alias="most", ge=1)]}
    tool = tm.tool(search)
    assert [*tool.signature.schema["properties"]] == ["query", "most"]
    assert tool.signature.check({"query": "a", "most": "5"}).values == {"text": "a", "limit": 5}
    assert tool.signature.check({"query": "a"}).values == {"text": "a", "limit": 10}
    assert "$.text: unknown key; did you mean `query`?" in tool.signature.check({"text": "a"}).render()


def test_a_function_without_a_docstring_or_parameters_is_a_tool() -> None:
    @tm.tool
    def now() -> str:
        return "12:00"

    assert (now.description, now.signature.schema) == (
        "",
        {"type": "object", "properties": {}, "additionalProperties": False},
    )
    assert now.signature.check("").values == {}
    assert now() == "12:00"


def test_the_context_is_not_the_model_s() -> None:
    @tm.tool
    async def search(query: str, ctx: tm.Context[int]) -> str:
        return f"{query}{ctx.deps}"

    assert (search.context, search.is_async) == ("ctx", True)
    assert list(search.signature.schema["properties"]) == ["query"]
    assert search.signature.check('{"query": "a", "ctx": 1}').render() == "$.ctx: unknown key; known: `query`"


def test_a_name_within_the_function_around_it_is_known() -> None:
    """Annotations are texts here, and evaluated where the function is defined."""

    class Inner(BaseModel):
        size: int

    class Kit:
        type_of_size = int

        @tm.tool
        def measure(self, inner: Inner, size: type_of_size) -> int:  # type: ignore[valid-type]
            return inner.size + size

    assert Kit().measure.signature.check('{"inner": {"size": "1"}, "size": "2"}').values == {
        "inner": Inner(size=1),
        "size": 2,
    }


@dataclasses.dataclass
class Adder:
    """Adds."""

    base: int

    def __call__(self, number: int) -> int:
        return self.base + number


class AsyncAdder:
    async def __call__(self, number: int) -> int:
        """Add later."""
        return number


async def add(base: int, number: int, *, step: int = 1) -> int:
    """Add up."""
    return base + number + step


def test_callable_objects_and_partials_are_tools() -> None:
    tool = tm.tool(Adder(2))
    assert (tool.name, tool.description, tool(3), tool.is_async) == ("Adder", "Adds.", 5, False)
    later = tm.tool(AsyncAdder())
    assert (later.name, later.description, later.is_async) == ("AsyncAdder", "Add later.", True)
    filled = tm.tool(functools.partial(add, 1, step=5))
    assert (filled.name, filled.description, filled.is_async) == ("add", "Add up.", True)
    assert list(filled.signature.schema["properties"]) == ["number"]
    assert filled.signature.check({"number": 1, "step": 1}).render() == "$.step: unknown key; known: `number`"


def counted(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return call


def test_a_wrapped_function_takes_what_it_wraps_takes() -> None:
    tool = tm.tool(counted(add))
    assert (tool.name, list(tool.signature.schema["properties"])) == ("add", ["base", "number", "step"])


class Kit:
    def __init__(self, base: int = 0) -> None:
        self.base = base

    @tm.tool
    def add(self, number: int) -> int:
        """Add to the base."""
        return self.base + number

    @tm.tool
    async def fetch(self, ctx: tm.Context[Any], number: int) -> int:
        return self.base + number

    @tm.tool
    @classmethod
    def name_class(cls, suffix: str = "") -> str:
        return cls.__name__ + suffix

    @tm.tool
    @staticmethod
    def double(number: int) -> int:
        return 2 * number

    @staticmethod
    @tm.tool
    def triple(number: int) -> int:
        return 3 * number

    def plain(self, number: int) -> int:
        return self.base - number


class Better(Kit):
    @tm.tool
    def add(self, number: int, twice: bool = False) -> int:
        """Add better."""
        base: int = super().add(number)
        return base * (2 if twice else 1)


def test_methods_are_tools_of_their_instance_or_class() -> None:
    one, two = Kit(10), Kit(20)
    assert isinstance(one.add, Tool)
    assert (one.add.name, one.add.description) == ("add", "Add to the base.")
    assert list(one.add.signature.schema["properties"]) == ["number"]
    assert [kit.add.function(**kit.add.signature.check('{"number": "1"}').values or {}) for kit in (one, two)] == [
        11,
        21,
    ]
    assert (one.add(1), Kit.add(one, 2)) == (11, 12)
    assert (one.fetch.is_async, one.fetch.context) == (True, "ctx")
    assert [Kit.name_class("!"), one.name_class(), Better.name_class()] == ["Kit!", "Kit", "Better"]
    assert [Kit.double(2), one.double(3), Kit.triple(2), one.triple(3)] == [4, 6, 6, 9]
    assert all(isinstance(each, Tool) for each in (Kit.name_class, Kit.double, one.triple))
    assert tm.tool(one.plain).function(1) == 9


def test_a_subclass_overrides_a_tool() -> None:
    better = Better(10)
    assert better.add.description == "Add better."
    assert better.add.function(**better.add.signature.check('{"number": 1, "twice": true}').values or {}) == 22
    assert list(Kit().add.signature.schema["properties"]) == ["number"]


def test_a_method_of_its_class_is_no_tool_and_says_so() -> None:
    assert isinstance(vars(Kit)["add"], ToolMethod)
    assert repr(Kit.add) == "<method add as a tool: take it of an instance>"
    with pytest.raises(tm.ConfigError, match="`add` is a method that is a tool, taken of its class") as caught:
        tm.tool(Kit.add)
    assert caught.value.hint == "take it of an instance"


@pytest.mark.parametrize(
    ("arguments", "made"),
    [(Span, Span(start=date(2024, 1, 1), days=2)), (Point, Point(1.0, 2.0)), (Tag, {"name": "a"})],
)
def test_a_class_is_a_tool_s_arguments(arguments: type, made: Any) -> None:
    """A model, a dataclass or a TypedDict, taken whole by the one parameter beside the context."""

    def use(ctx: tm.Context[Any], args: Any) -> Any:
        return args

    use.__annotations__["args"] = arguments
    tool = tm.tool(arguments=arguments)(use)
    given: dict[type, dict[str, Any]] = {
        Span: {"start": "2024-01-01", "days": "2"},
        Point: {"x": 1, "y": 2},
        Tag: {"name": "a"},
    }
    plain = given[arguments]
    assert tool.signature.check(plain).values == {"args": made}
    assert tool.signature.check({**plain, "more": 1}).render().startswith("$.more: unknown key")
    assert tool.signature.schema["additionalProperties"] is False
    assert tool.description == {Span: "A stretch of days.", Point: "A place."}.get(arguments, "")


def test_a_tool_of_a_schema() -> None:
    schema = {"type": "object", "properties": {"class": {"type": "integer"}}}
    tool = make_tool(
        lambda **given: given, schema_signature(schema), name="remote-1", description="Far.", identity={"at": "there"}
    )
    assert tool.signature.check('{"class": "5"}').values == {"class": 5}
    assert tool.signature.schema == {**schema, "additionalProperties": False}
    assert (tool.identity, tool.options, tool.is_async) == ({"at": "there"}, ToolOptions(), False)
    with pytest.raises(tm.ConfigError, match="a tool's name has 1 to 64 letters"):
        make_tool(print, schema_signature({}), name="a.b", description="")
    with pytest.raises(tm.ConfigError, match="a tool's arguments are an object, and this schema says `array`"):
        schema_signature({"type": "array"})


def variadic(*names: str) -> None: ...
def keywords(**names: str) -> None: ...
def positional(name: str, /) -> None: ...
def bare(name) -> None: ...  # type: ignore[no-untyped-def]
def twice(one: tm.Context[int], other: tm.Context[int]) -> None: ...
def maybe(one: tm.Context[int] | None = None) -> None: ...
def unknown(name: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - the point
def called(name: Callable[[], None]) -> None: ...
def opaque(limit: int, name: Kit) -> None: ...
def nothing(name: str = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013 - the point
def outside(limit: Annotated[int, Field(ge=1)] = 0) -> None: ...
def stream(name: str) -> Iterator[str]:
    yield name


async def astream(name: str) -> AsyncIterator[str]:
    yield name


def made(args: Span, more: int) -> None: ...
def other(args: Point) -> None: ...
def whole(args: list[int]) -> None: ...


REFUSED: list[tuple[Any, dict[str, Any], str, str]] = [
    (variadic, {}, "`*names` of `variadic` takes any number of arguments", "take a list"),
    (keywords, {}, "`**names` of `keywords` takes any number", "take a `dict[str, …]`, or each by its name"),
    (positional, {}, "`name` of `positional` cannot be given by name", "leave out the `/` behind it"),
    (bare, {}, "`name` of `bare` has no annotation", "say what it takes: `name: str`, or `name: Any` for anything"),
    (twice, {}, "`twice` takes two contexts, `one` and `other`", "leave one of them"),
    (maybe, {}, "`one` of `maybe` is a context or something else", "annotate it with `Context[…]` alone"),
    (unknown, {}, "an annotation of `unknown` names `Nowhere`", "define or import `Nowhere` above it"),
    (called, {}, "`name` of `called` cannot be checked: cannot generate a JsonSchema", "take a type that JSON has"),
    (opaque, {}, "`name` of `opaque` cannot be checked: Pydantic does not know the type", "make it one of these"),
    (
        nothing,
        {},
        "the default of `name` of `nothing` does not fit: name: expected text, got null",
        "write `name: … | No",
    ),
    (outside, {}, "the default of `limit` of `outside` does not fit: limit: expected an integer >= 1", "give another"),
    (stream, {}, "`stream` is a generator, whose items no model could be told", "return a list"),
    (astream, {}, "`astream` is a generator", "return a list"),
    (lambda: 1, {}, 'a tool\'s name has 1 to 64 letters, digits, `_` and `-`, got "<lambda>"', 'name="lambda"'),
    (bare, {"name": "a b"}, 'a tool\'s name has 1 to 64 letters, digits, `_` and `-`, got "a b"', 'name="a_b"'),
    (made, {"arguments": Span}, "`made` takes 2 parameters in place of the one", "take one parameter by name"),
    (other, {"arguments": Span}, "`args` of `other` is annotated with", "name the same class twice"),
    (whole, {"arguments": list[int]}, "the `arguments` of `whole` are no object of keys", "name a Pydantic model"),
    (print, {}, "`*args` of `print` takes any number", "take a list"),
    (Span, {}, "`Span` is a class, which does nothing by itself", "`@tm.tool(arguments=Span)`"),
    (5, {}, "expected a function, got 5", "write `@tm.tool` above one"),
    (Kit().add, {}, "`add` is a tool already", "make it one once, and give the options there"),
    (add, {"retries": 1}, "expected 0 of a tool that is not `idempotent`, got 1", "say `idempotent=True`"),
    (add, {"retrys": 1}, "unknown key `retrys`", "did you mean `retries`?"),
]


@pytest.mark.parametrize(("function", "options", "message", "hint"), REFUSED, ids=[each[2][:40] for each in REFUSED])
def test_what_cannot_be_a_tool_is_told_with_its_place_and_the_mend(
    function: Any, options: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(tm.ConfigError, match=r"^") as caught:
        tm.tool(**options)(function)
    assert message in str(caught.value)
    assert hint in str(caught.value)
    if inspect.isfunction(function) and not options:
        assert caught.value.where == f"tests/agents/{__file__.rpartition('/')[2]}:{function.__code__.co_firstlineno}"


def test_a_class_method_without_its_decorator_is_told() -> None:
    with pytest.raises(tm.ConfigError, match="`find` is a class method by its `cls`") as caught:

        class Wrong:
            @classmethod
            @tm.tool
            def find(cls, name: str) -> None: ...

    assert caught.value.hint == "put `@tm.tool` above `@classmethod`"


def test_a_validator_that_says_its_schema_is_taken() -> None:
    tool = takes(Annotated[Kit, PlainValidator(Kit), WithJsonSchema({"type": "integer"})])
    assert tool.signature.schema["properties"] == {"x": {"type": "integer"}}
    assert check(tool, 5).base == 5


@pytest.mark.parametrize("name", ["a", "A-1_b", "x" * 64])
def test_a_name_that_every_provider_takes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "a.b", "a b", "é", "x" * 65, "a\n"])
def test_a_name_that_one_provider_refuses(name: str) -> None:
    with pytest.raises(tm.ConfigError, match="a tool's name has 1 to 64 letters, digits, `_` and `-`, got"):
        check_name(name)
