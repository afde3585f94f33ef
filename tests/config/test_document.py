"""A document: what YAML means, and where each value stands."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tidemill.config.layers.document import Document
from tidemill.config.layers.stacking import Sources, stack_document
from tidemill.config.paths import KeyPath
from tidemill.config.report.rendering import render_report
from tidemill.config.text.nodes import Text
from tidemill.errors import ConfigError, Place

# Generated documents: every key and every leaf holds a token of its own, `K7Z`, amid what YAML must quote.

_PRINTABLE = st.characters(
    codec="utf-8", exclude_characters="KZ\ufeff", exclude_categories=["Cs", "Cc", "Cn", "Zl", "Zp"]
)
_PIECES = [*" \n\t'\"\\#:{}[],&*!|>%@`-?", "{{ ", " }}", ": ", " #", "é", "日", "😀"]
_NOISE = st.lists(_PRINTABLE | st.sampled_from(_PIECES), max_size=12).map("".join)


@st.composite
def _trees(draw: st.DrawFn) -> Any:
    count = 0

    def token() -> str:
        nonlocal count
        count += 1
        return f"{draw(_NOISE)}K{count}Z{draw(_NOISE)}"

    def tree(depth: int) -> Any:
        kind = draw(st.sampled_from(["text", "mapping", "list"] if depth < 4 else ["text"]))
        if kind == "text":
            return token()
        size = draw(st.integers(1, 3))
        if kind == "list":
            return [tree(depth + 1) for _ in range(size)]
        return {token(): tree(depth + 1) for _ in range(size)}

    return {token(): tree(1) for _ in range(draw(st.integers(1, 3)))}


_STYLES = st.fixed_dictionaries(
    {
        "default_style": st.sampled_from([None, '"', "'", "|", ">"]),
        "default_flow_style": st.sampled_from([True, False, None]),
        "indent": st.integers(2, 6),
        "width": st.integers(20, 80),
        "allow_unicode": st.booleans(),
        "line_break": st.sampled_from(["\n", "\r\n"]),
    }
)


def dump(tree: Any, style: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(tree, sort_keys=False, **style)
    assume(yaml.safe_load(text) == tree)  # PyYAML breaks some long texts in double quotes wrongly
    return text


def _iter_leaves(value: Any, path: KeyPath = ()) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key), key, True
            yield from _iter_leaves(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _iter_leaves(item, (*path, index))
    else:
        yield path, value, False


def _index(text: str, place: Place | None) -> int:
    assert place is not None
    return sum(len(line) + 1 for line in text.split("\n")[: place.line - 1]) + place.column - 1


@given(_trees(), _STYLES)
def test_every_place_points_at_the_text_of_its_value(tree: Any, style: dict[str, Any]) -> None:
    text = dump(tree, style)
    document = Document.parse(text, "f")
    assert document.problems == ()
    assert document.value == tree
    for path, content, is_key in _iter_leaves(tree):
        token = content[content.index("K") : content.index("Z") + 1]
        start = _index(text, document.place(path, key=is_key))
        found = text.index(token, start)
        assert "Z" not in text[start:found], "another value's text lies between"
        if not is_key:
            offset = content.index("K")
            assert _index(text, document.place(path, offset=offset)) == found


@given(_trees(), _STYLES)
def test_an_offset_into_a_text_points_at_that_character(tree: Any, style: dict[str, Any]) -> None:
    text = dump(tree, style)
    document = Document.parse(text, "f")
    for path, content, is_key in _iter_leaves(tree):
        for offset, character in enumerate(content):
            if not is_key and not character.isspace():
                found = text[_index(text, document.place(path, offset=offset))]
                assert found in (character, "\\"), f"{character!r} of {content!r}"


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _NOISE
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NOISE, inner, max_size=3))


@given(_VALUES)
@example({"a": ["1e3", "0o7", "no", "~", "", "1_000", "12:30", ".5", "+1", "0x1F", "<<"]})
@example({"": 1e16, "b": 5e-324})
def test_json_is_read_as_json(value: Any) -> None:
    """JSON is YAML 1.2: same values, types included."""
    document = Document.parse(json.dumps({"root": value}, ensure_ascii=False))
    assert document.problems == ()
    assert repr(document.value) == repr({"root": value})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("True", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("1e-4", 1e-4),
        ("1e2", 100.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("010", 10),
        ("0o17", 15),
        ("0x1f", 31),
        ("+12", 12),
        ("-0", 0),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2026-01-02", "2026-01-02"),
        (".inf", math.inf),
        ("-.Inf", -math.inf),
        ("inf", "inf"),
        ("1.2.3", "1.2.3"),
        ("'12'", "12"),
        ('"\\u00e9"', "é"),
        ("!!str 12", "12"),
        ("!!int '12'", 12),
        ("!!float 1", 1.0),
        ("! 12", 12),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: Any) -> None:
    document = Document.parse(f"key: {text}")
    assert document.problems == ()
    assert repr(document.value) == repr({"key": value})


def test_an_integer_too_long_for_python_stays_text() -> None:
    assert Document.parse("9" * 5000).value == "9" * 5000


def test_an_alias_has_the_place_where_it_stands() -> None:
    document = Document.parse("base: &b {x: 1}\nuse: *b\n", "f")
    assert document.value == {"base": {"x": 1}, "use": {"x": 1}}
    assert str(document.place(("use",))) == "f:2:6"
    assert str(document.place(("use", "x"))) == "f:1:14"


def test_a_merge_key_takes_what_the_mapping_does_not_give() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {y: 2, z: 2}\nc:\n  <<: [*a, *b]\n  x: 3\n"
    document = Document.parse(text, "f")
    assert document.problems == ()
    assert document.find_value(("c",)) == {"x": 3, "y": 1, "z": 2}
    assert str(document.place(("c", "z"))) == "f:2:17"
    assert "takes a mapping" in Document.parse("c: {<<: 5}").problems[0].message


def test_an_anchor_or_tag_is_no_part_of_a_value() -> None:
    document = Document.parse("a: &x !!str # why\n  5\nb: &y\n  c: 1\n", "f")
    assert document.value == {"a": "5", "b": {"c": 1}}
    assert str(document.place(("a",))) == "f:2:3"
    assert str(document.place(("b",))) == "f:4:3"


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ((), "f:1:1"),
        (("a",), "f:1:4"),
        (("a", "b"), "f:1:1"),
        (("zzz",), "f:1:1"),
        (("steps", 0, "filter", "fn"), "f:3:13"),
        (("steps", 1, "select", "columns", 1), "f:4:17"),
        (("steps", 1, "select", "columns", 7), "f:4:5"),
        (("steps", 2), "f:2:1"),
        (("empty",), "f:5:7"),
    ],
)
def test_a_path_that_is_not_there_has_the_place_above_it(path: KeyPath, place: str) -> None:
    text = "a: {}\nsteps:\n  - filter: os:sep\n  - select: [x, y]\nempty:\n"
    assert str(Document.parse(text, "f").place(path)) == place


def test_a_path_is_shown_as_the_author_wrote_it() -> None:
    """A shorthand's supplied keys are left out."""
    document = Document.from_value({"steps": [{"filter": "a:b"}, {"select": ["x"]}, {"with": {"n": "a:b"}}]})
    assert document.resolve(("steps", 0, "filter", "fn")) == ("steps", 0, "filter")
    assert document.resolve(("steps", 1, "select", "columns", 0)) == ("steps", 1, "select", 0)
    assert document.resolve(("steps", 2, "with", "columns", "n")) == ("steps", 2, "with", "n")


