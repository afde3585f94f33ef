"""Files named by patterns, as a source."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from pydantic import ConfigDict, Field, PrivateAttr, field_serializer, field_validator
from pydantic_core import PydanticCustomError

from tidemill.config.objects.descriptions import describe_value, fingerprint_json
from tidemill.config.roles import Runtime
from tidemill.config.wording.suggest import Elsewhere, find_near
from tidemill.config.wording.words import ChoicesElsewhere
from tidemill.data.files import (
    CODECS,
    AnyPath,
    is_url,
    is_web,
    measure_file,
    show_path,
    split_url,
    stat_file,
    strip_local,
)
from tidemill.data.files.storage import SecretOptions
from tidemill.data.formats.format import (
    MAX_LINE_BYTES,
    MAX_PAGES,
    MAX_UNPACKED_RATIO,
    PLACES,
    Format,
    Options,
    check_options,
)
from tidemill.data.formats.table import FORMATS, find_format, get_format
from tidemill.data.nodes.node import ON_ERROR_ELSEWHERE, OnError
from tidemill.data.reader import PartReader
from tidemill.data.sources.fitting import (
    MISFIT,
    RecordSchema,
    completing,
    fail_once,
    fingerprint_record_schema,
    fit_reader,
    fit_record,
    make_fit,
)
from tidemill.data.sources.listing import Listing
from tidemill.data.sources.pattern import open_pattern
from tidemill.data.sources.placed import PlacedSource
from tidemill.data.sources.schema import Shape, find_key_values, find_lacking, find_misfit, sample_shape
from tidemill.data.turns import Share
from tidemill.errors import DataError, ResourceError
from tidemill.protocols import Growth, State

_NAMES = tuple(each.name for each in FORMATS)


class _Found:
    """What a source has found out; none of it is pickled."""

    def __init__(self) -> None:
        self.shape: Shape | None = None
        self.fit: Any = None
        self.listing: tuple[Path, Listing] | None = None
        """Of the files when they were listed last, with the folder that its patterns start at."""

    def __reduce__(self) -> tuple[type[_Found], tuple[()]]:
        return _Found, ()

    def __deepcopy__(self, memo: object) -> _Found:
        return _Found()


_FORMATS_ELSEWHERE: Elsewhere = {
    "feather": "arrow",
    "ipc": "arrow",
    "webdataset": "tar",
    "wds": "tar",
    "markdown": "text",
    "md": "text",
    **dict.fromkeys(("jpg", "jpeg", "png", "webp"), "image"),
    "avro": None,
}

_COMPRESSIONS_ELSEWHERE = ChoicesElsewhere({"gz": "gzip", "bzip2": "bz2", "zst": "zstd", "lzma": "xz", "zip": None})


class Read(PlacedSource):
    """Files as a source, local or on any file system of fsspec; making one touches nothing.

    A pattern takes `*`, `?`, `[…]` and `**`. The files that match it are the parts, sorted by their whole names; a
    list of patterns keeps its order, and a file stands where it matched first. They are listed as they are come to. A
    part is named by its path from the folder all patterns share: the parts of `reviews/*.jsonl` are `a.jsonl`,
    `b.jsonl`. A folder stands for its files, those in folders named `key=value` too, which give columns then; names
    that begin with a dot or underscore are passed over. So is, in a job's output folder, what a killed run left behind:
    of files that are named as parts are, those that the folder's manifest does not name; one named outright is read.
    One that the manifest names and that is gone is an error.

    Of files with columns at most 16, spread over the first 1,000, say what the columns are: one that some of these
    lack is None there, and its kind of values is that of the most. A file with another column, or another kind of
    values, gives one `DataError`, and the next file is read.

    Attributes:
        path: one pattern or several; relative ones start at the job file's folder, else the current one. An address
            (`s3://bucket/reviews/*.jsonl.gz`) is opened by fsspec.
        format: what the files are, whatever their suffix; None lets it say.
        on_error: what a corrupt record gets; None takes the run's default (`quarantine`; iteration raises).
        max_line_bytes: a longer line, row, whole file or record of an archive is an error; it is passed over without
            being held in memory.
        storage_options: what fsspec opens the file system with: credentials, an endpoint. No part of the fingerprint,
            and secrets among them are never shown or written.
        compression: how the files are packed, whatever their suffix: `gzip`, `zstd`, `bz2`, `xz`, or `none`.
        record_schema: `schema` in calls and job files: a Pydantic model, which each record becomes an instance of, or
            a `pyarrow.Schema`, to whose types its values are cast where nothing is lost. A record that does not fit
            is an error.
        delimiter: of CSV; None takes a tab for `.tsv` and a comma for all else.
        encoding: of text and CSV, a name Python knows.
        whole: of text: a file is one record, not each of its lines.
        columns: of Parquet, Arrow and archives of arrays: only these are read.
        max_pages: of PDF: a file with more is an error.
        max_unpacked_ratio: of packed archives: one that unpacks to more than so many times its size ends there with an
            error, once it has given a gibibyte.
    """

    model_config = ConfigDict(populate_by_name=True)

    path: str | tuple[str, ...]
    format: str | None = None
    on_error: Annotated[OnError | None, ON_ERROR_ELSEWHERE] = None
    max_line_bytes: int = Field(default=MAX_LINE_BYTES, gt=0)
    storage_options: Annotated[SecretOptions, Runtime()] = Field(default_factory=dict)
    compression: Annotated[Literal["gzip", "zstd", "bz2", "xz", "none"] | None, _COMPRESSIONS_ELSEWHERE] = None
    record_schema: RecordSchema | None = Field(default=None, alias="schema")
    delimiter: str | None = None
    encoding: str = "utf-8"
    whole: bool = False
    columns: tuple[str, ...] | None = None
    max_pages: int = Field(default=MAX_PAGES, gt=0)
    max_unpacked_ratio: int = Field(default=MAX_UNPACKED_RATIO, gt=0)

    _found: _Found = PrivateAttr(default_factory=_Found)
    _share: Share | None = PrivateAttr(default=None)

    @field_validator("path", mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        if isinstance(value, os.PathLike):
            return os.fspath(value)
        if isinstance(value, (list, tuple)):
            return tuple(os.fspath(each) if isinstance(each, os.PathLike) else each for each in value)
        return value

    @field_validator("path")
    @classmethod
    def _check_path(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        patterns = (value,) if isinstance(value, str) else value
        if not patterns or not all(patterns):
            raise PydanticCustomError("source_path", "expected a path or pattern, got none")
        systems = {split_url(each)[0] if is_url(each) else "local files" for each in map(strip_local, patterns)}
        if len(systems) > 1:
            message = "expected a path or pattern of one file system, got those of {systems}"
            raise PydanticCustomError("source_path", message, {"systems": " and ".join(sorted(systems))})
        return value

    @field_validator("format")
    @classmethod
    def _check_format(cls, value: str | None) -> str | None:
        if value is not None and value not in _NAMES:
            message = "expected one of {known}, got `{value}`"
            near = find_near(value, _NAMES, elsewhere=_FORMATS_ELSEWHERE)
            hint = f"did you mean `{near}`?" if near else ""
            raise PydanticCustomError("format", message, {"known": ", ".join(_NAMES), "value": value, "hint": hint})
        return value

    @field_serializer("path")
    def _show_path(self, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return _show_paths(value)

    def __repr_args__(self) -> Any:
        for name, value in super().__repr_args__():
            yield name, _show_paths(value) if name == "path" else value

    def __eq__(self, other: object) -> bool:
        """Also the same turn: a rank's share is not the whole."""
        return super().__eq__(other) and isinstance(other, Read) and self._share == other._share

    def __hash__(self) -> int:
        return hash((self.path, self.format, self._folder))

    def parts(self, start: str | None = None) -> Iterator[str]:
        """The names of the files that match, in reading order, from `start` on; found as they are asked for.

        Raises:
            DataError: a pattern matches no file, a file's name is not UTF-8, or its format is not known by its suffix.
            ResourceError: a folder cannot be listed.
            StateError: the manifest of an output folder cannot be read, or a part is gone that it names.
        """
        listing = self._list()
        formats: dict[str, str] = {}
        for name in listing.iter_names(start):
            pattern = listing.find(name)
            known = self._guess(name)
            if self.format is None and known is None:
                raise _unknown_format(str(listing.locate(name)))
            if self.format is None and known is not None and pattern is not None and pattern.kind == "folder":
                _check_one_format(formats, known, name, str(listing.root))
            yield name

    def open_part(self, part: str, state: State | None = None) -> PartReader:
        """The records of one file, from its start or from `state`.

        Raises:
            ResourceError: the file cannot be opened.
            StateError: the file was edited before `state`.
        """
        listing = self._find_listing()
        path, file_format, pattern = _locate(listing, part), self._find_format(part), listing.find(part)
        written = "" if pattern is None else self._write_path(path, pattern.text)
        options = replace(self._options(), written=written)
        misfit, complete = None, None
        if state is None or MISFIT in state:
            check_options(file_format, options)
        try:
            complete = self._complete(listing, part, file_format)
        except DataError as error:
            misfit = error
        if misfit is not None and (state is None or MISFIT in state):
            return fail_once(misfit, state, self._share)
        if state is not None and MISFIT in state:
            state = None
        reader = file_format.open(path, state, options)
        return fit_reader(reader, path, complete=complete, fit=self._fit(), is_json=file_format.name == "jsonl")

    def share_out(self, share: Share) -> Read:
        """The same files, read for one rank: records and failures that are not its turn are not given."""
        shared = self.model_copy()
        shared._share = share
        return shared

    def decode_record(self, raw: bytes) -> Any:
        """The record in the bytes that were refused before.

        Raises:
            DataError: it is still not a record.
        """
        text = self.path if isinstance(self.path, str) else self.path[0]
        by_suffix = self._guess(text) if self.format is None else get_format(self.format)
        file_format = by_suffix or self._find_format(next(self.parts()))
        record = file_format.decode(raw, self._options())
        fit = self._fit()
        return record if fit is None else fit_record(fit, record, raw)

    def compare_part(self, part: str, state: State) -> Growth:
        """Whether the file, up to `state`, is as it was."""
        if MISFIT in state:
            return "same"
        return self._find_format(part).compare(_locate(self._find_listing(), part), state, self._options())

    def measure_part(self, part: str, state: State | None) -> tuple[int, int] | None:
        """Bytes of the file as it is stored that the records before `state` take, and its size."""
        known = None if state is None or MISFIT in state else state
        return measure_file(_locate(self._find_listing(), part), known)

    def stamp(self) -> str:
        """What changes when the files do: their names, sizes and times of change, or versions.

        Raises:
            DataError, ResourceError, StateError: as `parts`; or a file is gone.
        """
        return fingerprint_json([[name, stat_file(self._find_listing().locate(name))] for name in self.parts()])[:16]

    def iter_outputs(self, names: Iterable[str]) -> Iterator[tuple[AnyPath, str]]:
        """The output folders that the files of these names are parts of, each with its version when they were listed.

        Args:
            names: as `parts` gave them last, or is giving them.

        Raises:
            StateError: the manifest of a folder cannot be read.
        """
        given: set[tuple[AnyPath, str]] = set()
        for name in names:
            output = self._find_listing().find_output(name)
            if output is not None and output not in given:
                given.add(output)
                yield output

    def would_read(self, path: Path) -> bool:
        """Whether a file of this path, were it there, would be one of the parts."""
        return self._list().would_have(path)

    def show(self) -> str:
        """The source in a line, as its user would write it."""
        return f"read({_show_paths(self.path)!r})"

    def describe(self) -> dict[str, Any]:
        """The source as JSON, paths as they were written, addresses of the web without what signs them."""
        described = {"max_line_bytes": self.max_line_bytes, **describe_value(self)}
        described["path"] = describe_value(_show_paths(self.path))
        if described.pop("record_schema", None) is not None:
            described["schema"] = fingerprint_record_schema(self.record_schema)
        return {"read": described}

    def _list(self) -> Listing:
        """The patterns as they stand now: what each is depends on what is there."""
        texts = (self.path,) if isinstance(self.path, str) else self.path
        folder = self._folder or Path.cwd()
        patterns = [open_pattern(text, folder, self.storage_options, self.compression) for text in texts]
        listing = Listing(patterns, lambda name: self.format is not None or self._guess(name) is not None)
        self._found.listing = folder, listing
        return listing

    def _find_listing(self) -> Listing:
        """The patterns as they stood when the files were listed; looking at them anew would cost as much as a file."""
        known = self._found.listing
        return known[1] if known is not None and known[0] == (self._folder or Path.cwd()) else self._list()

    def _options(self) -> Options:
        given = {field.name: getattr(self, field.name) for field in fields(Options) if field.name not in PLACES}
        return Options(**given, share=self._share)

    def _find_format(self, name: str) -> Format:
        found = get_format(self.format) if self.format is not None else self._guess(name)
        if found is None:
            raise _unknown_format(name)
        return found

    def _guess(self, name: str) -> Format | None:
        """The format that a file's name tells; what begins an address's query is no part of it."""
        first = self.path if isinstance(self.path, str) else self.path[0]
        return find_format(name.partition("?")[0] if is_web(first) else name)

    def _fit(self) -> Any:
        if self.record_schema is not None and self._found.fit is None:
            self._found.fit = make_fit(self.record_schema)
        return self._found.fit

    def _complete(self, listing: Listing, part: str, file_format: Format) -> Any:
        """What completes the records of a file; None where nothing does.

        Raises:
            DataError: its columns are not those of the source's other files.
        """
        schema = None
        if self.record_schema is None:
            with contextlib.suppress(DataError):  # a file that is none of its format says so when it is read
                schema = file_format.read_schema(_locate(listing, part), self._options())
        pattern = listing.find(part)
        has_keys = pattern is not None and pattern.kind == "folder"
        if schema is None and not has_keys:
            return None
        if self._found.shape is None:
            read = None if self.record_schema is not None else functools.partial(self._read_schema, listing)
            self._found.shape = sample_shape(_iter_listed(self.parts()), read, has_keys=has_keys)
        shape = self._found.shape
        misfit = find_misfit(shape, part, schema)
        if misfit is not None:
            raise misfit
        return completing(find_lacking(shape, schema), find_key_values(shape, part))

    def _read_schema(self, listing: Listing, name: str) -> Any:
        """The schema of one file of the sample; None when it has none, or cannot be read, which its turn tells."""
        try:
            return self._find_format(name).read_schema(_locate(listing, name), self._options())
        except (DataError, ResourceError):
            return None


