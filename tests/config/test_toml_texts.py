"""TOML texts: what they mean, where each value stands, what is told of one that is none."""

from __future__ import annotations

import datetime
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from text_nodes import check_offsets, iter_nodes, load_faults, tell, written

from tidemill.config.text.nodes import Mapping, Node, Sequence, Text
from tidemill.config.text.scalars import parse_float
from tidemill.config.text.toml import compose_toml
from tidemill.config.text.toml_tables import Table, TableList

# Values of every kind, and every way to write each.

_TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\"'\\\n\r\t #=[]{},.😀é"), max_size=8)
_KEYS = st.sampled_from(["a", "b", "c", "1", "-", "a_b"]) | _TEXTS
_ZONES = st.sampled_from([None, datetime.UTC, datetime.timezone(datetime.timedelta(hours=-7, minutes=-30))])
_SCALARS = (
    st.booleans() | st.integers() | st.floats() | _TEXTS | st.dates() | st.times() | st.datetimes(timezones=_ZONES)
)
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3), max_leaves=12
)
_TABLES = st.dictionaries(_KEYS, _VALUES, max_size=5)
_SPACE = st.text(" \t", max_size=2)
_NEWLINE = st.sampled_from(["\n", "\r\n", "\n\n", " # why = [\n", "\t# é\r\n"])
_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


@st.composite
def _documents(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    table = draw(_TABLES)
    lines: list[str] = []
    _render_table(draw, table, [], lines)
    return table, "".join(f"{draw(_SPACE)}{line}{draw(_SPACE)}{draw(_NEWLINE)}" for line in lines)


def _render_table(draw: st.DrawFn, table: dict[str, Any], header: list[str], lines: list[str]) -> None:
    """Add a table's pairs, then those of its values that have headers of their own."""
    below: list[tuple[str, Any]] = []
    for key, value in table.items():
        tables = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
        if isinstance(value, dict) or tables:
            style = draw(
                st.sampled_from(["braces", "dots" if isinstance(value, dict) and value else "header", "header"])
            )
        else:
            style = "braces"
        if style == "header":
            below.append((key, value))
        elif style == "dots":
            lines += _render_dots(draw, [_render_key(draw, key)], value)
        else:
            lines.append(_render_pair(draw, [_render_key(draw, key)], value))
    for key, value in below:
        path = [*header, _render_key(draw, key)]
        for item in value if isinstance(value, list) else [value]:
            dots = f"{draw(_SPACE)}.{draw(_SPACE)}".join(path)
            inner = f"{draw(_SPACE)}{dots}{draw(_SPACE)}"
            implied = (
                isinstance(value, dict) and value and all(isinstance(each, dict) and each for each in value.values())
            )
            if isinstance(value, list):
                lines.append(f"[[{inner}]]")
                _render_table(draw, item, path, lines)
            elif implied and draw(st.booleans()):
                for inner_key, inner_value in item.items():
                    inner_path = [*path, _render_key(draw, inner_key)]
                    lines.append(f"[{'.'.join(inner_path)}]")
                    _render_table(draw, inner_value, inner_path, lines)
            else:
                lines.append(f"[{inner}]")
                _render_table(draw, item, path, lines)


def _render_dots(draw: st.DrawFn, path: list[str], value: Any) -> list[str]:
    if isinstance(value, dict) and value and (len(path) == 1 or draw(st.booleans())):
        return [
            line for key, item in value.items() for line in _render_dots(draw, [*path, _render_key(draw, key)], item)
        ]
    return [_render_pair(draw, path, value)]


def _render_pair(draw: st.DrawFn, path: list[str], value: Any) -> str:
    keys = f"{draw(_SPACE)}.{draw(_SPACE)}".join(path)
    return f"{keys}{draw(_SPACE)}={draw(_SPACE)}{_render(draw, value)}"


def _render_key(draw: st.DrawFn, key: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]+", key) and draw(st.booleans()):
        return key
    return _render_text(draw, key, st.sampled_from(['"', "'"]))


def _render(draw: st.DrawFn, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return _render_integer(draw, value)
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) else draw(st.sampled_from([repr(value), repr(value).upper()]))
    if isinstance(value, str):
        return _render_text(draw, value, st.sampled_from(['"', "'", '"""', "'''"]))
    if isinstance(value, list):
        gap = st.text(" \t\n", max_size=2) | st.just(" # ] x = 1\n")
        items = "".join(f"{draw(gap)}{_render(draw, item)}{draw(gap)}," for item in value)
        return f"[{items if draw(st.booleans()) else items[:-1]}{draw(gap)}]"
    if isinstance(value, dict):
        pairs = [line for key, item in value.items() for line in _render_dots(draw, [_render_key(draw, key)], item)]
        inner = ",".join(f"{draw(_SPACE)}{pair}{draw(_SPACE)}" for pair in pairs)
        return f"{{{inner or draw(_SPACE)}}}"
    return str(value) if draw(st.booleans()) else value.isoformat()


def _render_integer(draw: st.DrawFn, value: int) -> str:
    styles = [str(value), f"{value:_}", f"{value:+}"]
    if value >= 0:
        styles += [f"0x{value:x}", f"0x{value:X}", f"0o{value:o}", f"0b{value:_b}"]
    return draw(st.sampled_from(styles))


def _render_text(draw: st.DrawFn, text: str, quotes: st.SearchStrategy[str]) -> str:
    quote = draw(quotes)
    control = re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)
    if quote == "'" and not control and "'" not in text and "\n" not in text:
        return f"'{text}'"
    if quote == "'''" and not control and "'''" not in text and not text.endswith("'"):
        return f"'''{draw(st.sampled_from([chr(10), chr(13) + chr(10)]))}{text}'''"
    if quote == '"""':
        start = "" if text[:1] not in ("\n", "\r") and draw(st.booleans()) else "\n"
        return f'"""{start}{"".join(_render_character(draw, each, lines=True) for each in text)}"""'
    return f'"{"".join(_render_character(draw, each, lines=False) for each in text)}"'


