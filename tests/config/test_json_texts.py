"""JSON texts: what they mean, where each value stands, what is told of one that is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from text_nodes import check_offsets, iter_nodes, load_faults, tell, written

from tidemill.config.text.json import compose_json
from tidemill.config.text.nodes import Mapping, Text
from tidemill.config.text.scalars import parse_float

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\/\b\f\n\r\t😀é'), max_size=5)
_NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
_VALUES = st.recursive(
    st.none() | st.booleans() | _NUMBERS | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=10,
)
_SPACE = st.text(" \t\r\n", max_size=3)


@st.composite
def _render(draw: st.DrawFn, value: Any) -> str:
    """A value as JSON, with white space and escapes of any kind."""
    if isinstance(value, dict):
        pairs = [f"{draw(_render(key))}:{draw(_render(item))}" for key, item in value.items()]
        body = f"{{{','.join(pairs) or draw(_SPACE)}}}"
    elif isinstance(value, list):
        body = f"[{','.join(draw(_render(item)) for item in value) or draw(_SPACE)}]"
    elif isinstance(value, str):
        body = f'"{"".join(draw(_render_character(character)) for character in value)}"'
    else:
        body = json.dumps(value)
    return f"{draw(_SPACE)}{body}{draw(_SPACE)}"


@st.composite
def _render_character(draw: st.DrawFn, character: str) -> str:
    escaped = json.dumps(character)[1:-1]
    plain = character if character >= " " and character not in '"\\' else escaped
    longest = escaped if escaped.startswith("\\u") else f"\\u{ord(character):04X}"
    return draw(st.sampled_from([plain, plain, escaped, longest, "\\/" if character == "/" else plain]))


_DOCUMENTS = _VALUES.flatmap(_render)


def _find_meaning(text: str) -> tuple[bool, Any]:
    """Whether the standard library takes `text`, but for what RFC 8259 leaves out and keys given twice; its value."""
    try:
        return True, json.loads(text, parse_float=parse_float, parse_constant=_refuse, object_pairs_hook=_to_dict)
    except ValueError:
        return False, None


def _refuse(name: str) -> Any:
    raise ValueError(name)


def _to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


@given(_DOCUMENTS)
def test_json_means_what_the_standard_library_reads(text: str) -> None:
    root, faults = compose_json(Text("f.json", text))
    assert faults == []
    assert root is not None
    assert repr(root.to_value()) == repr(json.loads(text))


@given(_DOCUMENTS)
def test_each_json_node_stands_for_its_characters(text: str) -> None:
    root, _ = compose_json(Text("f.json", text))
    assert root is not None
    for key, node in iter_nodes(root):
        assert repr(json.loads(written(node))) == repr(node.to_value())
        assert node.size == sum(1 for _ in iter_nodes(node))
        assert key is None or json.loads(written(key)) == key.to_value()
        check_offsets(node, json.loads)


_PIECES = st.sampled_from(
    [
        *'{}[],:"\\ \n',
        "'",
        '"\\\\0"',
        "'a'",
        '"a"',
        '"a": ',
        "1",
        "-0",
        "01",
        ".5",
        "1e3",
        "true",
        "True",
        "NaN",
        "null",
        "// c\n",
        "/* c */",
        "# c\n",
        "=",
        "\t",
        "\x00",
        "\ufeff",
        "\\u12",
        "\\d",
        "{{ x }}",
        "${x}",
        "é",
        "a b",
    ]
)


@given(st.text() | st.lists(_PIECES | st.characters(), max_size=15).map("".join))
@example("1e999")
@example('{"a": 1, "a": 1}')
def test_a_text_that_is_no_json_has_faults(text: str) -> None:
    valid, value = _find_meaning(text)
    root, faults = compose_json(Text("f.json", text))
    assert valid == (faults == [])
    assert root is not None or faults
    assert not valid or repr(root and root.to_value()) == repr(value)


@given(st.data())
def test_a_json_document_with_a_slip_in_it_has_faults(data: st.DataObject) -> None:
    text = data.draw(_DOCUMENTS)
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 2)))
    slipped = text[:start] + data.draw(_PIECES) + text[stop:]
    valid, _ = _find_meaning(slipped)
    assume(not valid)
    source = Text("f.json", slipped)
    _, faults = compose_json(source)
    assert faults
    assert all(0 <= fault.start <= fault.stop <= len(slipped) + 1 for fault in faults)
    assert tell(faults, source)


_FAULTS = load_faults(Path(__file__).parent / "json_faults.txt")


@pytest.mark.parametrize(("text", "told"), _FAULTS)
def test_a_fault_of_json_is_a_sentence_at_its_place(text: str, told: list[str]) -> None:
    source = Text("f.json", text)
    assert tell(compose_json(source)[1], source) == told


def test_json_with_faults_can_be_read_where_its_meaning_is_plain() -> None:
    text = '{\'a\': \'it is\', b: 1, // why\n \'c\': [1 2,], "d": True, "e": {{ x }}, "a": 3, "f" = 4}'
    root, faults = compose_json(Text("f.json", text))
    assert isinstance(root, Mapping)
    assert root.to_value() == {"a": "it is", "b": 1, "c": [1, 2], "d": None, "e": None, "f": 4}
    assert {key for key, (_, node) in root.pairs.items() if node.broken} == {"d", "e"}
    assert [(key, node.to_value()) for key, node in root.repeated] == [("a", 3)]
    assert len(faults) == 9


def test_a_json_integer_too_long_for_python_stays_text() -> None:
    root, faults = compose_json(Text("f.json", "9" * 5000))
    assert faults == []
    assert root is not None
    assert root.to_value() == "9" * 5000


def test_json_nests_a_hundred_levels() -> None:
    root, faults = compose_json(Text("f.json", "[" * 101 + "]" * 101))
    assert faults == []
    assert root is not None
    for text in ("[" * 102 + "]" * 102, "[" * 100_000):
        source = Text("f.json", text)
        assert tell(compose_json(source)[1], source) == ["1:102+1 nested deeper than 100 levels"]
