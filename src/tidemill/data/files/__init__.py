"""The bytes of source files and of those that are written: plain or packed, on disk or on any fsspec file system."""

from tidemill.data.files.codecs import CODECS, find_codec, recognize_codec, strip_codec
from tidemill.data.files.part import (
    BLOCK_BYTES,
    PartFile,
    check_whole,
    compare_file,
    compute_crc,
    count_bytes,
    measure_file,
    open_random,
    stat_file,
)
from tidemill.data.files.path import AnyPath, RemotePath, find_local, is_url, parse_path, split_url, strip_local
from tidemill.data.files.query import is_web, show_path
from tidemill.data.files.text import PackedText, PlainText, TextFile, open_text
from tidemill.data.files.writing import create_file, create_text

__all__ = [
    "BLOCK_BYTES",
    "CODECS",
    "AnyPath",
    "PackedText",
    "PartFile",
    "PlainText",
    "RemotePath",
    "TextFile",
    "check_whole",
    "compare_file",
    "compute_crc",
    "count_bytes",
    "create_file",
    "create_text",
    "find_codec",
    "find_local",
    "is_url",
    "is_web",
    "measure_file",
    "open_random",
    "open_text",
    "parse_path",
    "recognize_codec",
    "show_path",
    "split_url",
    "stat_file",
    "strip_codec",
    "strip_local",
]