def test_a_key_given_twice_names_both_lines() -> None:
    document = Document.parse("a: 1\nb:\n  c: 1\n  c: 2\n  c: 3\na: 2\n", "f")
    assert [(str(each.place), each.message) for each in document.problems] == [
        ("f:4:3", "the key `c` is given twice, first on line 3"),
        ("f:5:3", "the key `c` is given twice, first on line 3"),
        ("f:6:1", "the key `a` is given twice, first on line 1"),
    ]
    assert document.value == {"a": 1, "b": {"c": 1}}


def test_an_alias_bomb_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    document = Document.parse("\n".join(lines), "f")
    assert not document.readable
    assert "stand for more than 100,000 values" in document.problems[0].message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [1, *a]", "an alias within its own anchor"),
        ("a: *b", "an alias of no anchor before it"),
        ("[" * 200 + "]" * 200, "nested deeper than 100 levels"),
        ("[" * 200_000, "nested deeper than 100 levels"),
        ("a: 1\n---\nb: 2\n", "a second document starts here"),
        ("a: \x07", "a control character, which YAML does not allow"),
        ("? [a]\n: b", "a key must be a word or a number, not a list or mapping"),
        ("? !x\n: b", "an unknown tag"),
        ("a: {: b}", "expected a value here"),
        ("? \n: b", "a key is missing before `:`"),
        ("a: !!int x", "a text that is no int, as its tag says"),
        ("a: !!int yes", "a text that is no int, as its tag says"),
        ("a: !!set {x}", "an unknown tag"),
        ('a: "\\q"', "unknown escape in a text in double quotes"),
        ("- a\nb: c\n", "expected a list item `- …` here, as on the lines before"),
        ("a: 1\n b: 2\n", "indented deeper than the line before"),
        ("a: b: c\n", "`: ` starts a value where none can stand"),
        ("a: 1\nb\nc: 2\n", "a key without `:`"),
        ("a: @x", "a text cannot start with `@`"),
    ],
)
def test_what_is_no_configuration_is_told_in_a_sentence(text: str, message: str) -> None:
    problems = Document.parse(text, "f").problems
    assert [each.message for each in problems] == [message]
    assert problems[0].place is not None
    assert problems[0].place.line


