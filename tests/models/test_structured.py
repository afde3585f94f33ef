"""Typed replies: the schema a model is asked to follow, and the check of what it wrote."""

from __future__ import annotations

import datetime
import enum
import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, RootModel, ValidationError, field_validator

from tidemill.models.structured.checking import OutputParser
from tidemill.models.structured.plan import Abilities, OutputPlan, plan_output
from tidemill.models.structured.schemas import reply_schema


class Colour(enum.Enum):
    RED = "red"


class Part(BaseModel):
    name: str
    size: int | None


class Strict(BaseModel):
    """All that strict mode takes."""

    kind: Literal["a", "b"]
    only: Literal["x"]
    colour: Colour
    count: Annotated[int, Field(ge=0, le=9)]
    parts: Annotated[list[Part], Field(min_length=1, max_length=3)]
    choice: Part | int


class Title(BaseModel):
    title: str = Field(title="The title", description="A short one.")
    properties: dict[str, int] = {}


class Tree(BaseModel):
    value: int
    children: list[Tree]


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    return reply_schema(model)


def plan(output: Any) -> OutputPlan:
    """How OpenAI is asked for it."""
    return plan_output(output, Abilities("openai"))


def test_the_whole_of_a_small_one() -> None:
    small = plan(Part)
    assert (small.rung, small.strict, small.is_wrapped) == ("schema", True, False)
    assert small.schema == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "size": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["name", "size"],
        "additionalProperties": False,
    }


def test_titles_are_left_out_and_properties_named_title_stay() -> None:
    schema = schema_of(Title)
    assert "title" not in schema
    assert schema["properties"] == {
        "title": {"type": "string", "description": "A short one."},
        "properties": {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}},
    }


def test_a_renamed_model_asks_the_same() -> None:
    renamed = type("Other", (Part,), {"__module__": __name__})
    assert json.dumps(plan(renamed).schema) == json.dumps(plan(Part).schema)


def test_a_model_that_holds_itself_has_an_object_at_its_root() -> None:
    schema = schema_of(Tree)
    assert schema["type"] == "object"
    assert schema["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert schema["$defs"]["Tree"]["additionalProperties"] is False
    assert plan(Tree).rung == "schema"


class Optional(BaseModel):
    name: str = "none"


class Short(BaseModel):
    name: str = Field(max_length=5)


class Mapped(BaseModel):
    scores: dict[str, int]


class Pair(BaseModel):
    pair: tuple[int, str]


class Unique(BaseModel):
    names: set[str]


class Described(BaseModel):
    part: Part = Field(description="A part.")


class Whatever(BaseModel):
    value: Any


@pytest.mark.parametrize(
    ("model", "rung", "is_wrapped"),
    [
        (Strict, "schema", False),
        (Part, "schema", False),
        (Optional, "schema", False),  # it is written each time
        (Short, "schema", False),  # maxLength is told, and checked
        (Unique, "schema", False),  # likewise uniqueItems
        (Described, "schema", False),  # what is referred to stands there itself
        (RootModel[list[int]], "schema", True),  # no object at the root
        (Mapped, "tool", False),  # any property
        (Pair, "tool", False),  # prefixItems
        (Whatever, "tool", False),
        (RootModel[dict[str, int]], "tool", False),
        (RootModel[tuple[int, str]], "tool", True),
    ],
)
def test_the_first_rung_that_loses_no_structure_is_taken(model: type[BaseModel], rung: str, is_wrapped: bool) -> None:
    asked = plan(model)
    assert (asked.rung, asked.is_wrapped) == (rung, is_wrapped)
    assert asked is plan(model)


def test_every_object_is_closed() -> None:
    def check(part: Any) -> None:
        if isinstance(part, dict):
            if part.get("type") == "object" and "properties" in part:
                assert part["additionalProperties"] is False
            for value in part.values():
                check(value)
        elif isinstance(part, list):
            for value in part:
                check(value)

    for model in (Strict, Tree, Described):
        check(schema_of(model))


class Event(BaseModel):
    day: datetime.date
    colour: Colour
    at: str = Field(alias="where", default="here")


def test_a_reply_becomes_its_json_form() -> None:
    parsed = OutputParser(Event).parse('{"day": "2024-02-29", "colour": "red", "where": "there"}')
    assert parsed == {"day": "2024-02-29", "colour": "red", "at": "there"}


class Checked(BaseModel):
    parts: list[Part]
    kind: Literal["a", "b"]

    @field_validator("kind")
    @classmethod
    def _not_b(cls, value: str) -> str:
        if value == "b":
            raise ValueError("b is for later")
        return value


def explain(text: str, model: type[BaseModel] = Checked) -> str:
    parser = OutputParser(model)
    with pytest.raises(ValidationError, match="validation error") as caught:
        parser.parse(text)
    return parser.explain(caught.value, text)


def test_just_the_failing_paths_are_told() -> None:
    text = '{"parts": [{"name": "x", "size": 1}, {"name": 2, "size": "many"}, {"name": "y"}], "kind": "c"}'
    assert explain(text).splitlines() == [
        "These parts of your reply are wrong:",
        "- $.parts[1].name: expected text, got 2; put it in quotes",
        '- $.parts[1].size: expected an integer, got "many"',
        "- $.parts[2].size: missing key (an integer)",
        '- $.kind: expected `a` or `b`, got "c"',
    ]


def test_what_a_validator_says_is_told() -> None:
    assert "- $.kind: b is for later" in explain('{"parts": [], "kind": "b"}')


@pytest.mark.parametrize("text", ["", "Sure! Here are {} and {}", '{"parts": [', "null and void"])
def test_a_text_that_is_no_json_is_told_as_such(text: str) -> None:
    assert explain(text) == "Your reply is not valid JSON: it is cut off or has text around the object."


def test_json_of_another_type_is_told_as_wrong_at_the_root() -> None:
    assert explain("[1]").splitlines()[1].startswith("- $: expected a mapping, got a list of 1")


def test_many_failures_are_cut_to_twenty() -> None:
    text = json.dumps({"parts": [{}] * 50, "kind": "a"})
    assert len(explain(text).splitlines()) == 21
