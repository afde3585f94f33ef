"""HTML: each page a record, as its reader sees it."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tidemill.data.formats.format import PLAIN, Options, Rows, Traits, refuse_rows, refuse_saving
from tidemill.data.formats.lines import LineReader, open_lines
from tidemill.data.formats.text import compare_whole, iter_whole
from tidemill.data.pages.charset import decode_page, find_charset
from tidemill.data.pages.markup import METADATA, read_page
from tidemill.errors import DataError
from tidemill.protocols import Growth, Record, State

if TYPE_CHECKING:
    import pyarrow as pa


class Html:
    """HTML, as a `Format`: `{"text", "title", "metadata", "path"}` of a page, however broken; nothing in it is run.

    The text has the marks of Markdown for headings and blocks of code. What the page says of itself is in `metadata`,
    None where it does not. It is decoded as its bytes say, else as UTF-8 or windows-1252.
    """

    name = "html"
    suffixes: tuple[str, ...] = (".html", ".htm", ".xhtml")
    compressible = True
    takes = frozenset({"max_line_bytes"})
    traits = Traits(
        title="HTML",
        record='`{"text", "title", "metadata", "path"}` of the page; read only',
        by_number="",
        resume="nothing: a file is one record",
        schema="the same for all",
    )

    def open(self, path: Path, state: State | None = None, options: Options = PLAIN) -> LineReader:
        def parse(raw: bytes) -> Record:
            return {**_parse(raw), "path": options.written or str(path)}

        read_whole = functools.partial(iter_whole, path, parse, options.max_line_bytes)
        return open_lines(path, state, read_whole, compare=compare_whole, share=options.share)

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        return compare_whole(path, state)

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        return _parse(raw)

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        refuse_saving("HTML")

    def read_schema(self, path: Path, options: Options = PLAIN) -> pa.Schema:
        import pyarrow as pa

        metadata = pa.struct([(name, pa.string()) for name in METADATA])
        return pa.schema([("text", pa.string()), ("title", pa.string()), ("metadata", metadata), ("path", pa.string())])

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        refuse_rows(path, "HTML")


def _parse(raw: bytes) -> Record:
    charset = find_charset(raw, is_html=True)
    if b"\0" in raw and not charset.startswith("utf-16"):
        raise DataError("expected HTML, got bytes that are no text", raw=raw)
    page = read_page(decode_page(raw, charset))
    return {"text": page.text, "title": page.title, "metadata": {name: page.metadata.get(name) for name in METADATA}}


HTML = Html()