def test_what_stands_where_the_text_is_faulty_is_broken() -> None:
    document = Document.parse("a: {b: !env X, c: 1}\nd: {{ x }}\n", "f")
    assert document.is_broken(("a", "b"))
    assert document.is_broken(("d",))
    assert not document.is_broken(("a",))
    assert not document.is_broken(("a", "c"))


def test_a_byte_order_mark_takes_no_column(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n")
    place = Document.load(path).place(("b",))
    assert place is not None
    assert (place.line, place.column, place.source_line) == (2, 4, "b: 2")


def test_a_file_in_another_encoding_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "f.yaml"
    path.write_bytes("a: 1\nb: caf\xe9\n".encode("latin-1"))
    problem = Document.load(path).problems[0]
    assert problem.message == "the file is not UTF-8"
    assert str(problem.place).endswith("f.yaml:2:7")


def test_a_missing_file_is_named_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").touch()
    with pytest.raises(ConfigError, match=r"no file `jop\.yaml` in .*\n.*did you mean `.*job\.yaml`"):
        Document.load(tmp_path / "jop.yaml")
    with pytest.raises(ConfigError, match="this is a folder"):
        Document.load(tmp_path)


def test_a_file_below_the_working_folder_has_a_short_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "job.yaml").write_text("a: 1")
    assert str(Document.load(tmp_path / "job.yaml").place(("a",))) == "job.yaml:1:4"


def test_a_plain_value_has_no_places() -> None:
    document = Document.from_value({"a": 1})
    assert document.place(("a",)) is None
    assert document.problems == ()


