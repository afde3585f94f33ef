"""A call's arguments: taken at once, mended where they can mean one thing, and told what is wrong, path by path."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from pydantic_core import to_jsonable_python
from typing_extensions import TypedDict

import tidemill as tm
from cases import load_cases
from tidemill.agents.tools.schemas import schema_signature
from tidemill.agents.tools.tool import Tool
from tidemill.config.secrets import mask


class Sort(enum.Enum):
    NEWEST = "newest"
    OLDEST = "oldest"


class Span(BaseModel):
    days: int = Field(ge=1)


@tm.tool
def search(
    query: str,
    limit: int = 10,
    sort: Sort = Sort.NEWEST,
    span: Span | None = None,
    words: list[str] = [],  # noqa: B006 - as people write it
    password: str = "",
    extra: Any = None,
) -> None: ...


@tm.tool
def now(zone: str = "UTC") -> None: ...


CASES = load_cases(Path(__file__).with_name("tool_messages.txt"))


@pytest.mark.parametrize("name", CASES)
def test_the_model_is_told(name: str) -> None:
    text, expected = CASES[name]
    found = search.signature.check(text.rstrip("\n"))
    assert found.values is None
    assert found.render() == expected.rstrip("\n")
    assert all(each.place is not None for each in found.problems)


MENDED: list[tuple[str, Any, tuple[str, ...]]] = [
    ('{"query": "a", "limit": "5"}', {"query": "a", "limit": "5"}, ()),
    ('```json\n{"query": "a"}\n```', {"query": "a"}, ("the lines of ``` around the JSON were left out",)),
    ('{"query": "a",}', {"query": "a"}, ("a comma too many was left out",)),
    ('Sure: {"query": "a"}', {"query": "a"}, ("text around the JSON was left out",)),
    ('"{\\"query\\": \\"a\\"}"', {"query": "a"}, ("JSON within a text was read",)),
    ("{'query': 'a', 'extra': None}", {"query": "a", "extra": None},
     ("single quotes were read as double ones", "Python's words were read as JSON's")),
    ('{"query": "a", "span": "{\\"days\\": 2}"}', {"query": "a", "span": {"days": 2}},
     ("the JSON text at $.span was read",)),
    ('{"query": "a", "words": "[\\"b\\"]"}', {"query": "a", "words": ["b"]}, ("the JSON text at $.words was read",)),
    ('{"query": "a", "words": "[\'b\',]"}', {"query": "a", "words": ["b"]}, ("the JSON text at $.words was read",)),
    ('{"query": "[1]"}', {"query": "[1]"}, ()),
    ('{"query": "a", "extra": "[1]"}', {"query": "a", "extra": "[1]"}, ()),
    ('{"arguments": {"query": "a"}}', {"query": "a"}, ("the object within a wrapper was taken",)),
    ('{"query": "a", "extra": 12345678901234567890123}', {"query": "a", "extra": 12345678901234567890123}, ()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "given", "repairs"), MENDED)
def test_what_can_mean_one_thing_is_mended_and_said(text: str, given: Any, repairs: tuple[str, ...]) -> None:
    found = search.signature.check(text)
    assert (found.render(), found.given, found.repairs) == ("", given, repairs)
    plain = search.signature.check(given)
    assert (found.values, plain.repairs) == (plain.values, ())


@pytest.mark.parametrize("text", ["", "  \n", "null", "{}", None])
def test_no_arguments_are_an_empty_object_where_none_is_needed(text: str | None) -> None:
    found = now.signature.check(text)
    assert (found.values, found.given, found.problems) == ({"zone": "UTC"}, {}, ())


def test_a_wrapper_s_name_that_is_an_argument_s_is_no_wrapper() -> None:
    @tm.tool
    def run(input: str = "", code: str = "") -> None: ...  # noqa: A002 - a name that models use

    found = run.signature.check({"input": {"code": "x"}})
    assert found.render() == "$.input: expected text, got a mapping"


def test_a_secret_s_name_registers_nothing() -> None:
    """What a model says is a password would else be hidden in all later messages of the process."""
    assert search.signature.check({"password": "expected text so", "limit": "x"}).problems
    assert mask("expected text so") == "expected text so"


ODD: list[Any] = [
    b"{}", 5, True, [1], object(), {1: 2}, {"query": object()}, {"query": float("nan")}, {"query": (1,)},
    "[" * 100_000, '{"query": ' * 2_000, '{"extra": ' + "[" * 900 + "]" * 900 + "}",
    '{"query": "\\ud800"}', '{"query": "\ud800"}',
    '"' * 999, "\0", "\ufeff{}",
]  # fmt: skip


@pytest.mark.parametrize("arguments", ODD, ids=[str(each)[:20].encode("ascii", "replace").decode() for each in ODD])
def test_nothing_is_raised(arguments: Any) -> None:
    """Whatever it is: text that is none, values that JSON does not have, nesting deeper than Python goes."""
    found = search.signature.check(arguments)
    assert found.values is None
    assert found.render()


@given(st.text() | st.text(alphabet="{}[]\",:\\ \n`ab1'").map(lambda text: '{"query": ' + text))
def test_no_text_raises_and_none_goes_through_unchecked(text: str) -> None:
    found = search.signature.check(text)
    assert (found.values is None) == bool(found.render())
    assert found.values is None or isinstance(found.values["query"], str)


def test_a_number_in_a_text_is_no_boolean_where_numbers_are_taken() -> None:
    """A model writes both in quotes; `1` was never meant as `true` where a number may be given."""

    @tm.tool
    def turn(by: bool | int, steps: list[bool | int] = []) -> None:  # noqa: B006 - never changed
        """Turn."""

    values = turn.signature.check('{"by": "1", "steps": ["true", "0", 1]}').values
    assert repr(values) == "{'by': 1, 'steps': [True, 0, 1]}"


class Nested(BaseModel):
    count: int
    rate: float = 0.5


@dataclasses.dataclass
class Flat:
    on: bool
    nested: Nested | None = None


class Keyed(TypedDict, total=False):
    name: str
    flat: Flat


_INTS = st.integers(-2, 3) | st.sampled_from([1.0, "1", "0x10", "1e2"])
_NUMBERS = _INTS | st.sampled_from([0.5, "0.5"])
_BOOLS = st.booleans() | st.sampled_from([0, 1, "yes", "off"])
_TEXTS = st.sampled_from(["", "a", "b", "1", "true", "abc"])
_NESTED = st.fixed_dictionaries({"count": _INTS}, optional={"rate": _NUMBERS})
_FLAT = st.fixed_dictionaries({"on": _BOOLS}, optional={"nested": _NESTED | st.none()})
_NEAR: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, _INTS),
    (float, _NUMBERS),
    (bool, _BOOLS),
    (str, _TEXTS),
    (Literal["a", "b", 1], st.sampled_from(["a", "b", 1, 1.0, True, "1"])),
    (Annotated[int, Field(ge=0, le=2)], _INTS),
    (Annotated[str, Field(max_length=2)], _TEXTS),
    (Sort, st.sampled_from(["newest", "oldest", "NEWEST", "newst"])),
    (list[int], st.lists(_INTS, max_size=3)),
    (set[str], st.lists(_TEXTS, max_size=3)),
    (dict[str, float], st.dictionaries(_TEXTS, _NUMBERS, max_size=2)),
    (tuple[int, bool], st.tuples(_INTS, _BOOLS).map(list)),
    (int | None, _INTS | st.none()),
    (int | str, _INTS | _TEXTS),
    (Nested, _NESTED),
    (Flat, _FLAT),
    (Keyed, st.fixed_dictionaries({}, optional={"name": _TEXTS, "flat": _FLAT})),
    (dict[str, list[Flat]], st.dictionaries(_TEXTS, st.lists(_FLAT, max_size=2), max_size=2)),
    (list[Nested | Flat | None], st.lists(_NESTED | _FLAT | st.none(), max_size=2)),
]
"""Annotations, and values that are of them or nearly."""

_KEYS = st.sampled_from(["count", "rate", "on", "nested", "name", "flat", "zz"])
_ANYTHING = st.recursive(
    st.none() | _NUMBERS | _BOOLS | _TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=5,
)


def make_tool_of(annotations: list[Any], defaults: list[bool]) -> Tool:
    """A tool of arguments `x0`, `x1`, … so annotated; null is the default of some."""

    def function(**arguments: Any) -> Any:
        return arguments

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = []
    for index, (annotation, may_lack) in enumerate(zip(annotations, defaults, strict=True)):
        taken = annotation | None if may_lack else annotation
        default = None if may_lack else inspect.Parameter.empty
        parameters.append(inspect.Parameter(f"x{index}", kind, annotation=taken, default=default))
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {each.name: each.annotation for each in parameters}
    return tm.tool(function)


@st.composite
def _calls(draw: st.DrawFn) -> tuple[Tool, dict[str, Any]]:
    """A tool, and arguments that are right, nearly right or wrong."""
    chosen = draw(st.lists(st.sampled_from(_NEAR), min_size=1, max_size=2))
    tool = make_tool_of([each for each, _ in chosen], [draw(st.booleans()) for _ in chosen])
    arguments = {f"x{index}": draw(near | near | _ANYTHING) for index, (_, near) in enumerate(chosen)}
    for name in draw(st.lists(st.sampled_from([*arguments]), max_size=1)):
        del arguments[name]
    return tool, arguments | draw(st.sampled_from([{}, {}, {}, {"zz": 1}]))


@given(_calls())
def test_what_the_schema_takes_the_function_gets_and_what_it_refuses_is_coerced_or_told(
    call: tuple[Tool, dict[str, Any]],
) -> None:
    """Another validator reads the schema that the model is told."""
    tool, arguments = call
    oracle = jsonschema.Draft202012Validator(tool.signature.schema)
    found = tool.signature.check(json.dumps(arguments))
    if oracle.is_valid(arguments):
        assert found.render() == ""
        assert is_made_of(tool.function(**found.values or {}), arguments, exact=True)
    elif found.values is None:
        assert found.render()
    elif found.repairs:  # there is JSON in a text
        assert found.given != arguments
        assert tool.signature.check(found.given).values == found.values
    else:
        assert is_made_of(tool.function(**found.values), arguments, exact=False)


def is_made_of(made: Any, given: Any, *, exact: bool) -> bool:
    """Whether the function's arguments are those given: the same, or coerced by the table; defaults may be added."""
    plain = to_jsonable_python(made)
    if isinstance(given, dict):
        return isinstance(plain, dict) and all(
            key in plain and is_made_of(plain[key], each, exact=exact) for key, each in given.items()
        )
    if isinstance(given, list):
        if isinstance(made, (set, frozenset)):
            return sorted(made) == sorted(given)
        return (
            isinstance(plain, list)
            and len(plain) == len(given)
            and all(is_made_of(each, other, exact=exact) for each, other in zip(plain, given, strict=True))
        )
    if exact or plain == given:
        return bool(plain == given)
    return isinstance(given, str) and plain in COERCED[given]