def _render_character(draw: st.DrawFn, character: str, *, lines: bool) -> str:
    code = ord(character)
    styles = [f"\\U{code:08x}", *([f"\\u{code:04X}"] if code < 0x10000 else [])]
    if character in _ESCAPES:
        styles.append(_ESCAPES[character])
    elif code >= 0x20 and code != 0x7F:
        styles += [character] * 3
    if lines and character == "\n":
        styles += ["\n", "\r\n"]
    joint = draw(st.sampled_from(["", "", "", "\\\n  ", "\\ \r\n\n\t"])) if lines else ""
    return joint + draw(st.sampled_from(styles))


def _find_meaning(text: str) -> tuple[bool, Any]:
    """Whether the standard library takes `text`; its value."""
    try:
        return True, tomllib.loads(text, parse_float=parse_float)
    except ValueError:
        return False, None


@settings(max_examples=40)
@given(_documents())
def test_toml_means_what_the_standard_library_reads(document: tuple[dict[str, Any], str]) -> None:
    value, text = document
    root, faults = compose_toml(Text("f.toml", text))
    assert faults == []
    assert root is not None
    assert repr(root.to_value()) == repr(tomllib.loads(text, parse_float=parse_float))
    assert root.to_value().keys() == value.keys()


@settings(max_examples=40)
@given(_documents())
def test_each_toml_node_stands_for_its_characters(document: tuple[dict[str, Any], str]) -> None:
    root, _ = compose_toml(Text("f.toml", document[1]))
    assert root is not None
    for key, node in iter_nodes(root):
        assert node.size == sum(1 for _ in iter_nodes(node))
        assert key is None or tomllib.loads(f"{written(key)} = 0") == {key.to_value(): 0}
        if _grows(node):
            assert all(node.start <= inner.start <= inner.stop <= node.stop for _, inner in iter_nodes(node))
            assert key is None or node.start <= key.start < key.stop <= node.stop
        else:
            assert repr(_read(written(node))) == repr(node.to_value())
        check_offsets(node, _read)


def _read(value: str) -> Any:
    return tomllib.loads(f"value = {value}")["value"]


def _grows(node: Node) -> bool:
    """Whether a node is no value that is written in one piece."""
    return isinstance(node, TableList) or (isinstance(node, Table) and node.opened_by != "braces")


_PIECES = st.sampled_from(
    [
        *"[]{},=.:#\"'\\ \n\t\r",
        '"""',
        "'''",
        "[a]",
        "[[a]]",
        "[a.b]",
        "[[a.b]]",
        "a = 1\n",
        "a.b = 1\n",
        "a = {}\n",
        "a = [{}]\n",
        "b = [\n1,\n",
        "a",
        "b",
        "0x1F",
        "01",
        "1_0",
        ".5",
        "inf",
        "+nan",
        "true",
        "True",
        "1979-05-27",
        "1979-05-27 07:32:00",
        "2021-02-30",
        "\\u00e9",
        "\\q",
        "\x00",
        "\x7f",
        "\ufeff",
        "\xa0",
        "é",
        "{{ x }}",
        "${x}",
    ]
)
_LINES = st.sampled_from(
    [
        "[a]",
        "[b]",
        "[a.b]",
        "[a.b.c]",
        "[[a]]",
        "[[b]]",
        "[[a.b]]",
        "a = 1",
        "b = 2",
        "a.b = 1",
        "a.b.c = 2",
        "b.c = 3",
        "a = {}",
        "b = {c = 1}",
        "a = []",
        "b = [{}]",
        "c = {b.c = 1, b.d = 2}",
        "c = {b = {}, b.c = 1}",
    ]
)