def test_an_assignment_stands_where_it_was_given() -> None:
    text = Text("f", "a: {b: 1}\nl: [{x: 1}]\n")
    changed = stack_document(Sources((text,), overrides=("l.0.x=2", "new.key=3")))
    assert changed.value == {"a": {"b": 1}, "l": [{"x": 2}], "new": {"key": 3}}
    assert str(changed.place(("l", 0, "x"))) == "--set l.0.x"
    assert str(changed.place(("new", "other"))) == "--set new.key"
    assert str(changed.place(("a", "b"))) == "f:1:8"
    assert [str(each.place) for each in changed.problems] == []
    (problem,) = stack_document(Sources((text,), overrides=("l.3=1",))).problems
    assert str(problem.place) == "--set l.3"


def test_reports_of_crlf_files_show_lines_without_their_breaks() -> None:
    document = Document.parse("a: 1\r\na: 2\r\n", "f")
    assert render_report(document.problems).splitlines()[1] == "    2 | a: 2"


TIGHT = "a space is missing after `:`"
DEEPER = "indented deeper than the line before"
BARE = "a key without `:`"
STARTS = "`: ` starts a value where none can stand"
ASKEW = "indented like no line above"


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("seed:3\nlr: 1\n", "f:1:5", TIGHT),
        ("seed:3 # once\nlr: 1\n", "f:1:5", TIGHT),
        ("a: 1\nseed:3\nlr: 1\n", "f:2:5", TIGHT),
        ("a: 1\r\n\r\n# b\r\nseed:3\r\n", "f:4:5", TIGHT),
        ("optim:\n  lr:1\n  type: sgd\n", "f:2:5", TIGHT),
        ("seed:3\nlr:1\na: 1\n", "f:1:5", TIGHT),
        ("seed\nlr: 1\n", "f:1:1", BARE),
        ("a: 1\nseed\nlr: 1\n", "f:2:1", BARE),
        ("name: x\n  epochs: 0\n", "f:2:3", DEEPER),
        ("name: 'x'  # y\n\n  epochs: 0\n", "f:3:3", DEEPER),
        ("optim: {lr: 1}\n  epochs: 0\n", "f:2:3", DEEPER),
        ("- a: 1\n   b: 2\n", "f:2:4", DEEPER),
        ("optim:\n  a: 1\n b: 2\n", "f:3:2", ASKEW),
        ("a: |\n  x\n b: 1\n", "f:3:2", ASKEW),
        ("name: some text\n  goes on\n  with: more\n", "f:3:7", STARTS),
        ("prompt:\n  some text\n  with: more\n", "f:3:7", STARTS),
        ("name: say: it\n", "f:1:10", STARTS),
        ("optim: {lr: ${rate}}\n", "f:1:13", "a reference within `{ }` needs quotes"),
        ("optim: {\n  lr: 1,\n  out: x/${name}\n}\n", "f:3:10", "a reference within `{ }` needs quotes"),
        ("tags: [a, ${name}]\n", "f:1:11", "a reference within `[ ]` needs quotes"),
    ],
)
def test_a_slip_is_told_on_the_line_that_has_it(text: str, place: str, message: str) -> None:
    """The parser stumbles over a later line, or says only what it expected there."""
    (problem,) = Document.parse(text, "f").problems
    assert (str(problem.place), problem.message) == (place, message)


@pytest.mark.parametrize(
    "text",
    [
        "api_key:canary-0123\nseed: 0\n",
        "api_key: canary-0123\n  seed: 0\n",
        "auth: {api_key: ${env:KEY:-canary-0123}, user: me}\n",
        "auth:\n  api_key:canary-0123\n  seed: 1\n",
    ],
)
def test_such_a_line_shows_no_secret(text: str) -> None:
    (problem,) = Document.parse(text, "f").problems
    assert "canary" not in f"{problem.message} {problem.hint} {problem.place!r}"


def test_a_space_that_is_missing_before_a_brace_is_told() -> None:
    (problem,) = Document.parse('source:{path: "a.jsonl"}\nsink: {path: out}\n', "f").problems
    assert (str(problem.place), problem.message) == ("f:1:7", "a space is missing after `:`")
