"""HTML and PDF as records: what a reader sees, page by page, and what is wrong with a file told of it alone."""

from __future__ import annotations

import gc
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import fsspec
import pytest
from pdfs import ENCRYPTED, make_pdf
from resuming import check_resumes_everywhere, outcomes

import tidemill as tm
from tidemill.data.files import parse_path
from tidemill.data.formats.documents.html import HTML
from tidemill.data.formats.documents.pages import PdfPages
from tidemill.data.formats.documents.pdf import PDF
from tidemill.data.formats.format import Options
from tidemill.data.iteration import iterate
from tidemill.data.nodes.across import Shard
from tidemill.data.sources.read import Read
from tidemill.data.sources.sharing import place_shard
from tidemill.errors import DataError, StateError


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def told(path: Path, **options: Any) -> list[Any]:
    """What a file gives: of a record its text, of an error what it says."""
    reader = PDF.open(path, None, Options(**options))
    return [each[1]["text"] if each[0] == "record" else each[0] for each in outcomes(reader)]


def test_each_page_of_a_pdf_is_a_record(tmp_path: Path) -> None:
    """Numbered from 1, with what the file says of itself; lines end as elsewhere, and a page may have no text."""
    path = write(tmp_path / "mills.pdf", make_pdf(["One\nline", "Two", ""], title="Mills"))
    first, *others = tm.read(path)
    assert first == {
        "text": "One\nline",
        "page": 1,
        "pages": 3,
        "title": "Mills",
        "metadata": {
            **dict.fromkeys(("subject", "keywords", "creator", "producer", "modified")),
            "author": "A. Reed",
            "created": "D:20260102030405Z",
        },
        "path": str(path),
    }
    assert [(each["page"], each["text"]) for each in others] == [(2, "Two"), (3, "")]


def test_a_corrupt_page_costs_itself(tmp_path: Path) -> None:
    """So does one of too much text; each says its number."""
    path = write(tmp_path / "a.pdf", make_pdf(["One", "Two", "Three is longer"], bad=[1]))
    assert told(path, max_line_bytes=10) == ["One", "DataError", "DataError"]
    reader = PDF.open(path, None, Options(max_line_bytes=10))
    next(reader)
    with pytest.raises(DataError, match=r"a\.pdf, page 2: the page is corrupt"):
        next(reader)
    with pytest.raises(
        DataError, match=r"page 3: expected at most 10 bytes of text on a page, got 15\n.*max_line_bytes"
    ):
        next(reader)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "expected a PDF, got an empty file"),
        (b"hello", "expected a PDF, got a file that is none"),
        (make_pdf(["One", "Two"])[:700], "expected a PDF, got a file that is none, or is corrupt as a whole"),
        (ENCRYPTED, r"(?s)encrypted and opens with a password only.*qpdf --decrypt"),
        (make_pdf(["a"] * 4), r"(?s)expected at most 3 pages, got 4.*raise max_pages"),
    ],
)
def test_a_file_that_cannot_be_opened_is_one_error(tmp_path: Path, content: bytes, problem: str) -> None:
    """Also after a state behind it, and the next file follows."""
    write(tmp_path / "a.pdf", content)
    write(tmp_path / "b.pdf", make_pdf(["Two"]))
    records = tm.read(tmp_path / "*.pdf", max_pages=3).iterate()
    with pytest.raises(DataError, match=problem):
        next(records)
    state = records.state()
    records.close()
    assert [each["text"] for each in tm.read(tmp_path / "*.pdf", max_pages=3).iterate(state)] == ["Two"]


def test_documents_resume_everywhere(tmp_path: Path) -> None:
    """Page by page, over pages and files that fail."""
    write(tmp_path / "a.pdf", make_pdf(["One", "Two", "Three", "Four"], bad=[2]))
    write(tmp_path / "b.pdf", b"none")
    write(tmp_path / "c.pdf", make_pdf(["Five"]))
    source = Read(path=str(tmp_path / "*.pdf"))
    whole = check_resumes_everywhere(partial(iterate, source, []))
    assert [each[0] for each in whole] == ["record", "record", "DataError", "record", "DataError", "record"]
    shared = []
    for rank in range(2):
        nodes = place_shard([], Shard(rank=rank, world=2))
        found = check_resumes_everywhere(partial(iterate, source, nodes))
        shared += [each[1]["text"] for each in found if each[0] == "record"]
    assert sorted(shared) == ["Five", "Four", "One", "Two"]
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.html", b"" if name == "b" else f"<p>{name}".encode())
    pages = check_resumes_everywhere(partial(iterate, Read(path=str(tmp_path / "*.html")), []))
    assert [each[1]["text"] for each in pages] == ["a", "c"]


def test_another_file_in_its_place_is_refused(tmp_path: Path) -> None:
    """A copy is not: it is told by its content."""
    path = write(tmp_path / "a.pdf", make_pdf(["One", "Two"]))
    records = tm.read(path).iterate()
    next(records)
    state = records.state()
    records.close()
    write(path, make_pdf(["One", "Two"]))
    assert [each["text"] for each in tm.read(path).iterate(state)] == ["Two"]
    write(path, make_pdf(["One", "Six"]))
    with pytest.raises(StateError, match="the file is another than the one the state was taken of"):
        next(tm.read(path).iterate(state))