COERCED: dict[str, tuple[Any, ...]] = {
    "1": (1, True), "0x10": (16,), "1e2": (100,), "0.5": (0.5,), "true": (True,), "yes": (True,), "off": (False,),
    "NEWEST": ("newest",),
}  # fmt: skip
"""What the table of `tidemill.config.coercion.table` makes of these texts where no text is expected."""


@given(_calls())
def test_a_call_is_the_same_as_text_and_as_an_object(call: tuple[Tool, dict[str, Any]]) -> None:
    tool, arguments = call
    text, plain = tool.signature.check(json.dumps(arguments)), tool.signature.check(arguments)
    assert (text.values, text.problems, text.repairs) == (plain.values, plain.problems, plain.repairs)


def test_a_tool_by_its_schema_checks_as_one_by_its_annotations() -> None:
    """The messages of a remote tool are those of one's own."""
    remote = schema_signature(now.signature.schema)
    for wrong in ({"zone": 5}, {"zoen": "UTC"}, {"zone": None}):
        assert remote.check(wrong).render().partition(";")[0] == now.signature.check(wrong).render().partition(";")[0]


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_any_value_comes_through_as_it_is(value: Any) -> None:
    """Integers of any size, any text but halves of surrogate pairs, any key."""
    assert search.signature.check(json.dumps({"query": "", "extra": value})).values == {
        **(search.signature.check({"query": ""}).values or {}),
        "extra": value,
    }
