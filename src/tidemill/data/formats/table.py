"""All formats, by name and by the suffix of a file."""

from __future__ import annotations

import functools

from tidemill.config.secrets import mask
from tidemill.data.formats.arrays.npy import NPY, NPZ
from tidemill.data.formats.columnar.arrow import ARROW, ARROWS
from tidemill.data.formats.columnar.parquet import PARQUET
from tidemill.data.formats.csv import CSV
from tidemill.data.formats.documents.html import HTML
from tidemill.data.formats.documents.pdf import PDF
from tidemill.data.formats.format import COMPRESSED, Format
from tidemill.data.formats.image import IMAGE
from tidemill.data.formats.jsonl import JSONL
from tidemill.data.formats.tar.tar import TAR
from tidemill.data.formats.text import TEXT
from tidemill.errors import ConfigError

FORMATS: tuple[Format, ...] = (JSONL, CSV, TEXT, PARQUET, ARROW, ARROWS, NPY, NPZ, HTML, PDF, TAR, IMAGE)

READ_ONLY: tuple[Format, ...] = (HTML, PDF)
"""Those that are not written."""


def get_format(name: str) -> Format:
    """The format of this name.

    Raises:
        ConfigError: there is none.
    """
    for file_format in FORMATS:
        if file_format.name == name:
            return file_format
    names = ", ".join(f"`{file_format.name}`" for file_format in FORMATS)
    raise ConfigError(f"there is no format `{name}`", hint=f"the formats: {names}")


@functools.lru_cache(maxsize=1024)
def find_format(name: str) -> Format | None:
    """The format that the suffix of a file's name tells, `a.jsonl.gz` being `a.jsonl`; None when it tells none."""
    for suffix in COMPRESSED:
        if name.endswith(suffix):
            return next((each for each in _matches(name.removesuffix(suffix)) if each.compressible), None)
    return next(iter(_matches(name)), None)


def guess_format(path: str) -> Format:
    """The format of a file to be written at `path`.

    Raises:
        ConfigError: its suffix tells none.
    """
    found = find_format(path)
    if found is None:
        suffixes = ", ".join(suffix for each in FORMATS if each not in READ_ONLY for suffix in each.suffixes)
        hint = f"those of text and tar also with {', '.join(COMPRESSED)} behind; or say format="
        raise ConfigError(f"expected a file that ends in {suffixes}", where=mask(path), hint=hint)
    return found


def _matches(name: str) -> list[Format]:
    return [file_format for file_format in FORMATS if name.lower().endswith(file_format.suffixes)]
