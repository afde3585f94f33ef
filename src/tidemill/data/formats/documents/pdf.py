"""PDF: each page a record, as PDFium reads its text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tidemill.data.files import compare_file
from tidemill.data.formats.documents.pages import METADATA, PdfPages, open_pages
from tidemill.data.formats.format import PLAIN, Options, Rows, Traits, refuse_rows, refuse_saving
from tidemill.data.formats.written_once import WrittenOnce
from tidemill.data.reader import PartReader
from tidemill.errors import DataError
from tidemill.protocols import Growth, Record, State

if TYPE_CHECKING:
    import pyarrow as pa


class Pdf(WrittenOnce):
    """PDF, as a `Format`: `{"text", "page", "pages", "title", "metadata", "path"}` of each page, numbered from 1.

    The text is what the file says it is, in the order it stands in the file; of a scanned page there is none. A page
    that is corrupt, or has more text than `max_line_bytes`, raises `DataError`, and the next one follows; a file that
    is encrypted, no PDF, or of more than `max_pages` is one. Nothing in a file is run.
    """

    name = "pdf"
    suffixes: tuple[str, ...] = (".pdf",)
    takes = frozenset({"max_line_bytes", "max_pages"})
    traits = Traits(
        title="PDF",
        record='`{"text", "page", "pages", "title", "metadata", "path"}` of a page; read only',
        by_number="",
        resume="nothing but the index of the file; a remote one is copied again",
        schema="the same for all",
        extra="pdf",
    )

    def _open_whole(self, path: Path, state: State | None, options: Options) -> PartReader:
        pages = PdfPages(path, options)
        return open_pages(pages, state["page"] if state else 0, options.share)

    def compare(self, path: Path, state: State, options: Options = PLAIN) -> Growth:
        return "same" if compare_file(path, state) == "same" else "edited"

    def decode(self, raw: bytes, options: Options = PLAIN) -> Record:
        raise DataError("a page cannot be read without its file", hint="read the file anew", raw=raw)

    def save(self, records: Iterable[Any], file: BinaryIO, options: Options = PLAIN) -> int:
        refuse_saving("PDF")

    def read_schema(self, path: Path, options: Options = PLAIN) -> pa.Schema:
        import pyarrow as pa

        metadata = pa.struct([(name, pa.string()) for name in METADATA.values()])
        names = ("text", "page", "pages", "title", "metadata", "path")
        kinds = {"page": pa.int64(), "pages": pa.int64(), "metadata": metadata}
        return pa.schema([(name, kinds.get(name, pa.string())) for name in names])

    def open_rows(self, path: Path, options: Options = PLAIN) -> Rows:
        refuse_rows(path, "PDF")


PDF = Pdf()