def test_a_pdf_elsewhere_is_read_as_one_here(tmp_path: Path) -> None:
    """From every page; what it was copied to is gone with the reader."""
    fsspec.filesystem("memory").pipe_file(f"{tmp_path}/a.pdf", make_pdf(["One", "Two", "Three"]))
    path = cast(Path, parse_path(f"memory://{tmp_path}/a.pdf"))
    found = check_resumes_everywhere(lambda state: PDF.open(path, state))
    assert [each[1]["text"] for each in found] == ["One", "Two", "Three"]


def test_pages_are_read_in_threads(tmp_path: Path) -> None:
    """PDFium is called by one at a time."""
    for number in range(6):
        write(tmp_path / f"{number}.pdf", make_pdf([f"{number} {page}" for page in range(20)]))

    def read_all(record: dict[str, int]) -> list[str]:
        return [each["text"] for each in tm.read(tmp_path / f"{record['n']}.pdf")]

    found = list(tm.from_iterable([{"n": n} for n in range(6)]).map(read_all, concurrency=4, on="threads"))
    assert found == [[f"{number} {page}" for page in range(20)] for number in range(6)]


def test_what_the_collector_finds_while_a_page_is_read_is_closed(tmp_path: Path) -> None:
    """It runs within calls of PDFium as well, of which one may be made at a time: it never waits for its own thread."""
    path = write(tmp_path / "a.pdf", make_pdf(["One"]))
    thresholds = gc.get_threshold()
    pages = PdfPages(path, Options(max_pages=1, max_line_bytes=100))
    try:
        for threshold in range(1, 200):
            held: list[Any] = [PdfPages(path, Options(max_pages=1, max_line_bytes=100))]
            held.append(held)
            gc.disable()
            gc.set_threshold(threshold)
            del held
            gc.enable()
            assert pages.read_page(0)["text"] == "One"
    finally:
        gc.enable()
        gc.set_threshold(*thresholds)
        pages.close()


def test_without_the_package_the_extra_is_named(tmp_path: Path) -> None:
    """In a process where it cannot be imported."""
    path = write(tmp_path / "a.pdf", make_pdf(["One"]))
    code = (
        "import sys; sys.modules['pypdfium2'] = None\nimport tidemill as tm\n"
        f"try:\n    list(tm.read({str(path)!r}))\nexcept tm.ResourceError as error:\n    print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "needs the package pypdfium2" in said
    assert 'pip install "tidemill[pdf]"' in said


PAGE = """<!doctype html><html lang=en><head><meta charset=utf-8><title>Mills &amp;
  tides</title><meta name="Author" content="A. Reed"><meta property='og:description' content='All of &quot;it&quot;'>
  <meta name=author content=other><link rel=canonical href="https://far.example/mills"><style>p {}</style></head>
  <body><h1>Mill</h1><p>It <b>turns</b>.<script>go()</script><h2 class=x>Wheel<br></h2><pre><code>
# no heading
  x = 1
</code></pre><p>End<svg><title>no</title></svg>"""


def test_a_page_of_html_is_what_its_reader_sees(tmp_path: Path) -> None:
    """Its title, and what it says of itself first; headings and code as Markdown has them."""
    path = write(tmp_path / "mills.html", PAGE.encode())
    (record,) = tm.read(path)
    assert record == {
        "title": "Mills & tides",
        "text": "# Mill\n\nIt turns.\n\n## Wheel\n\n```\n# no heading\n  x = 1\n```\n\nEnd",
        "metadata": {
            "author": "A. Reed",
            "description": 'All of "it"',
            "keywords": None,
            "language": "en",
            "published": None,
            "url": "https://far.example/mills",
        },
        "path": str(path),
    }
    chunks = tm.read(path).chunk(by="headings", max_chars=80)
    assert [each["headings"] for each in chunks] == [["Mill"], ["Mill", "Wheel"]]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<p>Größe".encode(), "Größe"),
        ("<p>Größe".encode("windows-1252"), "Größe"),
        ("<meta charset=shift_jis><p>潮".encode("shift_jis"), "潮"),
        ("<p>潮".encode("utf-16"), "潮"),
        (b"\xef\xbb\xbf<p>a", "a"),
        (b"", None),
    ],
)
def test_a_page_is_decoded_as_it_says(tmp_path: Path, content: bytes, text: str | None) -> None:
    found = [each[1]["text"] for each in outcomes(HTML.open(write(tmp_path / "a.html", content)))]
    assert found == ([] if text is None else [text])


def test_what_is_no_page_is_told(tmp_path: Path) -> None:
    """A binary file, and one over the limit, with its bytes; mended, they are a record again."""
    source = Read(path=str(tmp_path / "*.html"), max_line_bytes=50)
    write(tmp_path / "a.html", b"<p>\0\1")
    write(tmp_path / "b.html", b"<p>" * 50)
    records = iterate(source, [])
    with pytest.raises(DataError, match=r"a\.html, byte 0: expected HTML, got bytes that are no text") as failed:
        next(records)
    assert failed.value.raw == b"<p>\0\1"
    with pytest.raises(DataError, match=r"expected at most 50 bytes in a file, got 150"):
        next(records)
    assert source.decode_record(b"<title>T</title><p>a")["title"] == "T"