def _show_paths(paths: str | tuple[str, ...]) -> str | tuple[str, ...]:
    return show_path(paths) if isinstance(paths, str) else tuple(map(show_path, paths))


def _iter_listed(names: Iterator[str]) -> Iterator[str]:
    """The names up to one that cannot be listed, which is told when it is come to and is no fault of those before."""
    with contextlib.suppress(DataError):
        yield from names


def _locate(listing: Listing, name: str) -> Path:
    """The file as a format is given it, which hands it on to `data.files` as it is, local or not."""
    return cast(Path, listing.locate(name))


def _check_one_format(formats: dict[str, str], known: Format, name: str, folder: str) -> None:
    """Check that the files of a folder are of one format; keeps the first one's name."""
    formats.setdefault(known.name, name)
    if len(formats) > 1:
        first, second = formats
        raise DataError(
            f"expected files of one format, got {first} (`{formats[first]}`) and {second} (`{name}`)",
            where=folder,
            hint="move the others away; or name those that are meant by a pattern, whose folders give no columns",
        )


def _unknown_format(name: str) -> DataError:
    suffixes = ", ".join(suffix for each in FORMATS for suffix in each.suffixes)
    packed = ", ".join(codec.suffix for codec in CODECS)
    return DataError(
        "expected a file of a known format, got one of another suffix",
        where=name,
        hint=f"say format: {' or '.join(_NAMES)}; known by their suffix are {suffixes}, those of text and tar also "
        f"with {packed} behind",
    )