@given(
    st.text()
    | st.lists(_PIECES | st.characters(), max_size=15).map("".join)
    | st.lists(_LINES, max_size=8).map("\n".join)
)
@example("a = 1\r")
@example("[a.b]\n[a]\nb.c = 1")
@example("a = [\n[1]\n]")
def test_a_text_that_is_no_toml_has_faults(text: str) -> None:
    valid, value = _find_meaning(text)
    root, faults = compose_toml(Text("f.toml", text))
    assert valid == (faults == [])
    assert root is not None or faults
    assert not valid or repr(root and root.to_value()) == repr(value)


@settings(max_examples=50)
@given(st.data())
def test_a_toml_document_with_a_slip_in_it_has_faults(data: st.DataObject) -> None:
    _, text = data.draw(_documents())
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 2)))
    slipped = text[:start] + data.draw(_PIECES) + text[stop:]
    valid, _ = _find_meaning(slipped)
    assume(not valid)
    source = Text("f.toml", slipped)
    _, faults = compose_toml(source)
    assert faults
    assert all(0 <= fault.start <= fault.stop <= len(slipped) + 1 for fault in faults)
    assert tell(faults, source)


_FAULTS = load_faults(Path(__file__).parent / "toml_faults.txt")


@pytest.mark.parametrize(("text", "told"), _FAULTS)
def test_a_fault_of_toml_is_a_sentence_at_its_place(text: str, told: list[str]) -> None:
    source = Text("f.toml", text)
    assert tell(compose_toml(source)[1], source) == told


_TABLES_TEXT = """\
[a.b]
x = 1
[a]
c.d = 2
[[items]]
[[items]]
x = 3
[items.y]
"""


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (["a"], "3:2", "1:1"),
        (["a", "b"], "1:4", "1:1"),
        (["a", "b", "x"], "2:1", "2:5"),
        (["a", "c"], "4:1", "4:1"),
        (["a", "c", "d"], "4:3", "4:7"),
        (["items"], "5:3", "5:1"),
        (["items", 1], "", "6:1"),
        (["items", 1, "x"], "7:1", "7:5"),
        (["items", 1, "y"], "8:8", "8:1"),
    ],
)
def test_a_tables_key_is_in_its_own_header_or_the_first_that_names_it(
    path: list[str | int], key: str, value: str
) -> None:
    source = Text("f.toml", _TABLES_TEXT)
    root, faults = compose_toml(source)
    assert faults == []
    assert root is not None
    found: tuple[Node | None, Node] = (None, root)
    for item in path:
        node = found[1]
        if isinstance(node, Mapping):
            found = node.pairs[item]
        elif isinstance(node, Sequence) and isinstance(item, int):
            found = (None, node.items[item])
    places = [source.place(each.start, each.stop) if each else None for each in found]
    assert [f"{each.line}:{each.column}" if each else "" for each in places] == [key, value]


def test_toml_with_faults_can_be_read_where_its_meaning_is_plain() -> None:
    text = "a: 1\nb = [1 2]\nc = True\nd = {x = 1,}\ne = {{ x }}\na = 2\n[t]\nx = 1\n[t]\nx = 2\ny = 3\n"
    root, faults = compose_toml(Text("f.toml", text))
    assert isinstance(root, Mapping)
    assert root.to_value() == {"a": 1, "b": [1, 2], "c": None, "d": {"x": 1}, "e": None, "t": {"x": 1, "y": 3}}
    assert {key for key, (_, node) in root.pairs.items() if node.broken} == {"c", "e"}
    assert [(key, node.to_value()) for key, node in root.repeated] == [("a", 2)]
    assert len(faults) == 7


def test_a_toml_integer_too_long_for_python_stays_text() -> None:
    root, faults = compose_toml(Text("f.toml", "a = " + "9" * 5000))
    assert faults == []
    assert root is not None
    assert root.to_value() == {"a": "9" * 5000}


@pytest.mark.parametrize(
    ("text", "column"),
    [
        (f"a = {'[' * 101}{']' * 101}", 105),
        (f"a = {'[' * 100_000}", 105),
        (f"{'.'.join('a' * 101)} = 1", 205),
        (f"[{'.'.join('a' * 101)}]", 1),
    ],
)
def test_toml_nests_a_hundred_levels(text: str, column: int) -> None:
    source = Text("f.toml", text)
    assert tell(compose_toml(source)[1], source) == [f"1:{column}+1 nested deeper than 100 levels"]
