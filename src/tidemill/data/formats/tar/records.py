"""Records of tar archives in the layout of WebDataset: a column for each member, named by its suffix."""

from __future__ import annotations

import functools
import io
import posixpath
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tidemill.data.formats.json_lines import parse_json
from tidemill.data.formats.json_texts import render_line
from tidemill.data.formats.runs import where_at
from tidemill.data.formats.tar.groups import Group, show_name
from tidemill.errors import DataError
from tidemill.protocols import Record

KEY = "__key__"
"""The column of what the members' names have in common."""

_JSON, _TEXT, _NUMBER = ("json", "jsn"), ("txt", "text", "transcript"), ("cls", "cls2", "count", "index", "inx")

_Convert = Callable[[bytes], Any]


def build_record(path: Path, group: Group) -> Record:
    """The record of a group without a problem.

    Raises:
        DataError: two members are one column, or one is not what its suffix says.
    """
    try:
        record: Record = {KEY: group.key.decode()}
    except UnicodeDecodeError as error:
        raise _fail_member(path, group.key, _explain(error), group.start) from None
    for suffix, body, start in group.members:
        try:
            column, convert = _find_column(suffix)
            if column in record:
                raise ValueError(f"the record has the column `{column}` twice")
            record[column] = body if convert is None else convert(body)
        except ValueError as error:
            raise _fail_member(path, group.key + b"." + suffix, _explain(error), start, raw=body) from None
    return record


def fail_group(path: Path, group: Group) -> DataError:
    """That a group is no record; says which, why, and at what member."""
    message = f"record `{show_name(group.key)}`: {group.problem}"
    return DataError(message, where=where_at(path, group.problem_at), hint=group.hint, offset=group.start, is_cut=True)


def _fail_member(path: Path, name: bytes, problem: str, start: int, raw: bytes | None = None) -> DataError:
    """That a member is none that can be a column; the record fails with it."""
    message = f"member `{show_name(name)}`: {problem}"
    return DataError(message, where=where_at(path, start), offset=start, raw=raw, is_cut=True)


@functools.lru_cache(maxsize=1024)
def _find_column(suffix: bytes) -> tuple[str, _Convert | None]:
    """The column of a suffix, and what makes its value of the bytes; None leaves them."""
    column = suffix.decode().lower()
    return column, _find_convert(column)


def _find_convert(column: str) -> _Convert | None:
    kind = column.rpartition(".")[2]
    if kind in _JSON:
        return parse_json
    if kind in _TEXT:
        return bytes.decode
    return _parse_int if kind in _NUMBER else None


def _parse_int(body: bytes) -> int:
    digits = body.strip()
    if not digits.removeprefix(b"-").isdigit():
        raise ValueError(f"expected a whole number, got {digits[:20]!r}")
    return int(digits)


def _explain(error: ValueError) -> str:
    if isinstance(error, orjson.JSONDecodeError):
        return f"not JSON at line {error.lineno}, column {error.colno}: {error.msg}"
    if isinstance(error, UnicodeDecodeError):
        return f"invalid UTF-8: {error.reason} at byte {error.start}"
    return str(error)


def save_members(records: Iterable[Any], file: BinaryIO) -> int:
    """Write records as members of an archive, and return how many records; the same records give the same bytes.

    Raises:
        DataError: a record has no form in which it would be read back; names its number, counted from 0.
    """
    number = -1
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        last: str | None = None
        for number, record in enumerate(records):
            try:
                key = _key_of(record, last)
                members = [(column, _render(column, value)) for column, value in record.items() if column != KEY]
            except (TypeError, ValueError) as error:
                raise DataError(f"record {number} cannot be written to a tar archive: {error}", hint=_HINT) from None
            for column, body in members:
                info = tarfile.TarInfo(f"{key}.{column}")
                info.size = len(body)
                archive.addfile(info, io.BytesIO(body))
            last = key
    return number + 1


_HINT = "columns are named by suffixes: `jpg` of bytes, `txt` of text, `cls` of a whole number, `json` of all else"


def _key_of(record: Any, last: str | None) -> str:
    key = record.get(KEY) if isinstance(record, dict) else None
    if not isinstance(key, str) or not key:
        raise ValueError(f"expected a key, a text, in `{KEY}`")
    parts = key.split("/")
    if "" in parts or ".." in parts or "." in parts[-1] or parts[0] == "." or "\0" in key:
        raise ValueError(f"expected a key that is a path without a suffix, got `{key}`")
    if key == last:
        raise ValueError(f"the one in front of it has the same key, `{key}`, so both would be one")
    if len(record) == 1:
        raise ValueError("it has no column beside its key")
    return posixpath.join(*parts)


def _render(column: Any, value: Any) -> bytes:
    """The bytes of a column, from which its value is read again."""
    if not isinstance(column, str) or not column or column != column.lower() or {"/", "\0"} & set(column):
        raise ValueError(f"the column `{column}` is no suffix of a file")
    convert = _find_convert(column)
    if convert is parse_json:
        return render_line(value).removesuffix(b"\n")
    if convert is None and isinstance(value, bytes):
        return value
    if convert is bytes.decode and isinstance(value, str):
        return value.encode()
    if convert is _parse_int and type(value) is int:
        return b"%d" % value
    raise ValueError(f"a {type(value).__name__} in the column `{column}` would not be read back as one")
