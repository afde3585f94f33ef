"""What Anthropic, Gemini and llama.cpp hold a reply to, and what a tool's parameters become."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from schemamodels import make_model

from tidemill.models.structured.dialects.table import DIALECTS, Dialect, adapt, adapt_tool, adapt_tools


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


NODE = an_object(next={"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]})
RECURSIVE = {**NODE, "$defs": {"Node": NODE}}
LOOSE = {**an_object(value={"type": "integer"}, next={"$ref": "#/$defs/Node"}), "required": ["value"]}
OPTIONAL = {**LOOSE, "$defs": {"Node": LOOSE}}

FORBIDDEN: dict[str, tuple[dict[str, Any], set[str]]] = {
    "keys of any name": (an_object(a={"type": "object", "additionalProperties": {"type": "integer"}}), {
        "openai", "anthropic"
    }),
    "a tuple": (an_object(a={"type": "array", "prefixItems": [{"type": "integer"}]}), {"openai", "anthropic"}),
    "any value": (an_object(a={}), {"openai", "anthropic", "gemini"}),
    "a list of anything": (an_object(a={"type": "array"}), {"openai", "anthropic", "gemini"}),
    "no value": (an_object(a=False), {"openai", "anthropic", "gemini", "llama.cpp"}),
    "no object at the root": ({"type": "array", "items": {"type": "integer"}}, {"openai", "anthropic"}),
    "a union at the root": ({"anyOf": [an_object(a={"type": "integer"}), {"type": "null"}]}, {"openai", "anthropic"}),
    "what holds itself": (RECURSIVE, {"anthropic", "gemini"}),
    "what holds itself where it may be left out": (OPTIONAL, {"anthropic", "openai"}),
    "several schemas at once": (an_object(a={"allOf": [{"type": "integer"}, {"enum": [1, 2]}]}), {"openai", "gemini"}),
    "keys by a pattern": (an_object(a={"type": "object", "patternProperties": {"^x": {"type": "integer"}}}), {
        "openai", "anthropic", "gemini", "llama.cpp"
    }),
    "another document": (an_object(a={"$ref": "other.json#/a"}), {"openai", "anthropic", "gemini", "llama.cpp"}),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", FORBIDDEN)
def test_structure_without_words_is_forbidden(name: str, dialect: Dialect) -> None:
    schema, dialects = FORBIDDEN[name]
    assert bool(adapt(schema, dialect).forbidden) == (dialect in dialects), adapt(schema, dialect).forbidden


DROPPED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "minLength": ({"type": "string", "minLength": 2}, {"openai", "anthropic", "gemini"}),
    "pattern": ({"type": "string", "pattern": "^[a-z]+$"}, {"anthropic", "gemini"}),
    "minimum": ({"type": "number", "minimum": 1}, {"anthropic", "llama.cpp"}),
    "maximum": ({"type": "integer", "maximum": 1}, {"anthropic"}),
    "exclusiveMinimum": ({"type": "integer", "exclusiveMinimum": 1}, {"anthropic", "gemini"}),
    "multipleOf": ({"type": "integer", "multipleOf": 5}, {"anthropic", "gemini", "llama.cpp"}),
    "minItems": ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, {"anthropic"}),
    "maxItems": ({"type": "array", "items": {"type": "integer"}, "maxItems": 2}, {"anthropic"}),
    "uniqueItems": ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, set(DIALECTS)),
    "format": ({"type": "string", "format": "uri"}, {"openai", "gemini", "llama.cpp"}),
    "oneOf": ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, {"openai", "anthropic", "gemini"}),
    "not": ({"type": "integer", "not": {"const": 3}}, set(DIALECTS)),
    "examples": ({"type": "string", "examples": ["a"]}, set(DIALECTS)),
    "date": ({"type": "string", "format": "date"}, set()),
    "const": ({"type": "string", "const": "a"}, set()),
    "enum": ({"type": "string", "enum": ["a", "b"]}, set()),
    "anyOf": ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, set()),
}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", DROPPED)
def test_a_keyword_that_is_not_held_to_is_named_with_its_place(name: str, dialect: Dialect) -> None:
    """And is gone from the schema; where the model reads it, a description tells it."""
    part, dialects = DROPPED[name]
    adapted = adapt(an_object(a=part), dialect)
    assert adapted.forbidden == ()
    assert [(each.path, each.keyword) for each in adapted.dropped] == ([("$.a", name)] if dialect in dialects else [])
    kept = adapted.schema["properties"]["a"]
    if dialect in dialects:
        assert name not in kept
        assert ("description" in kept) == (dialect != "llama.cpp" and name != "oneOf")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_adapting_is_pure_and_done_once(dialect: Dialect) -> None:
    """The same schema gives the same one and is not changed; what was adapted has nothing left to drop or forbid."""
    for seed in range(25):
        schema = make_model(seed, lossy=True).model_json_schema()
        before = copy.deepcopy(schema)
        adapted = adapt(schema, dialect)
        assert schema == before
        assert adapt(schema, dialect) == adapted
        if not adapted.forbidden:
            assert adapt(adapted.schema, dialect).loses_nothing
            assert adapt(adapted.schema, dialect).schema == adapted.schema


def test_a_model_with_too_many_choices_for_anthropic_is_forbidden() -> None:
    """Of its own bounds on what a grammar may come to."""
    union = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    many = an_object(**{f"p{number}": union for number in range(17)})
    assert adapt(many, "anthropic").forbidden == ("it has 17 unions, and at most 16 are taken",)
    loose = {**an_object(**{f"p{number}": {"type": "integer"} for number in range(25)}), "required": []}
    assert adapt(loose, "anthropic").forbidden == ("it has 25 optional properties, and at most 24 are taken",)


def test_gemini_has_an_enum_of_one_for_a_constant() -> None:
    adapted = adapt(an_object(kind={"type": "string", "const": "cat"}), "gemini")
    assert adapted.schema["properties"]["kind"] == {"type": "string", "enum": ["cat"]}


PLAIN = an_object(query={"type": "string"}, limit={"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None})
DEFAULT = {**an_object(query={"type": "string", "title": "Query"}, limit={"type": "integer", "default": 10}), "required": ["query"]}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize(
    ("schema", "dialect", "strict"),
    [
        (PLAIN, "openai", True),
        (PLAIN, "anthropic", True),
        (PLAIN, "gemini", False),
        (PLAIN, "llama.cpp", False),
        (DEFAULT, "openai", False),  # a limit would be written each time
        (DEFAULT, "anthropic", True),
        (RECURSIVE, "openai", True),
        (RECURSIVE, "anthropic", False),
        (an_object(a={"type": "string", "maxLength": 3}), "openai", False),
    ],
)
def test_a_tool_is_strict_where_nothing_is_lost(schema: dict[str, Any], dialect: Dialect, strict: bool) -> None:
    parameters, is_strict = adapt_tool(schema, dialect)
    assert is_strict is strict
    if strict:
        assert parameters == adapt(schema, dialect).schema
    else:
        assert parameters["properties"].keys() == schema["properties"].keys()
        assert parameters["required"] == schema["required"]
        assert "title" not in str(parameters)


@pytest.mark.parametrize(
    ("schema", "reply", "strict"),
    [
        (an_object(a={"type": "string"}), None, 20),
        ({**an_object(a={"type": "string"}, b={"type": "integer"}), "required": []}, None, 12),
        ({**an_object(a={"type": "string"}, b={"type": "integer"}), "required": []}, DEFAULT, 11),
        (PLAIN, None, 16),
        (PLAIN, PLAIN, 15),
    ],
)
def test_strict_tools_of_a_request_are_bounded_together(schema: Any, reply: Any, strict: int) -> None:
    """At Anthropic, by their number, optional properties and unions; those behind are told as they are."""
    adapted = adapt_tools([schema] * 25, "anthropic", reply)
    assert [is_strict for _, is_strict in adapted] == [True] * strict + [False] * (25 - strict)
    assert adapted[-1] == (adapt_tool(schema, "gemini")[0], False)
    assert all(
        is_strict for _, is_strict in adapt_tools([schema | {"required": [*schema["properties"]]}] * 25, "openai")
    )


def test_a_small_tool_finds_room_behind_a_large_one() -> None:
    large = {**an_object(**{f"p{number}": {"type": "string"} for number in range(20)}), "required": []}
    small = an_object(a={"type": "string"})
    assert [strict for _, strict in adapt_tools([large, large, small], "anthropic")] == [True, False, True]
