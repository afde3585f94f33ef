"""Records as a source's schema wants them: completed with columns their file lacks, and checked one by one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, cast

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, SchemaValidator

from tidemill.config.secrets import mask_start
from tidemill.config.types.functions import fingerprint_schema, import_object, to_import_path
from tidemill.config.wording.words import Says
from tidemill.data.files import AnyPath, find_codec, open_random
from tidemill.data.formats.broken import open_failing
from tidemill.data.formats.runs import RAW_KEPT_BYTES
from tidemill.data.reader import PartReader
from tidemill.data.turns import Share
from tidemill.errors import ConfigError, DataError, TidemillError
from tidemill.protocols import State

_SHOWN_PROBLEMS = 8
_MAX_VALUE = 80

Complete = Callable[[Any], Any]
"""What is done to each record of a file."""


def _to_record_schema(value: Any, info: ValidationInfo) -> Any:
    folder = (info.context or {}).get("folder")
    found = import_object(value, folder) if isinstance(value, str) else value
    if is_arrow_schema(found) or (isinstance(found, type) and issubclass(found, BaseModel)):
        return found
    message = "expected a Pydantic model, a pyarrow.Schema or the import path of one, got {kind}"
    raise PydanticCustomError("record_schema", message, {"kind": f"a {type(found).__name__}"})


def _show_schema(value: Any) -> str:
    try:
        return to_import_path(value)
    except ConfigError:
        return str(fingerprint_record_schema(value))


RecordSchema = Annotated[
    Any,
    BeforeValidator(_to_record_schema),
    PlainSerializer(_show_schema, return_type=str),
    Says("the import path of a Pydantic model or a pyarrow.Schema"),
    WithJsonSchema({"type": "string", "description": "The import path of a Pydantic model or a pyarrow.Schema."}),
]
"""A Pydantic model class, a `pyarrow.Schema`, or the import path of one; holds what it names."""


def is_arrow_schema(value: Any) -> bool:
    """Whether `value` is a `pyarrow.Schema`; loads nothing."""
    arrow = sys.modules.get("pyarrow")
    return arrow is not None and isinstance(value, arrow.Schema)


def fingerprint_record_schema(schema: Any) -> str:
    """What tells one schema from another: of a model its JSON Schema and validators, of an Arrow schema its text."""
    return str(schema.remove_metadata()) if is_arrow_schema(schema) else fingerprint_schema(schema)


def make_fit(schema: Any) -> Callable[[Any], Any]:
    """What makes of a record one that fits: an instance of the model, or a dict of the Arrow schema's types.

    It raises Pydantic's `ValidationError` for a record that does not.
    """
    if is_arrow_schema(schema):
        from tidemill.data.sources.arrow_schema import make_validator

        return make_validator(schema).validate_python
    return cast(SchemaValidator, TypeAdapter(schema).validator).validate_python


def fit_record(fit: Callable[[Any], Any], record: Any, raw: bytes) -> Any:
    """One record that fits.

    Raises:
        DataError: it does not; names each field that is wrong.
    """
    try:
        return fit(record)
    except ValidationError as error:
        raise DataError(explain_misfit(error), raw=raw) from error


def explain_misfit(error: ValidationError) -> str:
    """Each wrong field, as its path, what was expected and what it is."""
    problems = error.errors(include_url=False, include_context=False)
    shown = [
        f"{_show_path(problem['loc'])}: {problem['msg']}, got {mask_start(repr(problem['input']), _MAX_VALUE)}"
        for problem in problems[:_SHOWN_PROBLEMS]
    ]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown):,} more")
    return f"the record does not fit `{error.title}`: {'; '.join(shown)}"


def _show_path(path: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


class FittedReader(PartReader):
    """A reader whose records are completed and checked; its states are the reader's own."""

    _reader: PartReader

    def state(self, back: int = 0) -> State:
        return self._reader.state(back)

    def close(self) -> None:
        self._reader.close()


def fit_reader(
    reader: PartReader,
    path: AnyPath,
    *,
    complete: Complete | None = None,
    fit: Callable[[Any], Any] | None = None,
    is_json: bool = False,
) -> PartReader:
    """`reader` with each record completed and then made to fit; itself when there is nothing to do.

    A record that does not fit raises `DataError`, with where it stands and its bytes, and the next call goes on.
    """
    records: Iterator[Any] = reader
    if complete is not None:
        records = map(complete, records)
    if fit is not None:
        records = map(_checking(fit, reader, path, is_json), records)
    if records is reader:
        return reader
    fitted = cast(FittedReader, FittedReader.from_iterable([records]))
    fitted._reader = reader
    return fitted


def completing(before: Mapping[str, Any], after: Mapping[str, Any]) -> Complete | None:
    """What puts columns into each record: those `before` where it lacks them, those `after` in any case."""
    if not before and not after:
        return None
    return lambda record: {**before, **record, **after}


def _checking(fit: Callable[[Any], Any], reader: PartReader, path: AnyPath, is_json: bool) -> Callable[[Any], Any]:
    def check(record: Any) -> Any:
        try:
            return fit(record)
        except ValidationError as error:
            message = explain_misfit(error)
        place = reader.state(1)
        raw, is_cut = _find_raw(reader, path, place, record, is_json)
        offset = place.get("offset")
        raise DataError(message, where=_show_place(path, place), raw=raw, offset=offset, is_cut=is_cut)

    return check


def _show_place(path: AnyPath, place: State) -> str:
    if "offset" in place:
        return f"{path}, byte {place['offset']}"
    shown = [
        f"{name.replace('_', ' ')} {place[name]}" for name in ("group", "row_group", "batch", "row") if name in place
    ]
    return ", ".join([str(path), *shown])


def _find_raw(reader: PartReader, path: AnyPath, place: State, record: Any, is_json: bool) -> tuple[bytes | None, bool]:
    """The bytes of the record given last: as they stand in a plain file, of packed JSON Lines the record as JSON."""
    if "offset" not in place:
        return None, False
    if find_codec(path) is None:
        size = reader.state()["offset"] - place["offset"]
        with contextlib.suppress(TidemillError, OSError), open_random(path) as file:
            file.seek(place["offset"])
            return file.read(min(size, RAW_KEPT_BYTES)).strip(b"\r\n"), size > RAW_KEPT_BYTES
    return (orjson.dumps(record, default=str), False) if is_json else (None, False)


MISFIT = "misfit"
"""In the states of a file alone that cannot be read as the source's others are: whether its error was given."""


def fail_once(error: DataError, state: State | None, share: Share | None = None) -> PartReader:
    """A reader that raises `error` unless it did so before `state`, and is then at its end; of a share in its turn."""
    told = state is not None and bool(state[MISFIT])
    return open_failing(error, {MISFIT: False}, {MISFIT: True}, told=told, share=share)
