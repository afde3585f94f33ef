from __future__ import annotations

import html
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.data.pages.markup import read_page, render_html


def text_of(tmp_path: Path, page: str | bytes) -> str:
    path = tmp_path / "page.html"
    path.write_bytes(page if isinstance(page, bytes) else page.encode())
    (record,) = tm.read(path)
    assert isinstance(record["text"], str)
    return record["text"]


@given(st.text(alphabet=" \t|-#`ab<&\n", max_size=60))
def test_code_is_as_it_stands_on_the_page(code: str) -> None:
    """Each space, tab and blank line of it; its fence is closed by none of its lines."""
    text = read_page(f"<p>in front<pre>\n<code>{html.escape(code)}\n</code></pre>behind").text
    if not code.strip():
        assert text == "in front\n\nbehind"
        return
    front, blank, fence, *lines, end, again, behind = text.split("\n")
    assert (front, blank, again, behind) == ("in front", "", "", "behind")
    assert fence == end == "`" * len(fence)
    assert "\n".join(lines) == code
    assert not any(line.strip().startswith(fence) for line in lines)


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (
            "<pre><code>def f(x):\n  if x:\n    return 1\n  return 2</code></pre>",
            "def f(x):\n  if x:\n    return 1\n  return 2",
        ),
        ("<pre><code>\n\n  a</code></pre>", "\n  a"),
        ("<pre>a:\r\n\tb\r\r\n|  |</pre>", "a:\n\tb\n\n|  |"),
        ("<pre><div class=line>  a</div><div class=line>  b</div></pre>", "  a\n  b"),
        ("<pre><div><p>  a</div><h2>b</h2>  c</pre>", "  a\nb\n  c"),
        ("<pre><ol><li>  a<li>    b</ol></pre>", "  a\n    b"),
        ("<pre><table><tr><td>1<td>  a<tr><td>2<td>  b</table></pre>", "1\t  a\n2\t  b"),
        ("<pre>a<br>  b<br><br>  c</pre>", "a\n  b\n\n  c"),
        ("<div><pre>  a\n  b</div>", "  a\n  b"),
        ("<pre>a<span hidden>no</span>\n<div style='display: none'>no</div>  b</pre>", "a\n  b"),
        ("<pre>  a\n  b", "  a\n  b"),
    ],
)
def test_a_block_of_code_ends_where_its_element_does(tmp_path: Path, page: str, code: str) -> None:
    """Whatever elements are in it."""
    assert text_of(tmp_path, page) == f"```\n{code}\n```"


def test_links_leave_the_spaces_around_them() -> None:
    text = render_html("<pre>  <a href=/a>  a </a> 1</pre>see<a href=/b> b </a>there", base_url="http://far.example/")
    assert text == "```\n    [a](http://far.example/a)  1\n```\n\nsee [b](http://far.example/b) there"


@pytest.mark.parametrize("cell", ["<td> ", "<tr> <td> </td></tr>", "<tr><td>&nbsp;<th>"])
def test_a_table_of_nothing_is_read_in_one_pass(cell: str) -> None:
    """Ten minutes where each cell looks at all in front of it."""
    assert read_page(f"<p>before<table>{cell * 100_000}</table>behind").text == "before\n\nbehind"


def test_text_of_marks_alone_is_text(tmp_path: Path) -> None:
    """What the page has none of is no line: an empty item, heading or row."""
    page = "<h2></h2><ul><li></ul><p>|<p>-<table><tr><td>-<td>#<tr><td><td></table>"
    assert text_of(tmp_path, page) == "|\n\n-\n\n- | #"


@pytest.mark.parametrize(
    "page",
    [
        "<p>a<p hidden>no<p>b",
        "<p>a<p HIDDEN=hidden>no</p><p>b",
        "<p>a<div style='color: red; Display : NONE !important'>no<div>no</div>no</div><p>b",
        "<p>a<div hidden><ul><li>no<ul><li>no</ul><li>no</ul>no</div><p>b",
        "<p>a<div hidden><br><img><input>no</div><p>b",
        "<p>a<div hidden><b><p>no</div><p>b",
        "<section><p>a<div hidden><div>no</section><p>b",
        "<p>a<div hidden><script>'</div>'</script><svg><path/></svg>no</div><p>b",
        "<p>a<p hidden>no<p hidden>no<p>b",
    ],
)
def test_what_is_hidden_is_left_out_to_where_its_element_ends(tmp_path: Path, page: str) -> None:
    assert text_of(tmp_path, page) == "a\n\nb"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<ul><li>a<li hidden>no<li>b</ul>", "- a\n- b"),
        ("<ul><li>a<li hidden><ul><li>no<li>no</ul><li>b</ul>", "- a\n- b"),
        ("<table><tr><td>a<td hidden>no<td>b<tr hidden><td>no<tr><td>c</table>", "a | b\nc"),
        ("<dl><dt>a<dd hidden>no<dt>b</dl>", "a\nb"),
        ("<p>a <span hidden>no</span>b", "a b"),
        ("<p>a <span hidden>no</p><p>b", "a\n\nb"),
    ],
)
def test_a_hidden_element_ends_with_the_next_where_its_end_tag_is_left_out(
    tmp_path: Path, page: str, text: str
) -> None:
    assert text_of(tmp_path, page) == text


@pytest.mark.parametrize(
    "page",
    [
        '<p class="hidden" data-hidden="hidden" title="display: none">seen',
        '<p style="no-display: none; display:none; display: block">seen',
        '<p style="overflow: hidden">seen',
        '<div role="tabpanel" hidden>seen</div>',
        '<div hidden="until-found">seen</div>',
        '<html style="display: none"><body hidden>seen',
        "<p hidden/>seen",
        "<details><summary>seen</summary></details>",
    ],
)
def test_what_only_looks_hidden_is_seen(tmp_path: Path, page: str) -> None:
    """As is what a click shows, and a page that a script of its own shows."""
    assert text_of(tmp_path, page) == "seen"


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ('<meta charset="utf-16"><p>né €'.encode(), "né €"),
        ('<meta charset="UTF-16LE"><p>né €'.encode(), "né €"),
        ('<?xml version="1.0" encoding="utf-16"?><p>né €'.encode(), "né €"),
        ('<meta charset="utf-8"><p>né €'.encode("utf-16"), "né €"),
        ('<meta charset="iso-8859-1"><p>“né” €'.encode("windows-1252"), "“né” €"),
        ('<meta charset="us-ascii"><p>“né” €'.encode("windows-1252"), "“né” €"),
        ('<meta charset="gb2312"><p>镕 €'.encode("gb18030"), "镕 €"),
        ('<meta charset="shift_jis"><p>① 髙'.encode("cp932"), "① 髙"),
        ('<meta charset="euc-kr"><p>똠방각하'.encode("cp949"), "똠방각하"),
        ('<meta charset="windows-874"><p>กังหัน'.encode("cp874"), "กังหัน"),
        ('<meta charset="iso-8859-9"><p>İstanbul €'.encode("windows-1254"), "İstanbul €"),
    ],
)
def test_a_charset_is_read_as_browsers_read_it(tmp_path: Path, page: bytes, text: str) -> None:
    """One that cannot be meant, or has a larger one of its characters that pages are written in."""
    assert text_of(tmp_path, page) == text
