"""Mending JSON that a model wrote almost right: only where it can mean one thing."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.models.structured.repair import Repaired, decode_text, find_missing_end, repair_json, unwrap_value

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
    ),
    max_leaves=12,
)
ROOTS = VALUES.filter(lambda value: isinstance(value, (dict, list)))


def value_of(repaired: Repaired | None) -> Any:
    assert repaired is not None
    return orjson.loads(repaired.value_text)


@given(ROOTS)
def test_json_is_left_as_it_is(value: Any) -> None:
    text = json.dumps(value)
    assert repair_json(text) == Repaired(text, ())


@given(ROOTS, st.data())
def test_a_reply_that_was_cut_off_is_never_completed(value: Any, data: st.DataObject) -> None:
    """Neither by closing it nor by taking a value that stands whole in what there is of it."""
    text = data.draw(st.sampled_from(["", "Here it is:\n", "```json\n"])) + json.dumps(
        value, indent=data.draw(st.sampled_from([None, 2]))
    )
    begin = min(place for place in (text.find("{"), text.find("[")) if place >= 0)
    cut = text[: data.draw(st.integers(begin + 1, len(text) - 1))]
    assert repair_json(cut) is None


@given(ROOTS, st.data())
@settings(max_examples=300)
def test_what_was_cut_off_is_known_by_what_would_close_it(value: Any, data: st.DataObject) -> None:
    """Wherever it was cut: within a text, an escape, a number, a key, or after any mark."""
    text = json.dumps(value, ensure_ascii=data.draw(st.booleans()))
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    assert find_missing_end(cut).endswith(text[-1])
    assert find_missing_end(text) == ""


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("[", "]"),
        ('{"a": [1, {"b": tr', "}]}"),
        ('{"a": [1, {"b": true}', "]}"),
        ('{"a": "}]', '"}'),
        ('{"a": "b\\', '"}'),
        (r'{"a": "b\"', '"}'),
        (r'{"a": "\ud83d', '"}'),
        ('{"a', '"}'),
        ('{"a": 1,', "}"),
    ],
)
def test_what_is_missing_is_its_quote_and_brackets(text: str, end: str) -> None:
    assert find_missing_end(text) == end


@pytest.mark.parametrize("text", ["", "{}", '{"a": 1}}', '{"a": three', "{'a': 'b", '{"a" 1', '{"a": [1}', "words"])
def test_what_is_wrong_in_another_way_is_not_cut_off(text: str) -> None:
    assert find_missing_end(text) == ""


@given(ROOTS)
def test_a_fence_is_left_out(value: Any) -> None:
    repaired = repair_json(f"```json\n{json.dumps(value, indent=1)}\n```\n")
    assert value_of(repaired) == value
    assert repaired is not None
    assert repaired.repairs


@given(ROOTS, st.integers(1, 3))
def test_json_within_json_texts_is_read(value: Any, layers: int) -> None:
    text = json.dumps(value)
    for _ in range(layers):
        text = json.dumps(text)
    assert value_of(repair_json(text)) == value


@given(ROOTS)
def test_what_python_prints_means_that_value_or_nothing(value: Any) -> None:
    """An escape that JSON does not have leaves it as it is; nothing becomes another value."""
    repaired = repair_json(repr(value))
    assert repaired is None or value_of(repaired) == value


@given(st.recursive(SCALARS | st.text("abc '\"{}[],:é"), lambda inner: st.lists(inner, max_size=3), max_leaves=8))
def test_python_literals_of_plain_texts_are_all_read(value: Any) -> None:
    assert value_of(repair_json(repr([value]))) == [value]


@given(ROOTS, st.sampled_from([",", " , ", ",\n"]))
def test_a_comma_too_many_is_left_out(value: Any, comma: str) -> None:
    text = json.dumps(value)
    repaired = repair_json(f"{text[:-1]}{comma}{text[-1]}")
    if value:
        assert value_of(repaired) == value
    else:  # of nothing a comma is none too many: a value may be missing
        assert repaired is None


@given(st.text("{}[]\"'\\,: \nab1`", max_size=60) | st.text(max_size=40))
@settings(max_examples=200)
def test_whatever_a_text_is_the_outcome_is_json_or_nothing(text: str) -> None:
    """Which needs no repair any more."""
    repaired = repair_json(text)
    assert repaired is None or value_of(repair_json(repaired.value_text)) == value_of(repaired)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('The label is {"a": 1}. I hope that helps!', {"a": 1}),
        ('As [noted] above:\n\n```\n{"a": "```"}\n```\nDone.', {"a": "```"}),
        ("[1, 2, 3] is the list", [1, 2, 3]),
        ("{'it': \"it's\", 'b': 'say \"x\"', 'c': 'it\\'s'}", {"it": "it's", "b": 'say "x"', "c": "it's"}),
        ('{"a": "one\ntwo\tthree"}', {"a": "one\ntwo\tthree"}),
        ('\ufeff{"a": 1}', {"a": 1}),
        ("```\n42\n```", 42),
        ('{"a": [1, 2,], "b": {"c": None,},}', {"a": [1, 2], "b": {"c": None}}),
    ],
)
def test_what_can_mean_one_thing_is_that(text: str, value: Any) -> None:
    assert value_of(repair_json(text)) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot answer that.",
        'Either {"a": 1} or {"a": 2}',
        'As in [1], it is {"a": 1}',
        '{"a": 1 "b": {"c": 2}}',
        '{"a": 1 "b"} then {"c": 2}',
        '{"a": "she said "no" to it"}',
        "['a' 'b']",
        "[1,,2]",
        "[,]",
        "{,}",
        '{"a": NaN}',
        "{1: 2}",
        "('a', 'b')",
        '{"a": 1]',
        '{"a": {"b": 1}, "c": ',
        'One is {"a": 1}, the other {"a": ',
        "{'a': 'C:\\/x'}",
        "{'a': '\\x41'}",
        "{a: 1}",
    ],
)
def test_what_could_mean_another_thing_is_left(text: str) -> None:
    assert repair_json(text) is None


def test_reading_a_long_text_takes_a_time_that_grows_as_it_does() -> None:
    """None of these ends within a minute where each quote or bracket is followed to the end of the text."""
    for text in ('"{' + '\\"' * 40_000, "[" * 40_000, "{'" * 40_000, "[x] " * 40_000, "```" * 40_000):
        assert repair_json(text) is None


def test_a_text_is_decoded_where_it_holds_an_object_or_a_list() -> None:
    assert decode_text('{"street": "Am Delft",}') == {"street": "Am Delft"}
    assert decode_text("[1]") == [1]
    assert [decode_text(value) for value in ("5", "null", '"[1]x"', "Am Delft", {"a": 1}, None)] == [None] * 6


def test_a_wrapper_is_known_by_its_name_or_by_holding_one_object() -> None:
    assert unwrap_value({"Label": {"a": 1}}, "Label") == {"a": 1}
    assert unwrap_value({"value": [1]}) == [1]
    assert unwrap_value([{"a": 1}]) == {"a": 1}
    others: tuple[Any, ...] = ({"label": {"a": 1}}, {"value": 1, "b": 2}, [{"a": 1}, {"a": 2}], [1], {}, [], "value")
    assert [unwrap_value(other) for other in others] == [None] * len(others)
