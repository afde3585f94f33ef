"""Templates: strict, sandboxed, equal to Jinja2's own result, and exact about what is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from tidemill.config.model import Config
from tidemill.config.types.templates import Template
from tidemill.errors import DataError

_PIECES = st.sampled_from(
    ["{{ a }}", "{{b}}", "{{- a -}}", "{# c #}", "{% raw %}{{ a }}{% endraw %}", "%", "%s", "\n", " ", "é"]
)
_VALUES = st.none() | st.integers() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)


@given(st.lists(_PIECES | st.text("ab{}% \n", max_size=4), max_size=8).map("".join), _VALUES, _VALUES)
def test_a_template_gives_what_jinja_gives(text: str, a: Any, b: Any) -> None:
    try:
        expected = jinja2.Environment(keep_trailing_newline=True).from_string(text).render(a=a, b=b)
    except jinja2.TemplateSyntaxError:
        with pytest.raises(PydanticCustomError, match="not valid"):
            Template(text)
    else:
        assert Template(text)({"a": a, "b": b}) == expected


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("Label: {{ text }}\n", "Label: <b>\n"),
        ("{{ text | upper }}", "<B>"),
        ("{% for item in items %}{{ loop.index }}{{ item }}{% endfor %}", "1x2y"),
        ("{{ user.name }} {{ user['name'] }}", "Ann Ann"),
        ("{{ missing | default('none') }}", "none"),
        ("{% if missing is defined %}a{% else %}b{% endif %}", "b"),
        ("{% set n = items | length %}{{ n }}", "2"),
        ("{{ user | tojson }}", '{"name": "Ann"}'),
    ],
)
def test_the_language_is_jinjas(text: str, rendered: str) -> None:
    assert Template(text)({"text": "<b>", "items": ["x", "y"], "user": {"name": "Ann"}}) == rendered


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ txt }}", "no column `txt`; this record has `text` and `user`\n  did you mean `text`?"),
        ("{{ txt | upper }}", "no column `txt`; this record has `text` and `user`\n  did you mean `text`?"),
        ("{{ zzz }}", "no column `zzz`; this record has `text` and `user`"),
        ("{% if txt %}a{% endif %}", "no column `txt`; this record has `text` and `user`\n  did you mean `text`?"),
        ("{{ user.nam }}", "`nam` is not in the dict the template looks in\n  did you mean `name`?"),
        ("{{ text.zzz }}", "`zzz` is not in the str the template looks in"),
        ("{{ text / 2 }}", "the template fails on this record: TypeError: unsupported operand"),
    ],
)
def test_what_a_record_lacks_is_told(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        Template(text)({"text": "x", "user": {"name": "Ann"}})
    assert str(caught.value).startswith(message)


def test_a_record_that_is_no_mapping_is_told() -> None:
    with pytest.raises(DataError, match="needs a record with columns, got a list"):
        Template("{{ a }}")([1])  # type: ignore[arg-type]  # what a careless map may hand on


@pytest.mark.parametrize(
    "text",
    [
        "{{ text.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ items.append(1) }}",
        "{% for x in range(10 ** 9) %}{% endfor %}",
        "{{ text.format.__globals__ }}",
    ],
)
def test_the_sandbox_holds(text: str) -> None:
    with pytest.raises(DataError, match="template"):
        Template(text)({"text": "x", "items": []})


@pytest.mark.parametrize("text", ["{{ items | random }}", "{{ lipsum() }}"])
def test_what_differs_from_call_to_call_is_no_part_of_the_language(text: str) -> None:
    with pytest.raises((PydanticCustomError, DataError), match=r"no filter|no column"):
        Template(text)({"items": [1, 2]})


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("Label {{ text }}", {"text": "text }}"}),
        ("{% set n = items|length %}{{ n }} {{ range(n) }}", {"items": "items|"}),
        ("{{ user.name | upper }} {{ name }}", {"user": "user.", "name": "name }}"}),
        ("{{ text if 1 else a }}{# text #}{{ 'text' }}", {"text": "text if", "a": "a }}"}),
        ("{%- for x in rows -%}\n  {{ x.id }} {{- tail }}\n{%- endfor %}", {"rows": "rows -%", "tail": "tail }}"}),
        ("a\r\nb\r\n{{ text }}", {"text": "text }}"}),
        ("plain", {}),
    ],
)  # fmt: skip
def test_variables_are_the_columns_with_their_places(text: str, variables: dict[str, str]) -> None:
    found = Template(text).variables
    assert set(found) == set(variables)
    assert all(text[offset:].startswith(variables[name]) for name, offset in found.items())


@pytest.mark.parametrize(
    ("text", "message", "marked", "hint"),
    [
        ("{{ text ", "unexpected end of template, expected `}}`", "{{", ""),
        ("a\n{{ text | uper }}", "no filter named 'uper'", "uper", "did you mean `upper`?"),
        ("{{ a is evn }}", "no test named 'evn'", "evn", "did you mean `even`?"),
        ("{{ x y }}", "expected token `}}`, got 'y'", "y", ""),
        ("{{ x + }}", "unexpected `}}`", "}}", ""),
        ("{% foo %}", "encountered unknown tag 'foo'", "foo", ""),
        ("{% for x %}{% endfor %}", "expected token 'in', got `%}`", "%}", ""),
        ("a\n{% if x %}b", "`{% if %}` is never closed", "if", ""),
        ("{{ a ? b }}", "unexpected char '?'", "?", ""),
    ],
)
def test_a_syntax_error_is_marked(text: str, message: str, marked: str, hint: str) -> None:
    with pytest.raises(PydanticCustomError, match="the template is not valid") as caught:
        Template(text)
    context = caught.value.context or {}
    assert caught.value.message() == f"the template is not valid: {message}"
    assert text[context["offset"] :][: context["length"]] == marked
    assert context["hint"] == hint


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a\r\n{% include 'x' ignore missing %}", "include"),
        ("{% if a %}{% import 'x' as b %}{% endif %}", "import"),
        ("{% from 'x' import b %}", "from"),
        ("{% extends 'x' %}", "extends"),
    ],
)
def test_another_template_is_refused_where_it_is_named(text: str, word: str) -> None:
    """There is none to be found: each record would fail."""
    with pytest.raises(PydanticCustomError, match="names another template, and a prompt stands alone") as caught:
        Template(text)
    context = caught.value.context or {}
    assert text[context["offset"] :][: context["length"]] == word


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("{{ a }}{{ a }}{{ b if c else d }}", ["a", "b", "c", "d"]),
        ("{{ a.b }} {{ a\n.\n c }} {{ a['d'] }} {{ a[0] }}", ["a", "b", "c", "d"]),
        ("{{ a.items() }}", ["a", "items"]),
        ("{{ a | d }}{{ a }}{{ b.c is defined }}{{ b.c }}", ["b"]),
        ("{% for a in a if a.x %}{{ loop.index }}{{ a.y }}{% else %}{{ a.z }}{% endfor %}", ["a", "z"]),
        ("{% macro m(a, b=c) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(d) }}", ["c", "d"]),
        ("{% call(a) m() %}{{ a }}{% endcall %}{% filter upper %}{{ b }}{% endfilter %}", ["m", "b"]),
        ("{% set a | upper %}{{ b }}{% endset %}{{ a }}{% set c, d = e %}{{ c }}{{ d }}", ["b", "e"]),
        ("{% with a = b %}{{ a }}{% endwith %}{{ a }}\r\n{{ namespace(x=1).x }}", ["b", "a"]),
        ("é\r\n{{- 'a.b' }}{# c #}{% raw %}{{ d }}{% endraw %}\r\n{{ e }}", ["e"]),
    ],
)
def test_what_a_template_needs_is_told_with_its_place(text: str, needs: list[str]) -> None:
    """Columns and fields, at their first use; not what it binds itself or has a default for."""
    found = Template(text).needs
    assert [text[need.offset :][: need.length] for need in found] == needs
    assert [need.column if need.field is None else need.field for need in found] == needs


def test_templates_are_equal_and_pickle_by_text() -> None:
    template = Template("{{ a }}!")
    copy = pickle.loads(pickle.dumps(template))
    assert copy == template == Template("{{ a }}!") != Template("{{ b }}!")
    assert hash(copy) == hash(template)
    assert copy({"a": 1}) == "1!"


class Step(Config):
    prompt: Template


def test_a_field_takes_text_a_template_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Label: {{ text }}\n")
    by_file = Step.model_validate({"prompt": {"file": "prompt.txt"}}, context={"folder": tmp_path})
    assert by_file == Step.model_validate({"prompt": "Label: {{ text }}\n"})
    assert by_file == Step(prompt=Template("Label: {{ text }}\n"))
    assert by_file.model_dump() == {"prompt": "Label: {{ text }}\n"}
    place = by_file.prompt.place(by_file.prompt.variables["text"], len("text"))
    assert str(place) == f"{tmp_path}/prompt.txt:1:11"
    assert Template("x").place() is None


@pytest.mark.parametrize("given", [5, None, ["x"], {"file": 5}, {"file": "a", "b": 1}, {}])
def test_a_field_takes_nothing_else(given: Any) -> None:
    with pytest.raises(ValidationError, match=r"expected text or `\{file: path\}`"):
        Step.model_validate({"prompt": given})


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "prompt.bin").write_bytes(b"\xff\xfe\x00")
    for file in ("prompt.bin", "."):
        with pytest.raises(ValidationError, match=f"cannot read `{file}`"):
            Step.model_validate({"prompt": {"file": file}}, context={"folder": tmp_path})
