"""JSON Schemas as types: what they take, what they refuse and in which words; held against another validator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from cases import load_cases
from tidemill.config.report.values import check_value
from tidemill.config.schemas.json_schema import json_schema
from tidemill.config.schemas.normalizing import normalize_schema
from tidemill.config.schemas.reading import read_schema
from tidemill.errors import ConfigError

CASES = load_cases(Path(__file__).with_name("schema_cases.txt"))
"""A schema, a value, and below what comes of it, or what is told of it."""


@pytest.mark.parametrize("name", CASES)
def test_it(name: str) -> None:
    text, expected = CASES[name]
    schema, value = map(json.loads, text.splitlines())
    found = check_value(read_schema(schema), value, parsed=True)
    if name.startswith("takes"):
        assert found.render() == ""
        assert _render(found.value) == _render(json.loads(expected))
    else:
        assert (found.render(), found.value) == (expected, None)


NO_SCHEMAS: list[tuple[Any, str, str]] = [
    ({"properties": {"a": {"type": "strin"}}}, "this is no JSON Schema", "#/properties/a/type"),
    ({"properties": 3}, "this is no JSON Schema", "#/properties"),
    ({"properties": {"a/b": 3}}, "expected a schema, got 3", "#/properties/a~1b"),
    ({"properties": {"a": {"pattern": "("}}}, "this is no JSON Schema", "#/properties/a/pattern"),
    ({"properties": {"a": {"$ref": "#/$defs/A"}}}, "`#/$defs/A` refers to nothing", "#/properties/a"),
    ({"items": {"$ref": "http://localhost/a"}}, "`http://localhost/a` is another document", "#/items"),
    ({"items": {"$ref": "#a"}}, "`#a` refers to nothing", "#/items"),
    (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "refers to itself alone",
        "#",
    ),
    ({"required": "a"}, "this is no JSON Schema", "#/required"),
    ([], "expected a JSON Schema, got an empty list", ""),
]


@pytest.mark.parametrize(("schema", "message", "where"), NO_SCHEMAS, ids=[each[1] + each[2] for each in NO_SCHEMAS])
def test_what_is_no_schema_is_told_with_its_path(schema: Any, message: str, where: str) -> None:
    with pytest.raises(ConfigError, match=r"^") as caught:
        read_schema(schema)
    assert message in caught.value.message
    assert caught.value.where == where


def test_every_problem_is_told() -> None:
    """What types find, and, where they find nothing, all that the validator does."""
    schema = {"properties": {name: {"type": "string", "format": "date"} for name in "abc"}}
    assert len(check_value(read_schema(schema), dict.fromkeys("abc", "x")).problems) == 3
    assert len(check_value(read_schema(schema), dict.fromkeys("abc", 1)).problems) == 3


def test_a_schema_comes_back_as_it_is_in_the_words_of_2020_12() -> None:
    given = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "description": "All.",
        "type": "object",
        "properties": {"a": {"type": "integer", "nullable": True, "default": 1}, "free": {"type": "object"}},
    }
    before = json.dumps(given)
    assert json_schema(read_schema(given)) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "description": "All.",
        "type": "object",
        "properties": {"a": {"type": ["integer", "null"], "default": 1}, "free": {"type": "object"}},
        "additionalProperties": False,
    }
    assert json.dumps(given) == before


def test_it_is_a_type_as_any_other() -> None:
    """Pydantic takes it by itself, and within another."""
    target = read_schema({"properties": {"a": {"type": "integer"}}})
    assert TypeAdapter(target).validate_python({"a": "5"}) == {"a": 5}
    assert check_value(list[target], [{"a": "5"}]).value == [{"a": 5}]  # type: ignore[valid-type]


_NAMES = st.sampled_from(["a", "b", "class", "$x", "a b"])
_WHOLE = st.integers(-3, 3)
_SCALARS = st.one_of(
    st.none(), st.booleans(), _WHOLE, st.sampled_from([0.5, 1.0, -2.0]), st.sampled_from(["", "a", "1", "true", "abc"])
)
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=6,
)


def _with(kind: str, **keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=keywords)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return _with(
        "object",
        properties=st.dictionaries(_NAMES, inner, max_size=3),
        required=st.lists(_NAMES, max_size=2, unique=True),
        additionalProperties=st.booleans() | inner,
    )


_PLAIN = st.one_of(
    _with("string", minLength=st.integers(0, 2), maxLength=st.integers(1, 3), pattern=st.sampled_from(["^a", "1"])),
    _with("integer", minimum=_WHOLE, exclusiveMaximum=_WHOLE, multipleOf=st.sampled_from([1, 2])),
    _with("number", exclusiveMinimum=_WHOLE, maximum=_WHOLE, multipleOf=st.sampled_from([0.5, 2])),
    st.sampled_from([{}, {"type": "boolean"}, {"type": "null"}, {"type": ["integer", "string", "null"]}]),
    st.lists(_SCALARS, min_size=1, max_size=3).map(lambda choices: {"enum": choices}),
    _SCALARS.map(lambda value: {"const": value}),
)
_SCHEMAS = st.recursive(
    _PLAIN,
    lambda inner: st.one_of(
        _with("array", items=inner, minItems=st.integers(0, 2), maxItems=st.integers(0, 3), uniqueItems=st.booleans()),
        _objects(inner),
        st.lists(inner, min_size=1, max_size=2).map(lambda members: {"anyOf": members}),
        st.lists(inner, min_size=1, max_size=2).map(lambda members: {"oneOf": members}),
        st.lists(_objects(inner), min_size=1, max_size=2).map(lambda members: {"allOf": members}),
        inner.map(lambda schema: {"not": schema}),
    ),
    max_leaves=5,
)


@given(_SCHEMAS, _VALUES)
def test_it_takes_what_another_validator_takes_and_gives_nothing_it_refuses(schema: dict[str, Any], value: Any) -> None:
    """`jsonschema` reads the closed schema. What it takes comes through unchanged; what comes through, it takes."""
    oracle = jsonschema.Draft202012Validator(normalize_schema(schema))
    found = check_value(read_schema(schema), value, parsed=True)
    if oracle.is_valid(value):
        assert (found.render(), found.value) == ("", value)
    elif found.problems:
        assert found.render()
    else:
        assert oracle.is_valid(found.value), found.value
        assert _is_coerced(value, found.value)


def _is_coerced(given: Any, made: Any) -> bool:
    """Whether one value is the other by the table of `tidemill.config.coercion.table`."""
    if isinstance(given, dict) and isinstance(made, dict):
        return given.keys() == made.keys() and all(_is_coerced(given[key], made[key]) for key in given)
    if isinstance(given, list) and isinstance(made, list):
        return len(given) == len(made) and all(map(_is_coerced, given, made))
    if isinstance(given, str) and not isinstance(made, str):
        return json.loads(given) == made or (made in (True, False) and given in ("1", "0"))
    return bool(given == made)


def _render(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
