"""Small good files of every format: what the failure table spoils."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pdfs import make_pdf

from tidemill.data.files import create_text

COLUMNAR = (".parquet", ".arrow", ".arrows")
ROWS = 30
MARKED = [f"value {number:02}" for number in range(ROWS)]


def write_groups(path: Path, table: pa.Table) -> Path:
    """The table in groups of ten rows, uncompressed, pages with checksums."""
    if path.suffix == ".parquet":
        pq.write_table(
            table, path, row_group_size=10, compression="none", use_dictionary=False, write_page_checksum=True
        )
        return path
    make = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
    with open(path, "wb") as file, make(file, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=10):
            writer.write_batch(batch)
    return path


def write_packed(path: Path, text: bytes) -> Path:
    """A file packed as its suffix says."""
    with open(path, "wb") as file, create_text(path, file) as packed:
        packed.write(text)
    return path


def make_tar(*members: tuple[str, bytes]) -> bytes:
    """An archive as Python's own module writes it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, body in members:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))
    return file.getvalue()


def make_array(save: Callable[..., Any], *arrays: Any, **named: Any) -> bytes:
    """What one of NumPy's functions writes."""
    file = io.BytesIO()
    save(file, *arrays, **named)
    return file.getvalue()


MAKERS: dict[str, Callable[[], bytes]] = {
    ".jsonl": lambda: b'{"s": 1}\n' * ROWS,
    ".csv": lambda: b"s\n" * (ROWS + 1),
    ".txt": lambda: b"s\n" * ROWS,
    ".tar": lambda: make_tar(*((f"{number}.txt", b"text %d" % number) for number in range(ROWS))),
    ".npy": lambda: make_array(np.save, np.arange(ROWS)),
    ".npz": lambda: make_array(np.savez, n=np.arange(ROWS)),
    ".packed.npz": lambda: make_array(np.savez_compressed, n=np.arange(ROWS)),
    ".jpg": lambda: bytes(range(90)),
    ".html": lambda: b"<title>Mill</title><p>It turns.",
    ".pdf": lambda: make_pdf([f"Page {number}" for number in range(2)]),
}
"""By suffix, the bytes of a good file in rows, members or pages, or of one record; beside those in `COLUMNAR`."""


def count_records(suffix: str) -> int:
    """How many records such a file has."""
    return {".jpg": 1, ".html": 1, ".pdf": 2}.get(suffix, ROWS)


def write_good(path: Path, suffix: str) -> Path:
    """A good file."""
    if suffix in COLUMNAR:
        return write_groups(path, pa.table({"s": MARKED}))
    path.write_bytes(MAKERS[suffix]())
    return path
