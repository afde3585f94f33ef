"""The formats there are, by name and by suffix."""

from __future__ import annotations

from tidemill.data.files import strip_codec
from tidemill.data.formats.csv import CSV
from tidemill.data.formats.format import Format
from tidemill.data.formats.jsonl import JSONL
from tidemill.data.formats.text import TEXT

FORMATS: dict[str, Format] = {each.name: each for each in (JSONL, CSV, TEXT)}


def find_format(name: str) -> Format | None:
    """The format of files so named; None for a suffix that belongs to none."""
    for each in FORMATS.values():
        if (strip_codec(name) if each.compressible else name).endswith(each.suffixes):
            return each
    return None
