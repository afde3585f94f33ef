"""A schema in OpenAI's strict mode, beside what the `openai` package makes of it."""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from openai.lib._pydantic import to_strict_json_schema
from pydantic import BaseModel
from schemamodels import make_model

from tidemill.config.subschemas import drop_title, map_schemas
from tidemill.models.structured.dialects.adapted import Adapted
from tidemill.models.structured.dialects.grammar import STRUCTURE
from tidemill.models.structured.dialects.openai import GRAMMAR, adapt

MODELS = 200


def theirs(model: type[BaseModel]) -> Any:
    """What the `openai` package makes of it, without titles, which are billed and say nothing new."""
    return map_schemas(to_strict_json_schema(model), drop_title)


def ours(model: type[BaseModel]) -> Adapted:
    schema = model.model_json_schema()
    before = copy.deepcopy(schema)
    adapted = adapt(schema)
    assert schema == before
    return adapted


def list_words(schema: Any, *, is_names: bool = False) -> list[str]:
    """The keywords of a schema that strict mode refuses, and what it misses."""
    if not isinstance(schema, dict):
        return []
    if is_names:
        return [word for part in schema.values() for word in list_words(part)]
    found = sorted(schema.keys() - STRUCTURE - GRAMMAR.kept)
    if "$ref" in schema and not schema.keys() <= {"$ref", "$defs"}:
        found.append("beside a reference")
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            found.append("open")
        if schema.get("required", []) != list(schema.get("properties", {})):
            found.append("optional")
    for part in (schema.get("items"), *schema.get("anyOf", ())):
        found += list_words(part)
    for names in ("properties", "$defs"):
        found += list_words(schema.get(names, {}), is_names=True)
    return found


def test_where_nothing_is_lost_it_equals_what_openai_makes_of_it() -> None:
    for seed in range(MODELS):
        model = make_model(seed)
        adapted = ours(model)
        assert adapted.loses_nothing, (seed, adapted.dropped, adapted.forbidden)
        assert adapted.schema == theirs(model), seed
        assert list_words(adapted.schema) == []


def test_elsewhere_it_says_what_it_changes_or_why_it_refuses() -> None:
    """A schema that differs from OpenAI's tells of it, and is one that strict mode takes; theirs then is none."""
    kinds: set[str] = set()
    for seed in range(MODELS):
        shapeless = seed % 3 == 0
        model = make_model(seed, lossy=True, shapeless=shapeless)
        adapted, other = ours(model), theirs(model)
        assert not adapted.loses_nothing, seed
        assert bool(adapted.forbidden) is shapeless, (seed, adapted.forbidden)
        if not shapeless:
            assert adapted.schema != other, seed
            assert list_words(adapted.schema) == [], seed
            kinds |= {dropped.keyword for dropped in adapted.dropped}
            for dropped in adapted.dropped:
                field = dropped.path.rpartition(".")[2].partition("|")[0].rstrip("[]")
                assert field in ("lossy", "kind"), dropped
    assert kinds >= {"default", "maxLength", "uniqueItems", "pattern", "format", "oneOf", "examples"}


def test_what_fits_the_strict_schema_fits_the_whole_one_but_for_what_was_dropped() -> None:
    """A reply that OpenAI lets through can fail only by a keyword that was named."""

    class Pair(BaseModel):
        name: str
        size: int = 3

    adapted = ours(Pair)
    validator = jsonschema.Draft202012Validator(dict(adapted.schema))
    assert validator.is_valid({"name": "x", "size": 1})
    assert not validator.is_valid({"name": "x"})
    assert [str(each) for each in adapted.dropped] == ["$.size: `default` is told, and a value is written each time"]
    assert adapted.schema["properties"]["size"]["description"] == "{default: 3}"


def nest(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": {"end": {"type": "string"}}, "required": ["end"]}
    for _ in range(depth - 1):
        schema = {"type": "object", "properties": {"in": schema}, "required": ["in"]}
    return schema


def choices(count: int, length: int = 4) -> dict[str, Any]:
    values = [str(number).rjust(length, "x") for number in range(count)]
    return {"type": "object", "properties": {"pick": {"enum": values, "type": "string"}}, "required": ["pick"]}


def many(count: int, name: str = "p{}") -> dict[str, Any]:
    names = [name.format(number) for number in range(count)]
    return {"type": "object", "properties": {each: {"type": "integer"} for each in names}, "required": names}


@pytest.mark.parametrize(
    ("most", "more", "told"),
    [
        (nest(10), nest(11), "it has 11 levels of objects, and at most 10 are taken"),
        (many(5_000), many(5_001), "it has 5,001 properties, and at most 5,000 are taken"),
        (choices(1_000), choices(1_001), "it has 1,001 choices, and at most 1,000 are taken"),
        (
            choices(250, 100),
            choices(251, 100),
            "one of 251 choices has 25,100 characters, and at most 15,000 are taken",
        ),
        (
            many(1_000, "{:0>120}"),
            many(1_001, "{:0>120}"),
            "it has 120,120 characters in names and choices, and at most 120,000 are taken",
        ),
    ],
)
def test_what_is_too_much_is_forbidden(most: dict[str, Any], more: dict[str, Any], told: str) -> None:
    assert adapt(most).forbidden == ()
    assert adapt(more).forbidden == (told,)
