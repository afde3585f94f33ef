"""The pages of an open PDF, and the reader that goes through them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from tidemill.data.files import check_whole, compute_crc, find_local, open_random, stat_file
from tidemill.data.formats.documents.pdfium import calling_pdfium, close_document
from tidemill.data.formats.format import Options
from tidemill.data.formats.items import Items, Place
from tidemill.data.reader import PartReader, hold_failure
from tidemill.data.turns import Share
from tidemill.errors import DataError
from tidemill.protocols import Record, State

METADATA: Final = {
    "Author": "author",
    "Subject": "subject",
    "Keywords": "keywords",
    "Creator": "creator",
    "Producer": "producer",
    "CreationDate": "created",
    "ModDate": "modified",
}
"""What a document may say of itself (ISO 32000-1, 14.3.3), and what a record calls it; dates stay as they are there."""

_CLEANED: Final = str.maketrans({"\x02": "", "\ufffe": "", "\0": "", "\r": "\n"})
"""PDFium has the first two in the place of a hyphen that a word was broken at."""


class PdfPages:
    """One open file. A remote one is copied to a temporary file first. Usable from any thread.

    Attributes:
        count: pages there are.

    Raises:
        ResourceError: it cannot be read, or `pypdfium2` is not installed.
        DataError: it is encrypted, no PDF, or has more than `max_pages`.
    """

    def __init__(self, path: Path, options: Options) -> None:
        self._file: Any = None
        self._document: Any = None
        self._path = path
        self._written = options.written or str(path)
        self._max_text_bytes = options.max_line_bytes
        self._stamp = stat_file(path)
        self._crc: int | None = None
        self._document = self._open()
        with calling_pdfium():
            self.count = len(self._document)
            said = self._document.get_metadata_dict(skip_empty=True)
        if self.count > options.max_pages:
            self.close()
            raise DataError(
                f"expected at most {options.max_pages:,} pages, got {self.count:,}",
                where=str(path),
                hint="raise max_pages if such files are meant",
            )
        self._title = _clean(said.get("Title", ""))
        self._metadata = {name: _clean(said[key]) if key in said else None for key, name in METADATA.items()}

    def __del__(self) -> None:
        self.close()

    def read_page(self, number: int) -> Record:
        """The record of a page, counted from 0.

        Raises:
            DataError: it is corrupt, or has too much text.
        """
        return {
            "text": _clean(self._read_text(number)),
            "page": number + 1,
            "pages": self.count,
            "title": self._title,
            "metadata": dict(self._metadata),
            "path": self._written,
        }

    def state(self, page: int) -> State:
        """The state of a reader at a page: what tells the file from another, and `read`, in bytes."""
        local = find_local(self._path)
        if local is not None and self._crc is None:
            self._crc = compute_crc(local, self._stamp["size"])
        crc = {} if self._crc is None else {"crc": [self._stamp["size"], self._crc]}
        read = self._stamp["size"] * page // self.count if self.count and self._stamp["size"] else 0
        return {"page": page, **crc, **self._stamp, "read": read}

    def close(self) -> None:
        """Close the file; it may be closed already."""
        document, self._document = self._document, None
        file, self._file = self._file, None
        if document is not None:
            close_document(document)
        if file is not None:
            file.close()

    def _open(self) -> Any:
        self._file = open_random(self._path)
        if find_local(self._path) is None:
            with self._file as remote:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
                shutil.copyfileobj(remote, self._file)
        with calling_pdfium() as pdfium:
            try:
                return pdfium.PdfDocument(self._file)  # of a path it would leave one without pages open
            except pdfium.PdfiumError as error:
                self.close()
                raise _explain(error, self._path, self._stamp["size"]) from None

    def _read_text(self, number: int) -> str:
        """The text of a page as PDFium gives it, which finds none where the file was cut."""
        where = f"{self._path}, page {number + 1}"
        with calling_pdfium() as pdfium:
            try:
                page = self._document[number]
                try:
                    text = page.get_textpage()
                    characters = text.count_chars()
                    found = text.get_text_bounded() if characters <= self._max_text_bytes else ""
                finally:
                    page.close()  # with its text
            except pdfium.PdfiumError as error:
                self._check_whole()
                raise DataError(f"the page is corrupt: {error}", where=where) from None
        self._check_whole()
        size = max(characters, len(found.encode("utf-8", "replace")))
        if size > self._max_text_bytes:
            raise DataError(
                f"expected at most {self._max_text_bytes:,} bytes of text on a page, got {size:,}",
                where=where,
                hint="raise max_line_bytes if such pages are meant",
            )
        return cast(str, found)

    def _check_whole(self) -> None:
        if find_local(self._path) is not None:
            check_whole(self._file, self._path, self._stamp["size"])


def _explain(error: Any, path: Path, size: int | None) -> DataError:
    """Why a file cannot be opened."""
    import pypdfium2.raw as codes

    if size == 0:
        return DataError("expected a PDF, got an empty file", where=str(path))
    if error.err_code == codes.FPDF_ERR_PASSWORD:
        return DataError(
            "the file is encrypted and opens with a password only",
            where=str(path),
            hint="decrypt it first: qpdf --decrypt --password=… in.pdf out.pdf",
        )
    if error.err_code == codes.FPDF_ERR_SECURITY:
        return DataError("the file is encrypted in a way that PDFium does not know", where=str(path))
    return DataError("expected a PDF, got a file that is none, or is corrupt as a whole", where=str(path))


def _clean(text: str) -> str:
    """Lines ended as elsewhere, words that were broken at a line's end whole, and half surrogates replaced."""
    text = text.replace("\r\n", "\n").translate(_CLEANED)
    return text.encode("utf-8", "replace").decode()


class _Run(Items):
    """One page, or its error."""

    __slots__ = ("page",)

    def __init__(self, page: int, items: list[Any], *, is_error: bool = False) -> None:
        super().__init__(items, is_error=is_error)
        self.page = page


class PageReader(PartReader):
    """The pages of one file.

    Memory: what PDFium holds of the file, and one page.   Resume: exact, at its page.   Threads: any, one at a time.
    """

    _pages: PdfPages
    _place: Place[_Run]

    def state(self, back: int = 0) -> State:
        run = self._place.run
        return {**self._pages.state(run.page + run.passed(back)), **self._place.mark(back)}

    def close(self) -> None:
        self._pages.close()


def open_pages(pages: PdfPages, page: int, share: Share | None) -> PageReader:
    """A reader of an open file from a page on; with a share, of the pages whose turn is its."""
    place = Place(_Run(page, []), share)
    reader = cast(PageReader, PageReader.from_iterable(hold_failure(_iter_links(pages, place, page, share))))
    reader._pages = pages
    reader._place = place
    return reader


def _iter_links(pages: PdfPages, place: Place[_Run], page: int, share: Share | None) -> Iterator[Iterator[Any]]:
    for number in range(page, pages.count):
        seen, places = (0, range(1)) if share is None else (share.seen, share.take(1))
        items, is_error = _read_items(pages, number) if places else ([], False)
        run = _Run(number, items, is_error=is_error)
        if share is not None:
            run.share(items, seen, places, 1)
        yield place.follow(run)
    pages.close()


def _read_items(pages: PdfPages, number: int) -> tuple[list[Any], bool]:
    """The record of a page, or its error and True."""
    try:
        return [pages.read_page(number)], False
    except DataError as error:
        return [error], True
