"""What a reply may be asked to be: classes, annotations and JSON Schemas, read, asked for and landed alike."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import pyarrow as pa
import pytest
from pydantic import AfterValidator, BaseModel, Field, RootModel, ValidationError
from typing_extensions import TypedDict

import tidemill as tm
from tidemill.config.objects.descriptions import describe_value, fingerprint_json
from tidemill.jobs.landing.arrow_types import find_type
from tidemill.models.steps.generate import Generate
from tidemill.models.structured.checking import OutputParser
from tidemill.models.structured.fields import find_fields
from tidemill.models.structured.outputs import ReplyType, annotation_of, to_target
from tidemill.models.structured.plan import Abilities, Rung, plan_output
from tidemill.testing import FaultServer


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


class Price(TypedDict):
    amount: int
    currency: NotRequired[str]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


@dataclasses.dataclass
class Chain:
    label: str
    next: Chain | None = None


def _even(value: int) -> int:
    if value % 2:
        raise ValueError("is odd")
    return value


DOCUMENT = {
    "type": "object",
    "properties": {
        "day": {"type": "string", "format": "date"},
        "scores": {"type": "array", "items": {"$ref": "#/definitions/score"}, "minItems": 1},
        "inner": {"$ref": "#"},
    },
    "required": ["day", "scores"],
    "additionalProperties": False,
    "definitions": {"score": {"type": "integer", "minimum": 0, "maximum": 9}},
}

CASES: dict[str, tuple[Any, str, Any, Any]] = {
    "a dataclass": (Point, '{"x": 1}', Point(1), {"x": 1, "y": 0.5}),
    "a TypedDict": (Price, '{"amount": "15"}', {"amount": 15}, {"amount": 15}),
    "a list": (list[Point], '[{"x": 1, "y": 2}]', [Point(1, 2.0)], [{"x": 1, "y": 2.0}]),
    "a union": (Cat | Dog, '{"kind": "dog", "name": "Bo"}', Dog(kind="dog", name="Bo"), {"kind": "dog", "name": "Bo"}),
    "a tagged union": (
        Annotated[Cat | Dog, Field(discriminator="kind")],
        '{"kind": "cat", "lives": 9}',
        Cat(kind="cat", lives=9),
        {"kind": "cat", "lives": 9},
    ),
    "choices": (Literal["yes", "no"], '"yes"', "yes", "yes"),
    "an enum": (Colour, '"red"', Colour.RED, "red"),
    "text": (str, '"tide"', "tide", "tide"),
    "a number": (int, "64", 64, 64),
    "a date": (datetime.date, '"2024-02-29"', datetime.date(2024, 2, 29), "2024-02-29"),
    "what holds itself": (Tree, '{"value": 1, "children": [{"value": 2}]}', Tree(value=1, children=[Tree(value=2)]), {
        "value": 1, "children": [{"value": 2, "children": []}]
    }),
    "a dataclass that holds itself": (Chain, '{"label": "a", "next": {"label": "b"}}', Chain("a", Chain("b")), {
        "label": "a", "next": {"label": "b", "next": None}
    }),
    "a mapping": (dict[str, int], '{"a": 1}', {"a": 1}, {"a": 1}),
    "a tuple": (tuple[int, str], '[1, "a"]', (1, "a"), [1, "a"]),
    "a root model": (RootModel[list[int]], "[1]", RootModel[list[int]]([1]), [1]),
    "a JSON Schema": (
        DOCUMENT,
        '{"day": "2024-02-29", "scores": [1, "2"]}',
        {"day": "2024-02-29", "scores": [1, 2]},
        {"day": "2024-02-29", "scores": [1, 2]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("is_wrapped", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_reply_becomes_the_object_and_its_json_form(name: str, is_wrapped: bool) -> None:
    output, text, value, form = CASES[name]
    parser = OutputParser(to_target(output), is_wrapped=is_wrapped)
    text = f'{{"value": {text}}}' if is_wrapped else text
    assert parser.parse_object(text) == value
    assert parser.parse(text) == form
    json.dumps(form)


BARE = [name for name in CASES if name != "what holds itself"]  # it has a key `value` of its own


@pytest.mark.parametrize("name", BARE)
def test_a_reply_without_the_object_that_it_was_asked_within_is_taken(name: str) -> None:
    """A server that holds no reply to its schema gives `[1]` for `{"value": [1]}`: that can mean one thing only."""
    output, text, value, _ = CASES[name]
    parser = OutputParser(to_target(output), is_wrapped=True)
    for written in (text, f"```json\n{text}\n```", f'{{"answer": {text}}}'):
        assert parser.is_mended(written)
        assert parser.parse_object(written) == value


def test_an_object_under_the_wrong_key_is_no_reply() -> None:
    parser = OutputParser(to_target(list[int]), is_wrapped=True)
    for text in ('{"values": [1]}', '{"value": [1], "more": 2}', '["a"]', "[[1]]"):
        assert not parser.is_mended(text)
        with pytest.raises(ValidationError, match="value"):
            parser.parse(text)


PROVIDERS = {"openai": "openai/gpt", "anthropic": "anthropic/claude", "gemini": "gemini/flash"}


@pytest.mark.parametrize("dialect", PROVIDERS)
@pytest.mark.parametrize("replies", [None, "tool", "prompt"])
def test_each_is_asked_for_and_read_by_every_rung(dialect: Any, replies: Rung | None) -> None:
    """The server answers by whatever tells it the schema: adapted, wrapped, read and unwrapped."""
    rungs = set()
    with FaultServer(keep_calls=True) as server:
        model = tm.model(PROVIDERS[dialect], base_url=server.base_url, api_key="key-for-test", replies=replies)
        with model:
            for number, (output, _, value, _) in enumerate(CASES.values()):
                plan = plan_output(to_target(output), Abilities(dialect, replies=replies))
                answer = model("Give one.", output=output, max_tokens=400, max_reasks=0)
                if not isinstance(output, type(Cat | Dog)) and output not in (Colour, int, str):
                    assert isinstance(answer, type(value)) or isinstance(value, Cat)
                payload = server.calls[number].payload
                assert ("tools" in payload) == (plan.rung == "tool")
                assert bool(payload.keys() & {"response_format", "output_config"}) == (plan.rung == "schema")
                rungs.add(plan.rung)
    own = {"schema"} if dialect == "gemini" else {"schema", "tool"}
    assert rungs == (own if replies is None else {replies})


@pytest.mark.parametrize(
    ("output", "text", "told"),
    [
        (Point, '{"x": true}', "$.x: expected an integer, got true"),
        (Point, '{"x": 1, "z": 2}', "$.z: unknown key"),
        (list[int], '[1, "a"]', '$[1]: expected an integer, got "a"'),
        (Annotated[int, AfterValidator(_even)], "3", "$: is odd"),
        (DOCUMENT, '{"day": "soon", "scores": [10]}', "$.scores[0]: expected an integer"),
    ],
)
def test_what_does_not_fit_is_told_by_its_path(output: Any, text: str, told: str) -> None:
    """Under the rules of `Config`: no boolean is a number, and no unknown key is passed over."""
    parser = OutputParser(to_target(output))
    with pytest.raises(ValidationError, match="validation error") as caught:
        parser.parse(text)
    assert told in parser.explain(caught.value, text)


class Address(BaseModel):
    street: str
    tags: list[str] = []


class Person(BaseModel):
    name: str
    address: Address


NAMED = '{"name": "Ada", "address": {"street": "Am Delft", "tags": ["old"]}}'


@pytest.mark.parametrize(
    "text",
    [
        f"```json\n{NAMED}\n```",
        f"Here you are: {NAMED}",
        json.dumps(NAMED),
        NAMED.replace("]}}", "],},}"),
        f'{{"Person": {NAMED}}}',
        f'{{"reply": {NAMED}}}',
        f"[{NAMED}]",
        json.dumps({"name": "Ada", "address": '{"street": "Am Delft", "tags": ["old"]}'}),
        json.dumps({"name": "Ada", "address": {"street": "Am Delft", "tags": '["old"]'}}),
        "{'name': 'Ada', 'address': {'street': 'Am Delft', 'tags': ['old']}}",
    ],
)
def test_a_reply_that_can_mean_one_thing_is_mended(text: str) -> None:
    parser = OutputParser(Person)
    assert parser.parse(text) == json.loads(NAMED)
    assert parser.parse_object(text) == Person(name="Ada", address=Address(street="Am Delft", tags=["old"]))
    assert parser.is_mended(text)
    assert not parser.is_mended(NAMED)


@pytest.mark.parametrize(
    "text",
    [
        NAMED[:-1],
        NAMED[:-2] + ",",
        f"{NAMED} or {NAMED}",
        f'{{"other": {NAMED}}}',
        f'{{"Person": {NAMED}, "sure": true}}',
        json.dumps({"name": "Ada", "address": "Am Delft"}),
        json.dumps({"name": '{"first": "Ada"}', "address": 5}),
        f"[{NAMED}, {NAMED}]",
    ],
)
def test_what_is_cut_off_or_could_mean_another_thing_is_not_mended(text: str) -> None:
    parser = OutputParser(Person)
    assert not parser.is_mended(text)
    with pytest.raises(ValidationError, match="validation error"):
        parser.parse(text)


def test_a_decimal_is_what_its_digits_say() -> None:
    parser = OutputParser(to_target(list[decimal.Decimal]))
    assert parser.parse_object('[1.10, "1.10", 3]') == [decimal.Decimal(each) for each in ("1.1", "1.10", "3")]
    assert parser.parse('["1.10"]') == ["1.10"]


def test_a_text_stays_text_where_one_is_asked_for() -> None:
    assert OutputParser(to_target(str)).parse('"[1, 2]"') == "[1, 2]"
    assert OutputParser(Address).parse('{"street": "{\\"a\\": 1}"}')["street"] == '{"a": 1}'


def test_a_mended_reply_that_still_does_not_fit_is_told_by_its_paths() -> None:
    """And not as text that is no JSON."""
    parser = OutputParser(Address)
    text = '```json\n{"street": 5,}\n```'
    with pytest.raises(ValidationError, match="validation error") as caught:
        parser.parse(text)
    assert parser.explain(caught.value, text).splitlines()[1:] == ["- $.street: expected text, got 5; put it in quotes"]


def test_a_schema_s_file_is_named_as_in_a_job_file(tmp_path: Path) -> None:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "schemas" / "label.json").write_text(json.dumps(DOCUMENT))
    target = to_target("schemas/label.json", tmp_path)
    assert isinstance(target, ReplyType)
    assert target == to_target(DOCUMENT)
    assert target != to_target({**DOCUMENT, "required": ["day"]})
    assert target.path == str(tmp_path / "schemas" / "label.json")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is no JSON"),
        ("[1]", "holds no JSON Schema: expected an object, got a list of 1"),
        ('{"type": "strin"}', "strin"),
    ],
)
def test_a_file_that_holds_no_schema_is_refused(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / "label.json").write_text(content)
    with pytest.raises(tm.ConfigError, match=told):
        to_target("label.json", tmp_path)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (5, "expected a Pydantic model, another class or annotation, a JSON Schema, or the path of one, got 5"),
        ("label.yaml", "expected an import path `module:name` or a `.json` file"),
        ("json:dumps", "`json:dumps` is no Pydantic model, no other class or annotation, and no JSON Schema"),
        (list[FaultServer], "Pydantic does not know the type"),
    ],
)
def test_what_can_be_no_reply_is_refused_where_it_is_written(output: Any, told: str) -> None:
    with pytest.raises(tm.ConfigError, match="output") as caught:
        tm.from_iterable([{}]).generate(tm.model("openai/m"), prompt="{{ a }}", output=output)
    assert told in str(caught.value)


def test_a_step_is_another_one_when_what_it_asks_for_is() -> None:
    def print_of(output: Any) -> str:
        node = Generate(model=tm.model("openai/m"), prompt="{{ a }}", output=output)
        return fingerprint_json(describe_value(node))

    def other(value: int) -> int:
        return value

    outputs: list[Any] = [Point, Chain, Price, list[Point], list[Chain], Cat | Dog, Cat, DOCUMENT]
    outputs += [Literal["a"], Literal["b"], int, {"type": "integer"}]
    outputs += [Annotated[int, AfterValidator(_even)], Annotated[int, AfterValidator(other)]]
    assert len({print_of(each) for each in outputs}) == len(outputs)
    assert print_of(list[Point]) == print_of(list[Point])


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (Point, pa.struct([("x", pa.int64()), ("y", pa.float64())])),
        (Price, pa.struct([("amount", pa.int64()), ("currency", pa.string())])),
        (decimal.Decimal, pa.string()),
        (list[Colour], pa.list_(pa.string())),
        (Literal[1, 2], pa.int64()),
        (
            {
                "type": "object",
                "properties": {"day": {"type": "string"}, "n": {"type": ["integer", "null"]}, "s": {"enum": ["a"]}},
            },
            pa.struct([("day", pa.string()), ("n", pa.int64()), ("s", pa.string())]),
        ),
        ({"type": "array", "items": {"type": "number"}}, pa.list_(pa.float64())),
    ],
)
def test_a_column_has_the_type_of_its_json_form(output: Any, kind: pa.DataType) -> None:
    assert find_type(annotation_of(to_target(output)), "reply") == kind


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (Tree, "`Tree.children` holds itself"),
        (Chain, "`Chain.next` holds itself"),
        (DOCUMENT, "`reply.inner` holds itself"),
        (dict[str, int], "has no Arrow type"),
        (int | str, "may be int64 or string"),
        ({"type": "object"}, "is a JSON object of any form"),
        ({}, "is anything"),
    ],
)
def test_what_no_column_can_hold_is_told(output: Any, told: str) -> None:
    with pytest.raises(tm.ConfigError, match=r"jsonl") as caught:
        find_type(annotation_of(to_target(output)), "reply")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("output", "fields"),
    [
        (Point, ["x", "y"]),
        (Price, ["amount", "currency"]),
        (Cat, ["kind", "lives"]),
        (list[Point], None),
        (Cat | Dog, None),
        (dict[str, int], None),
        (DOCUMENT, ["day", "scores", "inner"]),
    ],
)
def test_the_fields_of_a_reply_are_known_to_later_steps(output: Any, fields: list[str] | None) -> None:
    assert find_fields(annotation_of(to_target(output))) == fields


def test_a_node_says_what_stands_in_its_column() -> None:
    node = Generate(model=tm.model("openai/m"), prompt="{{ a }}", output=list[Point], into="points", n=2)
    assert node.column_types() == {"points": list[list[Point]]}
